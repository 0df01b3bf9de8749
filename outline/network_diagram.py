"""Draw a network: every layer that an image passes, with its output's shape and its parameters.

The layers are those of the model itself, found by sending one image through it. Each branch of the
encoder and of the decoder is a row, in the order in which it runs.

Reads:  nothing (a new network is built: its weights do not matter)
Writes: figures/network_<network>.png and .svg

Example: python outline/network_diagram.py --network published --num-var 40
"""

import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from VAE_model import models
from VAE_model.layers import FusedUpsampling
from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report.figures import new_figure, save_figure
from VAE_model.report.plotting import Axes, Figure, Rectangle, matplotlib


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    network: str = "residual"
    """A name in VAE_model.models.NETWORKS."""
    num_var: int = 40
    """Number of latent variables."""


_COLOURS = {"encode": "#5B4FB3", "decode": "#1F8F80"}
_COLUMN, _LINE, _MARGIN = 1.3, 0.165, 0.35  # inches: of a block, of a line of text, between halves
_WORDS = {  # of layers; no words: not shown
    "LeakyReLU": "leaky ReLU", "GroupNorm": "group norm", "Linear": "linear",
    "PixelShuffle": "pixel shuffle", "PixelUnshuffle": "pixel unshuffle", "Flatten": "",
    "Unflatten": "", "Identity": "",
}  # fmt: skip


class Block(NamedTuple):
    """Consecutive layers. shape: of their output, without the batch; layers: in words."""

    shape: tuple[int, ...]
    layers: tuple[str, ...]
    parameters: int

    def includes(self, following: "Block") -> bool:
        """Return True where the next layer belongs to this block.

        It is its first with parameters, keeps the shape, or has no parameters and does not
        enlarge the image.
        """
        shrinks = not following.parameters and math.prod(following.shape) <= math.prod(self.shape)
        return not self.parameters or following.shape == self.shape or shrinks

    def plus(self, following: "Block") -> "Block":
        """Return this block with the next layer; flattening leaves the shape as it is."""
        flattened = math.prod(following.shape) == math.prod(self.shape)
        shape = self.shape if flattened and len(following.shape) == 1 else following.shape
        parameters = self.parameters + following.parameters
        return Block(shape, self.layers + following.layers, parameters)


Branches = dict[tuple[str, str], list[Block]]


def branches(network: models.VAE) -> Branches:
    """Return the blocks that an image passes in each child of the network, in running order.

    By part (encode or decode) and name of the child.
    """
    found: Branches = {}
    part = "encode"

    def note(child: str, layer: nn.Module, _: Any, output: Tensor) -> None:
        parameters = sum(p.numel() for p in layer.parameters(recurse=False))
        new = Block(tuple(output.shape[1:]), in_words(layer), parameters)
        row = found.setdefault((part, child), [])
        if row and row[-1].includes(new):
            row[-1] = row[-1].plus(new)
        else:
            row.append(new)

    fused = [module for module in network.modules() if isinstance(module, FusedUpsampling)]
    handles = [
        layer.register_forward_hook(partial(note, name))
        for name, child in network.named_children()
        for layer in child.modules()
        if not list(layer.children()) or layer._parameters
    ]
    try:
        for module in fused:
            module.layer_by_layer = True
        with torch.no_grad():
            inputs, _ = network.eval().prepare(torch.zeros(1, models.BANDS, *[models.SIZE] * 2))
            mean, _ = network.encode(inputs)
            part = "decode"
            network.decode(mean)
    finally:
        for module in fused:
            module.layer_by_layer = False
        for handle in handles:
            handle.remove()
    return found


def in_words(layer: nn.Module) -> tuple[str, ...]:
    """Describe a layer: `conv 3×3 /2` halves the side, `deconv 3×3 ×2` doubles it."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        name, sign = ("conv", "/") if isinstance(layer, nn.Conv2d) else ("deconv", "×")
        stride = f" {sign}{layer.stride[0]}" if layer.stride[0] > 1 else ""
        return (f"{name} {layer.kernel_size[0]}×{layer.kernel_size[1]}{stride}",)
    if isinstance(layer, nn.MaxPool2d):
        return (f"max pool /{layer.stride}",)
    if isinstance(layer, nn.Upsample):
        return (f"upsample ×{layer.scale_factor:g}",)
    name = type(layer).__name__
    words = _WORDS.get(name, name)
    return (words,) if words else ()


def lines_of(block: Block) -> list[str]:
    """Return the lines below a block: its layers, each with its number, and its parameters."""
    counts = Counter(block.layers).items()
    lines = [layer if count == 1 else f"{count} {layer}" for layer, count in counts]
    return [*lines, f"{block.parameters:,}"] if block.parameters else lines


def shape_of(block: Block) -> str:
    """Return channels and pixels in words, 24×16×64, or 128×4² of a square."""
    channels, *pixels = block.shape
    words = [f"{side}" for side in pixels]
    if len(set(pixels)) == 1:
        words = [f"{pixels[0]}²"]
    return "×".join([f"{channels:,}", *words])


def size_of(block: Block) -> tuple[float, float]:
    """Return width and height in inches: the roots of the channels and of the image's side."""
    if len(block.shape) < 3:
        return 0.8, 0.14
    return 0.07 * math.sqrt(block.shape[0]), 0.07 * math.sqrt(block.shape[-1])


