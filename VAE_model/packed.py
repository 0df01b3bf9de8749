"""The packed copy of a list of images: one file of pixels instead of a file an image.

Built once from the list (train.txt, or one side of the pairs), in parallel, and checked against it
each time it is opened: same paths in the same order, each file with the size and time it had, or
else with the content it had. Only what changed is packed anew, behind what is there. What is asked
of every image once (its position, its noise, its defects) is asked on the way and kept.
"""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model import defects, parallel, splits
from VAE_model.cutouts import BANDS, SHAPE, BadCutout, read_cutout
from VAE_model.defects import FLAGS, defect_flags
from VAE_model.files import read_parquet, sha256, write_parquet
from VAE_model.labels import given_split
from VAE_model.paths import Run
from VAE_model.row_file import EXCEPTION, RowFile, halved
from VAE_model.sky import iauname
from VAE_model.stage import Problem

_STAT = ("path", "bytes", "modified", "shift_x", "shift_y")  # unchanged: the same pixels
_CONTENT = ("sha256", "shift_x", "shift_y")  # decides the pixels
_FACTS = ("ra", "dec", "survey", "release", "display", *(f"noise_{band}" for band in BANDS), *FLAGS)
_PLACE = ("slot", "bright_at", "bright", "file")  # where the pixels lie
_INDEX = "index.parquet"
_SAVED_EVERY = 8192  # images, after which a killed packing goes on
LOOKED_BY = hashlib.sha256(Path(defects.__file__).read_bytes()).hexdigest()[:12]
_NOISE_SHARE = 0.1  # of the sky noise, that float16 may change a pixel by

Pixels = Literal["float32", "float16"]


@dataclass(frozen=True)
class Packed:
    """folder: where it lies; images: (N, 3, 256, 256), nanomaggies, read as float32;
    index: a row an image in the list's order: path, iauname, ra, dec, survey, release, display,
    given (the split by a table that came with the images, or empty), split, noise_g, noise_r,
    noise_z (sky sigma, nanomaggies), flag_* (defects.py, of the image before it is moved),
    looked_by (a hash of the code that set them: another one packs anew), size, time and SHA-256
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
            _build(run, listed, source, folder, before, workers, pixels or "float32")
            before = cls._open(folder)
            if before is None:
                raise Problem(f"{run.show(folder)} cannot be read back: delete it and rerun")
        if not before.index["given"].equals(listed["given"]):
            index = _with_split(before.index.assign(given=listed["given"]))
            write_parquet(folder / _INDEX, index)
            before = cls(before.images, index, folder)
        return before

    @classmethod
    def _open(cls, folder: Path) -> "Packed | None":
        """What the index says is there; None without one, or where the pixels are not."""
        try:
            index = read_parquet(folder / _INDEX)
            if (index["looked_by"] != LOOKED_BY).any():
                return None
            images = _images_of(folder, index)
            held = images.path.stat().st_size
        except (OSError, KeyError, IndexError, Problem):
            return None
        whole = (images.slots.max() + 1) * images.row_bytes <= held
        return cls(images, index, folder) if whole else None

    def _agrees_with(self, listed: pd.DataFrame) -> bool:
        keys = list(_STAT)
        return len(listed) == len(self.index) and listed[keys].equals(self.index[keys])

    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of a split: `train`, `validation` or `test`."""
        return np.flatnonzero((self.index["split"] == split).to_numpy())

    @property
    def flags(self) -> pd.DataFrame:
        """The flag_* columns, a row an image."""
        return self.index[list(FLAGS)].astype(bool)

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


