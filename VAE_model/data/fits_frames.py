"""Reading of a g, r, z frame of any size from any FITS file.

A file may store a frame in several ways: one cube in any HDU, big-endian or of another number
type, compressed as a whole (.gz) or by tiles (.fz), or one plane per band with the inverse variance
beside it, as the Legacy Surveys' cutout service writes them with `&subimage`. Bands may come in
another order or among others, flux in another unit. Every size that a header declares is checked
before it is used.
"""

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from VAE_model.data.astrometry import pixel_scale
from VAE_model.data.fits_bands import BANDS, BY_WAVELENGTH, band_of, bands_of
from VAE_model.data.fits_structure import (
    MOST_HDUS,
    BadCutout,
    check_size,
    check_structure,
    most_unpacked,
    read_content,
)
from VAE_model.data.flux_units import conversion
from VAE_model.data.image_types import no_image

SMALLEST = 32  # pixels on a side: fewer do not resolve morphology
MOST_BYTES = 2**30  # of a file, decompressed: three bands of 64 megapixels fit

# Tile compressions. Not HCOMPRESS_1, whose decoder in astropy 8.0 writes past its memory where a
# file is damaged and crashes the process; nor PLIO_1, which is for masks.
_TILE_CODES = ("RICE_1", "GZIP_1", "GZIP_2", "NOCOMPRESS")


@dataclass(frozen=True)
class Reading:
    """Options of the user for files whose headers lack the information.

    bands: what becomes g, r and z: three letters, names of bands or numbers of planes from 0
    ("gri", "210"); two: the first, the mean of both, the second; one: the same plane three times;
    empty: the bands g, r, z. unit, zero_point: override BUNIT and the header's zero point.
    """

    bands: str = ""
    unit: str = ""
    zero_point: float | None = None


@dataclass(frozen=True)
class Frame:
    """Three bands of a file, of any size.

    flux: float32 (3, y, x), bands g, r, z, nanomaggies unless `unit` says otherwise, row 0 at the
    bottom; header: of the HDU with the pixels (of the first plane where there are several), with
    the WCS; survey, release: SURVEY and VERSION, empty where missing; unit: nanomaggy, display, or
    empty where the file gives none; bands: names of all planes in the file, if it gives any;
    left_out: those that were not used; converted: True where flux was converted from another unit.
    """

    flux: NDArray[np.float32]
    header: fits.Header
    survey: str
    release: str
    unit: str
    bands: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    converted: bool = False


@dataclass(frozen=True)
class _Candidate:
    """An image in a file, before its pixels are read: (plane, y, x).

    shown: its shape in the file; bands: one name per plane, or empty where the file gives none;
    headers: one per plane, or one for all planes.
    """

    shape: tuple[int, int, int]
    shown: str
    bands: tuple[str, ...]
    headers: list[fits.Header]
    load: Callable[[], NDArray]


def read_frame(
    path: Path,
    side: int | None = None,
    most_bytes: int = MOST_BYTES,
    reading: Reading = Reading(),
) -> Frame:
    """Return the first frame in a file; the values of its pixels are not checked.

    side: only 3 x side x side pixels are accepted, bands g, r, z; None: any frame that has the
    bands of `reading`, in any order, among others or not, and at least SMALLEST pixels on a side.
    Raises BadCutout with the reason: unreadable, truncated, not an image, not a cutout, wrong
    shape, wrong bands, unknown unit.
    """
    return frame_in(read_content(Path(path), most_bytes), side, reading)


def frame_in(
    content: bytes,
    side: int | None = None,
    reading: Reading = Reading(),
) -> Frame:
    """Return the first frame in the bytes of an uncompressed FITS file.

    Raises BadCutout as `read_frame` does.
    """
    with _opened(content) as (hdus, candidates):
        chosen, planes = _choose(candidates, side, reading.bands)
        return _frame(chosen, planes, hdus[0].header, reading)


def read_plane(path: Path, band: str, reading: Reading) -> Frame:
    """Return one band, flux (1, y, x): the plane with its name, or the only plane in the file.

    Raises BadCutout as `read_frame` does.
    """
    with _opened(read_content(Path(path), MOST_BYTES)) as (hdus, candidates):
        for candidate in candidates:
            if band in candidate.bands:
                planes = [[candidate.bands.index(band)]]
                return _frame(candidate, planes, hdus[0].header, reading)
        if len(candidates) == 1 and candidates[0].shape[0] == 1:
            return _frame(candidates[0], [[0]], hdus[0].header, reading)
    found = ", ".join(candidate.shown for candidate in candidates)
    raise BadCutout(f"wrong shape: {found}, neither one plane nor one that is named {band!r}")


