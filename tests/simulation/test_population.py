"""Galaxies and answers are continuous: nothing shows how a galaxy was drawn."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import load_script

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.data.galaxy_zoo import TREE
from VAE_model.simulation import Purpose, random_stream
from VAE_model.simulation.conditions import draw_conditions
from VAE_model.simulation.drawing import add_field, draw_scene
from VAE_model.simulation.population import Galaxy, draw_galaxy, red_sequence
from VAE_model.simulation.scene import MIDDLE, Scene
from VAE_model.simulation.votes import answer_chances
from VAE_model.surveys import DECALS

checks = load_script("benchmarks/experiments/sky_checks.py")
SEEN = draw_conditions(DECALS, np.random.default_rng(0))


@pytest.fixture(scope="module")
def galaxies() -> list[Galaxy]:
    return [draw_galaxy(random_stream(5, i, Purpose.POPULATION)) for i in range(3000)]


@pytest.fixture(scope="module")
def spiral(galaxies) -> Galaxy:
    """A large, bright, undisturbed spiral."""
    chosen = next(g for g in galaxies if g.kind == "spiral" and g.disturbance < 0.03)
    return replace(
        chosen, mag_r=15.0, half_light_radius=8.0, thickness=0.15, bulge_fraction=0.15,
        young_fraction=0.45, arm_strength=0.8, arms=2, pitch=20.0, bar_angle=20.0, bar_length=1.2,
        companion=None, disturbance=0.0, lopsidedness=0.0,
    )  # fmt: skip


def test_no_parameter_of_an_answer_has_a_hole():
    """The axis ratios of smooth galaxies, bars and inclinations once had holes of 0.02 and more."""
    for name, values in checks.parameters(seed=5, draws=5000).items():
        assert len(values) > 1500
        assert checks.largest_gap(values) < 0.015, name


def test_every_answer_of_the_seven_questions_has_galaxies():
    for question, answers in checks.counts(seed=5, galaxies=2000).items():
        assert min(answers.values()) > 60, (question, answers)


PATHS = {  # a parameter from one end to the other, and the answer that changes
    "inclination": (np.linspace(0, 90, 181), ("disk-edge-on", "yes")),
    "bar_fraction": (np.linspace(0, 0.35, 71), ("bar", "strong")),
    "arm_strength": (np.linspace(0, 1, 101), ("has-spiral-arms", "yes")),
    "pitch": (np.linspace(6, 42, 73), ("spiral-winding", "loose")),
    "bulge_fraction": (np.geomspace(0.004, 0.8, 101), ("bulge-size", "none")),
    "disturbance": (np.linspace(0, 1, 101), ("merging", "major-disturbance")),
}


@pytest.mark.parametrize("parameter", PATHS)
def test_answers_change_gradually(spiral, parameter):
    values, (question, answer) = PATHS[parameter]
    path = [
        checks.at(spiral, value)
        if parameter == "inclination"
        else checks.at(replace(spiral, **{parameter: float(value)}), 40.0)
        for value in values
    ]
    chances = [answer_chances(galaxy, SEEN, "") for galaxy in path]
    answers = np.array([chance[question][answer] for chance in chances])
    assert np.ptp(answers) > 0.5, "the answer depends on it"
    assert abs(np.diff(answers)).max() < 0.15
    for question, names in TREE.items():
        shares = np.array([[chance[question][name] for name in names] for chance in chances])
        assert (shares > 0).all() and np.isfinite(shares).all(), question
        shares /= shares.sum(axis=1, keepdims=True)
        assert abs(np.diff(shares, axis=0)).max() < 0.15, (question, parameter)


def test_edge_on_answers_change_between_65_and_85_degrees(spiral):
    chances = [
        answer_chances(checks.at(spiral, inclination), SEEN, "")["disk-edge-on"]["yes"]
        for inclination in (60.0, 68.0, 83.0, 90.0)
    ]
    assert chances[0] < 0.1 < chances[1] < 0.3
    assert 0.6 < chances[2] < chances[3]


def test_the_kind_of_a_galaxy_decides_no_answer(spiral):
    """A lenticular with the parameters of a spiral is answered as one."""
    other = replace(spiral, kind="lenticular")
    assert answer_chances(other, SEEN, "") == answer_chances(spiral, SEEN, "")


def test_irregular_galaxies_are_faint_blue_and_off_centre(galaxies):
    irregular = [g for g in galaxies if g.kind == "irregular"]
    spirals = [g for g in galaxies if g.kind == "spiral"]
    assert len(irregular) / len(galaxies) == pytest.approx(0.05, abs=0.015)
    for name, sign in (("absmag_r", 1), ("mag_r", 1), ("g_r_old", -1), ("lopsidedness", 1)):
        means = [np.mean([getattr(g, name) for g in some]) for some in (irregular, spirals)]
        assert sign * (means[0] - means[1]) > 0, name


def test_the_galaxies_of_a_cluster_are_red_and_around_the_target(galaxies, monkeypatch):
    galaxy = replace(galaxies[0], cluster_members=60.0)
    drawn = []
    monkeypatch.setattr(Scene, "add_blobs", lambda self, *blobs: drawn.append(blobs[:6]))
    found = add_field(Scene(), galaxy, np.random.default_rng(0), saturated=False)
    assert found["cluster_galaxies"] > 30
    flux, x, y, *_ = (np.concatenate(of, axis=-1) for of in zip(*drawn[2:], strict=True))
    colour = -2.5 * np.log10(flux[0] / flux[1])
    assert np.hypot(x - MIDDLE, y - MIDDLE).max() < 50 / PIXEL_SCALE
    assert abs(np.mean([x, y]) - MIDDLE) < 25
    expected = red_sequence(galaxy.absmag_r + 3.5, galaxy.redshift)
    assert np.median(colour) == pytest.approx(expected, abs=0.05)
    field = add_field(
        Scene(), replace(galaxy, cluster_members=0.0), np.random.default_rng(0), False
    )
    assert field["cluster_galaxies"] == 0
    assert field["background_galaxies"] == found["background_galaxies"]


def test_dust_reddens_inclined_discs(spiral):
    def colour(galaxy: Galaxy) -> float:
        light = draw_scene(galaxy, np.random.default_rng(3)).pixels.sum(axis=(1, 2))
        return float(-2.5 * np.log10(light[0] / light[1]))

    dusty, clear = replace(spiral, dust=0.8, knots=0), replace(spiral, dust=0.0, knots=0)
    excess = [colour(checks.at(dusty, i)) - colour(checks.at(clear, i)) for i in (0.0, 60.0, 80.0)]
    assert 0 < excess[0] < excess[1] < excess[2] < 0.4


def test_the_structure_numbers_find_no_step_in_the_inclinations():
    """With a routine that changed at 78 degrees the AUC was 0.99."""
    found = checks.neighbouring_steps(4, 80, ((74, 76), (76, 78), (78, 80)))
    before, across = found.values()
    assert across < 0.85
    assert across < before + 0.12  # twice the standard error of the difference
