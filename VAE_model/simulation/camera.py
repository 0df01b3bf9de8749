"""Observation of the simulated sky by a survey, and the files of its cutout service.

A coadd is the mean of a few exposures. Its seeing and its noise follow from theirs. The light is
sampled by the pixels of the camera and resampled to those of the coadd with a Lanczos-3 kernel, as
the Legacy Surveys do (https://www.legacysurvey.org/dr9/description), signal and noise alike, which
correlates the noise of neighbouring pixels.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import fft, sparse
from scipy.ndimage import gaussian_filter

from VAE_model.data.cutouts import BANDS, PIXEL_SCALE, SIZE
from VAE_model.pipeline.files import atomic
from VAE_model.simulation.scene import COARSE, FAR, GRID, MARGIN, Light
from VAE_model.surveys import Survey
from VAE_model.surveys.survey import LANCZOS, Bands, Wing

_SEEING = 0.2  # standard deviation of the logarithm of the seeing between exposures
_DEPTH = 0.2  # the same of their noise
_BETA = (2.2, 3.2)  # range of the exponent of the Moffat profile; a real PSF has 2.7 to 3.0
_SHEAR = 0.02  # standard deviation of each component of the ellipticity of an exposure
_LEVEL = 0.07  # the same of the residual sky level, sigmas of a pixel
_GRADIENT = (0.1, 0.15)  # share of bands with a gradient; its typical rise to the edge, sigmas
_GAP = 40.0  # arcsec between the detectors of a camera
_CORE = (4.0, 7.3)  # arcsec between which the core of a PSF fades into its wings
_FARTHEST = 60.0  # arcsec that light is scattered
_MASKED = 2.0  # sigmas of a pixel above which the sky estimate masks light
_MESH = 60.0  # arcsec, FWHM of the smoothing of the sky estimate
_SKY_BINS = 8  # pixels per side of the bins of the sky estimate
_PIXEL_FWHM = 2.3548 / 12**0.5  # FWHM of the Gaussian that is as wide as a square pixel
Pair = tuple[float, float]
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Edge:
    """The edge of an exposure in a frame: a line beyond which a coadd has one more or one less.

    angle: of the normal, radians; distance: of the line from the frame's centre, arcsec; width: of
    the area beyond, arcsec (inf: to the end of the frame); noise, fwhm: there, over those at the
    centre.
    """

    angle: float
    distance: float
    width: float
    noise: float
    fwhm: float

    def beyond(self) -> NDArray[np.bool_]:
        """Return the pixels beyond the edge, (256, 256)."""
        axis = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_SCALE
        away = axis * np.cos(self.angle) + axis[:, None] * np.sin(self.angle) - self.distance
        return (away > 0) & (away < self.width)


@dataclass(frozen=True)
class Conditions:
    """Observing conditions of one galaxy in one survey; one value per band, g, r, z.

    fwhm: of stars on the coadd, arcsec; noise: sigma per pixel, nanomaggies; both at the frame's
    centre. beta: of the Moffat profile of the PSF's core; shear: of the PSF; exposures: number;
    sky: residual level, nanomaggies per pixel; gradient: of the level, its rise from the centre to
    the right and upper edge; shift: registration error, arcsec right and up; edges: of exposures;
    oversubtraction: share of the unmasked light of sources that is subtracted as sky.
    """

    fwhm: Bands
    beta: Bands
    shear: tuple[Pair, Pair, Pair]
    noise: Bands
    exposures: tuple[int, int, int]
    sky: Bands
    gradient: tuple[Pair, Pair, Pair]
    shift: tuple[Pair, Pair, Pair]
    edges: tuple[Edge | None, Edge | None, Edge | None]
    oversubtraction: float

    def row(self, survey: Survey) -> dict[str, float]:
        """Return the columns of the truth table."""
        values: dict[str, float] = {}
        for number, band in enumerate(BANDS):
            end = f"{band}_{survey.name}"
            values[f"fwhm_{end}"] = self.fwhm[number]
            values[f"noise_{end}"] = self.noise[number]
            values[f"sky_{end}"] = self.sky[number]
            values[f"psf_beta_{end}"] = self.beta[number]
            values[f"exposures_{end}"] = self.exposures[number]
            values[f"edge_{end}"] = self.edges[number] is not None
            values[f"shift_x_{end}"], values[f"shift_y_{end}"] = self.shift[number]
        return values


def draw_conditions(survey: Survey, rng: np.random.Generator) -> Conditions:
    """Draw the exposures of one frame in each band, and what follows from them."""
    bands = [_draw_band(survey, band, rng) for band in range(3)]
    values: dict[str, Any] = {name: tuple(band[name] for band in bands) for name in bands[0]}
    return Conditions(**values, oversubtraction=float(rng.uniform(0.7, 1.3)))


def _draw_band(survey: Survey, band: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the conditions of one band, by the fields of Conditions."""
    number = int(rng.choice(len(survey.exposures), p=survey.exposures)) + 1
    seeing = np.exp(rng.normal(0, _SEEING, number + 1))
    weight = np.exp(rng.normal(0, 2 * _DEPTH, number + 1))  # inverse variance
    usual_fwhm, usual_noise = _median_coadd(survey.exposures)
    fwhm, noise = _coadd(seeing[:number], weight[:number])
    crossing = SIZE * PIXEL_SCALE * sum(1 / side for side in survey.ccd[band])
    edge = None
    if rng.random() < 1 - (1 - min(crossing, 1)) ** number:
        more = number == 1 or rng.random() < 0.5
        there = slice(0, number + 1) if more else slice(1, number)
        other_fwhm, other_noise = _coadd(seeing[there], weight[there])
        edge = Edge(
            angle=float(rng.integers(4) * np.pi / 2 + rng.normal(0, 0.02)),
            distance=float(rng.uniform(2, SIZE / 2 * PIXEL_SCALE)),
            width=float(rng.choice([_GAP, np.inf])),
            noise=other_noise / noise,
            fwhm=other_fwhm / fwhm,
        )
    noise *= survey.noise[band] / usual_noise
    shear = rng.normal(0, _SHEAR / number**0.5, 2)
    rise = noise * abs(rng.normal(0, _GRADIENT[1])) * (rng.random() < _GRADIENT[0])
    towards = rng.uniform(0, 2 * np.pi)
    return {
        "fwhm": float(fwhm * survey.fwhm[band] / usual_fwhm),
        "beta": float(rng.uniform(*_BETA)),
        "shear": _pair(shear),
        "noise": float(noise),
        "exposures": number,
        "sky": float(noise * rng.normal(0, _LEVEL)),
        "gradient": _pair(rise * np.array([np.cos(towards), np.sin(towards)])),
        "shift": _pair(rng.normal(0, survey.registration, 2)),
        "edges": edge,
    }


