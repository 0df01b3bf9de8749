"""Anybody's image as a cutout: one file at a time, and what it is called."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from astropy.io import fits

from VAE_model.data.astrometry import checked_position, handedness, number_on_card
from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import GIVEN_DEC, GIVEN_RA, STEP, check_flux
from VAE_model.data.fits_frames import BadCutout, Frame, Reading, read_frame, read_plane
from VAE_model.data.flux_units import DISPLAY, noise_ratio
from VAE_model.data.sky import position_of_name
from VAE_model.imports import display
from VAE_model.imports.grids import joined
from VAE_model.imports.resample import regrid, wcs_of, window

FITS_ENDINGS = (".fits.gz", ".fit.gz", ".fts.gz", ".fits.fz", ".fits", ".fit", ".fts")
ENDINGS = (*FITS_ENDINGS, *display.ENDINGS)

_LONGEST = 120  # characters of a file's name: most file systems allow 255 bytes
_IAU_NAME = re.compile(
    r"J(\d\d)(\d\d)(\d\d(?:\.\d+)?)([+-])(\d\d)(\d\d)(\d\d(?:\.\d+)?)"  # JHHMMSS.ss+DDMMSS.s
)


@dataclass(frozen=True)
class Job:
    """One image: from where to where, how (a mode of resample.py), and its position in
    degrees by the table that came with it, NaN without; reading: what the user says of the files;
    planes: (band, file) where each band has a file of its own, the first being `source`.
    """

    source: Path
    target: Path
    mode: str
    ra: float = float("nan")
    dec: float = float("nan")
    reading: Reading = Reading()
    planes: tuple[tuple[str, Path], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Position in degrees (NaN: unknown) of an imported image, or the reason of its refusal.

    cut: not square, only its central square was taken; mirrored: by its WCS, east is to the
    right of north, and spirals wind the other way than on the sky; pixel_scale: arcsec per pixel
    of the cutout, NaN unknown; enlarged: pixels of the cutout per pixel of the original; left_out:
    bands that were not used; grey: all bands are the same; unnamed: the file does not name its
    bands; converted: from another unit of flux; noise_ratio: see flux_units, of images without a
    unit, NaN with one.
    """

    ra: float = float("nan")
    dec: float = float("nan")
    cut: bool = False
    mirrored: bool = False
    reason: str = ""
    pixel_scale: float = float("nan")
    enlarged: float = float("nan")
    left_out: str = ""
    grey: bool = False
    unnamed: bool = False
    converted: bool = False
    noise_ratio: float = float("nan")


def import_image(job: Job) -> Outcome:
    """Write the cutout of one image. Nothing in the file can stop the import."""
    try:
        frame = _read(job)
        shape = frame.flux.shape[1:]
        where = window(job.mode, shape, frame.header)
        flux = regrid(frame.flux, where, mean=frame.unit == DISPLAY)
        check_flux(flux)
    except BadCutout as refusal:
        return Outcome(reason=str(refusal))
    wcs = wcs_of(frame.header, where)
    by_table = (job.ra, job.dec)
    by_wcs = (float(wcs["CRVAL1"]), float(wcs["CRVAL2"])) if wcs else (float("nan"), float("nan"))
    by_card = checked_position(*(number_on_card(frame.header, c) for c in (GIVEN_RA, GIVEN_DEC)))
    by_name = position_in_name(job.source)
    ra, dec = next(
        (p for p in (by_table, by_wcs, by_card, by_name) if np.isfinite(p).all()), by_wcs
    )
    scale = 3600 * abs(handedness(wcs)) ** 0.5 if wcs else float("nan")
    cards: dict[str, str | float] = {"ORIGFILE": _plain(job.source.name), "IMPMODE": job.mode}
    cards["ORIGSIZE"] = f"{shape[1]} x {shape[0]}"
    cards[STEP] = where.step
    if wcs:
        cards["ORIGSCAL"] = scale / where.step  # arcsec per pixel of the original
    if frame.unit:
        cards["BUNIT"] = frame.unit
    if not wcs and np.isfinite(ra):
        cards |= {GIVEN_RA: ra, GIVEN_DEC: dec}
    release, survey = _plain(frame.release) or "unknown", _plain(frame.survey) or "unknown"
    write_cutout(job.target, flux, ra, dec, release, survey=survey, wcs=wcs, cards=cards)
    fits_file = job.source.name.lower().endswith(FITS_ENDINGS)
    return Outcome(
        ra, dec,
        cut=shape[0] != shape[1] and job.mode == "resample",
        mirrored=bool(wcs) and handedness(wcs) > 0,
        pixel_scale=scale,
        enlarged=1 / where.step,
        left_out=", ".join(frame.left_out),
        grey=bool((flux[0] == flux[1]).all() and (flux[1] == flux[2]).all()),
        unnamed=fits_file and not (frame.bands or job.reading.bands),
        converted=frame.converted,
        noise_ratio=float("nan") if frame.unit else noise_ratio(frame.flux),
    )  # fmt: skip


def _read(job: Job) -> Frame:
    if not job.planes:
        return _read_file(job.source, job.reading)
    planes = {}
    for band, path in job.planes:
        try:
            planes[band] = _read_file(path, job.reading, band)
        except BadCutout as refusal:
            raise BadCutout(f"{refusal} (band {band}, {path.name})") from None
    return joined(planes)


def _read_file(path: Path, reading: Reading, band: str = "") -> Frame:
    """The frame in a file, or the plane of a band."""
    if path.name.lower().endswith(display.ENDINGS):
        flux = display.read_display(path)
        if band and (flux != flux[:1]).any():
            raise BadCutout("wrong bands: a colour image, where a grey one of a band is needed")
        return Frame(flux[:1] if band else flux, fits.Header(), DISPLAY, DISPLAY, DISPLAY)
    frame = read_plane(path, band, reading) if band else read_frame(path, reading=reading)
    if reading.unit == DISPLAY and str(frame.header.get("BUNIT", "")).strip() != DISPLAY:
        frame = replace(frame, flux=display.as_display(frame.flux))
    return frame


def _plain(text: str) -> str:
    """Return the text that fits on one header card."""
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
