"""Which cutouts of two surveys show the same galaxy, and may be compared.

The traps that this is for: a "north" cutout that the service cut from the southern layer, frames
cut about different positions, broken frames, and matching by row order or equal floats.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.cutouts import PIXEL_SCALE, BadCutout, read_cutout
from VAE_model.pair_measures import light_centres
from VAE_model.pairs import View
from VAE_model.pixel_noise import sky_noise
from VAE_model.sky import cross_match
from VAE_model.surveys import SURVEYS


@dataclass(frozen=True)
class Verdict:
    """What opening one cutout of the second survey gave; reason: why it makes no pair."""

    ra: float = float("nan")
    dec: float = float("nan")
    release: str = ""
    reason: str = ""


def check(job: tuple[Path, str]) -> Verdict:
    """Open one cutout of the survey `other`. Nothing in a file can stop the stage."""
    path, other = job
    try:
        cutout = read_cutout(path)
        sky_noise(cutout.flux, cutout.display)
    except BadCutout as refusal:
        return Verdict(reason=str(refusal))
    reason = ""
    if not np.isfinite(cutout.ra):
        reason = "no position: the header has no WCS and the name no coordinates"
    elif other in SURVEYS and cutout.survey != other:
        says = f"VERSION {cutout.release!r} is {cutout.survey}, not {other}"
        if cutout.survey == SURVEYS[other].mistaken_for:
            says += (
                f", cut from {SURVEYS[cutout.survey].layer}: fetch it from {SURVEYS[other].layer}"
            )
        reason = f"wrong survey: {says}"
    return Verdict(cutout.ra, cutout.dec, cutout.release, reason)


def match(
    first: pd.DataFrame, verdicts: list[Verdict], radius: float, recentre: float
) -> pd.DataFrame:
    """One row a pair: row in `first`, row in `verdicts`, separation in arcsec and the whole pixels
    (right, up) by which the second image must move to share the first one's centre.

    first: ra, dec in degrees; radius: arcsec; recentre: pixels from which an image is moved.
    """
    good = np.array([row for row, verdict in enumerate(verdicts) if not verdict.reason], int)
    ra, dec = np.array([(verdicts[row].ra, verdicts[row].dec) for row in good]).reshape(-1, 2).T
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
    verdicts: list[Verdict], matched: pd.DataFrame, radius: float, largest: float
) -> list[str]:
    """Why each file of the second survey makes no pair; empty where it does.

    radius: arcsec; largest: pixels from which centres are too far apart.
    """
    reasons = [verdict.reason for verdict in verdicts]
    partners = dict(zip(matched["other_row"], matched["separation_pixels"], strict=True))
    for row, reason in enumerate(reasons):
        if reason:
            continue
        if row not in partners:
            reasons[row] = (
                "no partner: no good image of the first survey has it as its nearest within "
                f"{radius:g} arcsec"
            )
        elif partners[row] > largest:
            reasons[row] = f"centres apart: {partners[row]:.2f} pixels, more than {largest:g}"
    return reasons


def defects_of(first: View, second: View) -> list[str]:
    """What is wrong with the two images of each pair, in words; empty where nothing is."""

    def names(view: View) -> list[str]:
        flags = view.packed.flags.iloc[view.rows]
        short = [name.removeprefix("flag_") for name in flags]
        found = (" ".join(np.compress(raised, short)) for raised in flags.to_numpy())
        return [f"{view.survey}: {words}" if words else "" for words in found]

    return ["; ".join(filter(None, both)) for both in zip(names(first), names(second), strict=True)]


def measured_offsets(first: View, second: View, batch: int = 64) -> NDArray[np.float64]:
    """How far apart the light's centre is in the two images of each pair, pixels, (N,).

    Unlike the separation of the headers' centres this sees what is in the pixels.
    """
    found = []
    for begin in range(0, len(first.rows), batch):
        part = slice(begin, begin + batch)
        one, two = (light_centres(v.packed.images[v.rows[part]]) for v in (first, second))
        found.append(np.linalg.norm(one - two, axis=1))
    return np.concatenate(found)
