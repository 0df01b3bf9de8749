"""The simulated frames beside real cutouts: noise, PSF, galaxies.

Measured in the same way on both: the autocorrelation of the noise at lags of 1 to 4 pixels, its
sigma, the light of stars beyond a radius, and magnitude, size and colours of the central galaxy.
Real are the undamaged cutouts near the native scale (n = 2 per survey), and the PSF that the
Legacy Surveys give for one of them: no real frame has a bright, isolated star. The pixel scale of
those of BASS+MzLS is 0.27 arcsec.

Reads:  cutouts/ in the folder that GALAXY_VAE_REAL names, else in ../shared/real
Writes: docs/realism.png; prints the table of docs/REALISM.md

Example: python benchmarks/experiments/realism.py --galaxies 200
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import sep
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from VAE_model.data.cutouts import BANDS, PIXEL_SCALE
from VAE_model.data.fits_frames import read_frame
from VAE_model.pipeline import parallel
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start
from VAE_model.report.plotting import Axes, Figure, FixedLocator, NullFormatter, use_style
from VAE_model.report.tables import Table
from VAE_model.simulation import random_stream
from VAE_model.simulation.camera import observe
from VAE_model.simulation.conditions import Conditions, draw_conditions
from VAE_model.simulation.scene import MIDDLE, Scene
from VAE_model.simulation.sky import draw_light
from VAE_model.surveys import DEMO, SURVEYS, Survey, label_of

REAL = {  # file: survey, pixel scale in arcsec
    "decals_small_native.fits": ("decals", 0.262),
    "decals_59.1067_-30.4848_invvar.fits": ("decals", 0.262),
    "bassmzls_154.7709_46.4537.fits": ("bassmzls", 0.27),
    "bassmzls_134.7709_46.4537_star.fits": ("bassmzls", 0.27),
}
WITHOUT_GALAXY = "bassmzls_134.7709_46.4537_star.fits"  # a saturated star is in its middle
PSF = "decals_59.1067_-30.4848_psf.fits"
LAGS = (1, 2, 3, 4)
RADII = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0])  # arcsec; the last holds all light
COLOURS = {"g": "tab:green", "r": "tab:red", "z": "tab:purple"}
APERTURE = 12.0  # arcsec, radius in which the central galaxy is measured


@dataclass(frozen=True)
class Config:
    """Constants of the experiment."""

    real: Path = Path(os.environ.get("GALAXY_VAE_REAL") or ROOT.parent / "shared" / "real")
    """Folder that holds cutouts/."""
    figure: Path = ROOT / "docs" / "realism.png"
    """Figure."""
    seed: int = 11
    """Seed of the simulated sky."""
    galaxies: int = 200
    """Simulated galaxies, each in both surveys."""
    workers: int = 0
    """Processes; 0: one per core."""


@dataclass(frozen=True)
class Measured:
    """Measurements on one frame.

    noise: (band,), nanomaggies; correlation: (band, lag); beyond: (band, radius), fraction of the
    light of a star beyond RADII, None where not known; mag: of r; size: half-light radius in r,
    arcsec; colours: g-r, r-z.
    """

    noise: NDArray[np.float64]
    correlation: NDArray[np.float64]
    beyond: NDArray[np.float64] | None
    mag: float
    size: float
    colours: tuple[float, float]


Found = dict[str, list[Measured]]  # by the name of the survey


def measure(
    flux: NDArray[np.float32],
    scale: float,
    beyond: NDArray[np.float64] | None = None,
    galaxy: bool = True,
) -> Measured:
    """Measure one frame (3, y, x), nanomaggies; scale: arcsec per pixel; beyond: of its PSF."""
    sigma, correlation = zip(*map(noise_of, flux), strict=True)
    mag, size, colours = central(flux, scale) if galaxy else (np.nan, np.nan, (np.nan, np.nan))
    return Measured(np.array(sigma), np.array(correlation), beyond, mag, size, colours)


def noise_of(plane: NDArray[np.float32]) -> tuple[float, list[float]]:
    """Return sigma of the noise away from sources, and its correlation at LAGS in both axes."""
    smooth = gaussian_filter(plane, 2.0)
    spread = 1.4826 * np.median(np.abs(smooth - np.median(smooth)))
    sky = ~binary_dilation(smooth > np.median(smooth) + 3 * spread, iterations=6)
    level = gaussian_filter(np.where(sky, plane, 0), 10.0)
    level /= np.maximum(gaussian_filter(sky.astype(np.float32), 10.0), 1e-3)
    noise = np.where(sky, plane - level, 0)

    def product(pixels: NDArray, used: NDArray, lag: int) -> float:
        both = used[lag:] & used[: len(used) - lag]
        return float((pixels[lag:] * pixels[: len(pixels) - lag])[both].mean())

    axes = ((noise, sky), (noise.T, sky.T))
    means = [np.mean([product(*axis, lag) for axis in axes]) for lag in (0, *LAGS)]
    return float(means[0] ** 0.5), [float(value / means[0]) for value in means[1:]]


def light_beyond(planes: list[NDArray[np.float32]], scale: float) -> NDArray[np.float64]:
    """Return the fraction of a star's light beyond RADII in each band (band, radius)."""
    middle = np.full(len(RADII), (planes[0].shape[0] - 1) / 2)
    sums = [
        sep.sum_circle(np.ascontiguousarray(plane), middle, middle, RADII / scale, subpix=10)[0]
        for plane in planes
    ]
    return np.array([1 - one / one[-1] for one in sums])


