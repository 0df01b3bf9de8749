"""Claims about what is taken for the galaxy's light, for its neighbours', and for sky."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NOISE, run_script, says_one_line
from numpy.typing import NDArray

from VAE_model import models
from VAE_model.pipeline.run import Run
from VAE_model.preparation import segmentation
from VAE_model.preparation.stretch import Stretch
from VAE_model.training import checkpoint
from VAE_model.training.model_file import TrainedVAE

STARS = ((40, 60, 3), (200, 90, 2), (70, 210, 3))  # row, column, sigma in pixels


def blob(row: float, column: float, width: float, peak: float) -> NDArray[np.float64]:
    y, x = np.mgrid[:256, :256]
    return peak * np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) / width**2)


def galaxy(*stars: tuple[float, float, float], seed: int = 0) -> NDArray[np.float32]:
    """A round galaxy in the middle and stars, (3, 256, 256), nanomaggies, with noise."""
    light = blob(127.5, 127.5, 12, 0.3) + sum(blob(*star, 0.5) for star in stars)
    noise = np.random.default_rng(seed).normal(size=(3, 256, 256))
    return (light + noise * np.array(NOISE)[:, None, None]).astype(np.float32)


def seen(*images: NDArray[np.float32]) -> torch.Tensor:
    return Stretch()(torch.from_numpy(np.stack(images)))


def test_neighbours_are_hidden_and_the_galaxy_is_left_as_it_is():
    alone, among = seen(galaxy(), galaxy(*STARS))
    hidden, share = segmentation.mask_contaminants(torch.stack([alone, among]))
    assert hidden.shape == (2, 3, 128, 128)
    assert share[0] == 0 and 0.005 < share[1] < 0.03
    whole = torch.nn.functional.avg_pool2d(torch.stack([alone, among]), 2)
    assert torch.equal(hidden[0], whole[0])
    middle = (..., slice(44, 84), slice(44, 84))
    assert torch.equal(hidden[1][middle], whole[1][middle])
    apart = (hidden[1] - whole[0]).abs()
    assert (whole[1] - whole[0]).abs().max() > 2 and apart.max() < 1  # noise is 0.2 of these units


def test_a_star_upon_the_galaxy_gives_way_to_what_is_opposite():
    star = (127.5 + 26, 127.5 + 10, 2)
    alone, upon = segmentation.mask_contaminants(seen(galaxy(), galaxy(star)))[0]
    there = (slice(None), slice(74, 80), slice(66, 72))
    assert alone[there].mean() > 1  # not the sky, which is zero
    assert (upon[there] - alone[there]).mean().abs() < 0.15


def test_the_caller_keeps_its_images():
    images = seen(galaxy(*STARS))[..., ::2, ::2].contiguous()
    before = images.clone()
    segmentation.mask_contaminants(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_frame_is_left_alone_and_says_so(value: float):
    empty = torch.full((1, 3, 256, 256), value)
    hidden, share = segmentation.mask_contaminants(empty)
    assert torch.equal(hidden, empty[..., ::2, ::2]) and torch.isnan(share).all()
    facts = segmentation.surroundings(empty[0].numpy())
    assert math.isnan(facts["flux_r"]) and facts["n_sources"] == 0


def test_a_frame_with_nothing_in_the_middle_is_left_alone():
    sky = galaxy(*STARS) - blob(127.5, 127.5, 12, 0.3).astype(np.float32)
    hidden, share = segmentation.mask_contaminants(seen(sky))
    assert torch.isnan(share).all() and hidden.max() > 2
    assert segmentation.surroundings(sky)["n_sources"] == 3


def test_what_is_too_crowded_for_sep_is_left_alone_and_no_other_error_is_hidden(
    monkeypatch: pytest.MonkeyPatch,
):
    messages = ["internal pixel buffer full", "object deblending overflow: limit of 1024"]

    def refuse(*_: object, **__: object) -> None:
        raise Exception(messages.pop() if messages else "out of memory")  # of this type, as sep

    monkeypatch.setattr(segmentation.sep, "extract", refuse)
    assert torch.isnan(segmentation.mask_contaminants(seen(galaxy(), galaxy()))[1]).all()
    with pytest.raises(Exception, match="out of memory"):
        segmentation.mask_contaminants(seen(galaxy()))


def test_the_flux_is_that_of_the_galaxy_alone():
    true = 2 * math.pi * 12**2 * 0.3
    for stars in ((), STARS):
        facts = segmentation.surroundings(galaxy(*stars))
        assert facts["n_sources"] == len(stars)
        assert facts["flux_r"] == pytest.approx(true, rel=0.03)
        assert facts["flux_z"] == pytest.approx(true, rel=0.05)


def test_an_uneven_sky_stands_out_from_an_even_one():
    even = [
        segmentation.surroundings(galaxy(*STARS, seed=s))["background_rms_over_flux"]
        for s in range(5)
    ]
    glare = np.linspace(0, 0.03, 256, dtype=np.float32)
    for light in (blob(20, 240, 40, 0.1).astype(np.float32), glare):
        assert segmentation.surroundings(galaxy(*STARS) + light)[
            "background_rms_over_flux"
        ] > 3 * max(even)


def test_latents_do_not_depend_on_a_contaminant_that_is_masked():
    rng = np.random.default_rng(0)
    many = seen(
        *(
            galaxy((rng.uniform(80, 110), rng.uniform(90, 160), 3), seed=s)
            + blob(127.5, 127.5, 4 + s, 0.2).astype(np.float32)
            for s in range(12)
        )
    )
    pair = seen(galaxy(), galaxy((170, 110, 3)))
    torch.manual_seed(0)
    moved = {}
    for kind in ("masked", "kept"):
        network = models.build("structure", 4, kind)
        assert network.masks_contaminants == (kind == "masked")
        network.initialise(network.prepare(many)[0])
        inputs, where = network.prepare(pair)
        one, two = network.encode(inputs)[0]
        spread = network.encode(network.prepare(many)[0])[0].std(dim=0).norm()
        moved[kind] = ((one - two).norm() / spread).item()
        assert (where.masked_fraction > 0).tolist() == [False, kind == "masked"]
    assert moved["masked"] < 0.3 * moved["kept"]
    assert not models.build("published", 4).masks_contaminants


def test_contaminants_are_not_searched_in_unstretched_flux(tiny_run: Run):
    done = run_script("Galaxy_VAE_n.py", tiny_run, "--stretch", "linear")
    assert "set contaminants to kept" in says_one_line(done)


@pytest.mark.parametrize(("said", "masks"), [({"contaminants": "masked"}, True), ({}, False)])
def test_a_model_file_remembers_whether_contaminants_are_masked(
    tmp_path: Path, said: dict[str, str], masks: bool
):
    network = models.build("residual", 2)
    config = {"network": "residual", "num_var": 2, "stretch": "asinh", "softening": [1, 1, 1]}
    content = {"config": config | said, "weights": network.state_dict()}
    checkpoint.save(tmp_path / "vae.safetensors", content)
    assert TrainedVAE.load(tmp_path / "vae.safetensors", 2).network.masks_contaminants == masks