@contextmanager
def _opened(content: bytes) -> Iterator[tuple[fits.HDUList, list[_Candidate]]]:
    """Yield the HDUs of a file and the images in it; every error inside becomes BadCutout."""
    check_structure(content)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            np.errstate(all="ignore"),
            fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=True) as hdus,
        ):
            yield hdus, _candidates(hdus, most_unpacked(len(content), MOST_BYTES))
    except BadCutout:
        raise
    except Exception as error:  # on a mangled header astropy raises nearly anything
        lines = str(error).strip().splitlines()
        detail = lines[0] if lines else type(error).__name__
        raise BadCutout(f"unreadable: {detail}") from None


def _frame(
    chosen: _Candidate, planes: list[list[int]], primary: fits.Header, reading: Reading
) -> Frame:
    """Return the frame whose bands are means of the listed planes of an image."""
    pixels = np.asarray(chosen.load())
    if pixels.size != math.prod(chosen.shape):
        raise BadCutout("unreadable: the pixels do not have the shape that the header promises")
    pixels = pixels.reshape(chosen.shape)
    if _is_psf(pixels):
        raise BadCutout(
            "not a cutout: a PSF, as each plane has a sum of 1 and its peak in the middle"
        )
    x, y = (chosen.shape[2] + 1) / 2, (chosen.shape[1] + 1) / 2
    units = {}
    for plane in {plane for several in planes for plane in several}:
        header = chosen.headers[min(plane, len(chosen.headers) - 1)]
        scale = partial(pixel_scale, header, x, y)
        units[plane] = conversion(header, primary, scale, reading.unit, reading.zero_point)
    if len({unit for unit, _ in units.values()}) > 1:
        raise BadCutout(
            "unknown unit: some planes have a BUNIT or a zero point and others have none"
        )

    def flux(plane: int) -> NDArray:
        factor = units[plane][1]
        return pixels[plane] if factor == 1 else pixels[plane] * factor

    bands = [
        np.mean([flux(plane) for plane in several], axis=0)
        if len(several) > 1
        else flux(several[0])
        for several in planes
    ]
    header = chosen.headers[0]

    def word(keyword: str) -> str:
        return str(header.get(keyword, primary.get(keyword, ""))).strip()

    return Frame(
        flux=np.stack(bands, dtype=np.float32, casting="unsafe"),
        header=header,
        survey=word("SURVEY"),
        release=word("VERSION"),
        unit=next(iter(units.values()))[0],
        bands=chosen.bands,
        left_out=tuple(b for plane, b in enumerate(chosen.bands) if plane not in units),
        converted=any(factor != 1 for _, factor in units.values()),
    )


def _candidates(hdus: fits.HDUList, most: int) -> list[_Candidate]:
    """Return every image in the file that is not an inverse variance, a mask or a model.

    Planes of the same shape (and brick, of which a cutout may touch several) in HDUs of their own
    that name their bands form one image. most: bytes that tiles may decompress to.
    Raises BadCutout where there is none.
    """
    found: list[_Candidate] = []
    apart: dict[tuple, dict[str, fits.ImageHDU]] = {}
    others: list[str] = []
    for hdu in islice(hdus, MOST_HDUS):
        image = isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)
        shape = tuple(hdu.shape or ()) if image and not isinstance(hdu, fits.GroupsHDU) else ()
        if len(shape) < 2:
            continue
        if words := no_image(hdu.header, None if hdus[0].shape else hdus[0].header):
            others.append(words)
            continue
        if isinstance(hdu, fits.CompImageHDU):
            _check_tiles(hdu, shape, most)
        shown = " x ".join(map(str, shape))
        planes = [n for n in shape[:-2] if n != 1] or [1]  # without axes of length 1
        band = band_of(hdu.header) if planes == [1] else ""
        if band:
            key = (*shape[-2:], str(hdu.header.get("BRICK", "")))
            apart.setdefault(key, {}).setdefault(band, hdu)
        elif len(planes) == 1:
            bands = bands_of(hdu.header, hdus[0].header)
            bands = bands if planes != [1] or len(bands) == 1 else ()
            load = partial(getattr, hdu, "data")
            whole = (planes[0], *shape[-2:])
            found.append(_Candidate(whole, shown, bands, [hdu.header], load))
        else:
            others.append(f"{len(shape)} axes, {shown}")
    for (height, width, _), of_band in apart.items():
        # In the order of wavelength where the names have one; a single plane too.
        bands = tuple(sorted(of_band, key=lambda band: (BY_WAVELENGTH.find(band), band)))
        inside = [of_band[band] for band in bands]
        whole = (len(bands), height, width)
        shown = " x ".join(map(str, whole if len(bands) > 1 else whole[1:]))
        headers = [hdu.header for hdu in inside]
        load = partial(lambda hdus: np.stack([hdu.data for hdu in hdus]), inside)
        found.append(_Candidate(whole, shown, bands, headers, load))
    if not found:
        said = f"the header says {others[0]}" if others else "no HDU holds an image"
        raise BadCutout(f"not an image: {said}")
    return found


