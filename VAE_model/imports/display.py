"""Colour images for display, JPEG and PNG, as bands: not flux, but brightness from 0 to 1."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from VAE_model.frames import SMALLEST, BadCutout

ENDINGS = (".jpg", ".jpeg", ".png")
MOST_PIXELS = 32_000_000  # which take some 600 MB on the way, however small the file
_MODES = ("RGB", "RGBA", "L", "LA", "P")  # 8 bits a channel


def read_display(path: Path) -> NDArray[np.float32]:
    """float32 (3, y, x) in 0..1, bands g, r, z out of blue, green, red.

    An image file begins at the top, a FITS image at the bottom: the rows are reversed here, once,
    so that the image stands on the sky as it stood on the screen, and is not mirrored.
    Raises BadCutout with the reason: not an image, not a cutout, too large, truncated,
    unreadable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=("JPEG", "PNG")) as image:
                _check(image)
                ImageOps.exif_transpose(image, in_place=True)  # as viewers show it
                pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        except BadCutout:
            raise
        except Image.UnidentifiedImageError:
            raise BadCutout("not an image: neither JPEG nor PNG inside") from None
        except Image.DecompressionBombError:
            raise BadCutout(_too_large()) from None
        except Exception as error:  # decoders raise nearly anything on mangled bytes
            detail = str(error) or type(error).__name__
            kind = "truncated" if "truncated" in detail else "unreadable"
            raise BadCutout(f"{kind}: {detail.splitlines()[0]}") from None
    blue_green_red = pixels[::-1, :, ::-1].transpose(2, 0, 1)
    brightness = np.ascontiguousarray(blue_green_red, dtype=np.float32)
    brightness /= 255
    return brightness


def _check(image: Image.Image) -> None:
    """Refuse by the header, before memory is asked for the pixels."""
    if image.width * image.height > MOST_PIXELS:
        raise BadCutout(_too_large())
    if min(image.size) < SMALLEST:
        raise BadCutout(
            f"not a cutout: {image.height} x {image.width} pixels, fewer than {SMALLEST} on a side"
        )
    if image.mode not in _MODES:
        raise BadCutout(f"unreadable: pixels of type {image.mode}, not 8-bit colour")


def _too_large() -> str:
    return f"too large: more than {MOST_PIXELS / 1e6:.0f} megapixels"
