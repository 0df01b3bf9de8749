"""What the project knows of a survey: its names, its place in the cutout service, its cameras."""

import re
from dataclasses import dataclass

Bands = tuple[float, float, float]  # g, r, z


@dataclass(frozen=True)
class Survey:
    """One survey.

    name: of its folder under images/ and in tables; label: as people write it;
    version: VERSION in the headers of its cutouts, which is what tells surveys apart (SURVEY says
    DECaLS in the north too); versions: a regular expression that its VERSIONs begin with;
    layer: of the Legacy Surveys' cutout service and viewer;
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
    strip_only: bool = False
    mistaken_for: str = ""

    def released(self, version: str) -> bool:
        """Whether a VERSION is one of this survey's."""
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
