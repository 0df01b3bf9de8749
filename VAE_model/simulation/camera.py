"""Observation of the simulated sky by a survey, and the files of its cutout service.

The light is sampled by the pixels of the camera and resampled to those of the coadd with a
Lanczos-3 kernel, as the Legacy Surveys do (https://www.legacysurvey.org/dr9/description), signal
and noise alike, which correlates the noise of neighbouring pixels. Where the survey's own images
have the pixels of the camera, they are resampled as data/import_images.py resamples a user's.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import fft, sparse
from scipy.ndimage import gaussian_filter

from VAE_model.data.cutouts import BANDS, PIXEL_SCALE, SIZE
from VAE_model.imports.resample import Window, regrid
from VAE_model.pipeline.files import atomic
from VAE_model.simulation.conditions import Conditions, Pair
from VAE_model.simulation.psf import HALF, psf_of
from VAE_model.simulation.scene import COARSE, FAR, GRID, MARGIN, Light
from VAE_model.surveys import DECALS, Survey

_MASKED = 2.0  # sigmas of a pixel above which the sky estimate masks light
_MESH = 60.0  # arcsec, FWHM of the smoothing of the sky estimate
_SKY_BINS = 8  # pixels per side of the bins of the sky estimate
Image = NDArray[np.float32]


def observe(
    light: Light,
    survey: Survey,
    conditions: Conditions,
    rng: np.random.Generator,
    centre: tuple[int, int] = (0, 0),
) -> Image:
    """Return the cutout of a scene: flux (3, 256, 256), nanomaggies.

    light: as Scene.fourier returns it.
    centre: offset of the frame's centre from the galaxy in pixels (right, up), at most half of
    MARGIN.
    """
    matrix = np.array(survey.colour_matrix, np.float32)
    if not np.array_equal(matrix, np.eye(3)):
        light = Light(*(np.tensordot(matrix, part, axes=1) for part in light))
    image = np.empty((3, SIZE, SIZE), np.float32)
    axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
    for band, plane in enumerate(image):
        grid = _grid(survey.native_pixel_scale[band])
        dither = rng.uniform(-0.5, 0.5, 2)
        waves = _on_camera(light.waves[band], conditions.shift[band], dither, grid)
        psf = psf_of(survey, conditions, band, conditions.fwhm[band])
        plane[:] = _resample(survey, _sampled(waves * psf.core(), grid), dither, grid, centre)
        sigma, edge = np.float32(conditions.noise[band]), conditions.edges[band]
        if edge:
            beyond = edge.beyond()
            other = psf_of(survey, conditions, band, conditions.fwhm[band] * edge.fwhm)
            there = _resample(survey, _sampled(waves * other.core(), grid), dither, grid, centre)
            np.copyto(plane, there, where=beyond)
            sigma = np.where(beyond, sigma * np.float32(edge.noise), sigma)
        plane += _enlarged(psf.wings(light.coarse[band]), centre)
        excess = conditions.oversubtraction * _sky_excess(plane, conditions.noise[band])
        plane += sigma * np.sqrt(1 + np.maximum(plane, 0) / _sky_light(survey, band)) * _noise(
            rng, survey, band, conditions.exposures[band])  # fmt: skip
        right, up = conditions.gradient[band]
        level = conditions.sky[band] + right * axis + up * axis[:, None]
        plane += level.astype(np.float32) - excess
    return image


def _sky_light(survey: Survey, band: int) -> float:
    """Return the light of the sky in a pixel, nanomaggies, whose Poisson noise is the usual one."""
    spread = PIXEL_SCALE / survey.native_pixel_scale[band] * survey.noise_kept
    return survey.gain[band] * survey.noise[band] ** 2 / spread**2


# ---- the camera's pixels, and those of the cutout


def _grid(native: float) -> int:
    """Return the number of pixels of a camera across the grid, even.

    native: pixel scale, arcsec, up to twice that of the cutout.
    """
    return 2 * round(GRID * PIXEL_SCALE / native / 2)


def _on_camera(
    waves: NDArray[np.complex64], shift: Pair, dither: NDArray[np.float64], grid: int
) -> NDArray[np.complex64]:
    """Return the Fourier transform of light averaged over the pixels of a camera.

    shift: of the light, arcsec right and up; dither: of the camera, its pixels right and up.
    The light is also shifted by the half-width of the PSF's core, left and down.
    """
    phases = []
    for frequency, arcsec, own in zip(
        (np.fft.rfftfreq(GRID), np.fft.fftfreq(GRID)), shift, dither, strict=True
    ):
        away = arcsec / PIXEL_SCALE - HALF - own * GRID / grid
        pixel = np.sinc(frequency * GRID / grid) * grid / GRID * _taper(frequency)
        phases.append((pixel * np.exp(-2j * np.pi * frequency * away)).astype(np.complex64))
    columns, rows = phases
    return waves * rows[:, None] * columns


def _taper(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return factors that fall to zero at the limit of the grid, so that stars do not ring.

    The PSF has next to nothing there. frequency: cycles per pixel.
    """
    return np.cos(np.pi / 2 * np.clip((np.abs(frequency) - 0.3) / 0.2, 0, 1)) ** 2


