"""A g, r, z frame of any size out of any FITS file, or the reason why there is none in it.

A file may spell a frame in several ways: one cube in any HDU, big-endian or of another number
type, compressed as a whole (.gz) or by tiles (.fz), or a plane a band with the inverse variance
beside it, as the Legacy Surveys' cutout service writes them with `&invvar`. Files come from
networks and disks, so nothing that a header promises is believed before it is checked.
"""

import gzip
import io
import math
import os
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from VAE_model.fits_structure import MOST_HDUS, BadStructure, check_structure
from VAE_model.image_types import no_image

BANDS = "grz"
SMALLEST = 32  # pixels on a side: on fewer a galaxy has no morphology
MOST_BYTES = 2**30  # of a file, decompressed: three bands of 64 megapixels fit

_SMALL = 2**27  # bytes that any compressed file may become: three bands of 11 megapixels

_GZIP = b"\x1f\x8b"
# Of tiles. Not among them: HCOMPRESS_1, whose decoder in astropy 8.0 writes past its memory where
# a file is damaged and takes the whole program along, and PLIO_1, which is for masks.
_TILE_CODES = ("RICE_1", "GZIP_1", "GZIP_2", "NOCOMPRESS")


class BadCutout(Exception):
    """A file that is not a usable cutout; the message is `kind: detail`."""


@dataclass(frozen=True)
class Frame:
    """flux: float32 (3, y, x), bands g, r, z, as the file has them, row 0 at the bottom;
    header: of the HDU with the pixels (of the g plane where bands are apart), with the WCS;
    survey, release: SURVEY and VERSION; unit: BUNIT. Empty where the file does not say."""

    flux: NDArray[np.float32]
    header: fits.Header
    survey: str
    release: str
    unit: str


@dataclass(frozen=True)
class _Candidate:
    """An image in a file, before its pixels are read. bands: "" where the file does not say."""

    shape: tuple[int, ...]
    bands: str
    header: fits.Header
    load: Callable[[], NDArray]


def read_frame(path: Path, side: int | None = None, most_bytes: int = MOST_BYTES) -> Frame:
    """The first frame in a file.

    side: only 3 x side x side pixels in the order g, r, z will do; None: any frame that has the
    bands g, r and z, in any order, among others or not, and at least SMALLEST pixels on a side.
    Raises BadCutout with the reason: unreadable, truncated, not an image, not a cutout, wrong
    shape, wrong bands. Whether the pixels make sense is not looked at.
    """
    return frame_in(_content(Path(path), most_bytes), side)


def frame_in(content: bytes, side: int | None = None) -> Frame:
    """The first frame in the bytes of a FITS file that is not compressed as a whole.

    Raises BadCutout as `read_frame` does.
    """
    try:
        check_structure(content)
    except BadStructure as fault:
        raise BadCutout(str(fault)) from None
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=True) as hdus:
                return _frame(hdus, side, _most_unpacked(len(content), MOST_BYTES))
    except BadCutout:
        raise
    except Exception as error:  # on a mangled header astropy raises nearly anything
        lines = str(error).strip().splitlines()
        detail = lines[0] if lines else type(error).__name__
        raise BadCutout(f"unreadable: {detail}") from None


def _content(path: Path, most: int) -> bytes:
    """The FITS bytes of a file, decompressed where it is a gzip file, never more than `most`."""
    try:
        if path.exists() and not path.is_file():
            raise BadCutout("not an image: a folder or a device, not a file")
        with open(path, "rb") as stream:
            _check_size(os.fstat(stream.fileno()).st_size, most)
            content = stream.read()
        if content.startswith(_GZIP):
            most = _most_unpacked(len(content), most)
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(most + 1)
            _check_size(len(content), most)
    except EOFError:
        raise BadCutout("truncated: the compressed data end too early") from None
    except (OSError, zlib.error) as error:
        raise BadCutout(f"unreadable: {getattr(error, 'strerror', None) or error}") from None
    if not content:
        raise BadCutout("not an image: the file is empty")
    if not content.startswith(b"SIMPLE  ="):
        shown = content[:24].decode("ascii", "replace").strip()
        raise BadCutout(f"not an image: no FITS signature (the file begins with {shown!r})")
    return content


def _most_unpacked(size: int, most: int) -> int:
    """Bytes that a compressed file of `size` bytes may become: noise packs two to four times."""
    return min(most, max(_SMALL, 16 * size))


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise BadCutout(f"unreadable: more than {most / 2**20:,.0f} MiB, too large for a cutout")


