"""Claims about the weights that travel with the project."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_script, succeeded
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
