"""Time and memory of the cut and the match on a catalogue of the full size.

Makes a catalogue with the columns and types of gz_decals_auto_posteriors.parquet (25 floats in
each concentration cell: 1.3 GB at 313,789 rows) and as many image positions, then runs the two
scripts on it as a user does, several times. The images have no pixels: neither script reads any.

Reads:  nothing
Writes: <folder>/ (a run; deleted at the end); prints a line per stage

Example: python benchmarks/catalogue_scale.py --rows 313789 --repeats 5
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from timing import spread, watch
from tqdm import tqdm

from VAE_model.data import galaxy_zoo, splits
from VAE_model.data.cutouts import SHAPE
from VAE_model.data.packing import LOOKED_BY
from VAE_model.data.sky import iauname
from VAE_model.pipeline.files import write_parquet, write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, start

STAGES = ("analysis/decals_1.py", "analysis/decals_2_1.py")  # the cut and the match
BLOCK = 16_384  # rows that are made at a time
DRAWS = 25  # floats in a concentration cell
OFFSET = 0.1  # standard deviation of an image's centre about its position, on each axis (arcsec)


@dataclass(frozen=True)
class Config:
    """Constants of the benchmark."""

    folder: Path = Path("data/catalogue_scale")
    """Folder of the run; it must not exist yet."""
    rows: int = 313_789
    """Galaxies of the catalogue, and images."""
    repeats: int = 5
    """Runs of both stages, each from nothing."""
    seed: int = 0
    """Seed of positions, fractions and concentrations."""


def columns_of(rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the columns beside the positions, (rows,), and of concentrations (rows, DRAWS).

    Fractions sum to one, and most volunteers agree, as in the real catalogue. Of the other columns
    the cuts read only wrong_size_warning.
    """
    names = ("redshift", "elpetro_absmag_r", "sersic_nmgy_r", "mag_r", "petro_th50", "petro_th90",
             "petro_theta", "wrong_size_statistic")  # fmt: skip
    columns = {name: rng.random(rows) for name in names}
    columns["wrong_size_warning"] = rng.random(rows) < 0.01
    for question, answers in galaxy_zoo.TREE.items():
        drawn = rng.gamma(0.3, size=(rows, len(answers))) + 1e-9
        drawn /= drawn.sum(axis=1, keepdims=True)
        for answer, share in zip(answers, drawn.T, strict=True):
            name = galaxy_zoo.fraction(question, answer)
            columns[name] = share
            noise = rng.random((rows, DRAWS), np.float32).astype(np.float64)
            columns[name.replace("_fraction", "_concentration")] = 1 + 20 * noise
        columns[galaxy_zoo.asked(question)] = np.ones(rows)
        if before := galaxy_zoo.ASKED_AFTER.get(question):
            columns[galaxy_zoo.asked(question)] = (
                columns[galaxy_zoo.asked(before[0])] * columns[galaxy_zoo.fraction(*before)]
            )
    return columns


def write_catalogue(run: Run, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Write catalogue.parquet in blocks; return the positions of its galaxies (degrees)."""
    rng = np.random.default_rng(config.seed)
    ra = rng.uniform(0, 360, config.rows)
    dec = np.degrees(np.arcsin(rng.uniform(-0.3, 0.5, config.rows)))
    run.folder.mkdir(parents=True)
    writer = None
    for first in tqdm(range(0, config.rows, BLOCK), desc="making the catalogue", unit="block"):
        at = ra[first : first + BLOCK], dec[first : first + BLOCK]
        names = [iauname(*position) for position in zip(*at, strict=True)]
        columns = {"iauname": names, "ra": at[0], "dec": at[1], **columns_of(len(names), rng)}
        table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
        writer = writer or pq.ParquetWriter(
            run.catalogue, table.schema, compression="zstd", use_dictionary=False
        )
        writer.write_table(table)
    writer.close()
    return ra, dec


def write_images(run: Run, config: Config, ra: np.ndarray, dec: np.ndarray) -> None:
    """Write train.txt, the empty files that it lists, and their packed copy.

    The copy has positions, and a sparse file of pixels that takes no disk space.
    """
    rng = np.random.default_rng(config.seed + 1)
    order = rng.permutation(config.rows)
    off_x, off_y = rng.normal(0, OFFSET / 3600, (2, config.rows))
    ra, dec = ra[order], dec[order] + off_y
    ra = (ra + off_x / np.cos(np.radians(dec))) % 360
    run.images().mkdir(parents=True)
    paths = [f"images/decals/{row:06d}.fits" for row in order]
    for path in tqdm(paths, desc="naming images", unit="image"):
        (run.folder / path).touch()
    write_text(run.train_txt, "".join(f"{path}\n" for path in paths))
    index = pd.DataFrame({"path": paths, "ra": ra, "dec": dec}).assign(
        given="", bytes=0, shift_x=0, shift_y=0, slot=np.arange(len(paths)), bright_at=0, bright=0,
        file="images_1.float32", sha256="", looked_by=LOOKED_BY,
        modified=[os.stat(run.folder / path).st_mtime_ns for path in paths],
        survey="decals", release="DR9-south", display=False,
        iauname=[Path(path).stem for path in paths], split=splits.assign(ra, dec, paths),
    )  # fmt: skip
    write_parquet(run.packed / "index.parquet", index)
    with open(run.packed / "images_1.float32", "wb") as pixels:
        pixels.truncate(config.rows * int(np.prod(SHAPE)) * 4)


def measure(config: Config) -> dict[str, list[tuple[float, float]]]:
    """Return seconds and peak memory (MiB) of each stage in each repeat, on a new run."""
    run = Run(config.folder)
    write_images(run, config, *write_catalogue(run, config))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in STAGES}
    for _ in range(config.repeats):
        for folder in (run.result(""), run.figure("")):
            shutil.rmtree(folder, ignore_errors=True)
        for script in STAGES:
            found[script].append(watch(script, "--run", run.folder))
    print(f"catalogue of {config.rows:,} rows, {run.catalogue.stat().st_size / 1e9:.2f} GB:")
    return found


def main(config: Config) -> None:
    """Measure on a new run, and remove it."""
    run = Run(config.folder)
    if run.folder.exists():
        raise Problem(f"{run.show(run.folder)} is there already: name another --folder")
    try:
        found = measure(config)
    finally:
        shutil.rmtree(run.folder, ignore_errors=True)
    found["both"] = [(cut[0] + match[0], max(cut[1], match[1]))
                     for cut, match in zip(*found.values(), strict=True)]  # fmt: skip
    for script, measured in found.items():
        seconds, memories = zip(*measured, strict=True)
        print(f"  {script:<22} median {spread(seconds)} s, {max(memories) / 1024:.2f} GiB")


if __name__ == "__main__":
    start(main, Config, __doc__)
