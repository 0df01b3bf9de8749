"""The audit of pairs: the cutouts of two surveys that show the same galaxy and can be compared.

It guards against a "north" cutout that the service cut from the southern layer, images with
different centres, broken images, and matching by row order or equal floats.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.cutouts import PIXEL_SCALE, BadCutout, read_cutout
from VAE_model.data.sky import cross_match
from VAE_model.preparation.pixel_noise import sky_noise
from VAE_model.surveys import SURVEYS
from VAE_model.transfer.measurements import light_centres
from VAE_model.transfer.pairs import SurveyImages

HEADER = ("ra", "dec", "release", "reason")


def check(job: tuple[Path, str]) -> tuple[float, float, str, str]:
    """Return HEADER of one cutout of the survey `other`: position (degrees), release, and the
    reason why it makes no pair, or an empty string.
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
    elif other in SURVEYS and cutout.survey != other:
        reason = f"wrong survey: VERSION {cutout.release!r} is {cutout.survey}, not {other}"
        if cutout.survey == SURVEYS[other].mistaken_for:
            wrong, right = SURVEYS[cutout.survey].layer, SURVEYS[other].layer
            reason += f", cut from {wrong}: fetch it from {right}"
    return cutout.ra, cutout.dec, cutout.release, reason


def match(
    first: pd.DataFrame, others: pd.DataFrame, radius: float, recentre: float
) -> pd.DataFrame:
    """Return a row per pair: row in `first`, row in `others`, separation in arcsec, and the whole
    pixels (right, up) by which the second image must move to share the first one's centre.

    first, others: ra, dec in degrees, and of the others a reason, which excludes them; radius:
    arcsec; recentre: pixels from which an image is moved.
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
    """Return the reason why each file of the second survey makes no pair; empty where it does.

    radius: arcsec; largest: pixels from which centres are too far apart.
    """
    partners = dict(zip(matched["other_row"], matched["separation_pixels"], strict=True))
    reasons = []
    for row, reason in enumerate(others["reason"]):
        if not reason and row not in partners:
            reason = (
                "no partner: no good image of the first survey has it as its nearest within "
                f"{radius:g} arcsec"
            )
        elif not reason and partners[row] > largest:
            reason = f"centres apart: {partners[row]:.2f} pixels, more than {largest:g}"
        reasons.append(reason)
    return reasons


def defects_of(first: SurveyImages, second: SurveyImages) -> list[str]:
    """Return the defects of the two images of each pair in words; empty where there are none."""

    def names(side: SurveyImages) -> list[str]:
        flags = side.packed.flags.iloc[side.rows]
        short = [name.removeprefix("flag_") for name in flags]
        found = (" ".join(np.compress(raised, short)) for raised in flags.to_numpy())
        return [f"{side.survey}: {words}" if words else "" for words in found]

    return ["; ".join(filter(None, both)) for both in zip(names(first), names(second), strict=True)]


def measured_offsets(
    first: SurveyImages, second: SurveyImages, batch: int = 64
) -> NDArray[np.float64]:
    """Return the distance between the light's centres in the two images of each pair, pixels, (N,).

    Unlike the separation of the headers' centres it is measured on the pixels.
    """
    found = []
    for begin in range(0, len(first.rows), batch):
        part = slice(begin, begin + batch)
        one, two = (light_centres(v.packed.images[v.rows[part]]) for v in (first, second))
        found.append(np.linalg.norm(one - two, axis=1))
    return np.concatenate(found)
