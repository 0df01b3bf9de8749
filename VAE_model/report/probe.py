"""Information in the latents, as a figure and as a chapter of the report.

Everything is made from the content of probe_40.json (analysis/probe.py).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.report.figures import GREY, INDIGO, ROSE, log_scale, new_figure, save_figure
from VAE_model.report.page import Block, Details, Paragraph
from VAE_model.report.plotting import Axes, AxesImage, PowerNorm
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.report.tables import Note, Table

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
    n = content["dimension"]
    rows = [
        (Note(name, f"{of['unit']}; from the {of['source']}"), of["n_train"], of["n_test"],
         *(Estimate.read(of[by]) for by in ("latents", "forest", "pca")),
         Estimate.read(of["single"][of["best"]]), of["best"])
        for name, of in content["quantities"].items()
    ]  # fmt: skip
    head = ["quantity", "train galaxies", "test galaxies", f"all {n} latents, ridge", "forest",
            f"PCA-{content['components']}, ridge", "best single latent", "which"]  # fmt: skip
    caption = (
        "R² on test galaxies with 95 % intervals of resampled test galaxies: 1 is a perfect "
        "prediction, 0 that of the training galaxies' mean. Best single latent: the one that "
        "explains most of the training galaxies. Images with a defect flag are left out."
    )
    return Table(head, rows, caption)


def _moves(content: dict[str, Any]) -> Table:
    rows = [(name, of["n"], Estimate.read(of)) for name, of in content["moves"].items()]
    caption = (
        "Median distance that the latents move, over the median distance between two galaxies, "
        "with 95 % intervals of resampled test galaxies. Angles and shifts are interpolated; "
        "another exposure shows the effect of noise alone."
    )
    return Table(["the same galaxy", "test galaxies", "moves by"], rows, caption)


def _calibration(content: dict[str, Any]) -> Table:
    names = {"noise": "same conditions, other noise", "night": "another night: seeing, depth, sky"}
    rows = [
        (names[kind], of["n"], of["exposures"], Estimate.read(of["median"]),
         f"{of['min']:.2f} to {of['max']:.2f}", Estimate.read(of["within"]))
        for kind, of in content["calibration"].items()
    ]  # fmt: skip
    head = [
        "exposures",
        "test galaxies",
        "exposures of each",
        "deviation over sigma, median latent",
        "range of the active latents",
        "within one sigma",
    ]
    expected = min(of["expected"] for of in content["calibration"].values())
    caption = (
        "Galaxies of the simulated sky, observed again: standard deviation of the posterior's mean "
        "between exposures over the posterior's sigma (root mean squares). A correct sigma gives "
        f"{expected:.2f}, and 0.68 of the differences between two exposures within one sigma of a "
        "difference; a larger ratio means that sigma is too small."
    )
    return Table(head, rows, caption)


def _latents(content: dict[str, Any]) -> Table:
    names, kinds = list(content["quantities"]), list(content["calibration"])
    rows = [
        (line["latent"], f"{line['kl']:.2f}", f"{line['variance']:.3f}", line["active"],
         f"{line['sigma']:.3f}", *(f"{line[f'ratio_{kind}']:.2f}" for kind in kinds),
         *(f"{line['r2_' + name.replace(' ', '_')]:.3f}" for name in names))
        for line in content["latents"]
    ]  # fmt: skip
    head = ["latent", "KL, nats", "variance of the mean", "active", "sigma",
            *(f"deviation over sigma, {kind}" for kind in kinds), *names]  # fmt: skip
    caption = (
        f"Of {content['test_images']:,} test images, the latent with the largest KL first; "
        f"{content['active']} are active (variance of the mean above 0.01, Burda et al. 2016), and "
        f"all carry {content['kl']:.1f} nats per image. Below each quantity: R² of a latent alone."
    )
    return Table(head, rows, caption)


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
    figure = new_figure(3.4 + wide + 2.6 * right, 2.9 + 0.215 * len(order), layout="constrained")
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
    axes.axvline(1, color=GREY, linewidth=1)
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
    axes.set_xlabel("standard deviation between\nexposures over posterior sigma")
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
