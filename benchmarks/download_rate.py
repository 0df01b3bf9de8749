"""Does checking cost speed? data/download.py against a plain loop that only writes what comes.

Both fetch the same cutouts over the same number of connections from a stand-in of the service in
a process of its own (tests/cutout_service.py), in turns. The plain loop is a ThreadPoolExecutor
with requests.get, a session a thread. Then the peak memory of a small and a large download.

Reads:  nothing
Writes: nothing that stays; prints the rates, their ratio and the peaks

Example: python benchmarks/download_rate.py --repeats 3
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from VAE_model.downloads.cutout_service import url_of
from VAE_model.paths import ROOT
from VAE_model.stage import start
from VAE_model.surveys import DECALS

PLAIN = """
import sys, threading, time
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
began = time.perf_counter()
with ThreadPoolExecutor(connections) as pool:
    list(pool.map(fetch, enumerate(urls)))
print(time.perf_counter() - began)
"""
OURS = """
import json, resource, runpy, sys, time
from VAE_model.downloads import fetching
before = fetching.fetch_all
def timed(*arguments):
    began = time.perf_counter()
    before(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.__stdout__.write(json.dumps([time.perf_counter() - began, peak]) + "\\n")
fetching.fetch_all = timed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Config:
    cutouts: int = 1000
    """Cutouts of each timed download."""
    repeats: int = 3
    """Times that both are timed, in turns."""
    connections: int = 8
    """Parallel connections of both."""
    latencies: tuple[float, ...] = (0.0, 0.05)
    """Seconds before each answer of the stand-in; a service far away has some."""
    memory: tuple[int, int] = (200, 2000)
    """Cutouts of the downloads whose peak memory is compared."""


@contextmanager
def service(*arguments: str) -> Iterator[str]:
    """The address of a stand-in in a process of its own."""
    command = [sys.executable, "tests/cutout_service.py", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def write_table(path: Path, count: int) -> pd.DataFrame:
    """Positions in the southern layer's footprint, each its own file."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"ra": rng.uniform(150, 210, count), "dec": rng.uniform(-15, 33, count)})
    table = table.round(4)
    table.to_csv(path, index=False)
    return table


def plain(folder: Path, table: pd.DataFrame, address: str, connections: int) -> float:
    """Seconds of the plain loop."""
    url = f"{address}/viewer/fits-cutout"
    urls = [url_of(url, DECALS.layer, ra, dec) for ra, dec in table.to_numpy()]
    (folder / "urls.txt").write_text("\n".join(urls))
    with tempfile.TemporaryDirectory(dir=folder) as target:
        done = subprocess.run(
            [sys.executable, "-c", PLAIN, folder / "urls.txt", target, str(connections)],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
    return float(done.stdout)


def ours(folder: Path, table: Path, address: str, connections: int) -> tuple[float, float]:
    """Seconds of the same part of data/download.py, and the peak memory of all of it in MiB."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        arguments = [
            "--run", run, "--table", str(table), "--connections", str(connections),
            "--service", f"{address}/viewer/fits-cutout",
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", OURS, "data/download.py", *arguments],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
    return tuple(json.loads(next(s for s in done.stdout.splitlines() if s.startswith("["))))


def main(config: Config) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for latency in config.latencies:
            table = write_table(folder / "table.csv", config.cutouts)
            rates: dict[str, list[float]] = {"plain loop": [], "data/download.py": []}
            with service("--latency", str(latency)) as address:
                for _ in range(config.repeats):
                    seconds = plain(folder, table, address, config.connections)
                    rates["plain loop"].append(len(table) / seconds)
                    seconds, _ = ours(folder, folder / "table.csv", address, config.connections)
                    rates["data/download.py"].append(len(table) / seconds)
            print(f"{latency:g} s before each answer, {config.cutouts:,} cutouts, "
                  f"{config.connections} connections")  # fmt: skip
            for who, values in rates.items():
                print(f"  {who}: median {statistics.median(values):.0f} cutouts/s "
                      f"({', '.join(f'{value:.0f}' for value in values)})")  # fmt: skip
            ratios = [b / a for a, b in zip(*rates.values(), strict=True)]
            print(f"  ratio: median {statistics.median(ratios):.2f} "
                  f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})", flush=True)  # fmt: skip
        for count in config.memory:
            write_table(folder / "table.csv", count)
            with service() as address:
                _, peak = ours(folder, folder / "table.csv", address, config.connections)
            print(f"peak memory with {count:,} cutouts: {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    start(main, Config, __doc__)
