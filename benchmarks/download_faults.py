"""The claim in full: 2,000 requests, 5 % of each of nine faults, and kills at random moments.

data/download.py fetches from a stand-in of the service (tests/cutout_service.py) which, by a plan
that depends on the position only, answers 429 with Retry-After, 500, a connection reset, a body
that trickles, half a body, text, the wrong layer, an image of zeros, and 500 for good where the
position is outside the footprint. At the end every file is opened, and the manifest compared with
the plan; the same command given again must ask for nothing. Then the same, killed (SIGKILL) ten
times.

Reads:  nothing
Writes: nothing that stays; prints the counts, and ends with an error where one is wrong

Example: python benchmarks/download_faults.py --cutouts 2000 --kills 10
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from cutout_service import PERMANENT, TRANSIENT, plan_of
from download_rate import service, write_table

from VAE_model.data.cutouts import BadCutout, read_cutout
from VAE_model.pipeline.files import list_files
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, start

sys.path.insert(0, str(ROOT / "tests"))

REASONS = {"text": "text instead of an image", "layer": "wrong layer", "zero": "zero image",
           "outside": "HTTP 500 after 3 tries"}  # fmt: skip


@dataclass(frozen=True)
class Config:
    cutouts: int = 2000
    """Cutouts that are asked for."""
    share: float = 0.05
    """Of them that get each of the nine faults."""
    connections: int = 8
    """The constant of data/download.py that the stand-in checks."""
    time_limit: float = 1.5
    """Seconds for a whole answer: a trickling one takes a minute."""
    parts: tuple[Literal["whole", "killed"], ...] = ("whole", "killed")
    """whole: one run to its end; killed: the same with SIGKILLs before."""
    kills: int = 10
    """SIGKILLs in the second part."""
    pause: tuple[float, float] = (2.0, 15.0)
    """Seconds from the start to a kill, drawn between these."""
    seed: int = 1
    """Of the moments of the kills."""


def command(config: Config, run: Run, table: Path, address: str) -> list[str]:
    return [
        sys.executable, "data/download.py", "--run", str(run.folder), "--table", str(table),
        "--service", f"{address}/viewer/fits-cutout", "--connections", str(config.connections),
        "--time-limit", str(config.time_limit), "--backoff", "0.2",
    ]  # fmt: skip


def run_to_its_end(arguments: list[str]) -> None:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Problem(done.stderr.splitlines()[-1])


def kill_often(config: Config, run: Run, arguments: list[str]) -> tuple[int, int]:
    """Start and kill; the kills that met it at work, and good files that a start changed."""
    moments, met, changed = random.Random(config.seed), 0, 0
    kept: dict[Path, int] = {}
    for _ in range(config.kills):
        process = subprocess.Popen(
            arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(*config.pause))
        met += process.poll() is None
        process.kill()
        process.wait()
        files = list_files(run.images(), (".fits",)) if run.images().exists() else []
        now = {path: path.stat().st_mtime_ns for path in files}
        changed += sum(now.get(path) != when for path, when in kept.items())
        kept = now
        print(f"  killed with {len(now):,} files there", flush=True)
    return met, changed


def stats_of(address: str) -> dict:
    with urllib.request.urlopen(f"{address}/stats") as answer:
        return json.load(answer)


def check(config: Config, run: Run, address: str) -> list[str]:
    """Print the counts; what is wrong, a line each."""
    stats = stats_of(address)
    plan, wrong, counts = plan_of(config.share), [], Counter()
    manifest = pd.read_parquet(run.manifest)
    for row in manifest.itertuples():
        fault = plan(round(row.ra, 4), round(row.dec, 4), "ls-dr9-south")
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
    files = list_files(run.images(), (".fits",))
    if len(manifest) != config.cutouts:
        wrong.append(f"{len(manifest)} rows in the manifest")
    if len(files) != (manifest["status"] == "good").sum():
        wrong.append(f"{len(files)} files")
    left = [path for path in run.folder.rglob(".*") if path.name != ".lock"]
    if left or run.journal.exists():
        wrong.append(f"left behind: {left}")
    if stats["most_connections"] > config.connections or stats["too_early"]:
        wrong.append("more connections than the constant, or Retry-After not honoured")
    once = {"": 1, "text": 1, "layer": 1, "zero": 1, "outside": 3}  # requests that are due
    again = sum(
        max(0, n - once[fault])
        for ra, dec, layer, n in stats["asked"]
        if (fault := plan(ra, dec, layer)) not in TRANSIENT
    )
    print(f"  planned: {dict(counts)}")
    print(f"  in the manifest: {dict(Counter(manifest['status']))}, files {len(files):,}")
    print(f"  requests {stats['requests']:,}: {stats['answered']}")
    print(f"  asked again without a transient fault: {again}")
    print(f"  most connections at once: {stats['most_connections']} of {config.connections}; "
          f"asked before Retry-After was over: {stats['too_early']}; wrong: {len(wrong)}",
          flush=True)  # fmt: skip
    return wrong


def main(config: Config) -> None:
    with tempfile.TemporaryDirectory() as name:
        table, wrong = Path(name) / "table.csv", []
        write_table(table, config.cutouts)
        for part in config.parts:
            run = Run(Path(name) / "run")
            with service("--share", str(config.share)) as address:
                arguments, began = command(config, run, table, address), time.monotonic()
                print(f"killed {config.kills} times" if part == "killed" else "not killed")
                if part == "killed":
                    met, changed = kill_often(config, run, arguments)
                    print(f"  {met} kills met it at work; good files changed after: {changed}")
                    wrong += [f"{changed} good files changed"] if changed else []
                run_to_its_end(arguments)
                wrong += check(config, run, address)
                print(f"  {time.monotonic() - began:.0f} s", flush=True)
                asked = stats_of(address)["requests"]
                run_to_its_end(arguments)
                more = stats_of(address)["requests"] - asked
                print(f"  requests of the same command given again: {more}", flush=True)
                wrong += [f"{more} requests for what is settled"] if more else []
            shutil.rmtree(run.folder)
    if wrong:
        raise Problem("; ".join(wrong[:5]))


if __name__ == "__main__":
    start(main, Config, __doc__)
