"""Information in the latents: known answers of each measure, and the stage on realistic images."""

import json
import math
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import load_script, run_script, says_one_line, succeeded
from scipy.ndimage import center_of_mass

from VAE_model import models
from VAE_model.data.packed import Packed
from VAE_model.evaluation.probe import invariance, posterior, regression
from VAE_model.pipeline.run import Run
from VAE_model.preparation.stretch import Stretch
from VAE_model.simulation import repeats, sky
from VAE_model.simulation.conditions import draw_conditions
from VAE_model.surveys import DECALS
from VAE_model.training import checkpoint

STAGE, NUM_VAR = "analysis/probe.py", 5


def test_r_squared_is_one_for_the_truth_and_zero_for_the_training_mean():
    truth = np.random.default_rng(0).normal(size=(80, 2))
    mean = np.array([0.3, -0.1])
    said = np.stack([truth, np.tile(mean, (80, 1)), 2 * mean - truth], axis=1)
    right, nothing, wrong = regression.r_squared(said, truth, mean)
    assert (right.value, right.low, right.high) == (1, 1, 1)
    assert (nothing.value, nothing.low, nothing.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert wrong.value == pytest.approx(-3)


def test_features_tell_what_they_know_and_not_what_they_do_not():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(1200, 4))
    angle = rng.uniform(0, np.pi, 1200)
    features[:, 3] = np.cos(2 * angle)
    train = np.arange(1200) < 800
    noisy = 2 * features[:, [1]] + rng.normal(size=(1200, 1))  # R^2 = 4 / 5
    noisy[5] = np.nan
    told = regression.predict(features, noisy, train, ~train, trees=30)
    assert told.ridge.value == pytest.approx(0.8, abs=0.04)
    assert told.ridge.low < 0.8 < told.ridge.high and told.best == 1
    assert 0.6 < told.forest.value <= told.ridge.value + 0.02
    assert [one.value for one in told.single] == pytest.approx([0, 0.8, 0, 0], abs=0.04)
    assert (told.n_train, told.n_test) == (799, 400)
    turned = np.stack([np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    half = regression.predict(features, turned, train, ~train, trees=0)  # cos is known, sin is not
    assert half.forest is None and half.ridge.value == pytest.approx(0.5, abs=0.04)
    nothing = regression.predict(features[:, :3], turned, train, ~train, trees=0).ridge
    assert nothing.value == pytest.approx(0, abs=0.02)


def test_the_interval_of_r_squared_covers_the_truth_as_often_as_it_says():
    rng, covered = np.random.default_rng(2), 0
    for trial in range(200):
        signal, noise = rng.normal(size=(2, 150, 1))
        estimate = regression.r_squared(signal[:, None], signal + noise, np.zeros(1), 300, trial)[0]
        covered += estimate.low <= 0.5 <= estimate.high
    assert 0.9 <= covered / 200 <= 0.98


def test_a_posterior_as_wide_as_its_mean_scatters_is_calibrated():
    rng, sigma = np.random.default_rng(3), np.array([0.1, 0.3, 0.05])
    place = rng.normal(size=(1, 1000, 3))
    means = place + sigma * rng.normal(size=(3, 1000, 3))
    widths = np.broadcast_to(2 * np.log(sigma * [1, 1, 0.5]), means.shape)
    found = posterior.calibrate(means, widths, np.array([True, True, False]))
    assert [one.value for one in found.ratio] == pytest.approx([1, 1, 2], rel=0.05)
    assert found.ratio[2].low < 2 < found.ratio[2].high
    assert found.within.value == pytest.approx(0.683, abs=0.02)
    assert found.expected == pytest.approx(np.sqrt(1 - (sigma * [1, 1, 0.5]) ** 2))
    assert found.median.value == pytest.approx(1, rel=0.05)


def test_a_move_is_measured_by_the_distance_of_two_galaxies():
    latents = np.random.default_rng(4).normal(size=(300, 8))
    moved = {"none": latents, "some": latents + 0.5, "another": latents[::-1]}
    found = invariance.relative_moves(moved, latents, n_bootstrap=100)
    assert found["none"].value == 0
    assert found["some"].value == pytest.approx(0.5 * math.sqrt(8) / 3.9, rel=0.05)
    assert found["another"].low < 1 < found["another"].high


def test_images_are_turned_about_their_middle_by_what_is_said():
    y, x = np.mgrid[:64, :64] - 31.5
    blob = np.exp(-0.5 * ((x - 12) ** 2 + (y - 3) ** 2) / 9).astype(np.float32)
    images = torch.from_numpy(blob).expand(30, 3, -1, -1)
    quarter = invariance.quarter_turns(images, np.random.default_rng(0)).numpy()
    assert {image[0].tobytes() for image in quarter} == {np.rot90(blob, k).tobytes()
                                                         for k in (1, 2, 3)}  # fmt: skip
    mirrored = invariance.mirror(images, np.random.default_rng(0)).numpy()
    assert np.array_equal(mirrored[0, 0], blob[:, ::-1])
    turned = invariance.rotate(images, np.random.default_rng(0)).numpy()
    places = np.array([center_of_mass(image[0]) for image in turned]) - 31.5
    assert np.hypot(*places.T) == pytest.approx(np.full(30, math.hypot(12, 3)), abs=0.1)
    assert len(np.unique(np.round(places, 1), axis=0)) > 20
    shifted = invariance.shift(images, np.random.default_rng(0)).numpy()
    steps = np.array([center_of_mass(image[0]) for image in shifted]) - center_of_mass(blob)
    assert (steps <= 0.05).all() and (steps >= -1.05).all() and np.ptp(steps) > 0.5


def test_a_galaxy_observed_again_has_the_same_light_and_other_noise():
    seed, index = 7, 3
    first = repeats.as_observed(seed, index)
    noise, night = repeats.observe_again(seed, index, 2)
    assert noise.shape == night.shape == (2, *first.shape)
    field = sky.draw_light(seed, index)[1]
    assert field["field_flux_r"] > 0
    conditions = draw_conditions(DECALS, sky.random_stream(seed, index, DECALS.stream))
    for one, other in ((first, noise[0]), (first, noise[1]), (noise[0], noise[1])):
        spread = np.abs(one - other)[:, :40].reshape(3, -1)  # away from the galaxy
        sigma = 1.4826 * np.median(spread, axis=1) / math.sqrt(2)
        assert sigma == pytest.approx(np.array(conditions.noise), rel=0.1)
        apart = (one - other).mean(axis=(1, 2)) / conditions.noise
        assert (np.abs(apart) < 6 * math.sqrt(2) / 256 * 1.3).all()
    assert abs((first - night[0]).mean()) > abs((first - noise[0]).mean())  # another level of sky
    assert np.array_equal(noise, repeats.observe_again(seed, index, 2).noise)


@pytest.fixture(scope="module")
def encoded_run(tiny_run: Run, tmp_path_factory) -> Run:
    """A tiny run with the baseline, which does not learn, and its latents."""

    def place(old: str, new: str) -> str:
        return os.link(old, new) if old.endswith(".fits") else shutil.copy2(old, new)

    folder = tmp_path_factory.mktemp("probe") / "run"
    run = Run(shutil.copytree(tiny_run.folder, folder, copy_function=place))
    packed = Packed.of(run)
    network, stretch = models.build("structure", NUM_VAR), Stretch("asinh")
    with torch.no_grad():
        flux = torch.from_numpy(packed.images[packed.rows("train")])
        network.initialise(network.prepare(stretch(flux))[0])
    run.model(NUM_VAR).parent.mkdir()
    config = {"network": "structure", "num_var": NUM_VAR, "stretch": stretch.kind,
              "softening": list(stretch.softening)}  # fmt: skip
    content = {"config": config, "weights": network.state_dict()}
    checkpoint.save(run.model(NUM_VAR), content)
    succeeded(run_script("analysis/extract_latents.py", run, "--num-var", str(NUM_VAR)))
    return run


def test_the_stage_tells_of_real_images_what_can_be_known(encoded_run: Run):
    quick = ("--num-var", str(NUM_VAR), "--trees", "10", "--n-bootstrap", "100")
    succeeded(run_script(STAGE, encoded_run, *quick))
    content = json.loads(encoded_run.probe(NUM_VAR).read_text())
    assert set(content["left_out"]) >= {"PSF width", "companion", "further exposures"}
    assert content["calibration"] == {}
    assert {"flux", "size", "axis ratio"} <= set(content["quantities"])
    assert content["quantities"]["axis ratio"]["latents"]["value"] > 0.5
    assert content["moves"]["rotated by quarter turns"]["value"] < 0.01
    assert content["moves"]["rotated by any angle"]["high"] < 0.7
    table = pd.read_parquet(encoded_run.probe(NUM_VAR, "parquet"))
    assert sorted(table["latent"]) == list(range(NUM_VAR))
    assert (table["kl"].diff().dropna() <= 0).all()
    latents = pd.read_parquet(encoded_run.latents(NUM_VAR))
    test = latents[(latents["split"] == "test") & ~latents.filter(regex="^flag_").any(axis=1)]
    first = int(table["latent"][0])
    mean, log_variance = test[f"mu_{first:02d}"], test[f"logvar_{first:02d}"]
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).mean()
    assert table["kl"][0] == pytest.approx(kl, rel=1e-4)
    assert table["variance"][0] == pytest.approx(mean.var(ddof=0), rel=1e-4)
    assert encoded_run.figure(f"probe_{NUM_VAR}.png").stat().st_size > 10_000
    assert "nothing to do" in run_script(STAGE, encoded_run, *quick).stdout


def test_a_model_that_the_latents_are_not_of_is_one_clear_line(encoded_run: Run, tmp_path):
    content = checkpoint.load(encoded_run.model(NUM_VAR))
    content["weights"]["linear_encoder.weight"].neg_()
    other = tmp_path / "other.safetensors"
    checkpoint.save(other, content)
    done = run_script(STAGE, encoded_run, "--num-var", str(NUM_VAR), "--model", str(other))
    assert "the latents are not of this model" in says_one_line(done)


def test_latents_that_carry_nothing_come_last_and_are_not_active():
    probe = load_script(STAGE)
    rng = np.random.default_rng(6)
    means = np.stack([np.zeros(500), rng.normal(size=500), 0.2 * rng.normal(size=500)], axis=1)
    widths = np.tile(np.log([1.0, 0.01, 0.5]), (500, 1))

    class Encoded:
        pass

    encoded = Encoded()
    encoded.means, encoded.log_variances = means, widths
    table = probe.in_use(encoded, np.arange(500))
    assert table["latent"].tolist() == [1, 2, 0]
    assert table["active"].tolist() == [True, True, False]
    assert table["kl"].iloc[-1] == pytest.approx(0, abs=1e-6)
    assert table["sigma"].tolist() == pytest.approx([0.1, math.sqrt(0.5), 1.0])


def test_the_forest_gives_the_same_bits_again():
    """Threads that add the trees' predictions in any order change the last digits."""
    rng = np.random.default_rng(0)
    x, train = rng.normal(size=(600, 40)), np.arange(600) < 400
    y = x[:, :1] + rng.normal(size=(600, 1))
    found = [regression.predict(x, y, train, ~train, 200, 50).forest for _ in range(6)]
    assert all(one == found[0] for one in found)
