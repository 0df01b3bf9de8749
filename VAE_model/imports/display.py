"""Images for display as bands: brightness from 0 to 1 instead of flux.

JPEG, PNG, TIFF, WebP, GIF and BMP in colour or grey, and FITS planes whose values are not flux.
"""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from VAE_model.data.fits_frames import SMALLEST, BadCutout

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp")
MOST_PIXELS = 32_000_000  # they take about 600 MB of memory, however small the file
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP")
_SEE_THROUGH = ("RGBA", "RGBa", "LA", "La", "PA")
_MODES = ("RGB", "RGBX", "L", "P", "CMYK", "YCbCr", *_SEE_THROUGH)  # 8 bits a channel
_GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N")


def read_display(path: Path | BinaryIO) -> NDArray[np.float32]:
    """Return float32 (3, y, x) in 0..1, bands g, r, z from blue, green, red.

    Grey becomes all three; transparent pixels become black. Image files start at the top row and
    FITS images at the bottom, so the rows are reversed here, once, and the image is not mirrored.
    Raises BadCutout with the reason: not an image, not a cutout, too large, truncated, unreadable.
    """
    with warnings.catch_warnings(action="ignore"):
        try:
            with Image.open(path, formats=_FORMATS) as image:
                _check(image)
                ImageOps.exif_transpose(image, in_place=True)  # orientation as in viewers
                pixels = _pixels(image)
        except BadCutout:
            raise
        except Image.UnidentifiedImageError:
            raise BadCutout("not an image: neither JPEG nor PNG inside") from None
        except Image.DecompressionBombError:
            raise BadCutout(_too_large()) from None
        except Exception as error:  # decoders can raise almost any exception on damaged bytes
            detail = str(error) or type(error).__name__
            kind = "truncated" if "truncated" in detail else "unreadable"
            raise BadCutout(f"{kind}: {detail.splitlines()[0]}") from None
    blue_green_red = pixels[::-1, :, ::-1].transpose(2, 0, 1)
    brightness = np.ascontiguousarray(blue_green_red, dtype=np.float32)
    brightness /= np.iinfo(pixels.dtype).max
    return brightness


def as_display(flux: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return planes (band, y, x) of any values as brightness from 0 to 1.

    Each plane is scaled linearly by itself: sky minus three times the noise is black, the brightest
    thousandth of its pixels white. The noise is the standard deviation of the pixels below the
    median.
    """
    shown = []
    for plane in flux:
        finite = plane[np.isfinite(plane)]
        sky = np.median(finite) if finite.size else 0.0
        below = sky - finite[finite < sky]
        black = sky - 3 * 1.4826 * (np.median(below) if below.size else 0.0)
        white = np.percentile(finite, 99.9) if finite.size else 0.0
        shown.append(np.clip((plane - black) / max(white - black, 1e-30), 0, 1))
    return np.stack(shown).astype(np.float32)


def _pixels(image: Image.Image) -> NDArray:
    """Return (y, x, 3) of red, green, blue, 8 or 16 bits."""
    if image.mode in _GREY_16:
        grey = np.asarray(image).astype(np.uint16)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in _SEE_THROUGH or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _check(image: Image.Image) -> None:
    """Raise BadCutout from the header alone, before memory is allocated for the pixels."""
    if image.width * image.height > MOST_PIXELS:
        raise BadCutout(_too_large())
    if min(image.size) < SMALLEST:
        raise BadCutout(
            f"not a cutout: {image.height} x {image.width} pixels, fewer than {SMALLEST} on a side"
        )
    if image.mode not in (*_MODES, *_GREY_16):
        raise BadCutout(
            f"unreadable: pixels of type {image.mode}, neither 8-bit colour nor 16-bit grey"
        )
    # A second image in a photograph is its thumbnail; in any other file it is another image.
    if image.format != "MPO" and (several := getattr(image, "n_frames", 1)) > 1:
        raise BadCutout(f"not a cutout: {several} images in one file: save each by itself")


def _too_large() -> str:
    return f"too large: more than {MOST_PIXELS / 1e6:.0f} megapixels"
