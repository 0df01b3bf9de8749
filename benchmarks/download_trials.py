"""data/download.py against a stand-in of the public services (tests/cutout_service.py).

Parts: `rate`, cutouts per second in turns with a plain loop that checks nothing; `memory`, the peak
of a small and a large download; `faults`, a share of the positions gets each of nine faults, every
file and row of the manifest is compared with the plan, and the same command given again must send
no request; `kills`, the same after SIGKILLs at random moments; `real`, `make real` as a user runs
it, on a simulated sky that the stand-in serves.

Reads:  nothing
Writes: <folder>/ (part `real`); prints the numbers, and ends with an error where one is wrong

Example: python benchmarks/download_trials.py --parts faults kills
"""

import io
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from timing import spread, watch

from VAE_model.data.cutouts import BadCutout, read_cutout
from VAE_model.downloads.cutout_service import url_of
from VAE_model.pipeline.files import list_files
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, start
from VAE_model.surveys import DECALS

sys.path.insert(0, str(ROOT / "tests"))
from cutout_service import PERMANENT, TRANSIENT, CutoutService, plan_of

CONNECTIONS = 8
SHARE = 0.05  # of the positions that get each fault
CATALOGUE = "gz_decals_auto_posteriors.parquet"
REASONS = {"text": "text instead of an image", "layer": "wrong layer", "zero": "zero image",
           "outside": "HTTP 500 after 3 tries"}  # fmt: skip
PLAIN_LOOP = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import requests
urls, folder, connections = open(sys.argv[1]).read().split(), sys.argv[2], int(sys.argv[3])
here = threading.local()
def fetch(job):
    number, url = job
    if not hasattr(here, "session"):
        here.session = requests.Session()
    with open(f"{folder}/{number}.fits", "wb") as stream:
        stream.write(here.session.get(url, timeout=60).content)
with ThreadPoolExecutor(connections) as pool:
    list(pool.map(fetch, enumerate(urls)))
"""


@dataclass(frozen=True)
class Config:
    """Constants of the benchmark."""

    parts: tuple[Literal["rate", "memory", "faults", "kills", "real"], ...] = ("faults", "kills")
    """Parts to run."""
    cutouts: int = 2000
    """Cutouts of the parts `faults` and `kills`."""
    timed: int = 1000
    """Cutouts of each timed download."""
    repeats: int = 3
    """Turns of the timed downloads."""
    latencies: tuple[float, ...] = (0.0, 0.05)
    """Seconds before each answer of the stand-in."""
    memory: tuple[int, ...] = (200, 2000)
    """Cutouts of the downloads whose peak memory is compared."""
    kills: int = 10
    """SIGKILLs."""
    pause: tuple[float, float] = (2.0, 15.0)
    """Seconds from the start to a kill, drawn between these."""
    seed: int = 1
    """Seed of the moments of the kills."""
    galaxies: int = 60
    """Galaxies in both surveys: N of `make real`."""
    folder: Path = Path("data/rehearsal")
    """Folder of the sky and the run of `make real`."""


def write_table(path: Path, count: int) -> pd.DataFrame:
    """Write and return positions in the footprint of the southern layer."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"ra": rng.uniform(150, 210, count), "dec": rng.uniform(-15, 33, count)})
    table = table.round(4)
    table.to_csv(path, index=False)
    return table


def arguments(folder: Path, service: CutoutService, *more: str) -> list[str]:
    """Return the command line of data/download.py for the table and the run in a folder."""
    return ["data/download.py", "--run", str(folder / "run"), "--table", str(folder / "table.csv"),
            "--service", service.url, "--connections", str(CONNECTIONS), *more]  # fmt: skip


def compare_rates(config: Config, latency: float) -> None:
    """Print the rates of the download and of the plain loop, as the stand-in sees them."""
    moments: list[float] = []

    def rate(*command: object) -> float:
        """Return requests per second."""
        moments.clear()
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
        return (len(moments) - 1) / (moments[-1] - moments[0])

    def plan(*_: object) -> str:
        """Note the moment of a request, and let it have no fault."""
        moments.append(time.perf_counter())
        return ""

    plain, ours = [], []
    with CutoutService(plan=plan, latency=latency) as service:
        for _ in range(config.repeats):
            with tempfile.TemporaryDirectory() as name:
                table = write_table(Path(name) / "table.csv", config.timed)
                urls = Path(name, "urls")
                urls.write_text("\n".join(
                    url_of(service.url, DECALS.layer, ra, dec) for ra, dec in table.to_numpy()
                ))  # fmt: skip
                plain.append(rate("-c", PLAIN_LOOP, urls, name, str(CONNECTIONS)))
                ours.append(rate(*arguments(Path(name), service)))
    ratios = [b / a for a, b in zip(plain, ours, strict=True)]
    print(
        f"{latency:g} s before each answer, {config.timed:,} cutouts, {CONNECTIONS} connections: "
        f"plain loop {spread(plain, 0)} cutouts/s, data/download.py {spread(ours, 0)}, "
        f"ratio {spread(ratios, 2)}", flush=True,
    )  # fmt: skip


def kill_often(config: Config, run: Run, command: list[str]) -> int:
    """Start the command and kill it, repeatedly; return the good files that a restart changed."""
    moments, met, changed, kept = random.Random(config.seed), 0, 0, {}
    for _ in range(config.kills):
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(moments.uniform(*config.pause))
        met += process.poll() is None
        process.kill()
        process.wait()
        now = {path: path.stat().st_mtime_ns for path in list_files(run.images(), (".fits",))}
        changed += sum(now.get(path) != when for path, when in kept.items())
        kept = now
    print(f"  {met} of {config.kills} kills interrupted it; good files changed after: {changed}")
    return changed