def _pair(values: NDArray) -> Pair:
    return float(values[0]), float(values[1])


def _coadd(seeing: NDArray, weight: NDArray) -> Pair:
    """Return FWHM and sigma of the weighted mean of exposures.

    The mean of Moffat profiles is close to the one of their mean FWHM.
    """
    return float((seeing * weight).sum() / weight.sum()), float(weight.sum() ** -0.5)


@lru_cache
def _median_coadd(exposures: tuple[float, ...]) -> Pair:
    """Return the medians of FWHM and sigma of coadds, over those of a single usual exposure."""
    rng = np.random.default_rng(0)
    numbers = rng.choice(len(exposures), size=4000, p=exposures) + 1
    drawn = [
        _coadd(np.exp(rng.normal(0, _SEEING, n)), np.exp(rng.normal(0, 2 * _DEPTH, n)))
        for n in numbers
    ]
    return _pair(np.median(drawn, axis=0))


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
        psf = _psf(survey, conditions, band, conditions.fwhm[band])
        plane[:] = _resample(psf.core(waves, grid), dither, grid, centre)
        sigma, edge = np.float32(conditions.noise[band]), conditions.edges[band]
        if edge:
            beyond = edge.beyond()
            other = _psf(survey, conditions, band, conditions.fwhm[band] * edge.fwhm)
            there = _resample(other.core(waves, grid), dither, grid, centre)
            np.copyto(plane, there, where=beyond)
            sigma = np.where(beyond, sigma * np.float32(edge.noise), sigma)
        plane += _enlarged(psf.wings(light.coarse[band]), centre)
        excess = conditions.oversubtraction * _sky_excess(plane, conditions.noise[band])
        plane += sigma * np.sqrt(1 + np.maximum(plane, 0) / _sky_light(survey, band)) * _noise(
            rng, survey.native_pixel_scale[band], conditions.exposures[band])  # fmt: skip
        right, up = conditions.gradient[band]
        level = conditions.sky[band] + right * axis + up * axis[:, None]
        plane += level.astype(np.float32) - excess
    return image


