"""Find the galaxies most similar to one or many query galaxies, by their latent variables.

Each latent is scaled by the width of its posterior, so that latents which the images do not
constrain have little weight. The search is exhaustive and exact.

Reads:  result/latents_40.parquet, train.txt (its packed images)
Writes: result/similar_40.parquet: iauname, path, order (1 for the most similar), similar_iauname,
        similar_path, similar_ra, similar_dec, distance (posterior widths);
        figures/similar_40.png: each query galaxy and its nearest neighbours

Example: python analysis/similar.py --query J112953.88-000427.4 J095130.61+012201.1
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.packed import Packed
from VAE_model.evaluation.similarity import nearest
from VAE_model.extraction.latent_table import posterior_widths, read_means
from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report.figures import ROSE, new_figure, packed_thumbnail, save_figure, show_image
from VAE_model.report.plotting import Figure
from VAE_model.tables.joins import image_rows

DRAWN = (10, 8)  # query galaxies, and neighbours of each, in the figure at most


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    query: tuple[str, ...] = ()
    """Query galaxies, by IAU name or by path in train.txt; none: `sample` random ones."""
    sample: int = 8
    """Random query galaxies where `query` names none; a large number takes all."""
    count: int = 10
    """Neighbours per query galaxy."""
    broken: bool = False
    """Search among images with a defect flag too."""
    crop: int = 140
    """Side of the central part of a cutout that the figure shows, pixels of 0.262 arcsec."""
    seed: int = 1
    """Seed of the sample."""


def query_rows(table: pd.DataFrame, good: NDArray[np.bool_], config: Config) -> NDArray[np.int64]:
    """Return the rows of the query galaxies. Raises Problem for an unknown name."""
    if not config.query:
        some = np.random.default_rng(config.seed).permutation(np.flatnonzero(good))[: config.sample]
        return np.sort(some)
    rows: list[int] = []
    for name in config.query:
        found = np.flatnonzero((table["iauname"] == name) | (table["path"] == name))
        if not len(found):
            raise Problem(f"no galaxy is called {name}: name one as in the column iauname or path")
        rows.append(int(found[0]))
    return np.array(rows)


def find(
    latents: NDArray[np.float32], good: NDArray[np.bool_], queries: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return rows and distances of the nearest good galaxies, each (len(queries), count).

    The query galaxy itself is left out.
    """
    rows = np.flatnonzero(good)
    places, distances = nearest(latents[rows], latents[queries], count + 1)
    found = rows[places]
    own = found == queries[:, None]
    own[~own.any(axis=1), -1] = True  # query without a good image: drop the farthest
    shape = (len(queries), found.shape[1] - 1)
    return found[~own].reshape(shape), distances[~own].reshape(shape)


def sheet(
    table: pd.DataFrame, found: pd.DataFrame, packed: Packed, rows: pd.Series, crop: int
) -> Figure:
    """Return a figure with a row per query galaxy: itself, then its nearest neighbours."""
    groups = list(found.groupby("path", sort=False))[: DRAWN[0]]
    columns = 1 + min(DRAWN[1], max(len(group) for _, group in groups))
    figure = new_figure(1.75 * columns, 1.95 * len(groups) + 0.6, layout="constrained")
    panels = figure.subplots(len(groups), columns, squeeze=False)
    for line, (path, group) in zip(panels, groups, strict=True):
        paths = [path, *group["similar_path"]]
        titles = [group["iauname"].iloc[0], *(f"{d:.3g}" for d in group["distance"])]
        for axes in line:
            axes.axis("off")
        for place, (axes, name, title) in enumerate(zip(line, paths, titles, strict=False)):
            axes.axis("on")
            image = packed_thumbnail(packed, rows[name], 160, crop)
            show_image(axes, image, ROSE if place == 0 else "")
            axes.set_title(title, fontsize=9, fontweight="normal", loc="center", pad=3)
    figure.suptitle(
        f"Galaxies, and the most similar of {len(table):,} (distance in posterior widths)",
        fontsize=13, fontweight="bold",
    )  # fmt: skip
    return figure


def main(config: Config) -> None:
    """Run the stage."""
    run, number = Run(config.run), config.num_var
    source, target = run.latents(number), run.similar(number)
    figure = run.figure(f"similar_{number}.png")
    stage = Stage(__file__, run, config, inputs=[source, run.train_txt], outputs=[target, figure])
    if stage.is_up_to_date():
        return
    stage.begin()
    if config.count < 1 or config.sample < 1:
        raise Problem("count and sample must be at least 1")
    table, latents = read_means(run, source, number, ("logvar_", "flag_"))
    latents = latents / posterior_widths(table)
    flags = table.filter(regex="^flag_").to_numpy(bool)
    good = np.full(len(table), True) if config.broken else ~flags.any(axis=1)
    if good.sum() < 2:
        raise Problem(f"{run.show(source)} has {good.sum()} images without a flag: set broken")
    queries = query_rows(table, good, config)
    similar, distances = find(latents, good, queries, config.count)
    count = similar.shape[1]
    identity = table.iloc[np.repeat(queries, count)][["iauname", "path"]].reset_index(drop=True)
    others = table.iloc[similar.ravel()][["iauname", "path", "ra", "dec"]].reset_index(drop=True)
    result = pd.concat([identity, others.add_prefix("similar_")], axis=1)
    result.insert(2, "order", np.tile(np.arange(1, count + 1), len(queries)))
    result["distance"] = distances.ravel()
    packed = Packed.of(run)
    again = f"delete it and run {run.made_by(source)}"
    rows = image_rows(run, packed, table["path"], source, again)
    images = pd.Series(rows, table["path"])
    save_figure(sheet(table, result, packed, images, config.crop), figure, dpi=110)
    write_parquet(target, result)
    middle = float(np.median(distances[:, 0]))
    print(f"  {len(queries):,} query galaxies among {int(good.sum()):,}, median distance of the "
          f"nearest neighbour {middle:.3g} posterior widths")  # fmt: skip
    stage.finish(queries=len(queries), among=int(good.sum()), median_distance=middle)


if __name__ == "__main__":
    start(main, Config, __doc__)
