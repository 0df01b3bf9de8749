"""Claims about the weights that travel with the project."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_script, says_one_line, succeeded
from cutout_service import CutoutService
from own_images import import_own_images, write_own_images

from VAE_model import load, models, pretrained
from VAE_model.imports.display import read_display
from VAE_model.pipeline.files import read_json, read_parquet, sha256
from VAE_model.pipeline.run import Run
from VAE_model.training import checkpoint


def test_the_card_describes_the_file():
    card = read_json(pretrained.WEIGHTS.with_suffix(".json"))
    assert card["sha256"] == sha256(pretrained.WEIGHTS)
    assert pretrained.WEIGHTS.stat().st_size < 8e6
    assert {"command", "constants", "trained_on", "seconds", "best_epoch"} <= set(card)


def test_forty_images_of_ones_own_have_latents_in_a_minute_without_training(tmp_path: Path):
    images, _ = write_own_images(tmp_path, 40)
    run, began = Run(tmp_path / "run"), time.monotonic()
    for script, *options in (
        ("data/import_images.py", "--folder", str(images)),
        ("make_datatxt.py",),
        ("analysis/extract_latents.py", "--model", "pretrained"),
    ):
        succeeded(run_script(script, run, *options))
    assert time.monotonic() - began < 60
    table = read_parquet(run.latents(40))
    assert len(table) == 40 and np.isfinite(table.filter(like="mu_")).all(axis=None)
    assert not run.model(40).exists()


def test_the_image_at_a_position_is_fetched_and_its_neighbours_are_found(copy_of_tiny_run: Run):
    run, latents = copy_of_tiny_run, ("--model", "pretrained")
    succeeded(run_script("analysis/extract_latents.py", run, *latents))
    table = read_parquet(run.latents(40)).set_index("iauname")
    good = table[~table.filter(like="flag_").any(axis=1) & (table["survey"] == "decals")]
    name, ra, dec = good.index[3], good["ra"].iloc[3], good["dec"].iloc[3]
    with CutoutService(images=run.images().parent) as service:
        search = ("analysis/similar.py", run, "--fetch", f"{ra} {dec}", "--service", service.url)
        succeeded(run_script(*search))
        assert service.asked.total() == 1
        again = succeeded(run_script(*search, "--count", "3"))
        assert service.asked.total() == 1, "the image is there"
        service.plan = lambda *_: "zero"
        gone = run_script(*search[:3], f"{ra + 2} {dec}", *search[4:])
    assert "zero image" in says_one_line(gone)
    assert name in again.stdout
    found = read_parquet(run.queries("similar_40.parquet"))
    assert found["similar_iauname"].iloc[0] == name and found["distance"].iloc[0] < 0.01
    assert found["distance"].iloc[1] > 0.1, "another galaxy is farther"
    wrong = run_script("analysis/similar.py", run, "--fetch", "NGC 628")
    assert "'NGC 628' is no position" in says_one_line(wrong)


def test_images_are_encoded_in_python(tmp_path: Path):
    flux = torch.zeros(2, 3, 256, 256)
    flux[:, :, 100:156, 90:166] = 0.1
    mean, log_variance = load(device="cpu").encode(flux)
    assert mean.shape == log_variance.shape == (2, 40)
    torch.testing.assert_close(mean[0], mean[1], rtol=1e-4, atol=1e-4)
    images, _ = write_own_images(tmp_path, 2)
    display = np.stack([read_display(path) for path in sorted(images.iterdir())])
    mean, _ = load(display=True, device="cpu").encode(torch.from_numpy(display))
    assert torch.isfinite(mean).all() and not torch.equal(mean[0], mean[1])


def test_training_starts_from_the_weights_or_anew(tmp_path: Path):
    run = Run(tmp_path / "run")
    import_own_images(run, tmp_path / "mine")
    weights = checkpoint.load(pretrained.WEIGHTS)["weights"]
    moved = {}
    for start in ("pretrained", "random"):
        succeeded(
            run_script(
                "Galaxy_VAE_n.py", run, "--start", start, "--epochs", "1", "--learning-rate", "1e-6"
            )
        )
        found = checkpoint.load(run.model(40))["weights"]
        moved[start] = max(float((found[k] - v).abs().max()) for k, v in weights.items())
    assert moved["pretrained"] < 1e-3 < moved["random"]


@pytest.mark.parametrize(("num_var", "ends"), [(8, True), (40, True), (40, False), (8, False)])
def test_another_number_of_latents_keeps_the_layers_that_fit(num_var: int, ends: bool):
    network = models.build(pretrained.NETWORK, num_var)
    own = {name: value.clone() for name, value in network.state_dict().items()}
    pretrained.initialise(network, ends)
    weights, found = checkpoint.load(pretrained.WEIGHTS)["weights"], network.state_dict()
    others = models.build(pretrained.NETWORK, num_var if ends else 41).state_dict()
    fitting = [name for name, value in weights.items() if value.shape == others[name].shape]
    assert all(torch.equal(found[name], weights[name].float()) for name in fitting)
    assert (len(fitting) == len(own)) == (num_var == 40 and ends)
    same = [torch.equal(found[name], own[name]) for name in own.keys() - set(fitting)]
    assert all(same) if ends else not all(same), "drawn again"
