"""Plot the latent space: its principal components, and a map in two dimensions.

The map is a t-SNE (van der Maaten & Hinton 2008): galaxies that are close in the latent space are
close on the map; large distances, and the axes, have no meaning.

The figures are coloured by class, or, for images of your own, by a column of their table. With
`features`, they show the features of a table in place of the latents.

Reads:  result/class_latents_40.parquet, or, in a run without classes, result/latents_40.parquet,
        or the table `features`; train.txt (its packed images); where it is there: labels.parquet
Writes: figures/pca_pairs_40.png, figures/map_40.png, figures/map_thumbnails_40.png,
        result/map_40.parquet: iauname, path, x, y, class (in a run with classes)

Example: python analysis/decals_3.py --num-var 40
"""

from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from VAE_model.data.galaxy_zoo import CLASSES
from VAE_model.data.packed import Packed
from VAE_model.extraction.features import Space, space_of
from VAE_model.extraction.latent_table import posterior_widths, read_means
from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report import figures
from VAE_model.report.figures import new_figure
from VAE_model.report.map_data import (
    Scheme,
    crop_of,
    map_inputs,
    schemes,
    shown_side,
)
from VAE_model.report.plotting import Axes, Figure, Line2D, to_rgb
from VAE_model.tables.joins import image_rows

MIN_GALAXIES = 10  # of a map, and of a class's density
LAYERS = 6  # of points
_LINES = {"o": "-", "D": "-.", "s": "--", "^": ":"}  # of a class's density, by its marker
LONGEST = 32  # characters of a label
TILE = 72  # pixels to a side of a thumbnail on the map, its frame included


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    features: Path | None = None
    """A table of features to work on in place of the latents (docs/FEATURES.md)."""
    columns: tuple[str, ...] = ()
    """Its columns that are features, by names or patterns; none: all that may be."""
    components: int = 4
    """Principal components in the pair plot."""
    most: int = 5000
    """Galaxies on the map, at most: of more, a random sample."""
    perplexity: float = 30.0
    """Perplexity of t-SNE: about the number of neighbours that a galaxy stays close to."""
    cells: int = 26
    """Thumbnails across the map."""
    crop: int = 0
    """Side of the central part of a cutout that a thumbnail shows, pixels; 0: 140, or all of an
    image whose scale is unknown."""
    colour: tuple[str, ...] = ()
    """Columns of labels.parquet; the first colours the figures. None: the class, or, in a run
    without classes, the first column that is a label or a number."""
    seed: int = 1
    """Seed of the sample and of t-SNE."""


