"""The properties of a survey: its names, its layer in the cutout service, its cameras."""

import re
from dataclasses import dataclass, replace

Bands = tuple[float, float, float]  # g, r, z
OUTPUT = 0.262  # arcsec, pixel scale of the coadds of the Legacy Surveys
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
    fwhm: median FWHM of stars on coadds, arcsec; noise: median sigma per pixel of coadds,
    nanomaggies; native_pixel_scale: of the camera, arcsec; coadds are resampled from it with a
    Lanczos-3 kernel; exposures: fractions of the area with 1, 2, 3, ... exposures per band; ccd:
    sides of a detector, arcsec (x, y); wings: of the PSF; gain: electrons per nanomaggy in a coadd
    of median depth; colour_matrix: response of each filter to g, r, z; registration: rms position
    error of a band, arcsec per axis; strip_only: covers only the strip of the catalogue around Dec
    32.375 deg; mistaken_for: the survey whose layer the service sometimes returns instead.
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


def noise_at(depth_behind: Bands, other: Survey, fwhm: Bands, native_pixel_scale: Bands) -> Bands:
    """Return sigma per pixel of a coadd that is `depth_behind` magnitudes less deep than another.

    other: the deeper survey; fwhm, native_pixel_scale: of this one. Depths are for point sources.
    Only their difference is used: it does not depend on the profile that is assumed of the PSF.
    Resampling from larger pixels lowers the sigma of a pixel but not that of a source.
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
        for band in range(3)
    )
    return g, r, z


def gain_under(sky: Bands, noise: Bands, native_pixel_scale: Bands) -> Bands:
    """Return electrons per nanomaggy of a coadd whose noise is the Poisson noise of the sky.

    sky: brightness, AB magnitudes per square arcsec; noise: sigma per pixel of the coadd.
    """
    g, r, z = (
        10 ** (-0.4 * (sky[band] - 22.5)) * OUTPUT**2 * (LANCZOS * OUTPUT / native) ** 2
        / noise[band] ** 2
        for band, native in enumerate(native_pixel_scale)
    )  # fmt: skip
    return g, r, z
