"""Measure statmorph's parameters of the images of a run, as a table of features.

CAS, Gini-M20, MID and shape statistics, sizes, and a Sersic fit, in the r band, with the project's
segmentation (benchmarks/protocol/morphology.py; Rodriguez-Gomez et al. 2019, MNRAS 483, 4140). A
parameter that statmorph cannot measure is empty. The same command resumes an interrupted run.

Install the package first: pip install -e '.[morphology]'

Reads:  train.txt (its packed images)
Writes: result/statmorph.parquet: path, iauname, ra, dec, and the parameters

Example: python analysis/measure_morphology.py
         python analysis/classify.py --features data/demo/result/statmorph.parquet
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from VAE_model.data.packed import Packed
from VAE_model.pipeline import parallel
from VAE_model.pipeline.files import read_parquet, sha256, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Stage, start

sys.path.insert(0, str(ROOT))
from benchmarks.protocol.morphology import PARAMETERS, check_installed, measure

PART = 100  # images between two files from which an interrupted run resumes
FAILED = -99.0  # statmorph's number for a parameter that it could not measure


@dataclass(frozen=True)
class Config:
    """The constants of this script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    workers: int = 0
    """Processes; 0: one per core."""


def main(config: Config) -> None:
    """Measure the images in parts, and join these."""
    run = Run(config.run)
    target = run.result("statmorph.parquet")
    stage = Stage(__file__, run, config, inputs=[run.train_txt], outputs=[target])
    if stage.is_up_to_date():
        return
    stage.begin()
    check_installed()
    index = Packed.of(run, config.workers).index
    made_from = f"{sha256(run.train_txt)[:8]}_{stage.code[:8]}"
    parts = []
    for first in range(0, len(index), PART):
        rows = list(range(first, min(first + PART, len(index))))
        parts.append(run.result(f".statmorph_{made_from}_{first}_{rows[-1]}.parquet"))
        if parts[-1].exists():
            continue
        label = f"statmorph, images {first + 1:,} to {rows[-1] + 1:,} of {len(index):,}"
        found = [*parallel.each(partial(measure, run.folder), rows, config.workers, label)]
        values = pd.DataFrame(found, columns=list(PARAMETERS)).replace([FAILED, np.inf], np.nan)
        identity = index.iloc[rows][["path", "iauname", "ra", "dec"]].reset_index(drop=True)
        write_parquet(parts[-1], pd.concat([identity, values], axis=1))
    table = pd.concat([read_parquet(part) for part in parts], ignore_index=True)
    missing = table[list(PARAMETERS)].isna()
    shown = ", ".join(f"{name} {n:,}" for name, n in missing.sum().items() if n) or "none"
    print(f"  {len(table):,} images, {int(missing.any(axis=1).sum()):,} of them lack a parameter: "
          f"{shown}")  # fmt: skip
    write_parquet(target, table)
    for part in run.result("").glob(".statmorph_*.parquet"):
        part.unlink()
    stage.finish(images=len(table), lacking=int(missing.any(axis=1).sum()))


if __name__ == "__main__":
    start(main, Config, __doc__)
