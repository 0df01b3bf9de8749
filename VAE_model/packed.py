"""The packed copy of a run's images: one memory-mapped array instead of a file an image.

Built once from train.txt, in parallel, and checked against it each time it is opened: same paths
in the same order, each file with the size and time it had. What did not change is copied from
the packed copy before it, not read again.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model import parallel, splits
from VAE_model.cutouts import BANDS, SHAPE, BadCutout, read_cutout
from VAE_model.files import read_parquet, write_parquet
from VAE_model.paths import Run
from VAE_model.sky import iauname
from VAE_model.stage import Problem

_PIXELS = "images.npy"
_INDEX = "index.parquet"


@dataclass(frozen=True)
class Packed:
    """folder: where it lies; images: float32 (N, 3, 256, 256), nanomaggies, memory-mapped;
    index: a row an image in train.txt's order: path, iauname, ra, dec, survey, release, display,
    split, noise_g, noise_r, noise_z (sky sigma, nanomaggies), size and time of the file."""

    images: NDArray[np.float32]
    index: pd.DataFrame
    folder: Path

    @classmethod
    def of(cls, run: Run, workers: int = 0) -> "Packed":
        """The packed copy of a run, made or brought up to date where it is not."""
        listed = read_train_txt(run)
        before = cls._open(run.packed)
        if before is None or not before._agrees_with(listed):
            _build(run, listed, before, workers)
            before = cls._open(run.packed)
            if before is None:
                raise Problem(f"{run.show(run.packed)} cannot be read back: delete it and rerun")
        return before

    @classmethod
    def _open(cls, folder: Path) -> "Packed | None":
        try:
            index = read_parquet(folder / _INDEX)
            images = np.load(folder / _PIXELS, mmap_mode="r")
        except (OSError, ValueError, Problem):
            return None
        return cls(images, index, folder) if images.shape == (len(index), *SHAPE) else None

    def _agrees_with(self, listed: pd.DataFrame) -> bool:
        keys = ["path", "bytes", "modified"]
        return len(listed) == len(self.index) and listed[keys].equals(self.index[keys])

    @staticmethod
    def images_of(run: Run) -> NDArray[np.float32]:
        """The pixels alone of a packed copy that is there: for worker processes."""
        return np.load(run.packed / _PIXELS, mmap_mode="r")

    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of a split: `train`, `validation` or `test`."""
        return np.flatnonzero((self.index["split"] == split).to_numpy())


def read_train_txt(run: Run) -> pd.DataFrame:
    """The images that train.txt lists: path as written, size in bytes and time of each file.

    Raises Problem where the list is missing or empty, names a file twice, or names one that has
    gone.
    """
    shown = run.show(run.train_txt)
    if not run.train_txt.exists():
        raise Problem(f"{shown} is missing: run {run.made_by(run.train_txt)}")
    lines = run.train_txt.read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line.strip()]
    if not names:
        raise Problem(f"{shown} is empty: run python make_datatxt.py")
    table = pd.DataFrame({"path": names})
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise Problem(f"{shown} names {twice.iloc[0]} twice: delete one of the lines")
    try:
        stats = [os.stat(run.folder / name) for name in names]
    except OSError as error:
        gone = Path(error.filename or "?").name
        raise Problem(
            f"{shown} names {gone}, which cannot be read ({error.strerror}): "
            "delete train.txt and run python make_datatxt.py"
        ) from None
    table["bytes"] = [stat.st_size for stat in stats]
    table["modified"] = [stat.st_mtime_ns for stat in stats]
    return table


def sky_noise(flux: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sky sigma of each band in nanomaggies, (3,), by the spread of pixels below the median.

    Sources only brighten the sky, so the faint half of the pixels holds the noise.
    """
    pixels = flux[:, ::2, ::2].reshape(len(flux), -1)
    median = np.median(pixels, axis=1, keepdims=True)
    below = np.where(pixels < median, median - pixels, np.nan)
    return (1.4826 * np.nanmedian(below, axis=1)).astype(np.float32)


def _build(run: Run, listed: pd.DataFrame, before: Packed | None, workers: int) -> None:
    """Write the packed copy into a folder beside the old one, then swap the two."""
    folder = run.packed.with_name(f".partial-{os.getpid()}-packed")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        shape = (len(listed), *SHAPE)
        np.lib.format.open_memmap(folder / _PIXELS, mode="w+", dtype=np.float32, shape=shape)
        kept = _rows_to_keep(listed, before)
        jobs = [
            (folder / _PIXELS, row, run.folder / path, run.packed / _PIXELS, kept.get(row, -1))
            for row, path in enumerate(listed["path"])
        ]
        facts = list(parallel.each(_pack_one, jobs, workers, "packing images"))
        for row, fact in enumerate(facts):
            if "reason" in fact:
                raise Problem(
                    f"{run.show(run.train_txt)} names {listed['path'][row]}, which is no good "
                    f"image ({fact['reason']}): delete train.txt and run python make_datatxt.py"
                )
            if row in kept:
                facts[row] = before.index.loc[kept[row], list(_FACTS)].to_dict()
        index = pd.concat([listed, pd.DataFrame(facts)], axis=1)
        index["iauname"] = [
            iauname(ra, dec) if np.isfinite(ra) and np.isfinite(dec) else Path(path).stem
            for ra, dec, path in zip(index["ra"], index["dec"], index["path"], strict=True)
        ]
        index["split"] = splits.assign(index["ra"], index["dec"], index["path"].tolist())
        write_parquet(folder / _INDEX, index)
        shutil.rmtree(run.packed, ignore_errors=True)
        os.replace(folder, run.packed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rows_to_keep(listed: pd.DataFrame, before: Packed | None) -> dict[int, int]:
    """New row -> row in the packed copy before it, for images that have not changed."""
    if before is None:
        return {}
    keys = ["path", "bytes", "modified"]
    old = {tuple(values): row for row, values in enumerate(before.index[keys].to_numpy())}
    new = enumerate(listed[keys].to_numpy())
    return {row: old[tuple(values)] for row, values in new if tuple(values) in old}


_FACTS = ("ra", "dec", "survey", "release", "display", *(f"noise_{band}" for band in BANDS))


def _pack_one(job: tuple[Path, int, Path, Path, int]) -> dict:
    target, row, path, old, old_row = job
    pixels = np.load(target, mmap_mode="r+")
    if old_row >= 0:
        pixels[row] = np.load(old, mmap_mode="r")[old_row]
        return {}
    try:
        cutout = read_cutout(path)
    except (BadCutout, OSError) as refusal:
        return {"reason": str(refusal)}
    pixels[row] = cutout.flux
    noise = sky_noise(cutout.flux)
    values = (cutout.ra, cutout.dec, cutout.survey, cutout.release, cutout.display, *noise)
    return dict(zip(_FACTS, values, strict=True))
