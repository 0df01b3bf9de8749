"""Simulated votes: the truth about a galaxy as far as its image shows it.

Each feature has a visibility between 0 and 1 that falls with decreasing size in units of the seeing
and with decreasing signal-to-noise. Volunteers report an invisible feature as absent: they classify
a small, faint spiral as smooth. Vote fractions follow a Dirichlet distribution whose spread depends
on the number of volunteers.
"""

import numpy as np
from scipy.special import expit

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.data.galaxy_zoo import ASKED_AFTER, TREE, asked, fraction
from VAE_model.simulation.camera import Conditions
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
    featured = 0.07 + 0.88 * any_feature
    artifact = {"": 0.015, "saturated_star": 0.35, "half_empty": 0.25}.get(defect, 0.08)
    edge_on = _edge_on(galaxy)
    arms = evidence["arms"]
    return {
        "smooth-or-featured": {
            "smooth": (1 - featured) * (1 - artifact),
            "featured-or-disk": featured * (1 - artifact),
            "artifact": artifact,
        },
        "how-rounded": _how_rounded(galaxy, seen),
        "disk-edge-on": {"yes": edge_on, "no": 1 - edge_on},
        "edge-on-bulge": _edge_on_bulge(galaxy, evidence["edge-on"]),
        "bar": _bar(galaxy, evidence["bar"]),
        "has-spiral-arms": _yes(0.05 + 0.91 * arms + 0.12 * evidence["texture"] * (1 - arms)),
        "spiral-winding": _winding(galaxy, arms),
        "spiral-arm-count": _arm_count(galaxy, arms),
        "bulge-size": _bulge_size(galaxy),
        "merging": _merging(galaxy, evidence["disturbance"]),
    }


def visible_features(galaxy: Galaxy, seen: Conditions) -> dict[str, float]:
    """Return the visibility of each feature, 0 to 1."""
    size, open_view = galaxy.half_light_radius, galaxy.axis_ratio
    fwhm, faint = seen.fwhm[1], _visible_light(galaxy, seen)

    def resolved(length: float, needed: float) -> float:
        """Return the visibility of a length in arcsec.

        needed: the length that half of all volunteers see in median seeing (1.18 arcsec).
        """
        return float(expit(6.0 * np.log(length / fwhm / (needed / 1.18))))

    disc = galaxy.kind == "disc"
    face_on = float(expit((open_view - 0.30) / 0.05)) if disc else 0.0
    in_disc = 1 - 0.8 * galaxy.bulge_fraction
    contrast = expit((galaxy.arm_strength * (0.45 + galaxy.young_fraction) * in_disc - 0.30) / 0.06)
    # between neighbouring arms, two scale lengths from the centre
    spacing = 4 * np.pi * galaxy.scale_length * np.tan(np.radians(galaxy.pitch))
    spacing *= open_view**0.5 / max(galaxy.arms, 1)
    length = galaxy.bar_length * galaxy.scale_length
    bar = {"none": 0.0, "weak": 0.75, "strong": 1.0}[galaxy.bar_kind]
    disturbed = {"none": 0.0, "minor-disturbance": 0.55, "major-disturbance": 0.9, "merger": 0.95}
    ring = expit((galaxy.ring_fraction - 0.09) / 0.02) if galaxy.ring_fraction else 0.0
    texture = expit((galaxy.young_fraction - 0.38) / 0.06) if disc else 0.0
    return {
        "arms": (galaxy.arms > 0) * faint * face_on * float(contrast)
        * resolved(size * open_view**0.5, 2.4) * resolved(max(spacing, 0.1), 1.9),
        "bar": bar * faint * face_on * resolved(max(length, 0.1), 1.9)
        * float(expit((0.68 - galaxy.bulge_fraction) / 0.06)),
        "edge-on": disc * _edge_on(galaxy) * resolved(size, 1.9),
        "ring": 0.9 * float(ring) * faint * face_on * resolved(size * open_view**0.5, 2.6),
        "texture": 0.6 * float(texture) * faint * face_on * resolved(size * open_view**0.5, 3.2),
        "disturbance": disturbed[galaxy.disturbance] * faint * resolved(size, 2.3),
    }  # fmt: skip


def _visible_light(galaxy: Galaxy, seen: Conditions) -> float:
    """Return the visibility from the signal-to-noise of a pixel at the half-light radius."""
    area = np.pi * galaxy.half_light_radius**2 * max(galaxy.axis_ratio, 0.15)
    signal = 0.35 * float(nanomaggies(galaxy.mag_r)) / area * PIXEL_SCALE**2
    return float(expit(2.5 * np.log(signal / seen.noise[1] / 4.0)))


def _yes(chance: float) -> Chances:
    return {"yes": chance, "no": 1 - chance}


