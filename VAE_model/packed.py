"""The packed copy of a list of images: one memory-mapped array instead of a file an image.

Built once from the list (train.txt, or one side of the pairs), in parallel, and checked against it
each time it is opened: same paths in the same order, each file with the size and time it had. What
did not change is copied from the packed copy before it, not read again.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model import parallel, splits
from VAE_model.cutouts import BANDS, SHAPE, BadCutout, read_cutout
from VAE_model.files import new_array, read_parquet, write_parquet
from VAE_model.labels import given_split
from VAE_model.paths import Run
from VAE_model.sky import iauname
from VAE_model.stage import Problem

_KEYS = ("path", "bytes", "modified", "shift_x", "shift_y")  # what decides an image's pixels
_PIXELS = "images.npy"
_INDEX = "index.parquet"


@dataclass(frozen=True)
class Packed:
    """folder: where it lies; images: float32 (N, 3, 256, 256), nanomaggies, memory-mapped;
    index: a row an image in the list's order: path, iauname, ra, dec, survey, release, display,
    given (the split by a table that came with the images, or empty), split, noise_g, noise_r,
    noise_z (sky sigma, nanomaggies), size and time of the file."""

    images: NDArray[np.float32]
    index: pd.DataFrame
    folder: Path

    @classmethod
    def of(cls, run: Run, workers: int = 0) -> "Packed":
        """The packed copy of train.txt, made or brought up to date where it is not."""
        paths = read_train_txt(run)
        listed = pd.DataFrame({"path": paths, "given": given_split(run, paths)})
        return cls.of_list(run, listed, run.train_txt, run.packed, workers)

    @classmethod
    def of_list(
        cls, run: Run, listed: pd.DataFrame, source: Path, folder: Path, workers: int = 0
    ) -> "Packed":
        """The packed copy, in `folder`, of the images that the file `source` lists.

        listed: the column path; where it has shift_x and shift_y, each image is moved by whole
        pixels to the right and up; what comes in at the edge is zero, which is empty sky. Where it
        has given, that is the split of those images for which it is not empty.
        """
        listed = listed if "given" in listed else listed.assign(given="")
        listed = _stat(run, listed, source)
        before = cls._open(folder)
        if before is None or not before._agrees_with(listed):
            _build(run, listed, source, folder, before, workers)
            before = cls._open(folder)
            if before is None:
                raise Problem(f"{run.show(folder)} cannot be read back: delete it and rerun")
        if "given" not in before.index or not before.index["given"].equals(listed["given"]):
            index = _with_split(before.index.assign(given=listed["given"]))
            write_parquet(folder / _INDEX, index)
            before = cls(before.images, index, folder)
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
        keys = [key for key in _KEYS if key in listed]
        if len(listed) != len(self.index) or [key for key in _KEYS if key in self.index] != keys:
            return False
        return listed[keys].equals(self.index[keys])

    @staticmethod
    def images_of(run: Run) -> NDArray[np.float32]:
        """The pixels alone of a packed copy that is there: for worker processes."""
        return np.load(run.packed / _PIXELS, mmap_mode="r")

    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of a split: `train`, `validation` or `test`."""
        return np.flatnonzero((self.index["split"] == split).to_numpy())

    @property
    def given(self) -> str:
        """A hash of the split that a table gave; empty where none did."""
        given = self.index["given"]
        return hashlib.sha256("\n".join(given).encode()).hexdigest() if given.any() else ""


def read_train_txt(run: Run) -> list[str]:
    """The paths in train.txt. Raises Problem where it is missing, empty or names a file twice."""
    shown = run.show(run.train_txt)
    if not run.train_txt.exists():
        raise Problem(f"{shown} is missing: run {run.made_by(run.train_txt)}")
    try:
        lines = run.train_txt.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise Problem(
            f"{shown} is no UTF-8 text: delete it and run python make_datatxt.py"
        ) from None
    names = [line for line in lines if line.strip()]
    if bad := next((name for name in names if "\0" in name), ""):
        raise Problem(f"{shown} has a line with a zero byte ({bad!r:.40}): delete the line")
    if not names:
        raise Problem(f"{shown} is empty: run python make_datatxt.py")
    twice = pd.Series(names)[pd.Series(names).duplicated()]
    if len(twice):
        raise Problem(f"{shown} names {twice.iloc[0]} twice: delete one of the lines")
    return names


