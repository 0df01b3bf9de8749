"""Packing: the pixels of many images in one file, and an index with the place of each.

packed.py calls it where a copy is missing or differs from its list.
"""

import os
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data import fits_frames, flux_units, splits
from VAE_model.data.cutouts import BANDS, SHAPE, BadCutout, read_cutout
from VAE_model.data.row_file import EXCEPTION, halved
from VAE_model.data.sky import iauname
from VAE_model.pipeline import parallel
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import read_parquet, sha256, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.preparation import defect_lines, defect_sky, defects, pixel_noise, segmentation
from VAE_model.preparation.defects import FLAGS, defect_flags
from VAE_model.preparation.pixel_noise import sky_noise
from VAE_model.preparation.segmentation import SURROUNDINGS, surroundings

STAT = ("path", "bytes", "modified", "shift_x", "shift_y")  # where unchanged, so are the pixels
INDEX = "index.parquet"
_LOOKING = (
    defects, defect_lines, defect_sky, segmentation, fits_frames, flux_units, pixel_noise
)  # fmt: skip
LOOKED_BY = code_version(*(Path(str(module.__file__)) for module in _LOOKING))
_CONTENT = ("sha256", "shift_x", "shift_y")  # decides the pixels
_NOISE = tuple(f"noise_{band}" for band in BANDS)
_FACTS = ("ra", "dec", "survey", "release", "display", *_NOISE, *FLAGS, *SURROUNDINGS)
_PLACE = ("slot", "bright_at", "bright", "file")  # place of the pixels
_SAVED_EVERY = 8192  # images, between checkpoints of an interrupted packing
_NOISE_SHARE = 0.1  # of the sky noise: the largest error of a pixel in float16

Pixels = Literal["float32", "float16"]


def pack(
    run: Run,
    listed: pd.DataFrame,
    source: Path,
    folder: Path,
    known: pd.DataFrame | None,
    workers: int,
    pixels: Pixels,
) -> None:
    """Append new images in the list to the file of pixels in `folder`, then update the index.

    source: the file that lists the images; known: the index of the existing copy, if any.

    Pixels that the index names are never overwritten, and the index is replaced atomically, so an
    interrupted packing leaves a valid copy and the next one resumes it. A new file begins where
    more than half of the pixels would be unused.
    """
    folder.mkdir(parents=True, exist_ok=True)
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
                        f"{run.show(source)} names {path}, which is not a usable image "
                        f"({fact['reason']}): run {run.remade_by(source)}"
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
            if first + _SAVED_EVERY < len(jobs):  # to resume from
                _write_index(folder, pd.concat([done, *others]))
    _write_index(folder, done.sort_index())
    for path in folder.iterdir():  # older files of pixels, and inputs prepared from them
        if path.name not in (INDEX, name, f"{name}.exceptions") and not path.name.startswith("."):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def moved(flux: NDArray[np.float32], x: int, y: int) -> NDArray[np.float32]:
    """Return an image (3, y, x) shifted by whole pixels to the right and up, padded with zeros."""
    if not x and not y:
        return flux
    height, width = flux.shape[1:]
    result = np.zeros_like(flux)
    result[:, max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = flux[
        :, max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)
    ]
    return result


def _row_bytes(name: str) -> int:
    return int(np.prod(SHAPE)) * np.dtype(name.rpartition(".")[2]).itemsize


def _next_name(folder: Path, pixels: Pixels) -> str:
    """Return a name for a new file of pixels, and delete files that no index names.

    An interrupted packing, on a full disk for example, leaves such files.
    """
    try:
        named = set(read_parquet(folder / INDEX, ["file"])["file"])
    except Problem:
        named = set()
    for path in folder.glob("images_*.float??*"):
        if path.name.removesuffix(".exceptions") not in named:
            path.unlink()
    numbers = [int(p.name.split("_")[1].split(".")[0]) for p in folder.glob("images_*.float??")]
    return f"images_{max(numbers, default=0) + 1}.{pixels}"


def _write_index(folder: Path, index: pd.DataFrame) -> None:
    index = index.reset_index(drop=True)
    index["iauname"] = [
        iauname(ra, dec) if np.isfinite(ra) and np.isfinite(dec) else Path(path).stem
        for ra, dec, path in zip(index["ra"], index["dec"], index["path"], strict=True)
    ]
    write_parquet(folder / INDEX, with_split(index))


def with_split(index: pd.DataFrame) -> pd.DataFrame:
    """Return the index with the columns split and split_by, from ra, dec, path and given."""
    names, given = index["path"].tolist(), index["given"].tolist()
    sides, rule = splits.assign_by_rule(index["ra"], index["dec"], names, given)
    return index.assign(split=sides, split_by=rule)


def _known(
    run: Run, listed: pd.DataFrame, known: pd.DataFrame | None, workers: int
) -> pd.DataFrame:
    """Return the rows of the list whose pixels are already packed, with their measurements.

    A file with unchanged size and time is taken to be the same; any other is compared by content,
    whatever its path.
    """
    facts = ["sha256", "looked_by", *_FACTS, *_PLACE]
    if known is None:
        return pd.DataFrame(columns=[*listed.columns, *facts])
    same = listed.reset_index().merge(known[[*STAT, *facts]], how="inner", on=list(STAT))
    rest = listed[~listed.index.isin(same["index"])]
    rest = rest[rest["bytes"].isin(known["bytes"])]  # files of another length differ
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
        cutout = read_cutout(path)  # first, as it checks the size before it reads
        content = sha256(path)
        noise = sky_noise(cutout.flux, cutout.display)
    except (BadCutout, OSError) as refusal:
        return {"reason": str(refusal)}
    flux = moved(cutout.flux, *move)
    exceptions = np.empty(0, EXCEPTION)
    pixels: NDArray = flux
    if target.suffix == ".float16":
        pixels, exceptions = halved(flux, _NOISE_SHARE * noise)
    with open(target, "r+b") as file:
        file.seek(slot * pixels.nbytes)
        file.write(pixels.tobytes())
    flags = defect_flags(cutout.flux, display=cutout.display)
    around = surroundings(cutout.flux, display=cutout.display)
    values = (cutout.ra, cutout.dec, cutout.survey, cutout.release, cutout.display, *noise)
    facts = dict(zip(_FACTS, (*values, *flags.values(), *around.values()), strict=True))
    facts |= {"looked_by": LOOKED_BY, "sha256": content, "slot": slot}
    return facts | {"exceptions": exceptions}