def check(run: Run, service: CutoutService, cutouts: int) -> list[str]:
    """Print the counts of a download that has ended; return what is wrong with it, a line each."""
    wrong, counts, manifest = [], Counter(), pd.read_parquet(run.manifest)
    for row in manifest.itertuples():
        fault = service.fault(row.ra, row.dec, DECALS.layer)
        counts[fault or "no fault"] += 1
        path = run.folder / row.path
        if fault in PERMANENT:
            right = row.status == "missing" and row.reason.startswith(REASONS[fault])
            right = right and not path.exists()
        else:
            try:
                seen = read_cutout(path)
                right = row.status == "good" and seen.survey == "decals"
                right = right and abs(seen.ra - row.ra) + abs(seen.dec - row.dec) < 1e-6
            except BadCutout:
                right = False
        if not right:
            wrong.append(f"{row.path}: {fault or 'no fault'}, {row.status}, {row.reason}")
    files, hidden = list_files(run.images(), (".fits",)), run.folder.rglob(".*")
    left = [path for path in hidden if path.name != ".lock"] + [run.journal] * run.journal.exists()
    expected = {"": 1, "text": 1, "layer": 1, "zero": 1, "outside": 3}  # requests
    again = sum(
        max(0, count - expected[fault])
        for key, count in service.asked.items()
        if (fault := service.fault(*key)) not in TRANSIENT
    )
    early, most = len(service.too_early), service.most_connections
    for is_wrong, words in (
        (len(manifest) != cutouts, f"{len(manifest)} rows in the manifest"),
        (len(files) != (manifest["status"] == "good").sum(), f"{len(files)} files"),
        (left, f"left behind: {left}"),
        (most > CONNECTIONS, f"{most} connections"),
        (early, f"{early} requests before Retry-After was over"),
    ):
        wrong += [words] if is_wrong else []
    print(f"  planned: {dict(counts)}")
    print(f"  in the manifest: {dict(Counter(manifest['status']))}, files {len(files):,}")
    print(f"  requests {sum(service.asked.values()):,}: {dict(service.answered)}")
    print(f"  repeated requests without a transient fault: {again}")
    print(f"  most connections at once: {most} of {CONNECTIONS}; requests before Retry-After was "
          f"over: {early}; wrong: {len(wrong)}", flush=True)  # fmt: skip
    return wrong


def try_faults(config: Config, kills: bool) -> list[str]:
    """Download with faults, after kills if wanted; return what is wrong, a line each."""
    with tempfile.TemporaryDirectory() as name, CutoutService(SHARE) as service:
        write_table(Path(name) / "table.csv", config.cutouts)
        run, began = Run(Path(name) / "run"), time.monotonic()
        command = arguments(Path(name), service, "--time-limit", "1.5", "--backoff", "0.2")
        changed = kill_often(config, run, command) if kills else 0
        watch(*command)
        wrong = check(run, service, config.cutouts)
        wrong += [f"{changed} good files changed"] if changed else []
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
        before = service.asked.total()
        watch(*command)
        more = service.asked.total() - before
        print(f"  requests of the same command given again: {more}", flush=True)
        return [*wrong, f"{more} requests for what is settled"] if more else wrong


def published_catalogue(sky: Run) -> bytes:
    """Return the sky's catalogue in the published schema: concentrations beside the fractions."""
    table, rng, content = pd.read_parquet(sky.catalogue), np.random.default_rng(0), io.BytesIO()
    for name in [name for name in table if name.endswith("_fraction")]:
        drawn = list(rng.uniform(1, 20, (len(table), 25)))
        table[name.replace("_fraction", "_concentration")] = drawn
    table.to_parquet(content, index=False)
    return content.getvalue()


def make_real(config: Config) -> list[str]:
    """Run `make real`; return what is wrong."""
    sky, run = Run(config.folder / "sky"), Run(config.folder / "real")
    number, faults = config.galaxies, plan_of(SHARE)
    watch("data/simulate.py", "--run", sky.folder, "--galaxies", number + 10, "--overlap", number)

    def plan(*key: object) -> str:
        """Return a fault that passes or lies outside the footprint."""
        fault = faults(*key)
        return fault if fault in (*TRANSIENT, "outside") else ""

    with CutoutService(plan=plan, images=sky.images().parent) as service:
        service.zenodo[CATALOGUE] = published_catalogue(sky)
        there = f"--service {service.url} --zenodo {service.address} --time-limit 2"
        done = subprocess.run(  # -o: the set-up stays as it is
            ["make", "-o", ".venv/installed", "real", f"N={number}", f"RUN={run.folder}",
             f"PY={sys.executable}", f"DOWNLOAD={there}"], cwd=ROOT,
        )  # fmt: skip
        print(f"  requests {service.asked.total()}: {dict(service.answered)}")
    return ["make real has failed: the line above says why"] if done.returncode else []


def main(config: Config) -> None:
    """Run the parts."""
    wrong = []
    for part in config.parts:
        print(f"{part}:", flush=True)
        if part == "rate":
            for latency in config.latencies:
                compare_rates(config, latency)
        elif part == "memory":
            for count in config.memory:
                with tempfile.TemporaryDirectory() as name, CutoutService() as service:
                    write_table(Path(name) / "table.csv", count)
                    _, peak = watch(*arguments(Path(name), service))
                print(f"  peak memory with {count:,} cutouts: {peak:.0f} MiB", flush=True)
        elif part == "real":
            wrong += make_real(config)
        else:
            wrong += try_faults(config, part == "kills")
    if wrong:
        raise Problem("; ".join(wrong[:5]))


if __name__ == "__main__":
    start(main, Config, __doc__)