def _is_psf(pixels: NDArray) -> bool:
    """Return True where each plane has sum 1, its peak in the middle and no noise: a PSF."""
    middle = (np.array(pixels.shape[1:]) - 1) / 2
    for plane in pixels:
        total, peak = float(plane.sum(dtype=float)), float(plane.max())
        if not (abs(total - 1) < 0.01 and peak > 0 and plane.min() > -0.01 * peak):
            return False
        if np.abs(np.unravel_index(plane.argmax(), plane.shape) - middle).max() > 1:
            return False
    return True


def _check_tiles(hdu: fits.CompImageHDU, shape: tuple[int, ...], most: int) -> None:
    """Raise BadCutout for unsafe decoders, and for tiles that need more memory than allowed."""
    if hdu.compression_type not in _TILE_CODES:
        raise BadCutout(
            f"unreadable: tiles compressed by {hdu.compression_type}, not by "
            f"{' or '.join(_TILE_CODES)}: uncompress the file with funpack"
        )
    check_size(4 * max(math.prod(shape), math.prod(hdu.tile_shape)), most)


def _planes(candidate: _Candidate, wanted: str) -> list[list[int]]:
    """Return the planes whose mean is each of g, r, z; [] where the image lacks them."""
    bands, count = candidate.bands, candidate.shape[0]
    if not wanted:
        if not bands:
            return [[0], [1], [2]] if count == len(BANDS) else []
        lower = [band.lower() for band in bands]
        named = len(bands) == count and set(BANDS) <= set(lower)
        return (
            [[(bands if band in bands else lower).index(band)] for band in BANDS] if named else []
        )
    chosen = []
    for letter in wanted:
        if letter in bands and len(bands) == count:
            chosen.append(bands.index(letter))
        elif letter.isdigit() and int(letter) < count:
            chosen.append(int(letter))
        else:
            return []
    first, last = chosen[0], chosen[-1]
    return [[first], chosen[1:2] if len(chosen) == 3 else sorted({first, last}), [last]]


def _choose(
    candidates: list[_Candidate], side: int | None, wanted: str
) -> tuple[_Candidate, list[list[int]]]:
    """Return the first image with the wanted bands, and its planes for g, r and z."""
    found = ", ".join(dict.fromkeys(candidate.shown for candidate in candidates))
    whole = (len(BANDS), side, side)
    if side and all(candidate.shape != whole for candidate in candidates):
        raise BadCutout(f"wrong shape: {found}, not {len(BANDS)} x {side} x {side}")
    right = [c for c in candidates if not side or c.shape == whole]
    fitting = [(c, planes) for c in right if (planes := _planes(c, wanted))]
    for candidate, planes in fitting:
        if min(candidate.shape[1:]) >= SMALLEST:
            return candidate, planes
    if fitting:
        small = " x ".join(map(str, fitting[0][0].shape[1:]))
        raise BadCutout(f"not a cutout: planes of {small} pixels, fewer than {SMALLEST} on a side")
    names = next(("".join(c.bands) for c in right if c.bands), "")
    if wanted:
        has = (
            f"bands {names!r} in {found} pixels" if names else f"{found} pixels without band names"
        )
        raise BadCutout(f"wrong bands: {has}, which has not the planes of --bands {wanted}")
    most = max(candidate.shape[0] for candidate in right)
    if names and most > 1:
        remedy = "" if side else f": choose with --bands, as in --bands {(names * 3)[:3]}"
        raise BadCutout(f"wrong bands: {names!r}, not {BANDS!r}{remedy}")
    remedy = {
        1: "one band: --bands 0 takes it three times; a table with columns g, r, z, each the file "
        "of a band, joins three files",
        2: "two bands: --bands 01 takes the first as g, the second as z and their mean as r",
    }.get(most, "--bands 012 would take the first three")
    if right[0].shape[2] <= 4:
        remedy = "the bands must be the first axis, not the last"
    raise BadCutout(f"wrong shape: {found}, not a plane each for {', '.join(BANDS)}; {remedy}")
