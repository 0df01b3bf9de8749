"""Anybody's image as a cutout: one file at a time, and what it is called."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from astropy.io import fits

from VAE_model.astrometry import checked_position, handedness
from VAE_model.cutout_writer import write_cutout
from VAE_model.cutouts import DISPLAY, GIVEN_DEC, GIVEN_RA, check_flux
from VAE_model.frames import BadCutout, Frame, read_frame
from VAE_model.imports import display
from VAE_model.imports.resample import regrid, wcs_of, window
from VAE_model.sky import position_of_name

FITS_ENDINGS = (".fits.gz", ".fit.gz", ".fts.gz", ".fits.fz", ".fits", ".fit", ".fts")
ENDINGS = (*FITS_ENDINGS, *display.ENDINGS)

_LONGEST = 120  # characters of a file's name: most file systems allow 255 bytes
_IAU_NAME = re.compile(
    r"J(\d\d)(\d\d)(\d\d(?:\.\d+)?)([+-])(\d\d)(\d\d)(\d\d(?:\.\d+)?)"  # JHHMMSS.ss+DDMMSS.s
)


@dataclass(frozen=True)
class Job:
    """One image: from where to where, how (a mode of resample.py), and its position in
    degrees by the table that came with it, NaN without."""

    source: Path
    target: Path
    mode: str
    ra: float = float("nan")
    dec: float = float("nan")


@dataclass(frozen=True)
class Outcome:
    """Position in degrees (NaN: unknown) of an imported image, or the reason of its refusal.
    cut: not square, only its central square was taken; mirrored: by its WCS, east is to the
    right of north, and spirals wind the other way than on the sky."""

    ra: float = float("nan")
    dec: float = float("nan")
    cut: bool = False
    mirrored: bool = False
    reason: str = ""


def import_image(job: Job) -> Outcome:
    """Write the cutout of one image. Nothing in the file can stop the import."""
    try:
        frame = _read(job.source)
        shape = frame.flux.shape[1:]
        where = window(job.mode, shape, frame.header)
        flux = regrid(frame.flux, where, mean=frame.unit == DISPLAY)
        check_flux(flux)
    except BadCutout as refusal:
        return Outcome(reason=str(refusal))
    wcs = wcs_of(frame.header, where)
    by_table = (job.ra, job.dec)
    by_wcs = (float(wcs["CRVAL1"]), float(wcs["CRVAL2"])) if wcs else (float("nan"), float("nan"))
    by_name = position_in_name(job.source)
    ra, dec = next((p for p in (by_table, by_wcs, by_name) if np.isfinite(p).all()), by_wcs)
    cards: dict[str, str | float] = {"ORIGFILE": _plain(job.source.name), "IMPMODE": job.mode}
    cards["ORIGSIZE"] = f"{shape[1]} x {shape[0]}"
    if frame.unit:
        cards["BUNIT"] = _plain(frame.unit)
    if not wcs and np.isfinite(ra):
        cards |= {GIVEN_RA: ra, GIVEN_DEC: dec}
    release, survey = _plain(frame.release) or "unknown", _plain(frame.survey) or "unknown"
    write_cutout(job.target, flux, ra, dec, release, survey=survey, wcs=wcs, cards=cards)
    cut = shape[0] != shape[1] and job.mode == "resample"
    return Outcome(ra, dec, cut, mirrored=bool(wcs) and handedness(wcs) > 0)


def _read(path: Path) -> Frame:
    if path.name.lower().endswith(display.ENDINGS):
        return Frame(display.read_display(path), fits.Header(), DISPLAY, DISPLAY, DISPLAY)
    return read_frame(path)


def _plain(text: str) -> str:
    """What fits on one header card."""
    return re.sub(r"[^ -~]|'", "?", text)[:60].strip()


def position_in_name(path: Path | str) -> tuple[float, float]:
    """Degrees by a name like 154.7709_46.4537 or J101905.01+462713.3; NaN where it has none."""
    ra, dec = checked_position(*position_of_name(path))
    found = _IAU_NAME.search(Path(path).name)
    if np.isfinite(ra) or not found:
        return ra, dec
    h, m, s, sign, d, dm, ds = found.groups()
    if max(float(m), float(s), float(dm), float(ds)) >= 60:
        return ra, dec
    degrees = int(d) + int(dm) / 60 + float(ds) / 3600
    hours = int(h) + int(m) / 60 + float(s) / 3600
    return checked_position(15 * hours, -degrees if sign == "-" else degrees)


def target_names(sources: Sequence[str]) -> list[str]:
    """A file name for each source (its path in the imported folder), all different.

    The name is the source's own, in plain letters; sources that would share one (a/x.jpg and
    b/x.jpg) get a piece of the hash of their path, whatever the order they come in.
    """
    stems = [plain_stem(source) for source in sources]
    shared = Counter(stem.casefold() for stem in stems)
    taken: set[str] = set()
    names = []
    for source, stem in zip(sources, stems, strict=True):
        if shared[stem.casefold()] > 1:
            hashed = hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()
            stem = f"{stem}_{hashed[:8]}"
        while stem.casefold() in taken:
            stem += "_"
        taken.add(stem.casefold())
        names.append(f"{stem}.fits")
    return names


def stem_of(source: str) -> str:
    """The last part of a path without the ending of an image."""
    name = PurePosixPath(source).name
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def plain_stem(source: str) -> str:
    """The same in letters that are safe in any folder: no separator, not hidden, not too long."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", stem_of(source)).lstrip(".")[:_LONGEST] or "image"