def _stat(run: Run, listed: pd.DataFrame, source: Path) -> pd.DataFrame:
    """The list with the size in bytes and the time of each file.

    Raises Problem where one has gone.
    """
    try:
        stats = [os.stat(run.folder / name) for name in listed["path"]]
    except OSError as error:
        gone = Path(error.filename or "?").name
        raise Problem(
            f"{run.show(source)} names {gone}, which cannot be read ({error.strerror}): "
            f"delete {source.name} and run {run.made_by(source)}"
        ) from None
    return listed.assign(
        bytes=[stat.st_size for stat in stats], modified=[stat.st_mtime_ns for stat in stats]
    ).reset_index(drop=True)


def sky_noise(flux: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sky sigma of each band in nanomaggies, (3,), by the spread of pixels below the median.

    Sources only brighten the sky, so the faint half of the pixels holds the noise.
    """
    pixels = flux[:, ::2, ::2].reshape(len(flux), -1)
    median = np.median(pixels, axis=1, keepdims=True)
    below = np.where(pixels < median, median - pixels, np.nan)
    return (1.4826 * np.nanmedian(below, axis=1)).astype(np.float32)


def moved(flux: NDArray[np.float32], x: int, y: int) -> NDArray[np.float32]:
    """An image (3, y, x) moved by whole pixels to the right and up, zero where nothing is known."""
    if not x and not y:
        return flux
    height, width = flux.shape[1:]
    result = np.zeros_like(flux)
    result[:, max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = flux[
        :, max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)
    ]
    return result


def _build(
    run: Run,
    listed: pd.DataFrame,
    source: Path,
    target: Path,
    before: Packed | None,
    workers: int,
) -> None:
    """Write the packed copy into a folder beside the old one, then swap the two."""
    folder = target.with_name(f".partial-{os.getpid()}-{target.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        shape = (len(listed), *SHAPE)
        new_array(folder / _PIXELS, shape)
        kept = _rows_to_keep(listed, before)
        moves = listed.reindex(columns=["shift_x", "shift_y"], fill_value=0).to_numpy(int)
        jobs = [
            (
                folder / _PIXELS,
                row,
                run.folder / path,
                tuple(move),
                target / _PIXELS,
                kept.get(row, -1),
            )
            for row, (path, move) in enumerate(zip(listed["path"], moves.tolist(), strict=True))
        ]
        facts = list(parallel.each(_pack_one, jobs, workers, "packing images"))
        for row, fact in enumerate(facts):
            if "reason" in fact:
                raise Problem(
                    f"{run.show(source)} names {listed['path'][row]}, which is no good image "
                    f"({fact['reason']}): delete {source.name} and run {run.made_by(source)}"
                )
            if before is not None and row in kept:
                facts[row] = before.index.loc[kept[row], list(_FACTS)].to_dict()
        index = pd.concat([listed, pd.DataFrame(facts)], axis=1)
        index["iauname"] = [
            iauname(ra, dec) if np.isfinite(ra) and np.isfinite(dec) else Path(path).stem
            for ra, dec, path in zip(index["ra"], index["dec"], index["path"], strict=True)
        ]
        write_parquet(folder / _INDEX, _with_split(index))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_split(index: pd.DataFrame) -> pd.DataFrame:
    names, given = index["path"].tolist(), index["given"].tolist()
    return index.assign(split=splits.assign(index["ra"], index["dec"], names, given))


def _rows_to_keep(listed: pd.DataFrame, before: Packed | None) -> dict[int, int]:
    """New row -> row in the packed copy before it, for images that have not changed."""
    if before is None:
        return {}
    keys = [key for key in _KEYS if key in listed]
    if any(key not in before.index for key in keys):
        return {}
    old = {tuple(values): row for row, values in enumerate(before.index[keys].to_numpy())}
    new = enumerate(listed[keys].to_numpy())
    return {row: old[tuple(values)] for row, values in new if tuple(values) in old}


_FACTS = ("ra", "dec", "survey", "release", "display", *(f"noise_{band}" for band in BANDS))


def _pack_one(job: tuple[Path, int, Path, tuple[int, int], Path, int]) -> dict:
    target, row, path, move, old, old_row = job
    pixels = np.load(target, mmap_mode="r+")
    if old_row >= 0:
        pixels[row] = np.load(old, mmap_mode="r")[old_row]
        return {}
    try:
        cutout = read_cutout(path)
    except (BadCutout, OSError) as refusal:
        return {"reason": str(refusal)}
    pixels[row] = moved(cutout.flux, *move)
    noise = sky_noise(cutout.flux)
    values = (cutout.ra, cutout.dec, cutout.survey, cutout.release, cutout.display, *noise)
    return dict(zip(_FACTS, values, strict=True))
