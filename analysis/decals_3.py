"""Plot the latent space: its principal components, and a map in two dimensions.

The map is a t-SNE (van der Maaten & Hinton 2008): galaxies that are close in the latent space are
close on the map; large distances, and the axes, have no meaning.

Reads:  result/class_latents_40.parquet, train.txt (its packed images)
Writes: figures/pca_pairs_40.png, figures/map_40.png, figures/map_thumbnails_40.png,
        result/map_40.parquet: iauname, path, x, y, class

Example: python analysis/decals_3.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.data.galaxy_zoo import CLASSES
from VAE_model.data.packed import Packed
from VAE_model.extraction.latent_table import posterior_widths, read_means
from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report.figures import (
    CLASS_STYLES,
    NO_CLASS,
    new_figure,
    packed_thumbnail,
    save_figure,
    shown_class,
)
from VAE_model.report.plotting import Axes, Figure, Line2D, to_rgb
from VAE_model.tables.joins import image_rows

MIN_GALAXIES = 10  # of a map, and of a class's density
LAYERS = 6  # of points
_LINES = {"o": "-", "D": "-.", "s": "--", "^": ":"}  # of a class's density, by its marker
TILE = 72  # pixels to a side of a thumbnail on the map, its frame included


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    components: int = 4
    """Principal components in the pair plot."""
    most: int = 5000
    """Galaxies on the map, at most: of more, a random sample."""
    perplexity: float = 30.0
    """Perplexity of t-SNE: about the number of neighbours that a galaxy stays close to."""
    cells: int = 26
    """Thumbnails across the map."""
    crop: int = 140
    """Side of the central part of a cutout that a thumbnail shows, pixels of 0.262 arcsec."""
    seed: int = 1
    """Seed of the sample and of t-SNE."""


def add_legend(
    place: Axes | Figure, classes: NDArray[np.str_], title: str, marker: str = "", **where: Any
) -> None:
    """Add a legend with the marker and the number of each class.

    marker: of all classes; empty: each its own. where: the place; none: to the right.
    """
    entries = []
    for name, style in CLASS_STYLES.items():
        if count := int(np.count_nonzero(classes == name)):
            label = f"{style.label}  ({count:,})"
            shape = marker or style.marker
            entries.append(
                Line2D([], [], linestyle="", marker=shape, markersize=9, label=label,
                       markerfacecolor=style.colour, markeredgecolor="white")
            )  # fmt: skip
    where = where or {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    place.legend(
        handles=entries, title=title, fontsize=12, title_fontsize=12, alignment="left",
        labelspacing=0.7, **where,
    )  # fmt: skip


def scatter(axes: Axes, x: NDArray, y: NDArray, classes: NDArray[np.str_], size: float) -> None:
    """Draw points by class, in layers with a share of every class, so that none hides another."""
    for layer in range(LAYERS):
        share = np.arange(len(x)) % LAYERS == layer
        for name, style in CLASS_STYLES.items():
            rows = share & (classes == name)
            axes.scatter(
                x[rows], y[rows], s=size * (0.5 if name == NO_CLASS else 1), c=style.colour,
                marker=style.marker, alpha=0.85, linewidths=0.25, edgecolors="white",
                zorder=1 if name == NO_CLASS else 2 + layer,
            )  # fmt: skip


def pair_plot(latents: NDArray[np.float32], classes: NDArray[np.str_], components: int) -> Figure:
    """Return the principal components against each other, and on the diagonal their densities."""
    model = PCA(components, random_state=0).fit(latents)
    points, shares = model.transform(latents), model.explained_variance_ratio_
    limits = central_range(points)
    beyond = int(((points < limits[0]) | (points > limits[1])).any(axis=1).sum())
    figure = new_figure(2.9 * components, 2.75 * components, layout="constrained")
    panels = figure.subplots(components, components, squeeze=False, sharex="col")
    for row in range(components):
        for column in range(components):
            axes = panels[row, column]
            if column > row:
                axes.set_axis_off()
            elif column == row:
                densities(axes, points[:, row], classes, limits[:, row])
            else:
                scatter(axes, points[:, column], points[:, row], classes, 9)
                axes.axhline(0, color="#DDDDDD", linewidth=0.6, zorder=0)
                axes.axvline(0, color="#DDDDDD", linewidth=0.6, zorder=0)
                axes.set_ylim(limits[:, row])
        panels[row, 0].set_ylabel(component_name(row, shares) if row else "density")
        panels[-1, row].set(xlabel=component_name(row, shares), xlim=limits[:, row])
        for column in range(1, row):
            panels[row, column].sharey(panels[row, 0])
            panels[row, column].tick_params(labelleft=False)
    figure.suptitle(
        f"Principal components of {latents.shape[1]} latent variables,"
        "\neach in units of its posterior width",
        x=0.6, y=0.985, ha="left", fontsize=15, fontweight="bold",
    )  # fmt: skip
    title = f"{len(classes):,} galaxies" + (f", {beyond:,} beyond the axes" if beyond else "")
    add_legend(figure, classes, title, loc="upper left", bbox_to_anchor=(0.59, 0.94))
    return figure


def component_name(number: int, shares: NDArray) -> str:
    """Return the label of a principal component, with its share of the variance."""
    return f"PC {number + 1}  ({shares[number]:.0%} of variance)"


def central_range(points: NDArray) -> NDArray:
    """Return limits that hold 99 per cent of the points in each column, with a margin: (2, C)."""
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    margin = 0.15 * (high - low) + 1e-6
    return np.stack([low - margin, high + margin])


def densities(axes: Axes, values: NDArray, classes: NDArray[np.str_], limits: NDArray) -> None:
    """Draw a smoothed histogram of each class, all of the same area."""
    grid = np.linspace(limits[0], limits[1], 300)
    for name, style in CLASS_STYLES.items():
        own = values[classes == name]
        if name == NO_CLASS or len(own) < MIN_GALAXIES:
            continue
        width = max(1.06 * own.std() * len(own) ** -0.2, 1e-9)
        density = np.exp(-0.5 * ((grid[:, None] - own) / width) ** 2).mean(axis=1) / width
        axes.plot(grid, density, color=style.colour, linewidth=1.8, linestyle=_LINES[style.marker])
    axes.set(yticks=[])
    axes.set_ylim(bottom=0)
    axes.spines["left"].set_visible(False)


def class_map(places: NDArray, classes: NDArray[np.str_], num_var: int, total: int) -> Figure:
    """Return the map with a point per galaxy, by class."""
    figure = new_figure(12, 8.2, layout="constrained")
    axes = figure.subplots()
    scatter(axes, places[:, 0], places[:, 1], classes, float(np.clip(40_000 / len(places), 9, 60)))
    bare(axes)
    of = f" of {total:,}" if total > len(places) else ""
    axes.set_title(f"Map of the latent space: t-SNE of {num_var} latent variables", fontsize=16)
    add_legend(axes, classes, f"{len(places):,}{of} galaxies")
    return figure


def bare(axes: Axes) -> None:
    """Remove ticks and frame of axes without meaning, and give both the same scale."""
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)


def nearest_in_cells(places: NDArray, cells: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return the galaxy nearest to the centre of each cell of a square grid, `cells` wide at most.

    Galaxies, their columns from the left and their rows from the top, all (K,).
    """
    low = places.min(axis=0)
    step = float(np.ptp(places, axis=0).max()) / cells + 1e-9
    cell = np.floor((places - low) / step).astype(int)
    apart = np.hypot(*((places - low) / step - cell - 0.5).T)
    table = pd.DataFrame({"i": cell[:, 0], "j": cell[:, 1], "apart": apart})
    chosen = table.sort_values("apart", kind="stable").drop_duplicates(["i", "j"])
    lines = cell[:, 1].max() - chosen["j"]
    return chosen.index.to_numpy(), chosen["i"].to_numpy(), lines.to_numpy()


