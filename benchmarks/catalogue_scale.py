"""Time and memory of the cut and the match on a catalogue of the full size.

Makes a catalogue with the columns and types of gz_decals_auto_posteriors.parquet (25 floats in
each concentration cell: 1.3 GB at 313,789 rows) and as many image positions, then runs the two
scripts on it as a user does, several times. The images have no pixels: neither script reads any.

Reads:  nothing
Writes: <folder>/ (a run; deleted at the end unless `keep`); prints a line per stage

Example: python benchmarks/catalogue_scale.py --rows 313789 --repeats 5
"""

import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from VAE_model.data import galaxy_zoo, splits
from VAE_model.data.cutouts import SHAPE
from VAE_model.data.packing import LOOKED_BY
from VAE_model.data.sky import iauname
from VAE_model.pipeline.files import write_parquet, write_text
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, start

STAGES = {"cut": "analysis/decals_1.py", "match": "analysis/decals_2_1.py"}
BLOCK = 16_384  # rows that are made at a time
DRAWS = 25  # floats in a concentration cell


@dataclass(frozen=True)
class Config:
    folder: Path = Path("data/catalogue_scale")
    """Folder of the run; it must not exist yet."""
    rows: int = 313_789
    """Galaxies of the catalogue, and images."""
    offset: float = 0.1
    """Scatter of the images' centres about the catalogue's positions, on each axis (arcsec)."""
    repeats: int = 5
    """Runs of both stages, each from nothing."""
    seed: int = 0
    """Seed of positions, fractions and concentrations."""
    keep: bool = False
    """Keep the run."""