def _frame(hdus: fits.HDUList, side: int | None, most: int) -> Frame:
    candidates = _candidates(hdus, most)
    chosen = _choose(candidates, side)
    bands = chosen.bands or BANDS
    if not set(BANDS) <= set(bands) or (side and bands != BANDS):
        raise BadCutout(f"wrong bands: {bands!r}, not {BANDS!r}")
    pixels = np.asarray(chosen.load())
    if pixels.shape != chosen.shape:
        raise BadCutout("unreadable: the pixels do not have the shape that the header promises")
    if bands != BANDS:
        pixels = pixels[[bands.index(band) for band in BANDS]]
    if _is_psf(pixels):
        raise BadCutout(
            "not a cutout: a PSF, as each plane has a sum of 1 and its peak in the middle"
        )
    primary = hdus[0].header

    def word(keyword: str) -> str:
        return str(chosen.header.get(keyword, primary.get(keyword, ""))).strip()

    return Frame(
        flux=np.ascontiguousarray(pixels, dtype=np.float32),
        header=chosen.header,
        survey=word("SURVEY"),
        release=word("VERSION"),
        unit=word("BUNIT"),
    )


def _candidates(hdus: fits.HDUList, most: int) -> list[_Candidate]:
    """Every image in the file that is not the inverse variance, mask or model of one.

    most: bytes that tiles may become. Raises BadCutout where there is none.
    """
    found: list[_Candidate] = []
    planes: dict[tuple, dict[str, fits.ImageHDU]] = {}
    others: list[str] = []
    for hdu in islice(hdus, MOST_HDUS):
        image = isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)
        shape = tuple(hdu.shape or ()) if image and not isinstance(hdu, fits.GroupsHDU) else ()
        if not shape:
            continue
        if words := no_image(hdu.header, None if hdus[0].shape else hdus[0].header):
            others.append(words)
            continue
        if isinstance(hdu, fits.CompImageHDU):
            _check_tiles(hdu, shape, most)
        band = str(hdu.header.get("BAND", "")).strip()
        if len(shape) == 2 and len(band) == 1:
            brick = str(hdu.header.get("BRICK", ""))  # a cutout may lie in several
            planes.setdefault((shape, brick), {}).setdefault(band, hdu)
        else:
            bands = _bands(hdu.header, hdus[0].header)
            found.append(_Candidate(shape, bands, hdu.header, partial(getattr, hdu, "data")))
    for (shape, _), of_band in planes.items():
        bands = "".join(sorted(of_band))
        load = partial(_stack, [of_band[band] for band in bands])
        found.append(_Candidate((len(bands), *shape), bands, of_band[bands[0]].header, load))
    if not found:
        raise BadCutout(
            f"not an image: the header says {others[0]}"
            if others
            else "not an image: no HDU holds an image"
        )
    return found


def _is_psf(pixels: NDArray) -> bool:
    """Whether each plane has the sum 1, its peak in the middle and no noise, as PSFs are stored."""
    middle = (np.array(pixels.shape[1:]) - 1) / 2
    for plane in pixels:
        total, peak = float(plane.sum(dtype=float)), float(plane.max())
        if not (abs(total - 1) < 0.01 and peak > 0 and plane.min() > -0.01 * peak):
            return False
        if np.abs(np.unravel_index(plane.argmax(), plane.shape) - middle).max() > 1:
            return False
    return True


def _check_tiles(hdu: fits.CompImageHDU, shape: tuple[int, ...], most: int) -> None:
    """Refuse decoders that are not safe, and tiles that ask for more memory than an image may."""
    if hdu.compression_type not in _TILE_CODES:
        raise BadCutout(
            f"unreadable: tiles compressed by {hdu.compression_type}, not by "
            f"{' or '.join(_TILE_CODES)}: uncompress the file with funpack"
        )
    _check_size(4 * max(math.prod(shape), math.prod(hdu.tile_shape)), most)


def _stack(hdus: list[fits.ImageHDU]) -> NDArray:
    return np.stack([hdu.data for hdu in hdus])


def _bands(header: fits.Header, primary: fits.Header) -> str:
    """BANDS, or BAND0, BAND1 and so on in one word; "" where the file has neither."""
    for source in (header, primary):
        if "BANDS" in source:
            return str(source["BANDS"]).replace(",", "").replace(" ", "")
    numbered = (str(header.get(f"BAND{number}", "")).strip() for number in range(10))
    return "".join(numbered)


def _choose(candidates: list[_Candidate], side: int | None) -> _Candidate:
    shapes = dict.fromkeys(candidate.shape for candidate in candidates)
    found = ", ".join(" x ".join(map(str, shape)) for shape in shapes)
    if side:
        for candidate in candidates:
            if candidate.shape == (len(BANDS), side, side):
                return candidate
        raise BadCutout(f"wrong shape: {found}, not {len(BANDS)} x {side} x {side}")
    cubes = [c for c in candidates if len(c.shape) == 3 and c.shape[0] == len(c.bands or BANDS)]
    for candidate in cubes:
        if min(candidate.shape[1:]) >= SMALLEST:
            return candidate
    if cubes:
        small = " x ".join(map(str, cubes[0].shape[1:]))
        raise BadCutout(f"not a cutout: planes of {small} pixels, fewer than {SMALLEST} on a side")
    raise BadCutout(f"wrong shape: {found}, not a plane each for {', '.join(BANDS)}")