def draw(network: models.VAE, name: str) -> Figure:
    """Draw the encoder at the left and the decoder at the right, each branch a row of blocks.

    Below each block stand its layers and its number of parameters; a row is as high as they need.
    """
    halves: dict[str, list[tuple[str, list[Block]]]] = {part: [] for part in _COLOURS}
    for (part, child), blocks in branches(network).items():
        halves[part].append((child.replace("_", " "), blocks))
    widths = [_COLUMN * max(4, *(len(blocks) for _, blocks in of)) for of in halves.values()]
    places, height = [], 0.8
    for row in zip_longest(*halves.values(), fillvalue=("", [])):
        inside = [block for _, blocks in row for block in blocks]
        tallest = max(size_of(block)[1] for block in inside)
        places.append((height, tallest))
        height += 1.2 + tallest + _LINE * max(len(lines_of(block)) for block in inside)
    width = sum(widths) + 3 * _MARGIN
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    total = sum(parameter.numel() for parameter in network.parameters())
    title = f"{name}: {total:,} parameters at {network.num_var} latent variables"
    axes.text(_MARGIN, 0.4, title, fontsize=19, fontweight="bold", va="center")
    left = _MARGIN
    for (part, rows), wide in zip(halves.items(), widths, strict=True):
        for (child, blocks), (top, tallest) in zip(rows, places, strict=False):
            learned = sum(block.parameters for block in blocks)
            axes.text(left, top + 0.15, f"{part}: {child}, {learned:,} parameters", fontsize=13,
                      fontweight="bold", va="center", color=_COLOURS[part])  # fmt: skip
            draw_row(axes, blocks, left, top + 0.75, tallest, _COLOURS[part])
        left += wide + _MARGIN
    return figure


def draw_row(
    axes: Axes, blocks: list[Block], left: float, top: float, tallest: float, colour: str
) -> None:
    """Draw blocks from `left` on, their boxes between `top` and `top + tallest` (inches)."""
    middle, before = top + tallest / 2, 0.0
    for column, block in enumerate(blocks):
        x, (wide, high) = left + _COLUMN * (column + 0.5), size_of(block)
        axes.add_patch(Rectangle((x - wide / 2, middle - high / 2), wide, high, facecolor=colour))
        if column:
            axes.annotate("", (x - wide / 2 - 0.04, middle), (before + 0.04, middle),
                          arrowprops={"arrowstyle": "->", "color": "#888888"})  # fmt: skip
        before = x + wide / 2
        shape = shape_of(block)
        axes.text(x, top - 0.1, shape, fontsize=13, fontweight="bold", ha="center", va="bottom")
        axes.text(x, top + tallest + 0.1, "\n".join(lines_of(block)), fontsize=9.5,
                  color="#444444", ha="center", va="top")  # fmt: skip


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    if config.network not in models.NETWORKS:
        known = ", ".join(models.NETWORKS)
        raise Problem(f"there is no network {config.network!r}: set network to one of {known}")
    outputs = [run.figure(f"network_{config.network}.{ending}") for ending in ("png", "svg")]
    stage = Stage(__file__, run, config, inputs=[], outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    network = models.build(config.network, config.num_var)
    figure = draw(network, config.network)
    save_figure(figure, outputs[0], bbox_inches=None)
    # Text stays text in the vector file, and nothing in it depends on the time.
    options: Any = {"svg.fonttype": "none", "svg.hashsalt": config.network}
    with matplotlib.rc_context(options), atomic(outputs[1]) as temporary:
        figure.savefig(temporary, metadata={"Date": None}, bbox_inches=None)
    stage.finish(parameters=sum(parameter.numel() for parameter in network.parameters()))


if __name__ == "__main__":
    start(main, Config, __doc__)
