"""Simulated votes: what an image shows of a galaxy, as people answer.

Each answer is a smooth probability of a visible quantity: the axis ratio after seeing, the contrast
of arms, the length and light of a bar in projection, the light in the middle. Each feature has a
visibility between 0 and 1 that falls with decreasing size in units of the seeing and with
decreasing signal-to-noise. Volunteers report an invisible feature as absent: they classify a small,
faint spiral as smooth. Vote fractions follow a Dirichlet distribution whose spread depends on the
number of volunteers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.data.galaxy_zoo import ASKED_AFTER, TREE, asked, fraction
from VAE_model.simulation.conditions import Conditions
from VAE_model.simulation.population import Galaxy
from VAE_model.simulation.scene import nanomaggies

VOLUNTEERS = 40
_WRONG_SIZE = 161.0  # the catalogue warns above this statistic

Chances = dict[str, float]


def vote_fractions(
    galaxy: Galaxy, seen: Conditions, defect: str, rng: np.random.Generator
) -> dict[str, float]:
    """Draw the fractions of all ten questions and the proportion of volunteers who reached each.

    seen: conditions of the image that volunteers saw; defect: its defect, '' for none.
    """
    votes: dict[str, float] = {}
    reached = {}
    for question, chances in answer_chances(galaxy, seen, defect).items():
        parent = ASKED_AFTER.get(question)
        share = reached[parent[0]] * votes[fraction(*parent)] if parent else 1.0
        if question == "merging":
            share = 1 - votes[fraction("smooth-or-featured", "artifact")]
        reached[question] = votes[asked(question)] = share
        weight = np.array([chances[answer] for answer in TREE[question]])
        weight = np.maximum(weight / weight.sum(), 0.004)
        drawn = rng.dirichlet(weight / weight.sum() * VOLUNTEERS * max(share, 0.1))
        for answer, value in zip(TREE[question], drawn, strict=True):
            votes[fraction(question, answer)] = float(value)
    return votes


def answer_chances(galaxy: Galaxy, seen: Conditions, defect: str) -> dict[str, Chances]:
    """Return the probability of each answer to each question, in the order of the tree."""
    evidence = visible_features(galaxy, seen)
    any_feature = 1 - float(np.prod([1 - value for value in evidence.values()]))
    featured = 0.06 + 0.89 * any_feature
    artifact = {"": 0.015, "saturated_star": 0.35, "half_empty": 0.25}.get(defect, 0.08)
    q = apparent_axis_ratio(galaxy, seen)
    edge_on = 0.03 + 0.94 * _step(0.325 - q, 0.045)
    arms = evidence["arms"]
    return {
        "smooth-or-featured": {
            "smooth": (1 - featured) * (1 - artifact),
            "featured-or-disk": featured * (1 - artifact),
            "artifact": artifact,
        },
        "how-rounded": _ordered("how-rounded", _step(q - np.array([0.43, 0.77]), 0.04)),
        "disk-edge-on": _yes(edge_on),
        "edge-on-bulge": _edge_on_bulge(galaxy, seen),
        "bar": _ordered("bar", _step(evidence["bar"] - np.array([0.26, 0.53]), 0.065)),
        "has-spiral-arms": _yes(0.05 + 0.91 * arms + 0.12 * evidence["texture"] * (1 - arms)),
        "spiral-winding": _winding(galaxy, arms),
        "spiral-arm-count": _arm_count(galaxy, arms),
        "bulge-size": _bulge_size(galaxy, seen),
        "merging": _merging(galaxy, seen, evidence["disturbance"]),
    }


def apparent_axis_ratio(galaxy: Galaxy, seen: Conditions) -> float:
    """Return the axis ratio after seeing, of bulge and disc together or of a spheroid."""
    bulge = 0.5 * galaxy.bulge_fraction * (galaxy.kind != "spheroid")  # light is concentrated
    q = (1 - bulge) * galaxy.axis_ratio + bulge * galaxy.bulge_axis_ratio
    blur = (0.35 * seen.fwhm[1] / galaxy.half_light_radius) ** 2
    return float(np.sqrt((q**2 + blur) / (1 + blur)))


def visible_features(galaxy: Galaxy, seen: Conditions) -> dict[str, float]:
    """Return the visibility of each feature, 0 to 1: contrast, size in units of seeing, depth.

    That of the bar is its strength as the image shows it.
    """
    size, q = galaxy.half_light_radius, apparent_axis_ratio(galaxy, seen)
    faint = _visible_light(galaxy, seen)

    def resolved(length: float, needed: float) -> float:
        """Return the visibility of a length in arcsec.

        needed: the length that half of all volunteers see in median seeing (1.18 arcsec).
        """
        return float(expit(6.0 * np.log(max(length, 0.05) / seen.fwhm[1] / (needed / 1.18))))

    open_view = faint * _step(q - 0.30, 0.05)
    across = size * q**0.5
    in_disc = 1 - 0.8 * galaxy.bulge_fraction
    contrast = galaxy.arm_strength * (0.45 + galaxy.young_fraction) * in_disc
    # between neighbouring arms, two scale lengths from the centre
    spacing = 4 * np.pi * galaxy.scale_length * np.tan(np.radians(galaxy.pitch))
    spacing *= q**0.5 / max(galaxy.arms, 1)
    angle = np.radians(galaxy.bar_angle)
    foreshortened = np.hypot(np.cos(angle), np.sin(angle) * np.cos(np.radians(galaxy.inclination)))
    length = galaxy.bar_length * galaxy.scale_length * foreshortened
    light = galaxy.bar_fraction * (1 - galaxy.bulge_fraction)
    bar = np.sqrt(light / 0.25 * galaxy.bar_length / 1.5) * (0.55 + 0.45 * foreshortened)
    # seen edge-on: dust and young stars in a thin layer, a bulge on a disc
    structure = galaxy.young_fraction + 0.35 * galaxy.dust
    structure += galaxy.bulge_fraction * (1 - galaxy.bulge_fraction)
    return {
        "arms": open_view * _step(contrast - 0.27, 0.07)
        * resolved(across, 2.4) * resolved(spacing, 1.6) * (galaxy.arms > 0),
        "bar": open_view * float(min(bar, 1)) * resolved(length, 1.7),
        "edge-on": _step(0.36 - q, 0.05) * _step(structure - 0.36, 0.08) * resolved(size, 1.9),
        "ring": 0.9 * open_view * _step(galaxy.ring_fraction - 0.07, 0.02) * resolved(across, 2.6),
        "texture": 0.6 * open_view * _step(
            galaxy.young_fraction + 0.5 * galaxy.lopsidedness - 0.40, 0.07) * resolved(across, 3.2),
        "disturbance": galaxy.disturbance * faint * resolved(size, 2.0),
    }  # fmt: skip


def _step(value: NDArray | float, width: float) -> Any:
    """Return a smooth step at zero: the share of volunteers who see a value above a threshold."""
    return expit(np.asarray(value) / width)


def _visible_light(galaxy: Galaxy, seen: Conditions) -> float:
    """Return the visibility from the signal-to-noise of a pixel at the half-light radius."""
    area = np.pi * galaxy.half_light_radius**2 * max(galaxy.axis_ratio, 0.15)
    signal = 0.35 * float(nanomaggies(galaxy.mag_r)) / area * PIXEL_SCALE**2
    return float(expit(2.5 * np.log(signal / seen.noise[1] / 4.0)))


def _yes(chance: float) -> Chances:
    return {"yes": float(chance), "no": float(1 - chance)}


def _ordered(question: str, above: NDArray[np.float64]) -> Chances:
    """Return the probabilities of answers along a scale; the tree lists the highest first.

    above: shares of volunteers who see more than each threshold, the lowest threshold first.
    """
    shares = 0.02 + 0.94 * -np.diff(np.concatenate([[1], above, [0]]))
    return dict(zip(reversed(TREE[question]), map(float, shares), strict=True))


def _edge_on_bulge(galaxy: Galaxy, seen: Conditions) -> Chances:
    """Return the probabilities from the size of the bulge above the disc, and its boxiness."""
    size = galaxy.scale_length * (0.28 + 0.75 * galaxy.bulge_fraction)
    above = _step(np.log10(galaxy.bulge_fraction * size / seen.fwhm[1] + 1e-3) + 1.1, 0.15)
    boxy = _step(galaxy.boxiness - 0.45, 0.1)
    return {
        "boxy": float(0.04 + 0.88 * above * boxy),
        "none": float(0.04 + 0.88 * (1 - above)),
        "rounded": float(0.04 + 0.88 * above * (1 - boxy)),
    }


def _winding(galaxy: Galaxy, seen: float) -> Chances:
    """Return the probabilities from the pitch angle, less certain for faint arms."""
    tight, loose = _step(17.5 - galaxy.pitch, 2.2), _step(galaxy.pitch - 26.5, 2.2)
    truth = np.array([tight, max(1 - tight - loose, 0), loose])
    clear = 0.45 + 0.5 * seen
    mixed = clear * truth + (1 - clear) * np.array([0.35, 0.40, 0.25])
    return dict(zip(TREE["spiral-winding"], map(float, mixed), strict=True))


def _arm_count(galaxy: Galaxy, seen: float) -> Chances:
    chances = dict.fromkeys(TREE["spiral-arm-count"], 0.03)
    chances["cant-tell"] += 0.1 + 0.8 * (1 - seen)
    if galaxy.arms:
        chances[str(galaxy.arms) if galaxy.arms <= 4 else "more-than-4"] += 0.2 + 0.8 * seen
    return chances


def _bulge_size(galaxy: Galaxy, seen: Conditions) -> Chances:
    """Return the probabilities from the light in the middle, in logarithmic steps.

    The seeing hides small bulges, and a bar adds to the middle.
    """
    size = galaxy.scale_length * (0.28 + 0.75 * galaxy.bulge_fraction)
    shown = size / np.hypot(size, 0.25 * seen.fwhm[1])
    middle = galaxy.bulge_fraction * shown + 0.06 * galaxy.bar_fraction
    steps = np.log10([0.028, 0.15, 0.42, 0.62])
    return _ordered("bulge-size", _step(np.log10(max(middle, 1e-3)) - steps, 0.075))


def _merging(galaxy: Galaxy, seen: Conditions, disturbance: float) -> Chances:
    """Return the probabilities from the visible disturbance and from a companion that touches."""
    pair, other = 0.0, galaxy.companion
    if other is not None:
        apart = np.hypot(other.x_offset - galaxy.x_offset, other.y_offset - galaxy.y_offset)
        near = _step(2.6 - apart / (galaxy.half_light_radius + other.half_light_radius), 0.3)
        separate = expit(4 * np.log(apart / (1.3 * seen.fwhm[1])))
        pair = float(near * separate * _step(2.0 - (other.mag_r - galaxy.mag_r), 0.25))
    pair *= 0.25 + 0.75 * disturbance**0.5
    odd, strong = _step(disturbance - 0.24, 0.05), _step(disturbance - 0.58, 0.06)
    alone = 1 - pair
    return {
        "none": float(0.02 + 0.93 * alone * (1 - odd)),
        "minor-disturbance": float(0.03 + 0.91 * alone * odd * (1 - strong)),
        "major-disturbance": float(0.02 + 0.91 * alone * odd * strong),
        "merger": float(0.02 + 0.91 * pair),
    }


def measured(galaxy: Galaxy, defect: str, rng: np.random.Generator) -> dict[str, object]:
    """Return the catalogue's photometry: the truth with measurement errors."""
    if galaxy.kind == "spheroid":
        concentration = 2.6 + 0.12 * (galaxy.sersic_n - 2)
    else:
        concentration = 2.3 + 0.7 * galaxy.bulge_fraction
    circular = galaxy.half_light_radius * np.sqrt(max(galaxy.axis_ratio, 0.2))
    th50 = float(np.hypot(circular, 0.6) * np.exp(rng.normal(0, 0.03)))
    mag = galaxy.mag_r + rng.normal(0, 0.03)
    size = 95 * np.exp(rng.normal(0, 0.22)) * (1.2 if galaxy.companion else 1.0)
    wrong_size = float(size * (1.5 if defect == "saturated_star" else 1.0))
    return {
        "redshift": galaxy.redshift,
        "elpetro_absmag_r": galaxy.absmag_r + rng.normal(0, 0.04),
        "sersic_nmgy_r": float(nanomaggies(mag)) * np.exp(rng.normal(0, 0.03)),
        "mag_r": float(mag),
        "petro_th50": th50,
        "petro_th90": float(th50 * concentration * np.exp(rng.normal(0, 0.04))),
        "petro_theta": float(th50 * 1.95 * np.exp(rng.normal(0, 0.05))),
        "wrong_size_statistic": wrong_size,
        "wrong_size_warning": bool(wrong_size > _WRONG_SIZE),
    }