def fractions(rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the columns of the votes: fractions that sum to one, concentrations (rows, DRAWS), and
    shares of volunteers asked. Most volunteers agree, as in the real catalogue.
    """
    columns: dict[str, np.ndarray] = {}
    for question, answers in galaxy_zoo.TREE.items():
        drawn = rng.gamma(0.3, size=(rows, len(answers))) + 1e-9
        drawn /= drawn.sum(axis=1, keepdims=True)
        for answer, share in zip(answers, drawn.T, strict=True):
            name = galaxy_zoo.fraction(question, answer)
            columns[name] = share
            noise = rng.random((rows, DRAWS), np.float32).astype(np.float64)
            columns[name.replace("_fraction", "_concentration")] = 1 + 20 * noise
        before = galaxy_zoo.ASKED_AFTER.get(question)
        columns[galaxy_zoo.asked(question)] = (
            columns[galaxy_zoo.asked(before[0])] * columns[galaxy_zoo.fraction(*before)]
            if before
            else np.ones(rows)
        )
    return columns


def photometry(rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the catalogue's other columns; the cuts read only wrong_size_warning."""
    names = ("redshift", "elpetro_absmag_r", "sersic_nmgy_r", "mag_r", "petro_th50", "petro_th90",
             "petro_theta", "wrong_size_statistic")  # fmt: skip
    return {**{n: rng.random(rows) for n in names}, "wrong_size_warning": rng.random(rows) < 0.01}


def write_catalogue(run: Run, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Write catalogue.parquet in blocks; return the positions of its galaxies (degrees)."""
    rng = np.random.default_rng(config.seed)
    ra = rng.uniform(0, 360, config.rows)
    dec = np.degrees(np.arcsin(rng.uniform(-0.3, 0.5, config.rows)))
    run.folder.mkdir(parents=True)
    writer = None
    for first in tqdm(range(0, config.rows, BLOCK), desc="making the catalogue", unit="block"):
        part = slice(first, min(first + BLOCK, config.rows))
        rows = part.stop - part.start
        names = [iauname(*at) for at in zip(ra[part], dec[part], strict=True)]
        columns = {"iauname": pa.array(names), "ra": pa.array(ra[part]), "dec": pa.array(dec[part])}
        for name, values in {**photometry(rows, rng), **fractions(rows, rng)}.items():
            if values.ndim == 2:
                offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * DRAWS)
                columns[name] = pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
            else:
                columns[name] = pa.array(values)
        table = pa.table(columns)
        if writer is None:
            writer = pq.ParquetWriter(
                run.catalogue, table.schema, compression="zstd", use_dictionary=False
            )
        writer.write_table(table)
    writer.close()
    return ra, dec


def write_images(run: Run, config: Config, ra: np.ndarray, dec: np.ndarray) -> None:
    """Write train.txt, the empty files that it lists, and their packed copy: positions, and a
    sparse file of pixels that takes no disk space.
    """
    rng = np.random.default_rng(config.seed + 1)
    order = rng.permutation(config.rows)
    ra, dec = ra[order], dec[order]
    off_x, off_y = rng.normal(0, config.offset / 3600, (2, config.rows))
    ra, dec = (ra + off_x / np.cos(np.radians(dec))) % 360, dec + off_y
    run.images().mkdir(parents=True)
    paths = [f"images/decals/{row:06d}.fits" for row in order]
    for path in tqdm(paths, desc="naming images", unit="image"):
        (run.folder / path).touch()
    write_text(run.train_txt, "".join(f"{path}\n" for path in paths))
    index = pd.DataFrame({"path": paths, "given": "", "bytes": 0, "shift_x": 0, "shift_y": 0})
    index["slot"], index["bright_at"], index["bright"] = np.arange(len(paths)), 0, 0
    index["file"], index["sha256"], index["looked_by"] = "images_1.float32", "", LOOKED_BY
    index["modified"] = [os.stat(run.folder / path).st_mtime_ns for path in paths]
    index["ra"], index["dec"] = ra, dec
    index["survey"], index["release"], index["display"] = "decals", "DR9-south", False
    index["iauname"] = [Path(path).stem for path in paths]
    index["split"] = splits.assign(ra, dec, paths)
    write_parquet(run.packed / "index.parquet", index)
    with open(run.packed / "images_1.float32", "wb") as pixels:
        pixels.truncate(config.rows * int(np.prod(SHAPE)) * 4)


# The peak memory of a process is at least that of its parent: this parent is small.
_WATCH = """
import os, subprocess, sys, time
began = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, time.monotonic() - began, usage.ru_maxrss)
"""


def watch(script: str, run: Run) -> tuple[float, float]:
    """Return seconds and peak memory (GiB) of one stage."""
    command = [sys.executable, str(ROOT / script), "--run", str(run.folder)]
    watched = [sys.executable, "-c", _WATCH, *command]
    done = subprocess.run(watched, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    code, seconds, peak = map(float, done.stdout.split())
    if code:
        raise Problem(f"{script} failed")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return seconds, peak * unit / 2**30


def measure(config: Config) -> dict[str, list[tuple[float, float]]]:
    """Return seconds and peak memory (GiB) of each stage in each repeat, on a new run."""
    run = Run(config.folder)
    write_images(run, config, *write_catalogue(run, config))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in STAGES}
    for _ in range(config.repeats):
        for folder in (run.result(""), run.figure("")):
            shutil.rmtree(folder, ignore_errors=True)
        for name, script in STAGES.items():
            found[name].append(watch(script, run))
    return found


def main(config: Config) -> None:
    run = Run(config.folder)
    if run.folder.exists():
        raise Problem(f"{run.show(run.folder)} is there already: name another --folder")
    try:
        found = measure(config)
        size = run.catalogue.stat().st_size / 1e9
    finally:
        if not config.keep:
            shutil.rmtree(run.folder, ignore_errors=True)
    print(f"catalogue of {config.rows:,} rows, {size:.2f} GB, and as many images:")
    rows = {f"{name:<6} {STAGES[name]}": of for name, of in found.items()}
    rows["both"] = [
        (cut[0] + match[0], max(cut[1], match[1]))
        for cut, match in zip(found["cut"], found["match"], strict=True)
    ]
    for name, of in rows.items():
        seconds, memories = zip(*of, strict=True)
        print(f"  {name:<29} median {statistics.median(seconds):5.1f} s "
              f"({min(seconds):.1f} to {max(seconds):.1f}), {max(memories):.2f} GiB")  # fmt: skip


if __name__ == "__main__":
    start(main, Config, __doc__)
