"""The packed copy of a list of images: one file of pixels instead of a file an image.

Built once from the list (train.txt, or one side of the pairs), in parallel, and checked against it
each time it is opened: same paths in the same order, each file with the size and time it had, or
else with the content it had. Only what changed is packed anew, behind what is there. What is asked
of every image once (its position, its noise, its defects) is asked on the way and kept.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.cutouts import BANDS, SHAPE
from VAE_model.data.packing import INDEX, LOOKED_BY, STAT, Pixels, pack, with_split
from VAE_model.data.row_file import RowFile
from VAE_model.data.splits import SHARES
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.preparation.defects import FLAGS
from VAE_model.preparation.segmentation import SURROUNDINGS
from VAE_model.tables.labels import given_split


@dataclass(frozen=True)
class Packed:
    """folder: where it lies; images: (N, 3, 256, 256), nanomaggies, read as float32;
    index: a row an image in the list's order: path, iauname, ra, dec, survey, release, display,
    given (the split by a table that came with the images, or empty), split, split_by (the rule of
    splits.py that gave it), noise_g, noise_r, noise_z (sky sigma, nanomaggies), flag_* (defects.py)
    and what SURROUNDINGS names (segmentation.py), all three of the image before it is moved,
    looked_by (a hash of the code that found them: another one packs anew), size, time and SHA-256
    of the file, and where its pixels lie: slot in `file`, first and number of its exceptions."""

    images: RowFile
    index: pd.DataFrame
    folder: Path

    @classmethod
    def of(cls, run: Run, workers: int = 0, pixels: Pixels | None = None) -> "Packed":
        """The packed copy of train.txt, made or brought up to date where it is not.

        pixels: float32, or float16 for half the size and at most a tenth of the sky noise more;
        None: as it is, float32 where there is none yet.
        """
        paths = read_train_txt(run)
        listed = pd.DataFrame({"path": paths, "given": given_split(run, paths)})
        return cls.of_list(run, listed, run.train_txt, run.packed, workers, pixels)

    @classmethod
    def of_list(
        cls,
        run: Run,
        listed: pd.DataFrame,
        source: Path,
        folder: Path,
        workers: int = 0,
        pixels: Pixels | None = None,
    ) -> "Packed":
        """The packed copy, in `folder`, of the images that the file `source` lists.

        listed: the column path; where it has shift_x and shift_y, each image is moved by whole
        pixels to the right and up; what comes in at the edge is zero, which is empty sky. Where it
        has given, that is the split of those images for which it is not empty.
        """
        listed = listed if "given" in listed else listed.assign(given="")
        listed = _stat(run, listed.assign(**_unmoved(listed)), source)
        before = cls._open(folder)
        if before is not None and pixels not in (None, before.images.dtype):
            before = None
        if before is None or not before._agrees_with(listed):
            known = before.index if before is not None else None
            pack(run, listed, source, folder, known, workers, pixels or "float32")
            before = cls._open(folder)
            if before is None:
                raise Problem(f"{run.show(folder)} cannot be read back: delete it and rerun")
        if not before.index["given"].equals(listed["given"]):
            index = with_split(before.index.assign(given=listed["given"]))
            write_parquet(folder / INDEX, index)
            before = cls(before.images, index, folder)
        return before

    @classmethod
    def _open(cls, folder: Path) -> "Packed | None":
        """Return the copy that the index describes; None without one, or without its pixels."""
        try:
            index = read_parquet(folder / INDEX)
            if (index["looked_by"] != LOOKED_BY).any():
                return None
            images = _images_of(folder, index)
            held = images.path.stat().st_size
        except (OSError, KeyError, IndexError, Problem):
            return None
        whole = (images.slots.max() + 1) * images.row_bytes <= held
        return cls(images, index, folder) if whole else None

    def _agrees_with(self, listed: pd.DataFrame) -> bool:
        keys = list(STAT)
        return len(listed) == len(self.index) and listed[keys].equals(self.index[keys])

    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of a split: `train`, `validation` or `test`."""
        return np.flatnonzero((self.index["split"] == split).to_numpy())

    @property
    def split_by(self) -> str:
        """The rule that divides the galaxies (splits.RULES); empty where a table divides all."""
        return str(self.index["split_by"].iloc[0])

    def sides(self) -> str:
        """The numbers of images on each side and the rule that divides them, in one line."""
        count = self.index["split"].value_counts()
        numbers = ", ".join(f"{side} {count.get(side, 0):,}" for side in SHARES)
        return f"{numbers} (by {self.split_by or 'the table'})"

    @property
    def flags(self) -> pd.DataFrame:
        """The flag_* columns, a row an image."""
        return self.index[list(FLAGS)].astype(bool)

    @property
    def noise(self) -> NDArray[np.float32]:
        """Sky sigma of each band, nanomaggies (of 8-bit images: brightness), (N, 3)."""
        noise = self.index[[f"noise_{band}" for band in BANDS]]
        return noise.to_numpy(np.float32, copy=True)

    @property
    def surroundings(self) -> pd.DataFrame:
        """Flux of the galaxy, neighbours and sky (segmentation.SURROUNDINGS), a row an image."""
        return self.index[list(SURROUNDINGS)]

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
    for name, found in zip(listed["path"], stats, strict=True):
        if not stat.S_ISREG(found.st_mode):
            raise Problem(
                f"{run.show(source)} names {name}, which is no file: "
                f"delete {source.name} and run {run.made_by(source)}"
            )
    return listed.assign(
        bytes=[one.st_size for one in stats], modified=[one.st_mtime_ns for one in stats]
    ).reset_index(drop=True)


def _unmoved(listed: pd.DataFrame) -> dict[str, int]:
    return {name: 0 for name in ("shift_x", "shift_y") if name not in listed}


def _images_of(folder: Path, index: pd.DataFrame) -> RowFile:
    name = index["file"].iloc[0]
    return RowFile(
        folder / name,
        SHAPE,
        index["slot"].to_numpy(),
        name.rpartition(".")[2],
        (folder / f"{name}.exceptions", index[["bright_at", "bright"]].to_numpy()),
    )