def thumbnail_map(
    places: NDArray, classes: NDArray[np.str_], packed: Packed, rows: NDArray, config: Config
) -> Figure:
    """Return the map as a grid of colour images, framed in the colour of the class."""
    chosen, columns, lines = nearest_in_cells(places, config.cells)
    canvas = np.full(((lines.max() + 1) * TILE, (columns.max() + 1) * TILE, 3), 255, np.uint8)
    for galaxy, column, line in zip(chosen, columns, lines, strict=True):
        colour = to_rgb(CLASS_STYLES[str(classes[galaxy])].colour)
        tile = canvas[line * TILE : (line + 1) * TILE, column * TILE : (column + 1) * TILE]
        tile[1:-1, 1:-1] = np.round(255 * np.array(colour))
        tile[4:-4, 4:-4] = packed_thumbnail(packed, rows[galaxy], TILE - 8, config.crop)
    figure = new_figure(14.5, 11, layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas, interpolation="lanczos")
    bare(axes)
    axes.set_title(
        f"Map of the latent space in images: t-SNE of {config.num_var} latent variables",
        fontsize=16,
    )
    side = config.crop * PIXEL_SCALE
    title = f"{len(chosen):,} galaxies, {side:.0f} arcsec a side,\nframed by class"
    add_legend(axes, classes[chosen], title, marker="s")
    return figure


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    number = config.num_var
    source = run.class_latents(number)
    figures = [
        run.figure(f"{name}_{number}.png") for name in ("pca_pairs", "map", "map_thumbnails")
    ]
    outputs = [*figures, run.map(number)]
    stage = Stage(__file__, run, config, inputs=[source, run.train_txt], outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    table, latents = read_means(run, source, number, (*CLASSES, "logvar_"))
    latents = latents / posterior_widths(table)
    if len(table) < MIN_GALAXIES:
        raise Problem(
            f"{run.show(source)} has {len(table)} galaxies, and a map needs {MIN_GALAXIES}: "
            "add images, or widen the cuts in VAE_model/data/galaxy_zoo.py"
        )
    packed = Packed.of(run)
    again = f"delete it and run {run.made_by(source)}"
    rows = image_rows(run, packed, table["path"], source, again)
    total, classes = len(table), shown_class(table)
    if total > config.most:
        sample = np.random.default_rng(config.seed).choice(total, config.most, replace=False)
        sample.sort()
        print(f"  {config.most:,} of {total:,} galaxies, a random sample (the constant `most`)")
        table, latents, classes, rows = (
            table.iloc[sample], latents[sample], classes[sample], rows[sample]
        )  # fmt: skip
    components = min(config.components, number, len(latents))
    save_figure(pair_plot(latents, classes, components), figures[0])
    print(f"  t-SNE of {len(latents):,} galaxies", flush=True)
    perplexity = min(config.perplexity, (len(latents) - 1) / 3)
    places = TSNE(
        perplexity=perplexity, init="pca" if number > 1 else "random", random_state=config.seed
    ).fit_transform(latents)
    save_figure(class_map(places, classes, number, total), figures[1])
    save_figure(thumbnail_map(places, classes, packed, rows, config), figures[2])
    of_map = table[["iauname", "path"]].assign(x=places[:, 0], y=places[:, 1])
    of_map["class"] = classes
    write_parquet(run.map(number), of_map)
    counts = {str(n): int(c) for n, c in zip(*np.unique(classes, return_counts=True), strict=True)}
    stage.finish(galaxies=len(places), of=total, classes=counts)


if __name__ == "__main__":
    start(main, Config, __doc__)