def star(survey: Survey, conditions: Conditions) -> NDArray[np.float64]:
    """Return the fraction of the light beyond RADII of a star without noise in the middle."""
    scene, middle = Scene(), np.array([MIDDLE])
    scene.add_points(np.full((3, 1), 1000.0), middle, middle)
    none, still = (0.0,) * 3, ((0.0, 0.0),) * 3
    quiet = replace(conditions, noise=(1e-7,) * 3, sky=none, gradient=still, shift=still,
                    edges=(None,) * 3, oversubtraction=0.0)  # fmt: skip
    image = observe(scene.fourier(), survey, quiet, np.random.default_rng(0))
    return light_beyond(list(image), PIXEL_SCALE)


def central(flux: NDArray[np.float32], scale: float) -> tuple[float, float, tuple[float, float]]:
    """Return r magnitude, half-light radius (arcsec), and g-r, r-z within APERTURE."""
    middle = (flux.shape[1] - 1) / 2
    radii = np.linspace(0.5, APERTURE, 40)
    place = np.full(len(radii), middle)
    growth = []
    for plane in flux:
        plane = np.ascontiguousarray(plane - np.median(plane[:, [*range(12), *range(-12, 0)]]))
        growth.append(sep.sum_circle(plane, place, place, radii / scale, subpix=5)[0])
    total = np.array([one[-1] for one in growth])
    if (total <= 0).any():
        return np.nan, np.nan, (np.nan, np.nan)
    mags = 22.5 - 2.5 * np.log10(total)
    half = float(np.interp(0.5, np.maximum.accumulate(growth[1]) / total[1], radii))
    return float(mags[1]), half, (float(mags[0] - mags[1]), float(mags[1] - mags[2]))


def simulated(index: int, seed: int) -> dict[str, Measured]:
    """Measure one galaxy of the simulated sky in each survey of the demo."""
    *_, light = draw_light(seed, index)
    found = {}
    for survey in map(SURVEYS.__getitem__, DEMO):
        rng = random_stream(seed, index, survey.stream)
        conditions = draw_conditions(survey, rng)
        image = observe(light, survey, conditions, rng)
        found[survey.name] = measure(image, PIXEL_SCALE, star(survey, conditions))
    return found


def psf_growth(path: Path) -> NDArray[np.float64]:
    """Return the fraction of light beyond RADII of the PSFs in a file, one per band."""
    with fits.open(path) as file:
        planes = [hdu.data for hdu in file if hdu.data is not None and hdu.data.ndim == 2]
    return light_beyond([plane.astype(np.float32) for plane in planes], PIXEL_SCALE)


def _draw_range(axis: Axes, x: ArrayLike, drawn: NDArray, band: str) -> None:
    """Draw the median and the 16 to 84 % of simulated curves, (galaxies, x)."""
    low, middle, high = np.nanpercentile(drawn, [16, 50, 84], axis=0)
    axis.fill_between(x, low, high, color=COLOURS[band], alpha=0.2, lw=0)
    axis.plot(x, middle, color=COLOURS[band], label=f"{band} simulated")


