"""Defects of nine kinds added to simulated frames: how many are flagged, and by which name.

Each frame is flagged without a defect and again with one of random size and place, as flux and as
an 8-bit image (the Legacy Survey's colours, JPEG of quality 85 to 95 or PNG). A quarter of the
galaxies is enlarged until it fills the frame, an eighth of the fields is crowded, some have bright
stars. No claim is made for defects smaller than the lower limits in SMALLEST. The thresholds of
VAE_model/preparation/defects.py were chosen on seed 11. About 8 minutes on two cores.

Reads:  nothing
Writes: nothing; prints two tables

Example: python benchmarks/defect_kinds.py --seed 31
"""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

from VAE_model.data.cutouts import SIZE
from VAE_model.imports.display import read_display
from VAE_model.pipeline import parallel
from VAE_model.pipeline.stage import start
from VAE_model.preparation.defects import defect_flags
from VAE_model.preparation.pixel_noise import sky_noise
from VAE_model.report.figures import survey_colours
from VAE_model.report.tables import Table
from VAE_model.simulation import Purpose, random_stream
from VAE_model.simulation.camera import observe
from VAE_model.simulation.conditions import draw_conditions
from VAE_model.simulation.drawing import add_field, draw_scene
from VAE_model.simulation.population import draw_galaxy
from VAE_model.surveys import BASSMZLS, DECALS

Flux = NDArray[np.float32]
Sizes = tuple[float, float]
Spoiled = tuple[Flux, float]  # the frame, and the size of its defect in the unit of SMALLEST

SMALLEST: dict[str, tuple[Sizes, Sizes | None]] = {  # smallest and largest size, flux and 8-bit
    "gap": ((12, 110), (24, 110)),  # pixels wide, at least 26 long
    "band_missing": ((26, 110), (40, 110)),  # pixels wide, at least as long
    "background_step": ((2.0, 8.0), (2.0, 8.0)),  # standard deviations of a sky pixel
    "coloured_sky": ((1.0, 8.0), (1.5, 8.0)),  # the same
    "glare": ((0.25, 1.0), (0.25, 1.0)),  # share of the frame raised by one standard deviation
    "streak": ((3.0, 30.0), (3.0, 30.0)),  # standard deviations of a sky pixel, at its peak
    "dead_columns": ((1, 8), None),  # pixels wide
    "saturated": ((40, 1000), None),  # nanomaggies per pixel, before saturation
    "off_band": ((1, 1), (1, 1)),  # bands
}
GAP_IN_ONE_BAND = {12: 26, 24: 40}  # smallest width (pixels), by the smallest gap (flux, 8-bit)
FULL_WELL = np.array([14.0, 18.0, 24.0], np.float32)[:, None, None]  # nanomaggies per pixel
Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32)
MIDDLE = (SIZE - 1) / 2
_STREAM = 100  # of random numbers, none of simulation.Purpose


@dataclass(frozen=True)
class Config:
    """Constants of the benchmark."""

    seed: int = 31
    """Seed of the sky; the thresholds were chosen on 11."""
    frames: int = 2000
    """Frames; each is flagged without a defect and with one, the kinds in turn."""
    workers: int = 0
    """Processes; 0: one per core."""


def clean_frame(seed: int, index: int) -> Flux:
    """Return a frame without a defect, (3, 256, 256), nanomaggies."""
    rng = random_stream(seed, index, _STREAM)
    galaxy = draw_galaxy(random_stream(seed, index, Purpose.POPULATION))
    if rng.random() < 0.25:  # fills the frame
        zoom = rng.uniform(1.5, 3)
        galaxy = replace(
            galaxy,
            half_light_radius=min(galaxy.half_light_radius * zoom, 28.0),
            mag_r=galaxy.mag_r - 4 * np.log10(zoom),
            companion=None,
        )
    scene = draw_scene(galaxy, random_stream(seed, index, Purpose.DRAWING))
    for _ in range(1 if rng.random() > 0.12 else int(rng.integers(3, 6))):
        add_field(scene, galaxy, rng, False)
    survey = BASSMZLS if rng.random() < 0.4 else DECALS
    return observe(scene.fourier(), survey, draw_conditions(survey, rng), rng)


def as_8_bit(flux: Flux, rng: np.random.Generator) -> Flux:
    """Return what data/import_images.py reads of the frame's colour image, 0 to 1."""
    image = Image.fromarray((survey_colours(flux) * 255 + 0.5).astype(np.uint8))
    file = io.BytesIO()
    if rng.random() < 0.7:
        image.save(file, "JPEG", quality=int(rng.integers(85, 96)))
    else:
        image.save(file, "PNG")
    file.seek(0)
    return read_display(file)


def _between(rng: np.random.Generator, sizes: Sizes) -> float:
    return float(np.exp(rng.uniform(*np.log(sizes))))


