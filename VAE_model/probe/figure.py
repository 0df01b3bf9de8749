"""The figure of what the latents tell: a row a latent, a column a quantity."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VAE_model.figures import INDIGO, ROSE, log_scale, new_figure, save_figure
from VAE_model.plotting import Axes, AxesImage, PowerNorm

_SHOWN = 0.015  # R^2 from which a cell says its number
_KINDS = {"noise": (INDIGO, "o", "same conditions"), "night": (ROSE, "s", "another night")}


def draw_probe(content: dict[str, Any], path: Path) -> None:
    """content: as analysis/probe.py writes it. Left KL of each latent, in the middle R^2 of each
    alone and above of all together, right the scatter between exposures over sigma."""
    told, latents = content["quantities"], content["latents"]
    order = [line["latent"] for line in latents]
    single = np.array([[max(of["single"][i]["value"], 0) for of in told.values()] for i in order])
    kinds = {"latents": f"all {len(order)}, ridge", "forest": f"all {len(order)}, forest",
             "pca": f"PCA-{content['components']}, ridge"}  # fmt: skip
    together = np.array([[of[kind]["value"] for of in told.values()] for kind in kinds])
    right = bool(content["calibration"])
    wide = 0.95 * max(len(told), 1)
    figure = new_figure(3.4 + wide + 2.6 * right, 2.9 + 0.215 * len(order), layout="constrained")
    grid = figure.add_gridspec(
        2, 2 + right, height_ratios=[3 * 1.25, len(order)],
        width_ratios=[1.5, wide, *([2.3] if right else [])], hspace=0.02, wspace=0.02,
    )  # fmt: skip
    top, middle = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    _cells(top, np.clip(together, 0, 1), together, list(kinds.values()))
    image = _cells(middle, single, single, [f"{i}" for i in order])
    top.set_xticks(range(len(told)), [name.replace(" ", "\n") for name in told])
    top.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    middle.set_xticks([])
    _kl(figure.add_subplot(grid[1, 0], sharey=middle), latents)
    if right:
        _ratios(figure.add_subplot(grid[1, 2], sharey=middle), content["calibration"], latents)
    figure.colorbar(image, ax=[top, middle], location="bottom", shrink=0.6, aspect=40, pad=0.015,
                    ticks=[0, 0.01, 0.05, 0.2, 0.5, 1], format="{x:g}",
                    label="R² on test galaxies: of all latents, and of each alone")  # fmt: skip
    save_figure(figure, path)


def _cells(axes: Axes, colours: NDArray, numbers: NDArray, names: list[str]) -> AxesImage:
    image = axes.imshow(colours, aspect="auto", norm=PowerNorm(0.5, 0, 1))
    for (i, j), number in np.ndenumerate(numbers):
        if number >= _SHOWN or len(names) <= 3:
            ink = "#111111" if colours[i, j] > 0.3 else "white"
            text = f"{round(number, 2) + 0.0:.2f}".replace("-", "−")  # no -0.00
            axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _kl(axes: Axes, latents: list[dict[str, Any]]) -> None:
    values = [line["kl"] for line in latents]
    colours = [INDIGO if line["active"] else "#C4C4C4" for line in latents]
    axes.barh(range(len(values)), values, 0.75, color=colours)
    axes.set(xlabel="KL (nats)", ylabel="latent, most informative first")
    axes.invert_xaxis()
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.spines[["left", "top"]].set_visible(False)
    axes.grid(axis="x")


def _ratios(axes: Axes, calibration: dict[str, Any], latents: list[dict[str, Any]]) -> None:
    axes.axvline(1, color="#999999", linewidth=1)
    for shift, (kind, (colour, marker, label)) in zip((-0.15, 0.15), _KINDS.items(), strict=True):
        rows = [calibration[kind]["ratio"][line["latent"]] for line in latents]
        for place, row in enumerate(rows):
            axes.plot([row["low"], row["high"]], [place + shift] * 2, color=colour, linewidth=1.2)
        x = [row["value"] for row in rows]
        axes.plot(x, np.arange(len(x)) + shift, marker, color=colour, markersize=3.5, label=label)
    log_scale(axes.xaxis)
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("scatter between exposures\nover posterior sigma")
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
