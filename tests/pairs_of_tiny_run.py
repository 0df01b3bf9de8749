"""A second survey for a tiny run: the same galaxies, blurred, noisier and a little bluer."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import ENDINGS, PIXEL_SCALE, read_cutout
from VAE_model.pipeline.files import list_files
from VAE_model.pipeline.run import Run

OTHER = "bassmzls"
NOISE = (0.006, 0.009, 0.015)  # nanomaggies a pixel in g, r, z
BLUR = 1.5  # pixels
COLOUR = (1.04, 1.0, 0.97)  # flux in g, r, z relative to the first survey's
# What goes wrong, and with which galaxy (in the order of the file names).
SOUTHERN, DISPLACED, FAR, TRUNCATED = 2, 5, 9, 13
NEAR_PIXELS, FAR_PIXELS = 8, 24  # by which the frames of DISPLACED and FAR are displaced


def add_second_survey(run: Run, missing: int = 8, seed: int = 2) -> list[str]:
    """Write images/bassmzls for all galaxies of a run but the last `missing`.

    One frame is cut from the southern layer (row SOUTHERN), one about a point NEAR_PIXELS to the
    right of the galaxy (DISPLACED), one FAR_PIXELS above it (FAR), each with a header that says so,
    and one file is truncated (TRUNCATED). Returns the names of the files of images/decals that got
    a partner, in order.
    """
    rng = np.random.default_rng(seed)
    files = list_files(run.images(), ENDINGS)
    files = files[: len(files) - missing]
    for number, path in enumerate(files):
        cutout = read_cutout(path)
        right = NEAR_PIXELS if number == DISPLACED else 0
        up = FAR_PIXELS if number == FAR else 0
        ra, dec = displaced(cutout.ra, cutout.dec, right, up)
        flux = seen_again(cutout.flux, right, up, rng)
        release = "DR9-south" if number == SOUTHERN else "DR9-north"
        target = run.images(OTHER) / path.name
        write_cutout(target, flux, ra, dec, release)
        if number == TRUNCATED:
            target.write_bytes(target.read_bytes()[:100_000])
    return [path.name for path in files]


def seen_again(
    flux: NDArray[np.float32], right: int, up: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The scene (3, 256, 256) in the second survey, cut about a point `right` and `up` pixels from
    the centre: the galaxy appears as far to the left and below."""
    blurred = ndimage.gaussian_filter(flux, (0, BLUR, BLUR))
    moved = np.roll(blurred, (-up, -right), axis=(1, 2))
    noise = rng.standard_normal(flux.shape, np.float32) * np.array(NOISE)[:, None, None]
    return (moved * np.array(COLOUR)[:, None, None] + noise).astype(np.float32)


def displaced(ra: float, dec: float, right: int, up: int) -> tuple[float, float]:
    """The position in degrees `right` and `up` pixels from (ra, dec); east is left."""
    step = PIXEL_SCALE / 3600
    return (ra - right * step / np.cos(np.radians(dec))) % 360.0, dec + up * step
