"""Information in the latents, as a figure and as a chapter of the report.

Everything is made from the content of probe_40.json (analysis/probe.py).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.report import figures
from VAE_model.report.figures import GREY, INDIGO, ROSE
from VAE_model.report.page import Block, Details, Paragraph
from VAE_model.report.plotting import Axes, AxesImage, PowerNorm
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.report.tables import Note, Table, prose

_SHOWN = 0.015  # R^2 from which a cell shows its number
_KINDS = {"noise": (INDIGO, "o", "same conditions"), "night": (ROSE, "s", "another night")}


def blocks(outputs: RunOutputs) -> list[Block]:
    """Return the chapter of the report."""
    content = outputs.json(outputs.run.probe(outputs.num_var))
    if not content:
        return []
    parts: list[Block] = [_quantities(content)]
    if left_out := "; ".join(f"{name} ({why})" for name, why in content["left_out"].items()):
        parts.append(Paragraph(f"Left out: {left_out}."))
    parts.append(_moves(content))
    parts += [_calibration(content)] if content["calibration"] else []
    return [*parts, Details("Every latent", [_latents(content)])]


def _quantities(content: dict[str, Any]) -> Table:
    rows = [
        (Note(name, f"{of['unit']}; from the {of['source']}"), of["n_train"], of["n_test"],
         *(Estimate.read(of[by]) for by in ("latents", "forest", "pca")),
         Estimate.read(of["single"][of["best"]]), of["best"])
        for name, of in content["quantities"].items()
    ]  # fmt: skip
    return Table.named("quantities", rows, **content)


def _moves(content: dict[str, Any]) -> Table:
    rows = [(name, of["n"], Estimate.read(of)) for name, of in content["moves"].items()]
    return Table.named("moves", rows)


def _calibration(content: dict[str, Any]) -> Table:
    names = {"noise": "same conditions, other noise", "night": "another night: seeing, depth, sky"}
    rows = [
        (names[kind], of["n"], of["exposures"], Estimate.read(of["median"]),
         f"{of['min']:.2f} to {of['max']:.2f}", Estimate.read(of["within"]))
        for kind, of in content["calibration"].items()
    ]  # fmt: skip
    expected = min(of["expected"] for of in content["calibration"].values())
    return Table.named("exposures", rows, expected=expected)


def _latents(content: dict[str, Any]) -> Table:
    names = {name: name.replace("_", " ") for name in content["latents"][0]}
    return Table.of(content["latents"], names, prose("every_latent", **content))


def draw_probe(content: dict[str, Any], path: Path) -> None:
    """Draw KL, R^2 and calibration, one row per latent.

    R^2 is of each quantity from the latent alone, at the top from all latents together; the
    calibration is the standard deviation between exposures over the posterior's sigma.
    """
    quantities, latents = content["quantities"], content["latents"]
    order = [line["latent"] for line in latents]
    single = np.array(
        [[max(of["single"][i]["value"], 0) for of in quantities.values()] for i in order]
    )
    kinds = {"latents": f"all {len(order)}, ridge", "forest": f"all {len(order)}, forest",
             "pca": f"PCA-{content['components']}, ridge"}  # fmt: skip
    together = np.array([[of[kind]["value"] for of in quantities.values()] for kind in kinds])
    right = bool(content["calibration"])
    wide = 0.95 * max(len(quantities), 1)
    size = (3.4 + wide + 2.6 * right, 2.9 + 0.215 * len(order))
    figure = figures.new_figure(*size, layout="constrained")
    grid = figure.add_gridspec(
        2, 2 + right, height_ratios=[3 * 1.25, len(order)],
        width_ratios=[1.5, wide, *([2.3] if right else [])], hspace=0.02, wspace=0.02,
    )  # fmt: skip
    top, middle = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    _cells(top, np.clip(together, 0, 1), together, list(kinds.values()))
    image = _cells(middle, single, single, [f"{i}" for i in order])
    top.set_xticks(range(len(quantities)), [name.replace(" ", "\n") for name in quantities])
    top.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    middle.set_xticks([])
    _kl(figure.add_subplot(grid[1, 0], sharey=middle), latents)
    if right:
        _ratios(figure.add_subplot(grid[1, 2], sharey=middle), content["calibration"], latents)
    figure.colorbar(image, ax=[top, middle], location="bottom", shrink=0.6, aspect=40, pad=0.015,
                    ticks=[0, 0.01, 0.05, 0.2, 0.5, 1], format="{x:g}",
                    label="R² on test galaxies: of all latents, and of each alone")  # fmt: skip
    figures.save_figure(figure, path)


def _cells(axes: Axes, colours: NDArray, numbers: NDArray, names: list[str]) -> AxesImage:
    image = axes.imshow(colours, aspect="auto", norm=PowerNorm(0.5, 0, 1))
    for (i, j), number in np.ndenumerate(numbers):
        if number >= _SHOWN or len(names) <= 3:
            ink = "#111111" if colours[i, j] > 0.3 else "white"
            text = f"{round(number, 2) + 0.0:.2f}".replace("-", "−")  # no -0.00
            axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
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
    axes.axvline(1, color=GREY, linewidth=1)
    for shift, (kind, (colour, marker, label)) in zip((-0.15, 0.15), _KINDS.items(), strict=True):
        rows = [calibration[kind]["ratio"][line["latent"]] for line in latents]
        for place, row in enumerate(rows):
            figures.draw_interval(axes, row, place + shift, colour, marker, 3.5)
        axes.plot([], [], marker, color=colour, markersize=3.5, label=label)
    figures.log_scale(axes.xaxis)
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("standard deviation between\nexposures over posterior sigma")
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
