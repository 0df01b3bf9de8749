"""What an image goes through in a network, found out by sending one through it.

Layers that belong together are one block: what halves the image and learns, with the activation
after it. A network's children are taken to be chains of layers; a child that reads something else
than what another has put out begins a way of its own, a shortcut beside the main one.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from VAE_model import models
from VAE_model.layers import FusedUpsampling


@dataclass(frozen=True)
class Block:
    """Layers that follow each other.

    part: image, prepare, encode, latent, decode or restore;
    shape: of what comes out, without the batch: (channels, y, x) or (numbers,);
    layers: each in words, in order; parameters: how many numbers are learned in them.
    """

    part: str
    shape: tuple[int, ...]
    layers: tuple[str, ...]
    parameters: int = 0

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def takes(self, following: "Block") -> bool:
        """Whether the following layer belongs to this block: it keeps the shape, has nothing to
        learn and does not enlarge (which begins a block), or is the first here that learns."""
        if following.part != self.part or self.part not in ("encode", "decode"):
            return False
        shrinks = following.parameters == 0 and following.size <= self.size
        return shrinks or following.shape == self.shape or self.parameters == 0

    def and_then(self, following: "Block") -> "Block":
        flattened = following.size == self.size and len(following.shape) < len(self.shape)
        shape = self.shape if flattened else following.shape
        learned = self.parameters + following.parameters
        return Block(self.part, shape, self.layers + following.layers, learned)


@dataclass(frozen=True)
class Anatomy:
    """blocks: the main way through the network, from the image to its reconstruction on the sky;
    shortcuts: what else leads from the encoder's or the decoder's input to its output."""

    blocks: list[Block]
    shortcuts: list[Block]


@dataclass
class _Way:
    name: str
    layers: list[Block] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)  # kept, so that each stays itself

    def as_block(self) -> Block:
        end = self.layers[-1]
        learned = sum(layer.parameters for layer in self.layers)
        return Block(end.part, end.shape, (self.name,), learned)


class _Walk:
    """Hooks on every layer of a network, which note what runs in which part."""

    def __init__(self, network: nn.Module) -> None:
        self.part = "prepare"
        self.ways: dict[str, list[_Way]] = {}
        self.handles = []
        for name, child in network.named_children():
            enter = partial(self._enter, name.replace("_", " "))
            self.handles.append(child.register_forward_pre_hook(enter))
            for layer in child.modules():
                if not list(layer.children()) or layer._parameters:
                    self.handles.append(layer.register_forward_hook(self._note))
            self.handles.append(child.register_forward_hook(self._leave))

    def _enter(self, name: str, _: nn.Module, given: tuple[Any, ...]) -> None:
        ways = self.ways.setdefault(self.part, [])
        fed = [way for way in ways if any(output is given[0] for output in way.outputs)]
        self.way = fed[-1] if fed else _Way(name)
        if not fed:
            ways.append(self.way)

    def _note(self, layer: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            learned = sum(p.numel() for p in layer.parameters(recurse=False))
            shape = tuple(output.shape[1:])
            self.way.layers.append(Block(self.part, shape, in_words(layer), learned))

    def _leave(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        self.way.outputs.append(output)


def dissect(network: models.VAE) -> Anatomy:
    """Send one image, an inclined galaxy, through a network of VAE_model.models."""
    axis = torch.linspace(-4, 4, models.SIZE)
    galaxy = torch.exp(-((axis + axis[:, None]) ** 2) - 0.2 * (axis - axis[:, None]) ** 2)
    image = galaxy.expand(1, models.BANDS, -1, -1).contiguous()
    walk = _Walk(network)
    network.eval()
    fused = [module for module in network.modules() if isinstance(module, FusedUpsampling)]
    try:
        for module in fused:
            module.layer_by_layer = True
        with torch.no_grad():
            inputs, pose = network.prepare(image)
            walk.part = "encode"
            mean, _ = network.encode(inputs)
            walk.part = "decode"
            decoded = network.decode(mean)
            walk.part = "restore"
            restored = network.restore(decoded, pose)
    finally:
        for module in fused:
            module.layer_by_layer = False
        for handle in walk.handles:
            handle.remove()
    encoder, *beside = sorted(walk.ways["encode"], key=lambda way: -len(way.layers))
    decoder, *along = sorted(walk.ways["decode"], key=lambda way: -len(way.layers))
    blocks = [Block("image", tuple(image.shape[1:]), ("image",))]
    if pose is not None:
        words = ("what the", "network sees")
        blocks.append(Block("prepare", tuple(inputs.shape[1:]), words))
    blocks += [*_with_latents(encoder.layers, mean.shape[1]), *decoder.layers]
    if pose is not None:
        blocks.append(Block("restore", tuple(restored.shape[1:]), ("back on", "the sky")))
    return Anatomy(_merge(blocks), [way.as_block() for way in beside + along])


def _with_latents(layers: list[Block], num_var: int) -> list[Block]:
    """The layers that end the encoder, which give means and log-variances, as the one block of
    the latent variables."""
    first = len(layers)
    while first > 1 and layers[first - 1].shape == layers[-1].shape:
        first -= 1
    learned = sum(layer.parameters for layer in layers[first:])
    return [
        *layers[:first],
        Block("latent", (num_var,), ("means", "and log-", "variances"), learned),
    ]


def _merge(layers: list[Block]) -> list[Block]:
    blocks = layers[:1]
    for layer in layers[1:]:
        if blocks[-1].takes(layer):
            blocks[-1] = blocks[-1].and_then(layer)
        else:
            blocks.append(layer)
    return blocks


def in_words(layer: nn.Module) -> tuple[str, ...]:
    """A layer in short: `conv 3×3 /2` halves the side, `deconv 3×3 ×2` doubles it."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        down = isinstance(layer, nn.Conv2d)
        y, x = layer.kernel_size
        step = f" {'/' if down else '×'}{layer.stride[0]}" if layer.stride[0] > 1 else ""
        return (f"{'conv' if down else 'deconv'} {y}×{x}{step}",)
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return (f"{'max' if isinstance(layer, nn.MaxPool2d) else 'mean'} pool /{layer.stride}",)
    if isinstance(layer, nn.Upsample):
        return (f"upsample ×{layer.scale_factor:g}",)
    if isinstance(layer, nn.PixelShuffle):
        return (f"pixels ×{layer.upscale_factor}",)
    if isinstance(layer, nn.PixelUnshuffle):
        return (f"pixels /{layer.downscale_factor}",)
    if isinstance(layer, nn.Flatten | nn.Unflatten | nn.Identity):
        return ()
    name = type(layer).__name__
    known = {"Linear": "linear", "LeakyReLU": "leaky ReLU", "GroupNorm": "group norm"}
    return (known.get(name, name),)
