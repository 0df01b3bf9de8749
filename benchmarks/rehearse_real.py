"""A rehearsal of `make real`: every stage on images that came through the downloader.

Draws a sky, lets a stand-in of the public services (tests/cutout_service.py) hand it out together
with a catalogue of the real schema, some requests failing at first and some for good, and runs
`make real` on it as a user does. The rehearsal itself asks no machine but its own.

Reads:  nothing
Writes: <folder>/sky (what the stand-in hands out), <folder>/real (the run), what the stages say

Example: python benchmarks/rehearse_real.py --first 60
"""

import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from VAE_model.paths import ROOT, Run
from VAE_model.stage import Problem, start

sys.path.insert(0, str(ROOT / "tests"))
from cutout_service import TRANSIENT, CutoutService, plan_of

CATALOGUE = "gz_decals_auto_posteriors.parquet"


@dataclass(frozen=True)
class Config:
    folder: Path = Path("data/rehearsal")
    """Where the sky and the run lie."""
    first: int = 60
    """Galaxies in both surveys: N of make real."""
    share: float = 0.05
    """Of requests that each of five faults spoils once or twice, and of those outside the
    footprint."""


def real_schema(sky: Run) -> bytes:
    """The sky's catalogue as a file of the record: concentrations beside the fractions."""
    table = pd.read_parquet(sky.catalogue)
    rng = np.random.default_rng(0)
    for name in [name for name in table if name.endswith("_fraction")]:
        drawn = list(rng.uniform(1, 20, (len(table), 25)))
        table[name.replace("_fraction", "_concentration")] = drawn
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), content)
    return content.getvalue()


def main(config: Config) -> None:
    sky, run = Run(config.folder / "sky"), Run(config.folder / "real")
    draw = [sys.executable, "data/simulate.py", "--run", str(sky.folder),
            "--galaxies", str(config.first + 10), "--overlap", str(config.first)]  # fmt: skip
    subprocess.run(draw, cwd=ROOT, check=True)
    faults = plan_of(config.share)

    def plan(ra: float, dec: float, layer: str) -> str:
        fault = faults(ra, dec, layer)
        return fault if fault in (*TRANSIENT, "outside") else ""

    with CutoutService(plan=plan, images=sky.images().parent) as service:
        service.zenodo[CATALOGUE] = real_schema(sky)
        there = f"--service {service.url} --zenodo {service.address} --time-limit 2"
        # -o: the set-up stays as it is
        command = ["make", "-o", ".venv/installed", "real", f"N={config.first}",
                   f"RUN={run.folder}", f"PY={sys.executable}", f"DOWNLOAD={there}"]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT)
        print(f"requests {sum(service.asked.values())}: {dict(service.answered)}")
    if done.returncode:
        raise Problem("make real did not come to its end: the line above says why")


if __name__ == "__main__":
    start(main, Config, __doc__)