def _rectangle(rng: np.random.Generator, width: int, least: int) -> tuple[slice, slice]:
    """Return a rectangle at an edge, across the frame, across the galaxy, or within the frame."""
    place = rng.choice(["edge", "through", "galaxy", "inner"])
    first = {
        "edge": int(rng.choice([0, SIZE - width])),
        "galaxy": int(np.clip(SIZE // 2 - rng.integers(0, width), 0, SIZE - width)),
    }.get(str(place), int(rng.integers(0, SIZE - width + 1)))
    across, along = slice(first, first + width), slice(0, SIZE)
    if place == "inner":
        length = int(rng.integers(max(least, width), 200))
        first = int(rng.integers(0, SIZE - length))
        along = slice(first, first + length)
    return (across, along) if rng.random() < 0.5 else (along, across)


def _from_line(rng: np.random.Generator, upright: float) -> Flux:
    """Return the signed distance of each pixel from a random line.

    upright: probability that the line is within 3 degrees of an axis.
    """
    angle = rng.uniform(0, np.pi)
    if rng.random() < upright:
        angle = rng.choice([0, np.pi / 2]) + np.radians(rng.uniform(-3, 3))
    return (X - MIDDLE) * np.cos(angle) + (Y - MIDDLE) * np.sin(angle) - rng.uniform(-90, 90)


def _bands(rng: np.random.Generator, all_of_them: float) -> list[int]:
    return [0, 1, 2] if rng.random() < all_of_them else [int(rng.integers(3))]


def gap(flux: Flux, rng: np.random.Generator, sizes: Sizes) -> Spoiled:
    """Set a rectangle to zero in all bands, or (if smaller than a missing band) in one."""
    width = round(_between(rng, sizes))
    bands = _bands(rng, 0.6 if width >= GAP_IN_ONE_BAND[round(sizes[0])] else 1)
    flux[bands, *_rectangle(rng, width, 26)] = 0
    return flux, width


def band_missing(flux: Flux, rng: np.random.Generator, sizes: Sizes) -> Spoiled:
    """Set a rectangle to zero in one or two bands."""
    width = round(_between(rng, sizes))
    place = _rectangle(rng, width, width)
    for band in rng.choice(3, 1 if rng.random() < 0.7 else 2, replace=False):
        flux[band, *place] = 0
    return flux, width


def background_step(flux: Flux, rng: np.random.Generator, sizes: Sizes) -> Spoiled:
    """Raise or lower the sky on one side of a line."""
    height, beyond = _between(rng, sizes), _from_line(rng, 0.6) > 0
    sign = rng.choice([-1, 1])
    for band in _bands(rng, 0.4):
        flux[band] += sign * height * sky_noise(flux)[band] * beyond
    return flux, height


def coloured_sky(flux: Flux, rng: np.random.Generator, sizes: Sizes) -> Spoiled:
    """Offset the sky of one band, or add a gradient three times as large across the frame."""
    height, band = _between(rng, sizes), int(rng.integers(3))
    shape = np.ones_like(X)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        slope = ((X - MIDDLE) * np.cos(angle) + (Y - MIDDLE) * np.sin(angle)) / MIDDLE
        shape = 1.5 * (slope + rng.uniform(-0.3, 0.3))
    flux[band] += rng.choice([-1, 1], p=[0.3, 0.7]) * height * sky_noise(flux)[band] * shape
    return flux, height


def glare(flux: Flux, rng: np.random.Generator, sizes: Sizes) -> Spoiled:
    """Add a star 60 to 230 pixels from the centre whose light falls as r^-1.8 to r^-3."""
    noise = sky_noise(flux)[:, None, None]
    while True:
        away, angle = rng.uniform(60, 230), rng.uniform(0, 2 * np.pi)
        x, y = away * np.cos(angle), away * np.sin(angle)
        near = max(10, abs(x) - 98, abs(y) - 98)  # pixels from the star: a place in the frame
        radius = np.hypot(X - MIDDLE - x, Y - MIDDLE - y)
        profile = ((radius**2 + 9) / (near**2 + 9)) ** (-rng.uniform(1.8, 3) / 2)
        colours = [(1, 1, 1), (0.4, 1, 1.5), (1.5, 1, 0.5), (0.1, 0.3, 1)][rng.integers(4)]
        light = _between(rng, (4, 60)) * noise[1] * np.array(colours)[:, None, None] * profile
        covered = float((light > noise).mean(axis=(1, 2)).max())
        if covered >= sizes[0]:
            return np.minimum(flux + light, FULL_WELL).astype(np.float32), covered


def streak(flux: Flux, rng: np.random.Generator, sizes: Sizes) -> Spoiled:
    """Add a line across the frame, 3 to 12 pixels wide, in one band or (three of ten) in all."""
    width, peak, distance = rng.uniform(3, 12) / 2.3548, _between(rng, sizes), _from_line(rng, 0.2)
    for band in _bands(rng, 0.3):
        flux[band] += peak * sky_noise(flux)[band] * np.exp(-0.5 * (distance / width) ** 2)
    return flux, peak


def dead_columns(flux: Flux, rng: np.random.Generator, sizes: Sizes) -> Spoiled:
    """Set columns or rows to zero."""
    width = int(rng.integers(int(sizes[0]), int(sizes[1]) + 1))
    first = int(rng.integers(2, SIZE - width - 2))
    rows, columns = slice(0, SIZE), slice(first, first + width)
    bands = _bands(rng, 0.5)
    if rng.random() >= 0.6:
        rows, columns = columns, rows
    flux[bands, rows, columns] = 0
    return flux, width


def saturated(flux: Flux, rng: np.random.Generator, sizes: Sizes) -> Spoiled:
    """Add a star 40 to 115 pixels from the centre, cut at the full well, with bleed."""
    peak, away, angle = _between(rng, sizes), rng.uniform(40, 115), rng.uniform(0, 2 * np.pi)
    dx, dy = X - MIDDLE - away * np.cos(angle), Y - MIDDLE - away * np.sin(angle)
    radius, fwhm = np.hypot(dx, dy), rng.uniform(4, 6)
    star = (1 + (radius / (0.96 * fwhm)) ** 2) ** -3 + 1e-3 * (1 + (radius / 8) ** 2) ** -1.25
    flux += peak * np.array([0.6, 1.0, 1.3], np.float32)[:, None, None] * star
    bleed = (abs(dx) < 1.5) & (abs(dy) < rng.uniform(5, 60))
    return np.minimum(np.where(bleed, FULL_WELL, flux), FULL_WELL).astype(np.float32), peak


def off_band(flux: Flux, rng: np.random.Generator, sizes: Sizes) -> Spoiled:
    """Replace a band by noise."""
    band = int(rng.integers(3))
    flux[band] = sky_noise(flux)[band] * rng.standard_normal((SIZE, SIZE), np.float32)
    return flux, sizes[0]


KINDS: dict[str, Callable[..., Spoiled]] = {
    one.__name__: one
    for one in (
        gap, band_missing, background_step, coloured_sky, glare, streak, dead_columns, saturated,
        off_band,
    )
}  # fmt: skip
Flagged = tuple[str, bool, float, list[str]]  # kind, 8-bit, size, names without flag_


def flag_frame(index: int, seed: int) -> list[Flagged]:
    """Return the flags of a frame, clean and with one kind of defect, in flux and in 8 bits."""
    found: list[Flagged] = []
    for display in (False, True):
        kinds = [kind for kind in KINDS if SMALLEST[kind][display]]
        for kind in ("clean", kinds[index % len(kinds)]):
            flux, size = clean_frame(seed, index), 0.0
            rng = random_stream(seed, index, _STREAM + 1 + display)
            if kind != "clean":
                flux, size = KINDS[kind](flux, rng, SMALLEST[kind][display])
            flags = defect_flags(as_8_bit(flux, rng) if display else flux, display)
            raised = [name.removeprefix("flag_") for name, is_set in flags.items() if is_set]
            found.append((kind, display, size, raised))
    return found


def table(found: list[Flagged], display: bool) -> Table:
    """Return a row per kind."""
    lines = []
    for kind in ("clean", *KINDS):
        rows = [row for row in found if row[:2] == (kind, display)]
        if not rows:
            continue
        right = np.array([kind in names for *_, names in rows])
        flagged = np.array([bool(names) for *_, names in rows])
        hit = flagged if kind == "clean" else right
        low, high = binomtest(int(hit.sum()), len(rows)).proportion_ci(method="wilson")
        order = np.argsort([size for _, _, size, _ in rows], kind="stable")
        thirds = ", ".join(f"{part.mean():.2f}" for part in np.array_split(right[order], 3))
        names = Counter(name for *_, names in rows for name in names)
        lines.append((
            kind, len(rows), f"{hit.mean():.3f} ({low:.3f} to {high:.3f})",
            "" if kind == "clean" else thirds, (flagged & ~right).sum(), (~flagged).sum(),
            ", ".join(f"{name} {count}" for name, count in names.items()),
        ))  # fmt: skip
    head = ["8-bit" if display else "flux", "n", "right name, or clean and flagged (95 % interval)",
            "by size, thirds", "another name only", "none", "names"]  # fmt: skip
    return Table(head, lines)


def main(config: Config) -> None:
    """Flag all frames and print the tables."""
    task = partial(flag_frame, seed=config.seed)
    frames = parallel.each(task, range(config.frames), config.workers, "frames")
    found = [row for rows in frames for row in rows]
    for display in (False, True):
        print(table(found, display).markdown() + "\n")


if __name__ == "__main__":
    start(main, Config, __doc__)