def _sky_light(survey: Survey, band: int) -> float:
    """Return the light of the sky in a pixel, nanomaggies, whose Poisson noise is the usual one."""
    spread = PIXEL_SCALE / survey.native_pixel_scale[band] * LANCZOS
    return survey.gain[band] * survey.noise[band] ** 2 / spread**2


# ---- the camera's pixels, and those of the coadd


def _grid(native: float) -> int:
    """Return the number of pixels of a camera across the grid, even.

    native: pixel scale, arcsec, from that of the coadd to twice as much.
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
        away = arcsec / PIXEL_SCALE - _HALF - own * GRID / grid
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
    """Return light (grid, grid) from its Fourier transform; what is not resolved is aliased."""
    if grid == GRID:
        return fft.irfft2(waves, s=(GRID, GRID))
    half, last = GRID // 2, grid // 2
    rows = np.zeros((grid, half + 1), np.complex64)
    rows[:half] += waves[:half]
    rows[-half:] += waves[half:]
    rows = fft.ifft(rows, axis=0)
    columns = rows[:, : last + 1].copy()
    columns[:, grid - half : last] += rows[:, half:last:-1].conj()
    columns[:, last] *= 2  # both signs of the highest frequency
    return fft.irfft(columns, grid, axis=1)


def _resample(image: Image, dither: NDArray, grid: int, centre: tuple[int, int]) -> Image:
    """Return the pixels of the coadd from those of a camera across the grid."""
    columns, rows = (
        _lanczos((MARGIN + offset + np.arange(SIZE)) * grid / GRID - own, grid)
        for offset, own in zip(centre, dither, strict=True)
    )
    return _both_axes(rows, image, columns)


def _noise(rng: np.random.Generator, native: float, exposures: int) -> Image:
    """Return noise of unit variance, which is white in the pixels of the camera.

    The phase between the pixels of an exposure and those of the coadd drifts, as the distortion of
    a camera makes it. Two exposures average it as well as more do.
    """
    total = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(number := min(exposures, 2)):
        step = PIXEL_SCALE / native * (1 + rng.normal(0, 0.005))
        size = int(SIZE * step) + 8
        rows, columns = (
            _lanczos(np.arange(SIZE) * step + 2 + start, size) for start in rng.random(2)
        )
        total += _both_axes(rows, rng.standard_normal((size, size), np.float32), columns)
    return total / np.float32(LANCZOS * number**0.5)


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


# ---- the point-spread function

_HALF = 28  # pixels, half-width of the stamp of the core
_STAMP = (np.arange(-_HALF, _HALF + 1) * PIXEL_SCALE).astype(np.float32)
_AWAY = (np.fft.fftfreq(2 * FAR, 1 / (2 * FAR)) * COARSE * PIXEL_SCALE).astype(np.float32)
_AWAY2 = _AWAY**2 + _AWAY[:, None] ** 2  # arcsec^2, of coarse pixels from the first


@dataclass(frozen=True)
class _Psf:
    """A Moffat profile and an extended wing.

    The part within a few arcsec, elliptical, is convolved in the pixels of the camera, the smooth
    rest in coarse pixels on a grid of twice the size, on which nothing repeats.
    """

    radius: float  # of the Moffat profile, arcsec
    beta: float
    shear: Pair
    wing: Wing

    def core(self, waves: NDArray[np.complex64], grid: int) -> Image:
        """Return the light (grid, grid) scattered little, from its Fourier transform."""
        (g1, g2), x, y = self.shear, _STAMP, _STAMP[:, None]
        along, across = (1 - g1) * x - g2 * y, (1 + g1) * y - g2 * x
        distance2 = (along**2 + across**2) / np.float32(1 - g1**2 - g2**2)
        stamp = self._surface_brightness(distance2) * _near(x**2 + y**2)
        return _sampled(waves * fft.fft(fft.rfft(stamp, GRID, axis=1), GRID, axis=0), grid)

    def wings(self, coarse: Image) -> Image:
        """Return the rest of the light per pixel, (FAR, FAR), from light in coarse pixels."""
        kernel = self._surface_brightness(_AWAY2) * (1 - _near(_AWAY2))
        kernel[_AWAY2 > _FARTHEST**2] = 0
        size = (2 * FAR, 2 * FAR)
        return fft.irfft2(fft.rfft2(coarse, s=size) * fft.rfft2(kernel), s=size)[:FAR, :FAR]

    def _surface_brightness(self, distance2: Image) -> Image:
        """Return the light per pixel of a source of unit flux; distance2: arcsec^2."""
        wing, area = self.wing, PIXEL_SCALE**2
        moffat = (1 - _flux(wing)) * (self.beta - 1) / (np.pi * self.radius**2)
        profile = moffat * (1 + distance2 / self.radius**2) ** -self.beta
        profile += wing.peak * (1 + distance2 / wing.radius**2) ** -wing.exponent
        return (area * profile).astype(np.float32)


def _enlarged(coarse: Image, centre: tuple[int, int]) -> Image:
    """Return smooth light in coarse pixels as pixels of the cutout."""
    columns, rows = (
        _lanczos((MARGIN + offset + np.arange(SIZE) + 0.5) / COARSE - 0.5, FAR) for offset in centre
    )
    return _both_axes(rows, np.ascontiguousarray(coarse), columns)


def _psf(survey: Survey, conditions: Conditions, band: int, fwhm: float) -> _Psf:
    """Return the PSF whose stars have this FWHM (arcsec) on the coadd."""
    beta, pixel = conditions.beta[band], _PIXEL_FWHM * survey.native_pixel_scale[band]
    radius = np.sqrt((fwhm**2 - pixel**2) / (2 ** (1 / beta) - 1)) / 2
    return _Psf(float(radius), beta, conditions.shear[band], survey.wings[band])


def _near(distance2: Image) -> Image:
    """Return the share of the core in the PSF: 1 in the middle, 0 outside, with a smooth edge."""
    inner, outer = _CORE
    place = np.clip((np.sqrt(distance2) - inner) / (outer - inner), 0, 1)
    return np.cos(np.pi / 2 * place) ** 2


@lru_cache
def _flux(wing: Wing) -> float:
    """Return the fraction of the light in a wing."""
    reach, power = 1 + (_FARTHEST / wing.radius) ** 2, 1 - wing.exponent
    integral = (reach**power - 1) / power if power else np.log(reach)
    return float(np.pi * wing.radius**2 * wing.peak * integral)


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

    SURVEY is DECaLS in the north too; only VERSION differs.
    """
    cards = [
        ("SURVEY", "DECaLS", ""),
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
