"""Along the strongest latents: what is drawn, and what is measured on it."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import load_script, run_script, succeeded
from matplotlib.image import imread

from VAE_model import models
from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.preparation.stretch import SOFTENING
from VAE_model.training import checkpoint

STAGE = "analysis/traversal.py"
NUM_VAR = 4
traversal = load_script(STAGE)


def write_run(folder, network: str, scales=(0.1, 2.0, 0.5, 1.0)) -> Run:
    """An untrained model, and latents of 40 galaxies, of which one is
    flagged and far away and ten are no training galaxies."""
    run, rng = Run(folder), np.random.default_rng(0)
    torch.manual_seed(0)
    made = models.build(network, NUM_VAR)
    config = {"network": network, "num_var": NUM_VAR, "stretch": "asinh",
              "softening": list(SOFTENING)}  # fmt: skip
    checkpoint.save(run.model(NUM_VAR), {"config": config, "weights": made.state_dict()})
    means = rng.standard_normal((40, NUM_VAR)) * scales
    means[0] = 99
    table = pd.DataFrame(means.astype(np.float32), columns=[f"mu_0{i}" for i in range(NUM_VAR)])
    for i in range(NUM_VAR):
        table[f"logvar_0{i}"] = np.float32(-1)
    table["split"] = np.where(np.arange(40) < 30, "train", "test")
    table["flag_streak"] = np.arange(40) == 0
    table[["iauname", "path"]] = "name"
    table[["ra", "dec"]] = 1.0
    if network == "residual":
        table["image_angle"] = 0.3
    write_parquet(run.latents(NUM_VAR), table)
    return run


def test_a_gaussian_has_the_magnitude_colour_and_radius_that_it_was_made_with():
    y, x = np.mgrid[:256, :256] - 127.5
    sigma = 10.0  # pixels
    light = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    flux = light * np.array([50.0, 100.0, 150.0])[:, None, None]
    magnitude, colour, radius = traversal.measure(flux)
    assert magnitude == pytest.approx(22.5 - 2.5 * 2, abs=0.005)
    assert colour == pytest.approx(2.5 * np.log10(2), abs=1e-6)
    assert radius == pytest.approx(np.sqrt(2 * np.log(2)) * sigma * PIXEL_SCALE, abs=0.05)
    assert np.isnan(traversal.measure(-flux)).all()


def test_correlated_latents_move_along_and_others_stay():
    covariance = np.array([[4, 3, 0], [3, 9, 0], [0, 0, 1]], np.float32)
    mean = np.array([1, 2, 5], np.float32)
    cloud = traversal.Distribution(mean, covariance, np.ones(3, np.float32))
    assert cloud.std.tolist() == [2, 3, 1]
    found = traversal.traverse(cloud, np.array([1, 2]), np.array([-2, 0, 1], np.float32))
    along = [[1 - 2, 2 - 6, 5], [1, 2, 5], [1 + 1, 2 + 3, 5]]  # 3 of the first for 9 of the second
    assert found.tolist() == [*along, [1, 2, 3], [1, 2, 5], [1, 2, 6]]


def test_the_stage_draws_the_strongest_first(tmp_path):
    run = write_run(tmp_path, "residual")
    options = ("--latents", "3", "--steps", "-3", "0", "3")
    succeeded(run_script(STAGE, run, "--num-var", str(NUM_VAR), *options))
    table = read_parquet(run.traversal(NUM_VAR))
    assert table["latent"].tolist() == [1] * 3 + [3] * 3 + [2] * 3  # by scatter, widths are equal
    assert table["step"].tolist() == [-3, 0, 3] * 3
    source = read_parquet(run.latents(NUM_VAR)).iloc[1:30]  # training galaxies without a flag
    mean, width = source["mu_01"], np.exp(-1)
    assert table["std"][0] == pytest.approx(mean.std(ddof=0), rel=1e-5)
    kl = 0.5 * (np.square(mean).mean() + width - 1 + 1)
    assert table["kl"][0] == pytest.approx(kl, rel=1e-5)
    middle = table.loc[table["step"] == 0, ["mag_r", "colour", "half_light"]]
    assert middle.nunique().max() <= 1, "the mean galaxy is the same in every row"
    assert imread(run.figure(f"traversal_{NUM_VAR}.png")).shape[1] > 400


def test_a_network_without_a_pose_is_drawn_too(tmp_path):
    run = write_run(tmp_path, "published")
    traversal.main(traversal.Config(tmp_path, NUM_VAR, latents=1, steps=(0.0,)))
    assert len(read_parquet(run.traversal(NUM_VAR))) == 1


def test_latents_without_widths_are_named(tmp_path):
    run = write_run(tmp_path, "published")
    table = read_parquet(run.latents(NUM_VAR))
    write_parquet(run.latents(NUM_VAR), table.drop(columns="logvar_02"))
    with pytest.raises(Problem, match="has no column logvar_02: run python analysis/extr"):
        traversal.main(traversal.Config(tmp_path, NUM_VAR))
