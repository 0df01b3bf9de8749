"""Draw a network from the model itself: send one image through it, draw what it went through.

Reads:  VAE_model/models.py (the network is built anew: its weights do not matter)
Writes: figures/network_<network>.png and .svg

Example: python outline/network_diagram.py --network published --num-var 40
"""

import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from VAE_model import models
from VAE_model.anatomy import Block, dissect
from VAE_model.figures import new_figure, save_figure
from VAE_model.files import atomic
from VAE_model.paths import Run
from VAE_model.plotting import Axes, Figure, Polygon, matplotlib, to_rgb
from VAE_model.stage import Problem, Stage, start


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    network: str = "structured"
    """A name in VAE_model.models.NETWORKS."""
    num_var: int = 40
    """Number of latent variables."""


_COLOURS = {"image": "#9A9A9A", "prepare": "#B8A136", "encode": "#5B4FB3", "latent": "#C4526A",
            "decode": "#1F8F80", "restore": "#B8A136"}  # fmt: skip
_TITLES = {"encode": "encoder", "latent": "latents", "decode": "decoder"}
_COLUMN = 1.2  # inches of paper for a block
_BASE = -2.05  # inches below the blocks' middle where the writing begins


def draw(network: nn.Module, name: str) -> Figure:
    """The drawing: blocks as high as the root of their image's side, as wide as that of its
    channels; below each its shape, its layers and how many parameters they have."""
    anatomy = dissect(network)
    blocks = anatomy.blocks
    total = sum(parameter.numel() for parameter in network.parameters())
    latents = next(block.size for block in blocks if block.part == "latent")
    lines = max(len(set(block.layers)) for block in blocks)
    bottom, top = _BASE - 0.65 - 0.23 * lines, 3.45
    width = _COLUMN * len(blocks) + 0.2
    figure = new_figure(width, top - bottom)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.1, width - 0.1), ylim=(bottom, top))
    axes.axis("off")
    for place, block in enumerate(blocks):
        middle = _COLUMN * (place + 0.5)
        _cuboid(axes, middle, block)
        _write_below(axes, middle, block)
        if place:
            style = {"arrowstyle": "-|>", "color": "#777777", "shrinkA": 0, "shrinkB": 0}
            edge = _COLUMN * place
            axes.annotate("", (edge + 0.12, 0), (edge - 0.1, 0), arrowprops=style)
    for part, title in _TITLES.items():
        places = [place for place, block in enumerate(blocks) if block.part == part]
        beside = [block for block in anatomy.shortcuts if block.part == part]
        learned = sum(block.parameters for block in [*blocks, *beside] if block.part == part)
        _bracket(axes, places, f"{title}\n{learned:,}", _COLOURS[part])
        _shortcuts(axes, places, beside)
    axes.text(0.1, top - 0.4, f"{name}: {total:,} parameters at {latents} latent variables",
              fontsize=19, fontweight="bold", va="center")  # fmt: skip
    return figure


def _cuboid(axes: Axes, middle: float, block: Block) -> None:
    flat = len(block.shape) == 1
    width = 0.16 if flat else 0.042 * math.sqrt(block.shape[0])
    height = min(0.12 * math.sqrt(block.size), 2.6) if flat else 0.19 * math.sqrt(block.shape[-1])
    away = 0.08 if flat else 0.13 * height  # the side that runs away from the reader
    left, low = middle - (width + away) / 2, -(height + away) / 2
    right, high = left + width, low + height
    faces = {
        0.22: [(left, low), (right, low), (right, high), (left, high)],
        0.0: [(right, low), (right + away, low + away), (right + away, high + away), (right, high)],
        0.5: [(left, high), (right, high), (right + away, high + away), (left + away, high + away)],
    }
    for light, corners in faces.items():
        shade = [tone + (1 - tone) * light for tone in to_rgb(_COLOURS[block.part])]
        axes.add_patch(Polygon(corners, facecolor=shade, edgecolor="white", linewidth=0.7))


def _write_below(axes: Axes, middle: float, block: Block) -> None:
    shape = f"{block.shape[0]}×{block.shape[1]}²" if len(block.shape) == 3 else f"{block.size:,}"
    counts = Counter(block.layers)
    lines = [word if times == 1 else f"{times} {word}" for word, times in counts.items()]
    lines += [f"{block.parameters:,}"] if block.parameters else []
    write = partial(axes.text, middle, ha="center", va="top")
    write(_BASE, shape, fontsize=13, fontweight="bold")
    write(_BASE - 0.3, "\n".join(lines), fontsize=10.5, color="#444444")


def _bracket(axes: Axes, places: list[int], title: str, colour: str) -> None:
    left, right, y = _COLUMN * places[0] + 0.1, _COLUMN * (places[-1] + 1) - 0.1, 2.0
    axes.plot([left, right], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt")
    axes.text((left + right) / 2, y + 0.1, title, fontsize=13, ha="center", va="bottom",
              color=colour, fontweight="bold")  # fmt: skip


def _shortcuts(axes: Axes, places: list[int], beside: list[Block]) -> None:
    """Lines past the blocks of a part, for what leads from its input to its output."""
    for level, block in enumerate(sorted(beside, key=lambda block: block.parameters)):
        y, inset = 1.52 - 0.36 * level, 0.07 * level - 0.02
        left, right = _COLUMN * places[0] + inset, _COLUMN * (places[-1] + 1) - inset
        axes.plot([left, left, right, right], [0.06, y, y, 0.06], color="#777777", linewidth=1.2)
        words = f"{' '.join(block.layers)} {block.parameters:,}"
        axes.text((left + right) / 2, y + 0.04, words, fontsize=10.5, ha="center", va="bottom",
                  color="#444444")  # fmt: skip


def main(config: Config) -> None:
    run = Run(config.run)
    if config.network not in models.NETWORKS:
        raise Problem(
            f"there is no network {config.network!r}: set network to one of "
            f"{', '.join(models.NETWORKS)}"
        )
    outputs = [run.figure(f"network_{config.network}.{ending}") for ending in ("png", "svg")]
    stage = Stage(__file__, run, config, inputs=[Path(models.__file__)], outputs=outputs)
    if stage.nothing_to_do():
        return
    network = models.build(config.network, config.num_var)
    figure = draw(network, config.network)
    save_figure(figure, outputs[0], bbox_inches=None)
    # Text stays text in the vector file, and nothing in it depends on the hour.
    options: Any = {"svg.fonttype": "none", "svg.hashsalt": config.network}
    with matplotlib.rc_context(options), atomic(outputs[1]) as temporary:
        figure.savefig(temporary, metadata={"Date": None}, bbox_inches=None)
    total = sum(parameter.numel() for parameter in network.parameters())
    stage.finish(parameters=total)


if __name__ == "__main__":
    start(main, Config, __doc__)