def _sampled(waves: NDArray[np.complex64], grid: int) -> Image:
    """Return light (grid, grid) from its Fourier transform; what is not resolved is aliased.

    Whatever the size of the camera's pixels, the light is in nanomaggies per pixel of the cutout.
    """
    half, last = GRID // 2, grid // 2
    if grid >= GRID:  # the highest frequency of the light is zero (_taper)
        finer = np.zeros((grid, last + 1), np.complex64)
        finer[:half, : half + 1], finer[-half:, : half + 1] = waves[:half], waves[half:]
        return fft.irfft2(finer, s=(grid, grid))
    rows = np.zeros((grid, half + 1), np.complex64)
    rows[:half] += waves[:half]
    rows[-half:] += waves[half:]
    rows = fft.ifft(rows, axis=0)
    columns = rows[:, : last + 1].copy()
    columns[:, grid - half : last] += rows[:, half:last:-1].conj()
    columns[:, last] *= 2  # both signs of the highest frequency
    return fft.irfft(columns, grid, axis=1)


def _resample(
    survey: Survey, image: Image, dither: NDArray, grid: int, centre: tuple[int, int]
) -> Image:
    """Return the pixels of the cutout from those of a camera across the grid."""
    if survey.pixel_scale != PIXEL_SCALE:
        step = grid / GRID
        x, y = (
            (MARGIN + offset - 0.5) * step + 0.5 - own
            for offset, own in zip(centre, dither, strict=True)
        )
        return regrid(image[None], Window(x, y, step), mean=True)[0]
    columns, rows = (
        _lanczos((MARGIN + offset + np.arange(SIZE)) * grid / GRID - own, grid)
        for offset, own in zip(centre, dither, strict=True)
    )
    return _both_axes(rows, image, columns)


def _noise(rng: np.random.Generator, survey: Survey, band: int, exposures: int) -> Image:
    """Return noise of unit variance, which is white in the pixels of the camera.

    The phase between the pixels of an exposure and those of the coadd drifts, as the distortion of
    a camera makes it. Two exposures average it as well as more do.
    """
    native = survey.native_pixel_scale[band]
    own = SIZE if survey.pixel_scale == PIXEL_SCALE else int(SIZE * PIXEL_SCALE / native) + 8
    total = np.zeros((own, own), np.float32)
    for _ in range(number := min(exposures, 2)):
        if survey.coadded:
            step = survey.pixel_scale / native * (1 + rng.normal(0, 0.005))
            size = int(own * step) + 8
            rows, columns = (
                _lanczos(np.arange(own) * step + 2 + start, size) for start in rng.random(2)
            )
            total += _both_axes(rows, rng.standard_normal((size, size), np.float32), columns)
        else:
            total += rng.standard_normal((own, own), np.float32)
    if survey.pixel_scale != PIXEL_SCALE:
        x, y = 2 + rng.random(2)
        total = regrid(total[None], Window(x, y, PIXEL_SCALE / native), mean=True)[0]
    return total / np.float32(survey.noise_kept * number**0.5)


