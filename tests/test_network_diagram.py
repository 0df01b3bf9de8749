"""Claims about the diagram: it counts every parameter and shows what the images pass."""

import re

import pytest
import torch
from conftest import load_script, succeeded

from VAE_model import models
from VAE_model.pipeline.run import Run

STAGE = "outline/network_diagram.py"
diagram = load_script(STAGE)


def parameters(network: models.VAE) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_published_network_is_drawn_with_its_443507_parameters(tmp_path, script):
    run = Run(tmp_path)
    succeeded(script(STAGE, run, "--network", "published", "--num-var", "40"))
    text = run.figure("network_published.svg").read_text(encoding="utf-8")
    assert "published: 443,507 parameters at 40 latent variables" in text
    assert run.figure("network_published.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", models.NETWORKS)
def test_blocks_of_every_network_hold_all_its_parameters(name):
    network = models.build(name, 7)
    found = diagram.branches(network)
    total = sum(block.parameters for blocks in found.values() for block in blocks)
    own = sum(parameter.numel() for parameter in network.parameters(recurse=False))
    assert total + own == parameters(network)
    words = [text.get_text() for text in diagram.draw(network, name).axes[0].texts]
    assert f"{name}: {parameters(network):,} parameters at 7 latent variables" in words
    for (part, child), blocks in found.items():
        learned = sum(block.parameters for block in blocks)
        assert f"{part}: {child.replace('_', ' ')}, {learned:,} parameters" in words


def test_published_network_goes_through_the_shapes_of_the_paper():
    found = diagram.branches(models.build("published", 40))
    shapes = {key: [block.shape for block in blocks] for key, blocks in found.items()}
    assert shapes == {
        ("encode", "encoder"): [(32, 64, 64), (64, 16, 16), (128, 4, 4)],
        ("encode", "mean"): [(40,)],
        ("encode", "log_variance"): [(40,)],
        ("decode", "decoder"): [(128, 4, 4), (64, 16, 16), (32, 64, 64), (32, 256, 256),
                                (3, 256, 256)],
    }  # fmt: skip
    conv = ("conv 3×3 /2", "max pool /2", "leaky ReLU")
    assert [block.layers for block in found["encode", "encoder"]] == [conv] * 3


def test_every_branch_of_encoder_and_decoder_is_a_row():
    found = diagram.branches(models.build("residual", 5))
    assert set(found) == {
        ("encode", "image_encoder"), ("encode", "structure_encoder"), ("encode", "posterior"),
        ("decode", "image_decoder"), ("decode", "structure_decoder"),
    }  # fmt: skip
    posterior = found["encode", "posterior"]
    assert posterior[-1].shape == (10,), "mean and log-variance"
    assert diagram.shape_of(found["encode", "image_encoder"][0]) == "24×16×64"
    assert diagram.shape_of(found["decode", "image_decoder"][-1]) == "3×64²"


def test_tracing_leaves_no_hook_and_no_gradient_behind():
    network = models.build("published", 3)
    diagram.branches(network)
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.is_grad_enabled() and not network.decoder.layer_by_layer


def test_same_network_gives_the_same_bytes(tmp_path, script):
    texts = []
    for name in ("a", "b"):
        run = Run(tmp_path / name)
        script(STAGE, run, "--network", "published", "--num-var", "3")
        texts.append(run.figure("network_published.svg").read_bytes())
        assert re.search(rb"<dc:date>", texts[-1]) is None
    assert texts[0] == texts[1]


def test_unknown_network_is_one_clear_line(tmp_path, script):
    done = script(STAGE, Run(tmp_path), "--network", "transformer")
    assert done.returncode == 1
    assert "published" in done.stderr and len(done.stderr.splitlines()) == 1