def _build(
    run: Run,
    listed: pd.DataFrame,
    source: Path,
    folder: Path,
    before: Packed | None,
    workers: int,
    pixels: Pixels,
) -> None:
    """Add what is new to the file of pixels, then say so in the index.

    What the index names is never written over, and the index is replaced whole: a packing that is
    killed leaves the copy before it, or that and a part of the new, and the next one goes on there.
    The file begins anew where more than half of it would be pixels that no list names any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = before.index if before is not None else None
    done = _known(run, listed, known, workers)
    if known is not None and len(done) < known["slot"].max() // 2:
        known, done = None, done.iloc[:0]
    name = known["file"].iloc[0] if known is not None else _next_name(folder, pixels)
    free = int(known["slot"].max()) + 1 if known is not None else 0
    bright_free = int((known["bright_at"] + known["bright"]).max()) if known is not None else 0
    others = [] if known is None else [known[~known["slot"].isin(done["slot"])]]
    todo = listed[~listed.index.isin(done.index)]
    jobs = [
        (folder / name, free + number, run.folder / row.path, (row.shift_x, row.shift_y))
        for number, row in enumerate(todo.itertuples())
    ]
    with (
        open(folder / name, "ab") as file,
        open(folder / f"{name}.exceptions", "ab") as exceptions,
    ):
        file.truncate((free + len(jobs)) * _row_bytes(name))
        exceptions.truncate(bright_free * EXCEPTION.itemsize)
        for first in range(0, len(jobs), _SAVED_EVERY):
            part = jobs[first : first + _SAVED_EVERY]
            rows = todo.iloc[first : first + _SAVED_EVERY]
            label = "packing images" + (f" {first:,}+" if len(jobs) > _SAVED_EVERY else "")
            facts = list(parallel.each(_pack_one, part, workers, label))
            for path, fact in zip(rows["path"], facts, strict=True):
                if "reason" in fact:
                    raise Problem(
                        f"{run.show(source)} names {path}, which is no good image "
                        f"({fact['reason']}): delete {source.name} and run {run.made_by(source)}"
                    )
                found = fact.pop("exceptions")
                exceptions.write(found.tobytes())
                fact |= {"bright_at": bright_free, "bright": len(found), "file": name}
                bright_free += len(found)
            packed = pd.concat([rows, pd.DataFrame(facts, index=rows.index)], axis=1)
            done = pd.concat([done, packed]) if len(done) else packed
            for stream in (exceptions, file):
                stream.flush()
                os.fsync(stream.fileno())
            if first + _SAVED_EVERY < len(jobs):  # to go on from, were it killed
                _write_index(folder, pd.concat([done, *others]))
    _write_index(folder, done.sort_index())
    for path in folder.iterdir():  # older files of pixels, and what networks prepared of them
        if path.name not in (_INDEX, name, f"{name}.exceptions") and not path.name.startswith("."):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _row_bytes(name: str) -> int:
    return int(np.prod(SHAPE)) * np.dtype(name.rpartition(".")[2]).itemsize


def _next_name(folder: Path, pixels: Pixels) -> str:
    numbers = [int(p.name.split("_")[1].split(".")[0]) for p in folder.glob("images_*.float??")]
    return f"images_{max(numbers, default=0) + 1}.{pixels}"


def _write_index(folder: Path, index: pd.DataFrame) -> None:
    index = index.reset_index(drop=True)
    index["iauname"] = [
        iauname(ra, dec) if np.isfinite(ra) and np.isfinite(dec) else Path(path).stem
        for ra, dec, path in zip(index["ra"], index["dec"], index["path"], strict=True)
    ]
    write_parquet(folder / _INDEX, _with_split(index))


def _with_split(index: pd.DataFrame) -> pd.DataFrame:
    names, given = index["path"].tolist(), index["given"].tolist()
    return index.assign(split=splits.assign(index["ra"], index["dec"], names, given))


def _known(
    run: Run, listed: pd.DataFrame, known: pd.DataFrame | None, workers: int
) -> pd.DataFrame:
    """The rows of the list whose pixels are packed already, with what is known of them.

    A file with the size and time that it had is taken to be the same; of any other the content
    decides, wherever it lies now.
    """
    facts = ["sha256", "looked_by", *_FACTS, *_PLACE]
    if known is None:
        return pd.DataFrame(columns=[*listed.columns, *facts])
    same = listed.reset_index().merge(known[[*_STAT, *facts]], how="inner", on=list(_STAT))
    rest = listed[~listed.index.isin(same["index"])]
    rest = rest[rest["bytes"].isin(known["bytes"])]  # of another length, of another content
    files = [run.folder / path for path in rest["path"]]
    hashes = list(parallel.each(sha256, files, workers, "comparing changed images"))
    contents = known.drop_duplicates(list(_CONTENT))[["shift_x", "shift_y", *facts]]
    moved_or_touched = (
        rest.assign(sha256=hashes).reset_index().merge(contents, how="inner", on=list(_CONTENT))
    )
    parts = [part for part in (same, moved_or_touched) if len(part)]
    done = pd.concat(parts) if parts else same
    return done.set_index("index").rename_axis(None)


def _pack_one(job: tuple[Path, int, Path, tuple[int, int]]) -> dict:
    target, slot, path, move = job
    try:
        cutout = read_cutout(path)  # first, as it looks at the size before it reads
        content = sha256(path)
    except (BadCutout, OSError) as refusal:
        return {"reason": str(refusal)}
    noise, flux = sky_noise(cutout.flux), moved(cutout.flux, *move)
    exceptions = np.empty(0, EXCEPTION)
    pixels: NDArray = flux
    if target.suffix == ".float16":
        pixels, exceptions = halved(flux, _NOISE_SHARE * noise)
    with open(target, "r+b") as file:
        file.seek(slot * pixels.nbytes)
        file.write(pixels.tobytes())
    flags = defect_flags(cutout.flux, display=cutout.display)
    values = (cutout.ra, cutout.dec, cutout.survey, cutout.release, cutout.display, *noise)
    facts = dict(zip(_FACTS, (*values, *flags.values()), strict=True))
    facts |= {"looked_by": LOOKED_BY, "sha256": content, "slot": slot}
    return facts | {"exceptions": exceptions}