def add_legend(
    place: Axes | Figure, scheme: Scheme, title: str, marker: str = "", **where: Any
) -> None:
    """Add a legend with the marker and the number of each answer.

    marker: of all answers; empty: each its own. where: the place; none: to the right.
    """
    entries = []
    for code, answer in enumerate(scheme.answers):
        if count := int(np.count_nonzero(scheme.codes == code)):
            label = f"{shorten(answer.label, LONGEST, placeholder=' …')}  ({count:,})"
            entries.append(
                Line2D([], [], linestyle="", marker=marker or answer.marker, markersize=9,
                       label=label, color=answer.colour, markeredgecolor="white")
            )  # fmt: skip
    where = where or {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    place.legend(
        handles=entries, title=title, fontsize=12, title_fontsize=12, alignment="left",
        labelspacing=0.7, **where,
    )  # fmt: skip


def by(scheme: Scheme) -> str:
    """Return the name of what the colours mean, for a title; empty where there is one colour."""
    return f" by {shorten(scheme.title, LONGEST)}" if len(scheme.answers) > 2 else ""


def scatter(axes: Axes, x: NDArray, y: NDArray, scheme: Scheme, size: float) -> None:
    """Draw points by answer, in layers with a share of every answer, so that none hides another."""
    for layer in range(LAYERS):
        share = np.arange(len(x)) % LAYERS == layer
        for code, answer in enumerate(scheme.answers):
            rows = share & (scheme.codes == code)
            axes.scatter(
                x[rows], y[rows], s=size * (0.5 if answer.none else 1), c=answer.colour,
                marker=answer.marker, alpha=0.85, linewidths=0.25, edgecolors="white",
                zorder=1 if answer.none else 2 + layer,
            )  # fmt: skip


def pair_plot(
    latents: NDArray[np.float32], scheme: Scheme, components: int, space: Space
) -> Figure:
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
                densities(axes, points[:, row], scheme, limits[:, row])
            else:
                scatter(axes, points[:, column], points[:, row], scheme, 9)
                axes.axhline(0, color="#DDDDDD", linewidth=0.6, zorder=0)
                axes.axvline(0, color="#DDDDDD", linewidth=0.6, zorder=0)
                axes.set_ylim(limits[:, row])
        panels[row, 0].set_ylabel(component_name(row, shares) if row else "density")
        panels[-1, row].set(xlabel=component_name(row, shares), xlim=limits[:, row])
        for column in range(1, row):
            panels[row, column].sharey(panels[row, 0])
            panels[row, column].tick_params(labelleft=False)
    width = "robust standard deviation" if space.foreign else "posterior width"
    figure.suptitle(
        f"Principal components of {space.words},\neach in units of its {width}",
        x=0.6, y=0.985, ha="left", fontsize=15, fontweight="bold",
    )  # fmt: skip
    title = f"{len(points):,} galaxies" + (f", {beyond:,} beyond the axes" if beyond else "")
    add_legend(figure, scheme, title + by(scheme), loc="upper left", bbox_to_anchor=(0.59, 0.94))
    return figure


def component_name(number: int, shares: NDArray) -> str:
    """Return the label of a principal component, with its share of the variance."""
    return f"PC {number + 1}  ({shares[number]:.0%} of variance)"


def central_range(points: NDArray) -> NDArray:
    """Return limits that hold 99 per cent of the points in each column, with a margin: (2, C)."""
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    margin = 0.15 * (high - low) + 1e-6
    return np.stack([low - margin, high + margin])


def densities(axes: Axes, values: NDArray, scheme: Scheme, limits: NDArray) -> None:
    """Draw a smoothed histogram of each answer, all of the same area."""
    grid = np.linspace(limits[0], limits[1], 300)
    for code, answer in enumerate(scheme.answers):
        own = values[scheme.codes == code]
        if answer.none or len(own) < MIN_GALAXIES:
            continue
        width = max(1.06 * own.std() * len(own) ** -0.2, 1e-9)
        density = np.exp(-0.5 * ((grid[:, None] - own) / width) ** 2).mean(axis=1) / width
        line = _LINES[answer.marker]
        axes.plot(grid, density, color=answer.colour, linewidth=1.8, linestyle=line)
    axes.set(yticks=[])
    axes.set_ylim(bottom=0)
    axes.spines["left"].set_visible(False)


def point_map(places: NDArray, scheme: Scheme, space: Space, total: int) -> Figure:
    """Return the map with a point per galaxy."""
    figure = new_figure(12, 8.2, layout="constrained")
    axes = figure.subplots()
    scatter(axes, places[:, 0], places[:, 1], scheme, float(np.clip(40_000 / len(places), 9, 60)))
    bare(axes)
    of = f" of {total:,}" if total > len(places) else ""
    axes.set_title(f"Map of the {space.name}: t-SNE of {space.words}", fontsize=16)
    add_legend(axes, scheme, f"{len(places):,}{of} galaxies{by(scheme)}")
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
    places: NDArray,
    scheme: Scheme,
    packed: Packed,
    rows: NDArray,
    config: Config,
    space: Space,
    side: str,
) -> Figure:
    """Return the map as a grid of colour images, framed in the colour of the answer.

    side: of an image, in words.
    """
    chosen, columns, lines = nearest_in_cells(places, config.cells)
    canvas = np.full(((lines.max() + 1) * TILE, (columns.max() + 1) * TILE, 3), 255, np.uint8)
    for galaxy, column, line in zip(chosen, columns, lines, strict=True):
        colour = to_rgb(scheme.answers[scheme.codes[galaxy]].colour)
        tile = canvas[line * TILE : (line + 1) * TILE, column * TILE : (column + 1) * TILE]
        tile[1:-1, 1:-1] = np.round(255 * np.array(colour))
        tile[4:-4, 4:-4] = figures.packed_thumbnail(packed, rows[galaxy], TILE - 8, config.crop)
    figure = new_figure(14.5, 11, layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas, interpolation="lanczos")
    bare(axes)
    axes.set_title(f"Map of the {space.name} in images: t-SNE of {space.words}", fontsize=16)
    framed = f",\nframed{by(scheme)}" if by(scheme) else ""
    title = f"{len(chosen):,} galaxies, {side} a side{framed}"
    add_legend(axes, scheme.of(chosen), title, marker="s")
    return figure


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    space = space_of(run, config.num_var, config.features, config.columns)
    number = space.key
    inputs = map_inputs(run, number)
    source, classed = inputs[0], inputs[0] == run.class_latents(number)
    names = ("pca_pairs", "map", "map_thumbnails")
    paths = [run.figure(f"{name}_{number}.png") for name in names]
    outputs = [*paths, run.map(number)]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    table, latents = read_means(run, source, space.dimension, (*CLASSES, "logvar_"))
    latents = latents / posterior_widths(table)
    if len(table) < MIN_GALAXIES:
        more = ", or widen the cuts in VAE_model/data/galaxy_zoo.py" if classed else ""
        what = f"has {len(table)} galaxies, and a map needs {MIN_GALAXIES}: add images{more}"
        raise Problem(f"{run.show(source)} {what}")
    packed = Packed.of(run)
    again = f"run {run.remade_by(source)}"
    rows = image_rows(run, packed, table["path"], source, again)
    total = len(table)
    if total > config.most:
        sample = np.random.default_rng(config.seed).choice(total, config.most, replace=False)
        sample.sort()
        print(f"  {config.most:,} of {total:,} galaxies, a random sample (the constant `most`)")
        table, latents, rows = table.iloc[sample], latents[sample], rows[sample]
    of_map = table[["iauname", "path"]].reset_index(drop=True)
    if classed:
        of_map["class"] = figures.shown_class(table)
    surveys = packed.index["survey"].to_numpy(object)[rows]
    scheme = schemes(run, of_map, surveys, config.colour)[0]
    components = min(config.components, *latents.shape)
    figures.save_figure(pair_plot(latents, scheme, components, space), paths[0])
    print(f"  t-SNE of {len(latents):,} galaxies", flush=True)
    perplexity = min(config.perplexity, (len(latents) - 1) / 3)
    places = TSNE(
        perplexity=perplexity,
        init="pca" if latents.shape[1] > 1 else "random",
        random_state=config.seed,
    ).fit_transform(latents)
    figures.save_figure(point_map(places, scheme, space, total), paths[1])
    config = replace(config, crop=crop_of(run, of_map["path"], config.crop))
    side = shown_side(run, of_map["path"], config.crop)
    tiles = thumbnail_map(places, scheme, packed, rows, config, space, side)
    figures.save_figure(tiles, paths[2])
    of_map.insert(2, "x", places[:, 0])
    of_map.insert(3, "y", places[:, 1])
    write_parquet(run.map(number), of_map)
    groups = of_map["class"] if classed else scheme.labels()
    counts = {str(n): int(c) for n, c in zip(*np.unique(groups, return_counts=True), strict=True)}
    stage.finish(galaxies=len(places), of=total, classes=counts)


if __name__ == "__main__":
    start(main, Config, __doc__)
