"""The properties of a survey: its names, its layer in the cutout service, its cameras."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

Bands = tuple[float, float, float]  # g, r, z
OUTPUT = 0.262  # arcsec, pixel scale of all images here: of the coadds of the Legacy Surveys
LANCZOS = 0.8884  # variance of white noise after Lanczos-3 interpolation, per axis, mean of phases

# The data release of the Legacy Surveys that is downloaded, linked to and simulated.
RELEASE = "dr9"
# The parts of the sky in each release, oldest release first.
RELEASES = {"dr9": ("south", "north"), "dr10": ("south",), "dr11": ("south", "north")}

_LAYER = re.compile(r"ls-(dr\d+)-(south|north)")


@dataclass(frozen=True)
class Wing:
    """The extended wing of a PSF: surface brightness `peak` / (1 + (r / radius)^2)^exponent.

    peak: arcsec^-2, of a source of unit flux; radius: arcsec.
    """

    peak: float
    radius: float
    exponent: float


@dataclass(frozen=True)
class Survey:
    """One survey.

    name: folder under images/ and name in tables; label: display name; version: VERSION in the
    headers of its cutouts, which distinguishes surveys (SURVEY is DECaLS in the north too);
    versions: regular expression for the start of its VERSIONs; layer: in the Legacy Surveys' cutout
    service and viewer; known: RA and Dec (degrees) of a galaxy in the layer, or None; stream:
    number of its random stream in the simulation, unique and distinct from simulation.Purpose;
    fwhm: median FWHM of stars on the survey's own images, arcsec; noise: median sigma per pixel of
    OUTPUT, nanomaggies; native_pixel_scale: of the camera, arcsec; exposures: fractions of the area
    with 1, 2, 3, ... exposures per band; ccd: sides of a detector, arcsec (x, y); wings: of the
    PSF; gain: electrons per nanomaggy in an image of median depth; colour_matrix: response of each
    filter to g, r, z of DECam; registration: rms position error of a band, arcsec per axis;
    strip_only: covers only the strip of the catalogue around Dec 32.375 deg; mistaken_for: the
    survey whose layer the service sometimes returns instead; pixel_scale: of the survey's own
    images, arcsec: OUTPUT, or the camera's own, from which they are resampled to OUTPUT as
    data/import_images.py does it; coadded: the survey's own images are coadds, resampled from the
    camera with a Lanczos-3 kernel, else single exposures.
    """

    name: str
    label: str
    version: str
    versions: str
    layer: str
    stream: int
    fwhm: Bands
    noise: Bands
    native_pixel_scale: Bands
    exposures: tuple[float, ...]
    ccd: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    wings: tuple[Wing, Wing, Wing]
    gain: Bands
    colour_matrix: tuple[Bands, Bands, Bands]
    registration: float
    known: tuple[float, float] | None = None
    strip_only: bool = False
    mistaken_for: str = ""
    pixel_scale: float = OUTPUT
    coadded: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError where the survey's own images have neither pixel scale."""
        if self.pixel_scale != OUTPUT and set(self.native_pixel_scale) != {self.pixel_scale}:
            raise ValueError(f"{self.name}: pixel_scale is {OUTPUT} or the camera's in each band")

    @property
    def noise_kept(self) -> float:
        """Variance of white noise of the camera's pixels in pixels of OUTPUT, per axis."""
        return noise_kept(self.pixel_scale, self.coadded)

    @property
    def release(self) -> str:
        """The data release of the layer, for example dr9; empty for other layers."""
        found = _LAYER.fullmatch(self.layer)
        return found[1] if found else ""

    def at(self, release: str) -> "Survey":
        """Return the survey with the layer and VERSION of a release.

        Where the release lacks this part of the sky, the newest earlier one with it is used. A
        survey whose layer belongs to no release is returned unchanged.
        """
        found = _LAYER.fullmatch(self.layer)
        if not found:
            return self
        before, part = found.groups()
        until = list(RELEASES)[: list(RELEASES).index(release) + 1]
        newest = [one for one in until if part in RELEASES[one]][-1]
        ours = self.version == f"{before.upper()}-{part}"
        version = f"{newest.upper()}-{part}" if ours else self.version
        return replace(self, layer=f"ls-{newest}-{part}", version=version)

    def released(self, version: str) -> bool:
        """Return True if a VERSION belongs to this survey."""
        return re.match(self.versions, version, re.IGNORECASE) is not None


