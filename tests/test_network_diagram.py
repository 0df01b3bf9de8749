"""The anatomy of a network counts every parameter and shows what the images go through."""

import importlib.util
import re

import pytest
import torch
from torch import Tensor, nn

from VAE_model import models
from VAE_model.anatomy import dissect
from VAE_model.pipeline.run import ROOT, Run

_spec = importlib.util.spec_from_file_location("diagram", ROOT / "outline" / "network_diagram.py")
diagram = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(diagram)


class WithShortcuts(nn.Module):
    """A linear map beside a convolution, both ways: what a chain of blocks would miss."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 16 * 16, 8)
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(256, 8))
        self.back = nn.Linear(4, 3 * 16 * 16)
        self.decoder = nn.Sequential(
            nn.Linear(4, 4 * 64), nn.Unflatten(1, (4, 8, 8)), nn.ConvTranspose2d(4, 3, 3, 2, 1, 1)
        )

    def prepare(self, images: Tensor) -> tuple[Tensor, str]:
        return nn.functional.avg_pool2d(images, 16), "pose"

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = (self.linear(inputs.flatten(1)) + self.encoder(inputs)).chunk(2, 1)
        return mean, log_variance

    def decode(self, latent: Tensor) -> Tensor:
        return self.back(latent).unflatten(1, (3, 16, 16)) + self.decoder(latent)

    def restore(self, reconstruction: Tensor, pose: str) -> Tensor:
        return nn.functional.interpolate(reconstruction, scale_factor=16)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_published_network_is_drawn_with_its_443507_parameters(tmp_path, script):
    run = Run(tmp_path)
    done = script("outline/network_diagram.py", run, "--network", "published", "--num-var", "40")
    assert done.returncode == 0, done.stderr
    text = run.figure("network_published.svg").read_text(encoding="utf-8")
    assert "published: 443,507 parameters at 40 latent variables" in text
    assert run.figure("network_published.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", models.NETWORKS)
def test_blocks_of_every_network_hold_all_its_parameters(name):
    network = models.build(name, 7)
    anatomy = dissect(network)
    blocks = anatomy.blocks + anatomy.shortcuts
    assert sum(block.parameters for block in blocks) == parameters(network)
    assert anatomy.blocks[0].shape == anatomy.blocks[-1].shape == (3, 256, 256)
    assert [block.shape for block in blocks if block.part == "latent"] == [(7,)]
    words = [text.get_text() for text in diagram.draw(network, name).axes[0].texts]
    assert f"{name}: {parameters(network):,} parameters at 7 latent variables" in words


def test_published_network_goes_through_the_shapes_of_the_paper():
    shapes = [block.shape for block in dissect(models.build("published", 40)).blocks]
    down = [(3, 256, 256), (32, 64, 64), (64, 16, 16), (128, 4, 4)]
    up = [(128, 4, 4), (64, 16, 16), (32, 64, 64), (32, 256, 256), (3, 256, 256)]
    assert shapes == [*down, (40,), *up]


def test_layers_beside_the_main_way_are_drawn_as_shortcuts():
    network = WithShortcuts()
    anatomy = dissect(network)
    assert [(block.part, block.layers) for block in anatomy.shortcuts] == [
        ("encode", ("linear",)),
        ("decode", ("back",)),
    ]
    total = sum(block.parameters for block in anatomy.blocks + anatomy.shortcuts)
    assert total == parameters(network)
    parts = [block.part for block in anatomy.blocks]
    assert parts == ["image", "prepare", "encode", "latent", "decode", "decode", "restore"]


def test_dissection_leaves_no_hook_and_no_gradient_behind():
    network = models.build("published", 3)
    dissect(network)
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.is_grad_enabled()


def test_same_network_gives_the_same_bytes(tmp_path, script):
    texts = []
    for name in ("a", "b"):
        run = Run(tmp_path / name)
        script("outline/network_diagram.py", run, "--network", "published", "--num-var", "3")
        texts.append(run.figure("network_published.svg").read_bytes())
        assert re.search(rb"<dc:date>", texts[-1]) is None
    assert texts[0] == texts[1]


def test_unknown_network_is_one_clear_line(tmp_path, script):
    done = script("outline/network_diagram.py", Run(tmp_path), "--network", "transformer")
    assert done.returncode == 1
    assert "published" in done.stderr and len(done.stderr.splitlines()) == 1