def _lanczos(positions: NDArray[np.float64], size: int) -> sparse.csr_array:
    """Return the weights of `size` pixels in the values at positions (N,): (N, size)."""
    taps = np.floor(positions).astype(np.int32)[:, None] + np.arange(-2, 4, dtype=np.int32)
    away = positions[:, None] - taps
    weights = np.sinc(away) * np.sinc(away / 3)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    starts = np.arange(0, taps.size + 1, 6, dtype=np.int32)
    return sparse.csr_array((weights.ravel(), taps.ravel(), starts), shape=(len(positions), size))


def _both_axes(rows: sparse.csr_array, image: Image, columns: sparse.csr_array) -> Image:
    return (columns @ (rows @ image).T).T


def _enlarged(coarse: Image, centre: tuple[int, int]) -> Image:
    """Return smooth light in coarse pixels as pixels of the cutout."""
    columns, rows = (
        _lanczos((MARGIN + offset + np.arange(SIZE) + 0.5) / COARSE - 0.5, FAR) for offset in centre
    )
    return _both_axes(rows, np.ascontiguousarray(coarse), columns)


# ---- the estimate of the sky

_MIDDLES = (np.arange(SIZE // _SKY_BINS) + 0.5) * _SKY_BINS - 0.5
_BETWEEN = np.stack(  # linear interpolation between bins, (256, bins)
    [np.interp(np.arange(SIZE), _MIDDLES, unit) for unit in np.eye(len(_MIDDLES))], axis=1
).astype(np.float32)


def _sky_excess(light: Image, noise: float) -> Image:
    """Return what an estimate of the sky takes from the light of sources, (256, 256).

    It is the mean light of the places that are too faint to be masked, smoothed by the mesh.
    """
    bins = light.reshape(len(_MIDDLES), _SKY_BINS, -1, _SKY_BINS).mean(axis=(1, 3))
    limit = np.float32(_MASKED * noise)
    known = (bins < limit).astype(np.float32)
    width = _MESH / 2.3548 / (_SKY_BINS * PIXEL_SCALE)
    faint, seen = (
        gaussian_filter(part, width, mode="nearest", truncate=2.0) for part in (bins * known, known)
    )
    few = np.float32(0.02)  # where nearly all is masked, the estimate is at the limit
    return _BETWEEN @ ((faint + few * limit) / (seen + few)) @ _BETWEEN.T


def write_cutout(path: Path, image: Image, survey: Survey, ra: float, dec: float) -> None:
    """Write a FITS file in the format of the Legacy Surveys' cutout service (792,000 bytes)."""
    content = _header(survey).copy()
    content["CRVAL1"], content["CRVAL2"] = ra, dec
    data = image.astype(">f4").tobytes()
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(content.tostring().encode("ascii"))
        file.write(data + bytes(-len(data) % 2880))


@lru_cache
def _header(survey: Survey) -> fits.Header:
    """Return the header of a FITS file, at no position."""
    return fits.PrimaryHDU(
        np.zeros((len(BANDS), SIZE, SIZE), ">f4"), cutout_header(survey, 0.0, 0.0)
    ).header


def cutout_header(survey: Survey, ra: float, dec: float) -> fits.Header:
    """Return the header that the service writes.

    SURVEY is DECaLS in the north too, where only VERSION differs.
    """
    cards = [
        ("SURVEY", DECALS.label if survey.release else survey.label, ""),
        ("VERSION", survey.version, ""),
        ("IMAGETYP", "image", ""),
        ("BANDS", BANDS, ""),
        *((f"BAND{number}", band, "") for number, band in enumerate(BANDS)),
        ("CTYPE1", "RA---TAN", "TANgent plane"),
        ("CTYPE2", "DEC--TAN", "TANgent plane"),
        ("CRVAL1", ra, "Reference RA"),
        ("CRVAL2", dec, "Reference Dec"),
        ("CRPIX1", (SIZE + 1) / 2, "Reference x"),
        ("CRPIX2", (SIZE + 1) / 2, "Reference y"),
        ("CD1_1", -PIXEL_SCALE / 3600, "CD matrix"),
        ("CD1_2", 0.0, "CD matrix"),
        ("CD2_1", 0.0, "CD matrix"),
        ("CD2_2", PIXEL_SCALE / 3600, "CD matrix"),
        ("IMAGEW", float(SIZE), "Image width"),
        ("IMAGEH", float(SIZE), "Image height"),
    ]
    return fits.Header(cards)
