"""The audit of pairs: cutouts of two surveys that show the same galaxy and can be compared.

It refuses "north" cutouts that the service cut from the southern layer, images with different
centres, and broken images. Pairs are matched on the sky.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.cutouts import PIXEL_SCALE, BadCutout, read_cutout
from VAE_model.data.sky import cross_match
from VAE_model.preparation.pixel_noise import sky_noise
from VAE_model.surveys import SURVEYS, UNKNOWN
from VAE_model.transfer.measurements import light_centres
from VAE_model.transfer.pairs import SurveyImages

HEADER = ("ra", "dec", "release", "reason")


def check(job: tuple[Path, str]) -> tuple[float, float, str, str]:
    """Return the columns of HEADER of one cutout of the survey `other`.

    They are the position (degrees), the release, and the reason why the cutout makes no pair, or an
    empty string.
    """
    path, other = job
    try:
        cutout = read_cutout(path)
        sky_noise(cutout.flux, cutout.display)
    except BadCutout as refusal:
        return np.nan, np.nan, "", str(refusal)
    reason = ""
    if not np.isfinite(cutout.ra):
        reason = "no position: the header has no WCS and the name no coordinates"
    elif other in SURVEYS and cutout.survey not in _accepted(other):
        reason = f"wrong survey: VERSION {cutout.release!r} is {cutout.survey}, not {other}"
        if cutout.survey == SURVEYS[other].mistaken_for:
            wrong, right = SURVEYS[cutout.survey].layer, SURVEYS[other].layer
            reason += f", cut from {wrong}: fetch it from {right}"
    return cutout.ra, cutout.dec, cutout.release, reason


def _accepted(other: str) -> set[str]:
    """Return what read_cutout may say of an image of a survey of SURVEYS.

    Of the real images, VERSION identifies only those of a release of the Legacy Surveys.
    """
    return {other} if SURVEYS[other].release else {other, UNKNOWN}


def match(
    first: pd.DataFrame, others: pd.DataFrame, radius: float, recentre: float
) -> pd.DataFrame:
    """Return a row per pair of nearest neighbours.

    first, others: tables with ra, dec in degrees; those of the others with a reason are excluded;
    radius: arcsec; recentre: distance of the centres (pixels) above which an image is moved. A row
    has the rows in both tables, the separation (arcsec), and the whole pixels (right, up) by which
    the second image must move to share the first one's centre.
    """
    good = np.flatnonzero(others["reason"] == "")
    ra, dec = others[["ra", "dec"]].to_numpy()[good].T
    one, two, arcsec = cross_match(first["ra"], first["dec"], ra, dec, radius)
    here = first.iloc[one]
    turn = (ra[two] - here["ra"].to_numpy() + 180) % 360 - 180
    right = -turn * np.cos(np.radians(here["dec"].to_numpy())) * 3600 / PIXEL_SCALE
    up = (dec[two] - here["dec"].to_numpy()) * 3600 / PIXEL_SCALE
    far = np.hypot(right, up) > recentre
    return pd.DataFrame(
        {
            "row": one, "other_row": good[two], "separation": arcsec,
            "separation_pixels": np.hypot(right, up),
            "shift_x": np.where(far, np.round(right), 0).astype(int),
            "shift_y": np.where(far, np.round(up), 0).astype(int),
        }
    )  # fmt: skip


def reasons_of(
    others: pd.DataFrame, matched: pd.DataFrame, radius: float, largest: float
) -> list[str]:
    """Return the reason why each file of the second survey makes no pair, or an empty string.

    radius: arcsec; largest: distance of the centres (pixels) that is still accepted.
    """
    lonely = (
        f"no partner: no good image of the first survey has it as its nearest within {radius:g} "
        "arcsec"
    )
    reasons = [reason or lonely for reason in others["reason"]]
    for row, apart in zip(matched["other_row"], matched["separation_pixels"], strict=True):
        far = f"centres apart: {apart:.2f} pixels, more than {largest:g}"
        reasons[row] = far if apart > largest else ""
    return reasons


def defects_of(first: SurveyImages, second: SurveyImages) -> list[str]:
    """Return the defects of the two images of each pair, or an empty string."""

    def names(side: SurveyImages) -> list[str]:
        """Return the defects of one survey's images."""
        flags = side.packed.flags.iloc[side.rows]
        short = [name.removeprefix("flag_") for name in flags]
        found = (" ".join(np.compress(raised, short)) for raised in flags.to_numpy())
        return [f"{side.survey}: {words}" if words else "" for words in found]

    return ["; ".join(filter(None, both)) for both in zip(names(first), names(second), strict=True)]


def measured_offsets(
    first: SurveyImages, second: SurveyImages, batch: int = 64
) -> NDArray[np.float64]:
    """Return the distance (pixels) of the centres of light in the two images of each pair, (N,).

    Unlike the separation of the headers' centres it is measured on the pixels.
    """
    found = []
    for begin in range(0, len(first.rows), batch):
        part = slice(begin, begin + batch)
        one, two = (light_centres(v.packed.images[v.rows[part]]) for v in (first, second))
        found.append(np.linalg.norm(one - two, axis=1))
    return np.concatenate(found)
