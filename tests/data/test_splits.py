"""Claims about the split: stable on a wide sky, and never an empty side from ten images on."""

from pathlib import Path

import numpy as np
import pytest
from conftest import draw_galaxy, succeeded

from VAE_model.data import splits
from VAE_model.data.cutout_writer import write_cutout
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.provenance import read_sidecar
from VAE_model.pipeline.run import Run


def field(count: int, degrees: float, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Positions in a square field about (150, 2), and names."""
    rng = np.random.default_rng(seed)
    ra, dec = 150 + degrees * rng.random(count), 2 + degrees * rng.random(count)
    return ra, dec, [f"images/decals/{number}.fits" for number in range(count)]


def counts(sides: np.ndarray) -> list[int]:
    return [int((sides == side).sum()) for side in splits.SHARES]


@pytest.mark.parametrize("degrees", [0.02, 0.2, 1.0, 20.0])
@pytest.mark.parametrize("count", [10, 11, 12, 13, 20, 40, 100])
def test_from_ten_images_on_no_side_is_empty(count: int, degrees: float):
    for seed in range(5):
        ra, dec, names = field(count, degrees, seed)
        for known in (ra, np.full(count, np.nan)):
            found = counts(splits.assign(known, dec, names))
            assert min(found) >= 1 and found[0] >= count / 4, (found, degrees)


@pytest.mark.parametrize("degrees", [0.02, 0.2, 1.0])
def test_the_order_of_a_list_does_not_matter(degrees: float):
    ra, dec, names = field(40, degrees, 1)
    order = np.random.default_rng(2).permutation(40)
    sides = splits.assign(ra, dec, names)
    again = splits.assign(ra[order], dec[order], [names[i] for i in order])
    assert np.array_equal(sides[order], again)


@pytest.mark.parametrize("degrees", [0.02, 0.2, 1.0, 20.0])
@pytest.mark.parametrize("count", [10, 30])
def test_images_of_one_galaxy_in_two_surveys_are_on_one_side(count: int, degrees: float):
    ra, dec, names = field(count, degrees, 3)
    apart = np.random.default_rng(4).uniform(-0.4, 0.4, (2, count)) / 3600
    others = [name.replace("decals", "bassmzls") for name in names]
    sides = splits.assign([*ra, *(ra + apart[0])], [*dec, *(dec + apart[1])], [*names, *others])
    assert np.array_equal(sides[:count], sides[count:])
    assert min(counts(sides)) >= 1


def test_images_without_a_position_are_divided_by_name_and_the_rule_says_so():
    nowhere = np.full(500, np.nan)
    assert splits.assign_by_rule(nowhere, nowhere, [f"{i}.jpg" for i in range(500)])[1] == (
        splits.BY_NAME
    )


def test_a_wide_list_has_the_sides_that_it_always_had():
    """By the cells of a quarter of a degree alone, whatever else is in the list."""
    ra, dec = np.array([(37 * i) % 360 + 0.5 for i in range(60)]), np.linspace(-20, 60, 60)
    sides, rule = splits.assign_by_rule(ra, dec, [str(i) for i in range(60)])
    assert rule == splits.RULES[0]
    assert "".join(side[1] for side in sides) == WIDE


WIDE = "errrrrrarrrerarrrreaerrrereearrerrrrrrrrrerrearrrearrraerrre"


def test_a_table_without_validation_gives_some_in_one_field_too():
    ra, dec, names = field(40, 0.2, 5)
    given = ["train"] * 30 + ["test"] * 10
    sides = splits.assign(ra, dec, names, given)
    assert (sides[30:] == "test").all()
    assert set(sides[:30]) == {"train", "validation"}
    assert (sides == "train").sum() > 15


def test_a_table_that_places_a_few_leaves_the_rest_of_a_field_divided():
    ra, dec, names = field(40, 0.2, 6)
    sides = splits.assign(ra, dec, names, [""] * 37 + ["test"] * 3)
    assert (sides[37:] == "test").all() and min(counts(sides)) >= 1


def test_fewer_than_ten_images_end_in_a_line_that_says_how_many(tmp_path: Path, script):
    run, rng = Run(tmp_path / "run"), np.random.default_rng(7)
    for number in range(3):
        flux = draw_galaxy("round", 0, rng)
        write_cutout(run.images() / f"{number}.fits", flux, 150 + number / 100, 2.0, "DR9-south")
    assert script("make_datatxt.py", run).returncode == 0
    done = script("Galaxy_VAE_n.py", run, "--num-var", "2", "--epochs", "1")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "which any 10 images of different galaxies have" in done.stderr


def test_galaxies_of_one_field_train_and_the_rule_is_said(tmp_path: Path, script):
    """Every fourth of them clipped at zero, as a sky with the background subtracted may be."""
    run, rng = Run(tmp_path / "run"), np.random.default_rng(8)
    ra, dec, _ = field(12, 0.2, 9)
    for number in range(12):
        flux = draw_galaxy("in-between", rng.uniform(0, 3), rng)
        flux = np.clip(flux, 0, None) if number % 4 == 0 else flux
        path = run.images() / f"{ra[number]:.4f}_{dec[number]:.4f}.fits"
        write_cutout(path, flux, ra[number], dec[number], "DR9-south")
    done = script("make_datatxt.py", run)
    assert "3 of them have a constant or clipped sky" in done.stdout
    options = ("--num-var", "2", "--epochs", "1", "--batch-size", "4")
    done = succeeded(script("Galaxy_VAE_n.py", run, *options))
    rule = read_sidecar(run.model(2))["numbers"]["split_by"]
    assert rule in splits.RULES[1:] and f"(by {rule})" in done.stdout
    assert script("analysis/extract_latents.py", run, "--num-var", "2").returncode == 0
    latents = read_parquet(run.latents(2))
    assert set(latents["split"]) == set(splits.SHARES)
    assert np.isfinite(latents[["reduced_chi2", "ssim", "residual", "mu_00", "mu_01"]]).all(
        axis=None
    )