def _edge_on(galaxy: Galaxy) -> float:
    if galaxy.kind == "disc":
        return 0.03 + 0.94 * float(expit((galaxy.inclination - 77.0) / 1.7))
    return 0.03 + 0.75 * float(expit((0.33 - galaxy.axis_ratio) / 0.04))


def _how_rounded(galaxy: Galaxy, seen: Conditions) -> Chances:
    """Return the probabilities from the axis ratio after seeing."""
    blur = (0.35 * seen.fwhm[1] / galaxy.half_light_radius) ** 2
    q = np.sqrt((galaxy.axis_ratio**2 + blur) / (1 + blur))
    rounded, cigar = expit((q - 0.80) / 0.028), expit((0.42 - q) / 0.025)
    mixed = 0.02 + 0.94 * np.array([rounded, max(1 - rounded - cigar, 0), cigar])
    return dict(zip(TREE["how-rounded"], map(float, mixed), strict=True))


def _edge_on_bulge(galaxy: Galaxy, seen: float) -> Chances:
    chances = dict.fromkeys(TREE["edge-on-bulge"], 0.1)
    chances["none"] += 0.5 * (1 - seen)
    chances[galaxy.edge_bulge] += 0.2 + 0.8 * seen
    return chances


def _bar(galaxy: Galaxy, seen: float) -> Chances:
    """Return the probabilities; an invisible bar counts as no bar, a weak one often does."""
    if galaxy.bar_kind == "strong":
        return {"strong": 0.03 + 0.82 * seen, "weak": 0.07 + 0.06 * seen, "no": 0.92 - 0.90 * seen}
    if galaxy.bar_kind == "weak":
        return {"strong": 0.02 + 0.12 * seen, "weak": 0.08 + 0.80 * seen, "no": 0.90 - 0.85 * seen}
    return {"strong": 0.02, "weak": 0.08, "no": 0.90}


def _winding(galaxy: Galaxy, seen: float) -> Chances:
    tight, loose = expit((17.0 - galaxy.pitch) / 1.3), expit((galaxy.pitch - 25.0) / 1.3)
    truth = np.array([tight, max(1 - tight - loose, 0), loose])
    clear = 0.45 + 0.5 * seen if galaxy.arms else 0.0
    mixed = clear * truth + (1 - clear) * np.array([0.35, 0.40, 0.25])
    return dict(zip(TREE["spiral-winding"], map(float, mixed), strict=True))


def _arm_count(galaxy: Galaxy, seen: float) -> Chances:
    chances = dict.fromkeys(TREE["spiral-arm-count"], 0.03)
    chances["cant-tell"] += 0.1 + 0.8 * (1 - seen)
    if galaxy.arms:
        chances[str(galaxy.arms) if galaxy.arms <= 4 else "more-than-4"] += 0.2 + 0.8 * seen
    return chances


def _bulge_size(galaxy: Galaxy) -> Chances:
    """Return the probabilities from the bulge fraction, in logarithmic steps."""
    steps = np.log10([0.022, 0.17, 0.44, 0.62])
    passed = expit((np.log10(max(galaxy.bulge_fraction, 1e-3)) - steps) / 0.035)
    shares = 0.02 + 0.92 * -np.diff(np.concatenate([[1], passed, [0]]))
    return dict(zip(reversed(TREE["bulge-size"]), map(float, shares), strict=True))


def _merging(galaxy: Galaxy, seen: float) -> Chances:
    chances = {"none": 0.93, "minor-disturbance": 0.04, "major-disturbance": 0.015, "merger": 0.015}
    if galaxy.disturbance != "none":
        scale = 0.55 if galaxy.disturbance == "minor-disturbance" else 0.92
        clear = min(seen / scale, 1.0)
        truth = dict.fromkeys(TREE["merging"], 0.05)
        truth[galaxy.disturbance] = 0.85
        chances = {a: (1 - clear) * chances[a] + clear * truth[a] for a in chances}
    return chances


def measured(galaxy: Galaxy, defect: str, rng: np.random.Generator) -> dict[str, object]:
    """Return the catalogue's photometry: the truth with measurement errors."""
    concentration = 2.3 if galaxy.kind == "disc" else 2.6 + 0.12 * (galaxy.sersic_n - 2)
    concentration += 0.7 * galaxy.bulge_fraction * (galaxy.kind == "disc")
    circular = galaxy.half_light_radius * np.sqrt(max(galaxy.axis_ratio, 0.2))
    th50 = float(np.hypot(circular, 0.6) * np.exp(rng.normal(0, 0.03)))
    mag = galaxy.mag_r + rng.normal(0, 0.03)
    size = 95 * np.exp(rng.normal(0, 0.22)) * (1.2 if galaxy.disturbance == "merger" else 1.0)
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