def draw(real: Found, sky: Found, psf: NDArray[np.float64], path: Path) -> None:
    """Draw the figure."""
    use_style()
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    axes = figure.subplots(2, 3)
    for axis, name in zip(axes[0, :2], DEMO, strict=True):
        for number, band in enumerate(BANDS):
            _draw_range(axis, LAGS, np.array([one.correlation[number] for one in sky[name]]), band)
            for one in real[name]:
                axis.plot(LAGS, one.correlation[number], "o", color=COLOURS[band], mec="k")
        axis.axhline(0, color="0.6", lw=0.8, zorder=0)
        axis.set(title=f"{label_of(name)} noise, {len(real[name])} real",
                 xlabel="lag (pixels)", ylabel="autocorrelation", xticks=LAGS)  # fmt: skip
        axis.legend()
    axis = axes[0, 2]
    for number, band in enumerate(BANDS):
        drawn = np.array([one.beyond[number, :-1] for one in sky["decals"]])
        _draw_range(axis, RADII[:-1], drawn, band)
        axis.plot(RADII[:-1], psf[number][:-1], "o", color=COLOURS[band], mec="k")
    axis.set(title="DECaLS PSF, 1 real", xlabel="radius (arcsec)", yscale="log",
             ylabel="fraction of light beyond", ylim=(2e-4, 1))  # fmt: skip
    axis.yaxis.set_major_formatter("{x:g}")
    axis.legend()
    for offset, (name, colour) in enumerate(zip(DEMO, ("tab:blue", "tab:orange"), strict=True)):
        at = np.arange(3) + 0.3 * (offset - 0.5)
        sigma = np.array([one.noise for one in sky[name]])
        low, middle, high = np.percentile(sigma, [16, 50, 84], axis=0)
        axes[1, 0].errorbar(at, middle, [middle - low, high - middle], fmt="s", color=colour,
                            label=f"{label_of(name)} simulated")  # fmt: skip
        for one in real[name]:
            axes[1, 0].plot(at + 0.08, one.noise, "o", color=colour, mec="k")
            axes[1, 1].plot(*one.colours, "o", color=colour, mec="k", zorder=3)
            axes[1, 2].plot(one.mag, one.size, "o", color=colour, mec="k", zorder=3)
        galaxies = np.array([(*one.colours, one.mag, one.size) for one in sky[name]]).T
        axes[1, 1].scatter(*galaxies[:2], s=5, color=colour, alpha=0.5)
        axes[1, 2].scatter(*galaxies[2:], s=5, color=colour, alpha=0.5)
    axes[1, 0].set(title="noise (circles: real)", xticks=range(3), xticklabels=BANDS,
                   yscale="log", ylabel="sigma of a pixel (nanomaggies)")  # fmt: skip
    axes[1, 0].yaxis.set_major_locator(FixedLocator([0.002, 0.005, 0.01, 0.02, 0.03]))
    axes[1, 0].yaxis.set_major_formatter("{x:g}")
    axes[1, 0].yaxis.set_minor_formatter(NullFormatter())
    axes[1, 0].legend(loc="lower right")
    axes[1, 1].set(title="central galaxy (circles: real)", xlabel="g - r", ylabel="r - z",
                   xlim=(0, 1.4), ylim=(0, 1.2))  # fmt: skip
    axes[1, 2].set(title="central galaxy (circles: real)", xlabel="r magnitude",
                   ylabel="half-light radius (arcsec)")  # fmt: skip
    figure.savefig(path, dpi=100)


def table(real: Found, sky: Found, psf: NDArray[np.float64]) -> Table:
    """Return a row per survey, band and quantity: simulated median and 16 to 84 %, and real."""
    rows = []

    def row(
        name: str, band: str, what: str, of: Callable[[Measured], float],
        seen: list[float] | None = None,
    ) -> None:  # fmt: skip
        """Add a row. seen: the real values, where they are not of the real frames."""
        drawn = [of(one) for one in sky[name]]
        low, middle, high = np.nanpercentile(drawn, [16, 50, 84])
        seen = [of(one) for one in real[name]] if seen is None else seen
        known = [f"{value:.3g}" for value in seen if np.isfinite(value)]
        count = int(np.isfinite(drawn).sum())
        spread = f"{middle:.3g} ({low:.3g} to {high:.3g})"
        rows.append((label_of(name), band, what, spread, count, ", ".join(known), len(known)))

    for name in DEMO:
        for n, band in enumerate(BANDS):
            row(name, band, "noise sigma", lambda one, n=n: one.noise[n])
            for k, lag in enumerate(LAGS):
                what = f"correlation at {lag} pixels"
                row(name, band, what, lambda one, n=n, k=k: one.correlation[n, k])
            for k in (1, 3, 5):
                seen = [psf[n, k]] if name == "decals" else []
                what = f"PSF beyond {RADII[k]:g} arcsec"
                row(name, band, what, lambda one, n=n, k=k: one.beyond[n, k], seen)
        row(name, "r", "magnitude of the galaxy", lambda one: one.mag)
        row(name, "r", "half-light radius, arcsec", lambda one: one.size)
        for n, colour in enumerate(("g - r", "r - z")):
            row(name, "", f"{colour} of the galaxy", lambda one, n=n: one.colours[n])
    return Table(["survey", "band", "quantity", "simulated, median (16 to 84 %)", "n", "real",
                  "n real"], rows)  # fmt: skip


def main(config: Config) -> None:
    """Measure both, draw the figure and print the table."""
    folder = config.real / "cutouts"
    if not folder.is_dir():
        raise Problem(f"{folder} is missing: set GALAXY_VAE_REAL to the folder that holds cutouts/")
    real: Found = {name: [] for name in DEMO}
    for name, (survey, scale) in REAL.items():
        flux = read_frame(folder / name).flux
        real[survey].append(measure(flux, scale, galaxy=name != WITHOUT_GALAXY))
    psf = psf_growth(folder / PSF)
    task = partial(simulated, seed=config.seed)
    frames = list(parallel.each(task, range(config.galaxies), config.workers, "galaxies"))
    sky = {name: [frame[name] for frame in frames] for name in DEMO}
    draw(real, sky, psf, config.figure)
    print(table(real, sky, psf).markdown())


if __name__ == "__main__":
    start(main, Config, __doc__)
