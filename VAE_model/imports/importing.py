"""Conversion of one external image to a cutout, and the names of the new files."""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from VAE_model.data.astrometry import checked_position, handedness, number_on_card
from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import GIVEN_DEC, GIVEN_RA, STEP, check_flux
from VAE_model.data.fits_frames import BadCutout, Frame, Reading, frame_in, read_frame, read_plane
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
    """One image to import.

    mode: of resample.py; ra, dec: degrees, from the table that came with the images, NaN without;
    reading: options of the user; planes: (band, file) if each band has a file of its own, the first
    being `source`; refused: why it must not be imported, if it must not; content: of the image, if
    `source` is not a file but only its name.
    """

    source: Path
    target: Path
    mode: str
    ra: float = float("nan")
    dec: float = float("nan")
    reading: Reading = Reading()
    planes: tuple[tuple[str, Path], ...] = ()
    refused: str = ""
    content: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """Position in degrees (NaN: unknown) of an imported image, or the reason of its refusal.

    cut: not square, only the central square was used; mirrored: by the WCS, handedness is opposite
    to that on the sky; pixel_scale: arcsec per pixel of the cutout, NaN unknown; enlarged: pixels
    of the cutout per pixel of the original; left_out: bands that were not used; grey: all bands are
    equal; unnamed: the file does not name its bands; converted: from another unit of flux;
    noise_ratio: see flux_units, NaN if the file states a unit.
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
    """Write the cutout of one image; any defect of the file becomes the reason of its refusal."""
    if job.refused:
        return Outcome(reason=job.refused)
    try:
        frame = _read(job)
        shape = frame.flux.shape[1:]
        where = window(job.mode, shape, frame.header)
        flux = regrid(frame.flux, where, mean=frame.unit == DISPLAY)
        check_flux(flux)
    except BadCutout as refusal:
        return Outcome(reason=str(refusal))
    wcs = wcs_of(frame.header, where)
    by_wcs = (float(wcs["CRVAL1"]), float(wcs["CRVAL2"])) if wcs else (float("nan"), float("nan"))
    by_card = checked_position(*(number_on_card(frame.header, c) for c in (GIVEN_RA, GIVEN_DEC)))
    places = ((job.ra, job.dec), by_wcs, by_card, position_in_name(job.source))
    ra, dec = next((place for place in places if np.isfinite(place).all()), by_wcs)
    scale = 3600 * abs(handedness(wcs)) ** 0.5 if wcs else float("nan")
    cards: dict[str, str | float] = {
        "ORIGFILE": _plain(job.source.name),
        "IMPMODE": job.mode,
        "ORIGSIZE": f"{shape[1]} x {shape[0]}",
        STEP: where.step,
    }
    if wcs:
        cards["ORIGSCAL"] = scale / where.step  # arcsec per pixel of the original
    if frame.unit:
        cards["BUNIT"] = frame.unit
    if not wcs and np.isfinite(ra):
        cards |= {GIVEN_RA: ra, GIVEN_DEC: dec}
    release, survey = _plain(frame.release) or "unknown", _plain(frame.survey) or "unknown"
    write_cutout(job.target, flux, ra, dec, release, survey=survey, wcs=wcs, cards=cards)
    fits_file = _is_fits(job.content) or job.source.name.lower().endswith(FITS_ENDINGS)
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
    if _is_fits(job.content):
        return _shown(frame_in(job.content, reading=job.reading), job.reading)
    if job.content:
        return _display_frame(display.read_display(io.BytesIO(job.content)))
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
    """Return the frame in a file, or the plane of a band."""
    if path.name.lower().endswith(display.ENDINGS):
        flux = display.read_display(path)
        if band and (flux != flux[:1]).any():
            raise BadCutout("wrong bands: a colour image, but one band needs a grey one")
        return _display_frame(flux[:1] if band else flux)
    frame = read_plane(path, band, reading) if band else read_frame(path, reading=reading)
    return _shown(frame, reading)


def _is_fits(content: bytes) -> bool:
    return content.startswith(b"SIMPLE")


def _display_frame(flux: NDArray[np.float32]) -> Frame:
    return Frame(flux, fits.Header(), DISPLAY, DISPLAY, DISPLAY)


def _shown(frame: Frame, reading: Reading) -> Frame:
    """Return a frame of flux, or scaled for display if the user says that it is none."""
    if reading.unit == DISPLAY and str(frame.header.get("BUNIT", "")).strip() != DISPLAY:
        frame = replace(frame, flux=display.as_display(frame.flux))
    return frame


def _plain(text: str) -> str:
    """Return a text that fits on one header card."""
    return re.sub(r"[^ -~]|'", "?", text)[:60].strip()


def position_in_name(path: Path | str) -> tuple[float, float]:
    """Return degrees from names like 154.7709_46.4537 or J101905.01+462713.3; NaN without."""
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
    """Return a unique file name for each source (its path in the imported folder).

    It is the source's own name in plain letters; names that would be equal (a/x.jpg and b/x.jpg)
    get a part of the hash of their path, so the order of the sources does not matter.
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
    """Return the last part of a path without the suffix of an image."""
    name = PurePosixPath(source).name
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def plain_stem(source: str) -> str:
    """Return the stem in letters that every file system accepts, not hidden, not too long."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", stem_of(source)).lstrip(".")[:_LONGEST] or "image"
