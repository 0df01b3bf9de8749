"""Simulated image defects: satellite trails, saturated stars and missing pixels."""

import numpy as np
from numpy.typing import NDArray

from VAE_model.data.cutouts import PIXEL_SCALE, SIZE
from VAE_model.simulation.conditions import Conditions
from VAE_model.simulation.scene import MARGIN

# A saturated star affects the images of every survey; the other defects affect one frame.
OF_THE_FRAME = ("satellite_trail", "missing_band", "dead_columns", "half_empty")
DEFECTS = ("saturated_star", *OF_THE_FRAME)
SHARE = 0.009  # fraction of the frames, per kind

_FULL_WELL = np.array([14.0, 18.0, 24.0], np.float32)  # nanomaggies per pixel


def draw_defects(rng: np.random.Generator, surveys: int) -> list[str]:
    """Draw the defect of each survey's frame of one galaxy; '' means none."""
    if rng.random() < SHARE:
        return ["saturated_star"] * surveys
    shares = [1 - SHARE * len(OF_THE_FRAME)] + [SHARE] * len(OF_THE_FRAME)
    return [str(rng.choice(["", *OF_THE_FRAME], p=shares)) for _ in range(surveys)]


def spoil(
    image: NDArray[np.float32],
    defect: str,
    conditions: Conditions,
    star: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Add a defect to an image (3, 256, 256) in place.

    star: pixel (x, y) of the brightest star on the grid.
    """
    if defect == "satellite_trail":
        _satellite_trail(image, conditions, rng)
    elif defect == "saturated_star":
        _saturate(image, star[0] - MARGIN, star[1] - MARGIN, rng)
    elif defect == "missing_band":
        image[rng.integers(3)] = 0
    elif defect == "dead_columns":
        _dead_columns(image, rng)
    elif defect == "half_empty":
        _half_empty(image, rng)


def _satellite_trail(
    image: NDArray[np.float32], conditions: Conditions, rng: np.random.Generator
) -> None:
    """Add a line of light as wide as the seeing to one band, the one exposed at that moment."""
    band = int(rng.integers(3))
    angle, away = rng.uniform(0, np.pi), rng.uniform(-75, 75)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    distance = (x * np.sin(angle) - y * np.cos(angle) - away) * PIXEL_SCALE
    width = rng.uniform(1.0, 1.8) * conditions.fwhm[band] / 2.3548
    peak = conditions.noise[band] * 10 ** rng.uniform(0.9, 1.7)
    image[band] += (peak * np.exp(-0.5 * (distance / width) ** 2)).astype(np.float32)


def _saturate(image: NDArray[np.float32], x: float, y: float, rng: np.random.Generator) -> None:
    """Clip the core of the star, bleed it along its columns and add diffraction spikes."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    dx, dy = (columns - x).astype(np.float32), (rows - y).astype(np.float32)
    turned = np.radians(rng.normal(45, 3))
    along, across = dx * np.cos(turned) + dy * np.sin(turned), dy * np.cos(turned) - dx * np.sin(
        turned)  # fmt: skip
    for band in range(3):
        peak = float(image[band].max())
        for a, b in ((along, across), (across, along)):
            spike = np.exp(-0.5 * (b / 1.3) ** 2) / (1 + (a / 5.0) ** 2)
            image[band] += 4e-3 * peak * spike * np.exp(-np.abs(a) / 60)
        full = _FULL_WELL[band]
        core = np.hypot(dx, dy) < 1.0 + 1.1 * np.sqrt(max(np.log10(peak / full), 0.1)) * 4
        reach = 12 + 55 * max(np.log10(peak / full), 0.1)
        bleed = (np.abs(dx) < rng.uniform(1.0, 2.2)) & (np.abs(dy) < reach * rng.uniform(0.6, 1.2))
        image[band][bleed] = full
        image[band][core & (image[band] > full)] = full * rng.uniform(0.3, 1.0)
        np.minimum(image[band], full, out=image[band])


def _dead_columns(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Set groups of adjacent columns or rows to zero, in one band or in all."""
    bands = slice(None) if rng.random() < 0.5 else slice(*(int(rng.integers(3)) + np.arange(2)))
    upright = rng.random() < 0.7
    for _ in range(int(rng.integers(1, 4))):
        start, width = int(rng.integers(20, SIZE - 30)), int(rng.integers(3, 10))
        if upright:
            image[bands, :, start : start + width] = 0
        else:
            image[bands, start : start + width, :] = 0


def _half_empty(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Set all bands to exact zeros beyond the edge of the footprint, which crosses the frame."""
    edge = int(SIZE * rng.uniform(0.4, 0.6))
    side = slice(edge, None) if rng.random() < 0.5 else slice(None, edge)
    if rng.random() < 0.5:
        image[:, side, :] = 0
    else:
        image[:, :, side] = 0
