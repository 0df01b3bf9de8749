"""The packed copy of a list of images: one file of pixels instead of one file per image.

It is built from the list (train.txt, or one side of the pairs), and compared with it each time it
is opened: the same paths in the same order, and each file with the same size and time, or else the
same content. Only changed images are packed again. Position, noise and defects are measured during
packing and stored in the index.
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
    """The packed images and the table that describes them.

    folder: of the copy; images: (N, 3, 256, 256), nanomaggies, read as float32;
    index: one row per image in the list's order: path, iauname, ra, dec, survey, release, display,
    given (the split by a table that came with the images, or empty), split, split_by (the rule of
    splits.py that assigned it), noise_g, noise_r, noise_z (sky sigma, nanomaggies), flag_*
    (defects.py) and the columns SURROUNDINGS (segmentation.py), all three measured before the image
    is shifted, looked_by (a hash of the code that measured them: other code packs again), size,
    time and SHA-256 of the file, and the place of its pixels: slot in `file`, first and number of
    its exceptions.
    """

    images: RowFile
    index: pd.DataFrame
    folder: Path

    @classmethod
    def of(cls, run: Run, workers: int = 0, pixels: Pixels | None = None) -> "Packed":
        """Return the packed copy of train.txt, built or updated where necessary.

        pixels: float32, or float16 for half the size and errors of at most a tenth of the sky
        noise; None: the type of the existing copy, else float32.
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
        """Return the packed copy, in `folder`, of the images that the file `source` lists.

        listed: the column path; optional: shift_x and shift_y, which move each image by whole
        pixels to the right and up (zeros at the edge), and given, its split where not empty.
        """
        unset = {"given": "", "shift_x": 0, "shift_y": 0}
        listed = listed.assign(**{n: value for n, value in unset.items() if n not in listed})
        listed, keys = _stat(run, listed, source), list(STAT)
        before = cls._open(folder)
        if before is not None and pixels not in (None, before.images.dtype):
            before = None
        if before is None or not listed[keys].equals(before.index[keys]):
            known = before.index if before is not None else None
            pack(run, listed, source, folder, known, workers, pixels or "float32")
            before = cls._open(folder)
            if before is None:
                raise Problem(
                    f"{run.show(folder)} cannot be read back: run {run.remade_by(source)}"
                )
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
            name, slots = index["file"].iloc[0], index["slot"].to_numpy()
            exceptions = (folder / f"{name}.exceptions", index[["bright_at", "bright"]].to_numpy())
            images = RowFile(folder / name, SHAPE, slots, name.rpartition(".")[2], exceptions)
            held = images.path.stat().st_size
        except (OSError, KeyError, IndexError, Problem):
            return None
        whole = (images.slots.max() + 1) * images.row_bytes <= held
        return cls(images, index, folder) if whole else None

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of a split: `train`, `validation` or `test`."""
        return np.flatnonzero((self.index["split"] == split).to_numpy())

    @property
    def split_by(self) -> str:
        """The rule that assigns the splits (splits.RULES); empty where a table assigns all."""
        return str(self.index["split_by"].iloc[0])

    def sides(self) -> str:
        """Return the number of images in each split and the rule that assigns them, in one line."""
        count = self.index["split"].value_counts()
        numbers = ", ".join(f"{side} {count.get(side, 0):,}" for side in SHARES)
        return f"{numbers} (by {self.split_by or 'the table'})"

    @property
    def flags(self) -> pd.DataFrame:
        """The flag_* columns, one row per image."""
        return self.index[list(FLAGS)].astype(bool)

    @property
    def noise(self) -> NDArray[np.float32]:
        """Sky sigma of each band, nanomaggies (of 8-bit images: brightness), (N, 3)."""
        noise = self.index[[f"noise_{band}" for band in BANDS]]
        return noise.to_numpy(np.float32, copy=True)

    @property
    def surroundings(self) -> pd.DataFrame:
        """The columns segmentation.SURROUNDINGS (galaxy, sources, sky), one row per image."""
        return self.index[list(SURROUNDINGS)]

    @property
    def given(self) -> str:
        """A hash of the split assigned by a table; empty without one."""
        given = self.index["given"]
        return hashlib.sha256("\n".join(given).encode()).hexdigest() if given.any() else ""


def read_train_txt(run: Run) -> list[str]:
    """Return the paths in train.txt.

    Raises Problem where it is missing, empty or names a file twice.
    """
    shown = run.show(run.train_txt)
    if not run.train_txt.exists():
        raise Problem(f"{shown} is missing: run {run.made_by(run.train_txt)}")
    try:
        lines = run.train_txt.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise Problem(f"{shown} is not UTF-8 text: run {run.remade_by(run.train_txt)}") from None
    names = [line for line in lines if line.strip()]
    if bad := next((name for name in names if "\0" in name), ""):
        raise Problem(f"{shown} has a line with a zero byte ({bad!r:.40}): delete the line")
    if not names:
        raise Problem(f"{shown} is empty: run {run.remade_by(run.train_txt)}")
    twice = pd.Series(names)[pd.Series(names).duplicated()]
    if len(twice):
        raise Problem(f"{shown} names {twice.iloc[0]} twice: delete one of the lines")
    return names


def _stat(run: Run, listed: pd.DataFrame, source: Path) -> pd.DataFrame:
    """Return the list with the size in bytes and the modification time of each file.

    Raises Problem where a file is missing.
    """
    stats = []
    for name in listed["path"]:
        try:
            stats.append(os.stat(run.folder / name))
            fault = "" if stat.S_ISREG(stats[-1].st_mode) else "is not a file"
        except OSError as error:
            name, fault = Path(name).name, f"cannot be read ({error.strerror})"
        if fault:
            raise Problem(
                f"{run.show(source)} names {name}, which {fault}: run {run.remade_by(source)}"
            )
    return listed.assign(
        bytes=[one.st_size for one in stats], modified=[one.st_mtime_ns for one in stats]
    ).reset_index(drop=True)
