"""The facts about a survey: its names, its place in the cutout service, its cameras."""

import re
from dataclasses import dataclass, replace

Bands = tuple[float, float, float]  # g, r, z

# The data release of the Legacy Surveys that is fetched, linked to and simulated.
RELEASE = "dr9"
# Parts that each release has images of, oldest release first.
RELEASES = {"dr9": ("south", "north"), "dr10": ("south",), "dr11": ("south", "north")}

_LAYER = re.compile(r"ls-(dr\d+)-(south|north)")


@dataclass(frozen=True)
class Survey:
    """One survey.

    name: of its folder under images/ and in tables; label: as people write it;
    version: VERSION in the headers of its cutouts, which is what tells surveys apart (SURVEY says
    DECaLS in the north too); versions: a regular expression that its VERSIONs begin with;
    layer: of the Legacy Surveys' cutout service and viewer;
    known: RA and Dec (degrees) of a galaxy that the layer shows, None where none is known;
    stream: number of its random numbers in the simulation, which is no other survey's and none of
    simulation.Purpose;
    fwhm: of the coadded PSF, arcsec, medians; noise: sigma a pixel, nanomaggies, medians;
    blend: weight of a neighbour when pixels are resampled; gain: electrons a nanomaggy;
    colour_matrix: what each filter passes of g, r, z; registration: rms error of a frame's
    position, arcsec an axis;
    strip_only: it covers only the strip of the Galaxy Zoo DECaLS catalogue about Dec 32.375 deg;
    mistaken_for: survey whose layer the service cuts from where it takes one for the other.
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
        """The release that the layer is of: dr9; empty for a layer of another kind."""
        found = _LAYER.fullmatch(self.layer)
        return found[1] if found else ""

    def at(self, release: str) -> "Survey":
        """The survey with the layer and VERSION of a release, or of the newest one before it that
        has images of this part of the sky; unchanged where the layer is of no release."""
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
        """Return True where a VERSION is one of this survey's."""
        return re.match(self.versions, version, re.IGNORECASE) is not None


def noise_at(depth_behind: float, noise: float, here: tuple[float, float],
             there: tuple[float, float]) -> float:  # fmt: skip
    """Sigma a pixel of a coadd whose point-source depth is `depth_behind` magnitudes less than
    that of a coadd with the sigma `noise`. (The surveys' stated depths and the measured noise of
    DECaLS coadds disagree by 0.2 magnitudes, so only the difference of the depths is used.)

    here, there: (FWHM in arcsec, blend) of the first and the second. The depth fixes the white
    noise (optimal extraction with a Gaussian PSF); resampling spreads it over neighbours, which
    lowers the sigma of a pixel and not that of a source.
    """

    def pixel_sigma_of_a_depth(fwhm: float, blend: float) -> float:
        return (1 + 2 * blend**2) / (1 + 2 * blend) ** 2 / fwhm

    ratio = pixel_sigma_of_a_depth(*there) / pixel_sigma_of_a_depth(*here)
    return noise * 10 ** (0.4 * depth_behind) * ratio
