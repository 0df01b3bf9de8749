"""Claims about the choice of the number of latent variables."""

import pandas as pd
import pytest
from conftest import load_script, succeeded

from VAE_model.pipeline.files import read_json
from VAE_model.pipeline.run import Run

choose_dimension = load_script("analysis/choose_dimension.py")


def test_the_smallest_dimension_within_one_standard_error_of_the_best_is_chosen():
    """The errors of three seeds are sqrt(3) smaller than their standard deviations."""
    rising = [[0.0, 0.1, 0.2], [9.0, 9.1, 9.2], [9.0, 10.0, 11.0], [10.0, 11.0, 9.6]]
    assert choose_dimension.chosen([5, 10, 20, 40], rising, lower=False) == 20
    rising[1] = [9.7, 9.8, 9.9]  # the best is 10.2 +- 0.42
    assert choose_dimension.chosen([5, 10, 20, 40], rising, lower=False) == 10
    falling = [[-value for value in values] for values in rising]
    assert choose_dimension.chosen([5, 10, 20, 40], falling, lower=True) == 10


def test_the_rule_can_name_either_end_and_then_asks_for_a_longer_range():
    steady = [[1.0, 1.01], [2.0, 2.01], [3.0, 3.01]]
    assert choose_dimension.chosen([2, 40, 160], steady, lower=False) == 160
    assert choose_dimension.chosen([2, 40, 160], steady, lower=True) == 2
    for choice, end in ((2, "smallest"), (160, "largest")):
        said = choose_dimension.verdict(choice, [2, 40, 160])
        assert f"the {end} of the range, which should be extended" in said
    assert "extended" not in choose_dimension.verdict(40, [2, 40, 160])


def test_means_and_standard_errors_are_those_of_the_seeds():
    models = pd.DataFrame({
        "num_var": [2, 2, 5, 5], "seed": [0, 1, 0, 1], "validation_loss": [10.0, 14.0, 8.0, 8.0],
        "reduced_chi2": 1.0, "ssim": 0.9, "forest": [0.5, 0.7, None, None], "active": 2,
        "questions": 3,
    })  # fmt: skip
    two, five = choose_dimension.summary(models)
    assert (two["validation_loss"], two["validation_loss_error"]) == (12.0, 2.0)
    assert two["forest_error"] == pytest.approx(0.1) and five["forest"] is None
    assert choose_dimension.choices(models) == {"validation_loss": 5, "reduced_chi2": 2, "ssim": 2}


def test_the_stage_compares_every_dimension_with_every_seed(copy_of_tiny_run: Run, script):
    run = copy_of_tiny_run
    assert script("Galaxy_VAE_n.py", run, "--epochs", "1").returncode == 0
    few = ("--num-var", "2", "3", "--epochs", "1", "--min-scored", "1", "--trees", "5")
    alone = script("analysis/choose_dimension.py", run, *few, "--seeds", "0")
    assert alone.returncode == 1 and "give two or more, for the standard error" in alone.stderr
    done = succeeded(script("analysis/choose_dimension.py", run, *few, "--seeds", "0", "1"))
    content, models = read_json(run.dimensions()), pd.read_csv(run.dimensions("csv"))
    assert [row["num_var"] for row in content["dimensions"]] == [2, 3]
    assert sorted(zip(models["num_var"], models["seed"], strict=True)) == [
        (2, 0), (2, 1), (3, 0), (3, 1)
    ]  # fmt: skip
    assert models.groupby("num_var")["validation_loss"].nunique().tolist() == [2, 2]
    row = content["dimensions"][0]
    losses = models.loc[models["num_var"] == 2, "validation_loss"]
    assert row["validation_loss"] == pytest.approx(losses.mean())
    assert row["validation_loss_error"] == pytest.approx(losses.sem())
    assert content["verdict"] in done.stdout
    assert all(run.dimension_model(n, seed).exists() for n in (2, 3) for seed in (0, 1))
