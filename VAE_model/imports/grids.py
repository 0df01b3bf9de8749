"""Combination of one-band images of a galaxy on one pixel grid.

Planes on the same grid are stacked unchanged. Others are resampled to the grid of the plane with
the smallest pixels through their WCS, by bilinear interpolation of the brightness, and the frame is
cropped to the central part that all planes cover.
"""

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from VAE_model.data.astrometry import local_tangent_plane, pixel_scale, same_place
from VAE_model.data.fits_frames import SMALLEST, BadCutout, Frame
from VAE_model.data.flux_units import DISPLAY

_ALIGNED = 0.1  # pixels, maximum offset between planes of one grid


def joined(planes: dict[str, Frame]) -> Frame:
    """Return one frame of the planes (flux (1, y, x)) of the bands g, r, z.

    Without r, the mean of the two other bands replaces it. Raises BadCutout if the planes lie on
    different grids without a common WCS, overlap too little, or have different units.
    """
    units = {frame.unit for frame in planes.values()}
    if len(units) > 1:
        named = ", ".join(f"{band} {frame.unit or 'none'}" for band, frame in planes.items())
        raise BadCutout(f"unknown unit: the bands have different units ({named})")
    scales = {band: _scale(frame) for band, frame in planes.items()}
    finest = min(scales, key=lambda band: (round(scales[band], 3), "rgz".index(band)))
    base = planes[finest]
    if all(_on_the_grid_of(base, frame) for frame in planes.values()):
        flux, header = {band: frame.flux[0] for band, frame in planes.items()}, base.header
    else:
        flux, header = _on_one_grid(planes, scales, base)
    middle = flux["r"] if "r" in flux else (flux["g"] + flux["z"]) / 2
    cube = np.stack([flux["g"], middle, flux["z"]]).astype(np.float32)
    converted = any(frame.converted for frame in planes.values())
    bands = tuple(planes)
    return Frame(cube, header, base.survey, base.release, base.unit, bands, converted=converted)


def _scale(frame: Frame) -> float:
    """Return arcsec per pixel; infinite without a WCS, so that it differs from every other grid."""
    height, width = frame.flux.shape[1:]
    scale = pixel_scale(frame.header, (width + 1) / 2, (height + 1) / 2)
    return scale if np.isfinite(scale) else np.inf


def _on_the_grid_of(base: Frame, frame: Frame) -> bool:
    """Return True if two planes have the same pixels; without a WCS, the same shape."""
    if frame is base:
        return True
    if frame.flux.shape != base.flux.shape:
        return False
    if not (np.isfinite(_scale(base)) and np.isfinite(_scale(frame))):
        return True
    height, width = base.flux.shape[1:]
    x, y = np.array([1, width, 1, width]), np.array([1, 1, height, height])
    there = same_place(base.header, frame.header, x, y)
    return there is not None and float(np.hypot(there[0] - x, there[1] - y).max()) < _ALIGNED


def _on_one_grid(
    planes: dict[str, Frame], scales: dict[str, float], base: Frame
) -> tuple[dict[str, NDArray], fits.Header]:
    height, width = base.flux.shape[1:]
    y, x = (axis + 1.0 for axis in np.mgrid[:height, :width])
    flux = {}
    for band, frame in planes.items():
        if frame is base:
            flux[band] = frame.flux[0].astype(float)
            continue
        there = same_place(base.header, frame.header, x.ravel(), y.ravel())
        if there is None:
            sizes = ", ".join(
                f"{b} {' x '.join(map(str, f.flux.shape[1:]))}" for b, f in planes.items()
            )
            raise BadCutout(
                f"different grids: {sizes} pixels, and not all bands have a WCS: bring them to one "
                "grid first"
            )
        at = np.array([there[1] - 1, there[0] - 1])
        plane = frame.flux[0].astype(float)
        new = map_coordinates(plane, at, order=1, cval=np.nan)
        new[map_coordinates(plane, at, order=0, cval=np.nan) == 0] = 0  # missing data stay missing
        area = 1.0 if frame.unit == DISPLAY else (min(scales.values()) / scales[band]) ** 2
        flux[band] = area * new.reshape(height, width)
    covered = np.all([np.isfinite(plane) for plane in flux.values()], axis=0)
    for margin in range(min(height, width) // 4):
        inside = slice(margin, height - margin), slice(margin, width - margin)
        if covered[inside].all():
            break
    else:
        raise BadCutout("different grids: the bands do not share the middle half of the frame")
    if min(height, width) - 2 * margin < SMALLEST:
        raise BadCutout(f"not a cutout: the bands share fewer than {SMALLEST} pixels on a side")
    cards = local_tangent_plane(
        base.header, (width + 1) / 2, (height + 1) / 2, 1.0, min(height, width)
    )
    cards |= {"CRPIX1": (width + 1) / 2 - margin, "CRPIX2": (height + 1) / 2 - margin}
    return {band: plane[inside] for band, plane in flux.items()}, fits.Header(cards)