@lru_cache
def noise_kept(pixel_scale: float, coadded: bool) -> float:
    """Return the variance of white noise of the camera's pixels in pixels of OUTPUT, per axis.

    It is the mean over the phases between the two grids, of the brightness. pixel_scale, coadded:
    as of a Survey. Images of another scale than OUTPUT are resampled as in imports/resample.py: a
    pixel of OUTPUT is the mean of a brightness that is constant in larger and linear between the
    centres of smaller pixels than it.
    """
    if pixel_scale == OUTPUT:
        return LANCZOS
    step = OUTPUT / pixel_scale
    frequency, width = np.linspace(-40, 40, 16001, retstep=True)  # cycles per pixel of the image
    kept = (np.sinc(step * frequency) * np.sinc(frequency) ** (2 if step < 1 else 1)) ** 2
    if coadded:  # the noise of the image is correlated by the Lanczos-3 kernel
        per_pixel = 200
        x = np.arange(-3 * per_pixel, 3 * per_pixel) / per_pixel
        kernel = np.sinc(x) * np.sinc(x / 3)
        covariance = np.correlate(kernel, kernel, "full")[len(x) - 1 :: per_pixel] / per_pixel
        waves = np.cos(2 * np.pi * np.arange(1, len(covariance))[:, None] * frequency)
        kept *= covariance[0] + 2 * covariance[1:] @ waves
    return float(kept.sum() * width)


def noise_at(
    depth_behind: Bands, other: Survey, fwhm: Bands, native_pixel_scale: Bands,
    kept: float = LANCZOS,
) -> Bands:  # fmt: skip
    """Return sigma per pixel of an image that is `depth_behind` magnitudes less deep than another.

    other: the deeper survey, a coadd of the Legacy Surveys; fwhm, native_pixel_scale, kept (see
    noise_kept): of this one. Depths are for point sources. Only their difference is used: it does
    not depend on the profile that is assumed of the PSF. Resampling from larger pixels lowers the
    sigma of a pixel but not that of a source.
    """

    def pixel_sigma_of_a_depth(fwhm: float, native: float) -> float:
        return OUTPUT / native / fwhm

    g, r, z = (
        other.noise[band]
        * 10 ** (0.4 * depth_behind[band])
        * (
            pixel_sigma_of_a_depth(fwhm[band], native_pixel_scale[band])
            / pixel_sigma_of_a_depth(other.fwhm[band], other.native_pixel_scale[band])
        )
        * (kept / LANCZOS)
        for band in range(3)
    )
    return g, r, z


def gain_under(sky: Bands, noise: Bands, native_pixel_scale: Bands, kept: float = LANCZOS) -> Bands:
    """Return electrons per nanomaggy of an image whose noise is the Poisson noise of the sky.

    sky: brightness, AB magnitudes per square arcsec; noise: sigma per pixel of OUTPUT; kept: see
    noise_kept.
    """
    g, r, z = (
        10 ** (-0.4 * (sky[band] - 22.5)) * OUTPUT**2 * (kept * OUTPUT / native) ** 2
        / noise[band] ** 2
        for band, native in enumerate(native_pixel_scale)
    )  # fmt: skip
    return g, r, z


# Colours of galaxies, g - r and r - z, around which a colour term is linear in the fluxes.
_USUAL = (0.7, 0.6)


def colour_terms(*terms: tuple[float, float, float]) -> tuple[Bands, Bands, Bands]:
    """Return the colour_matrix of filters with m' = m + a (g - r) + b (r - z) + c, in magnitudes.

    terms: a, b, c of each band. The matrix is exact in value and slope at the usual colours.
    """
    usual = np.array([10 ** (-0.4 * _USUAL[0]), 1, 10 ** (0.4 * _USUAL[1])])  # fluxes
    rows = []
    for band, (a, b, c) in enumerate(terms):
        power = np.eye(3)[band] + (a, b - a, -b)
        flux = usual[band] * 10 ** (-0.4 * (a * _USUAL[0] + b * _USUAL[1] + c))
        g, r, z = (flux * power / usual).tolist()
        rows.append((g, r, z))
    first, second, third = rows
    return first, second, third
