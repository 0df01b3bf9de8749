"""The properties of a survey: its names, its layer in the cutout service, its cameras."""

import re
from dataclasses import dataclass, replace

Bands = tuple[float, float, float]  # g, r, z

# The data release of the Legacy Surveys that is downloaded, linked to and simulated.
RELEASE = "dr9"
# The parts of the sky in each release, oldest release first.
RELEASES = {"dr9": ("south", "north"), "dr10": ("south",), "dr11": ("south", "north")}

_LAYER = re.compile(r"ls-(dr\d+)-(south|north)")


@dataclass(frozen=True)
class Survey:
    """One survey.

    name: folder under images/ and name in tables; label: display name; version: VERSION in the
    headers of its cutouts, which distinguishes surveys (SURVEY is DECaLS in the north too);
    versions: regular expression for the start of its VERSIONs; layer: in the Legacy Surveys' cutout
    service and viewer; known: RA and Dec (degrees) of a galaxy in the layer, or None; stream:
    number of its random stream in the simulation, unique and distinct from simulation.Purpose;
    fwhm: median FWHM of the coadded PSF, arcsec; noise: median sigma per pixel, nanomaggies; blend:
    weight of a neighbouring pixel in resampling; gain: electrons per nanomaggy; colour_matrix:
    response of each filter to g, r, z; registration: rms position error of a frame, arcsec per
    axis; strip_only: covers only the strip of the catalogue around Dec 32.375 deg; mistaken_for:
    the survey whose layer the service sometimes returns instead.
    """

    name: str
    label: str
    version: str
    versions: str
    layer: str
    stream: int
    fwhm: Bands
    noise: Bands
    blend: Bands
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


def noise_at(depth_behind: float, noise: float, here: tuple[float, float],
             there: tuple[float, float]) -> float:  # fmt: skip
    """Return sigma per pixel of a coadd that is `depth_behind` magnitudes less deep than another.

    noise: sigma per pixel of the other coadd; here, there: (FWHM in arcsec, blend) of the other and
    of this one. Depths are for point sources, and only their difference is used, because published
    depths and measured noise of DECaLS disagree by 0.2 magnitudes. Resampling spreads white noise
    over neighbours, which lowers the sigma of a pixel but not that of a source.
    """

    def pixel_sigma_of_a_depth(fwhm: float, blend: float) -> float:
        return (1 + 2 * blend**2) / (1 + 2 * blend) ** 2 / fwhm

    ratio = pixel_sigma_of_a_depth(*there) / pixel_sigma_of_a_depth(*here)
    return noise * 10 ** (0.4 * depth_behind) * ratio
