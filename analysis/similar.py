"""Find the galaxies most like one or many others, by their latent variables.

Each latent counts in units of the width of its posterior, so that what the images do not
determine does not decide. Every galaxy is looked at, and the nearest are exact.

Reads:  result/latents_40.parquet, train.txt (its packed images)
Writes: result/similar_40.parquet: iauname, path, order (1 for the most similar), similar_iauname,
        similar_path, similar_ra, similar_dec, distance (posterior widths);
        figures/similar_40.png: each galaxy asked about, and those most like it

Example: python analysis/similar.py --of J112953.88-000427.4 J095130.61+012201.1
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.figures import ROSE, new_figure, save_figure, show_image, thumbnail
from VAE_model.files import write_parquet
from VAE_model.latents import posterior_widths, read_means
from VAE_model.neighbours import nearest
from VAE_model.packed import Packed
from VAE_model.paths import Run
from VAE_model.plotting import Figure
from VAE_model.stage import Problem, Stage, start

DRAWN = (10, 8)  # galaxies asked about, and like each of them, in the figure at most


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    of: tuple[str, ...] = ()
    """Galaxies asked about, by IAU name or by path in train.txt; none: `sample` random ones."""
    sample: int = 8
    """Galaxies that are asked about where `of` names none; a great number asks about all."""
    count: int = 10
    """Similar galaxies that are found for each."""
    broken: bool = False
    """Images with a defect flag may be found too."""
    crop: int = 140
    """Side of the central part of a cutout that the figure shows, pixels of 0.262 arcsec."""
    seed: int = 1
    """Of the sample."""


def asked_about(table: pd.DataFrame, good: NDArray[np.bool_], config: Config) -> NDArray[np.int64]:
    """Rows of the galaxies that are asked about. Raises Problem where a name is of none."""
    if not config.of:
        some = np.random.default_rng(config.seed).permutation(np.flatnonzero(good))[: config.sample]
        return np.sort(some)
    rows: list[int] = []
    for name in config.of:
        found = np.flatnonzero((table["iauname"] == name) | (table["path"] == name))
        if not len(found):
            raise Problem(
                f"no galaxy is called {name}: name one as the column iauname or path does"
            )
        rows.append(int(found[0]))
    return np.array(rows)


def find(
    latents: NDArray[np.float32], good: NDArray[np.bool_], asked: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows and distances of the nearest good galaxies, each (len(asked), count), without the
    galaxy itself."""
    rows = np.flatnonzero(good)
    places, distances = nearest(latents[rows], latents[asked], count + 1)
    found = rows[places]
    own = found == asked[:, None]
    own[~own.any(axis=1), -1] = True  # not among the good ones: the farthest goes
    shape = (len(asked), found.shape[1] - 1)
    return found[~own].reshape(shape), distances[~own].reshape(shape)


def sheet(
    table: pd.DataFrame, found: pd.DataFrame, packed: Packed, rows: pd.Index, crop: int
) -> Figure:
    """A row a galaxy: itself, then those most like it."""
    groups = list(found.groupby("path", sort=False))[: DRAWN[0]]
    columns = 1 + min(DRAWN[1], max(len(group) for _, group in groups))
    figure = new_figure(1.75 * columns, 1.95 * len(groups) + 0.6, layout="constrained")
    panels = figure.subplots(len(groups), columns, squeeze=False)
    display = packed.index["display"].to_numpy(bool)
    for line, (path, group) in zip(panels, groups, strict=True):
        paths = [path, *group["similar_path"]]
        titles = [group["iauname"].iloc[0], *(f"{d:.3g}" for d in group["distance"])]
        for axes in line:
            axes.axis("off")
        for place, (axes, name, title) in enumerate(zip(line, paths, titles, strict=False)):
            row = rows.get_loc(name)
            axes.axis("on")
            image = thumbnail(packed.images[row], 160, crop, display[row])
            show_image(axes, image, ROSE if place == 0 else "")
            axes.set_title(title, fontsize=9, fontweight="normal", loc="center", pad=3)
    figure.suptitle(
        f"Galaxies, and the most similar of {len(table):,} (distance in posterior widths)",
        fontsize=13, fontweight="bold",
    )  # fmt: skip
    return figure


def main(config: Config) -> None:
    run, number = Run(config.run), config.num_var
    source, target = run.latents(number), run.similar(number)
    figure = run.figure(f"similar_{number}.png")
    stage = Stage(__file__, run, config, inputs=[source, run.train_txt], outputs=[target, figure])
    if stage.nothing_to_do():
        return
    if config.count < 1 or config.sample < 1:
        raise Problem("count and sample must be at least 1")
    table, latents = read_means(run, source, number, ("logvar_", "flag_"))
    latents = latents / posterior_widths(table)
    flags = table.filter(regex="^flag_").to_numpy(bool)
    good = np.full(len(table), True) if config.broken else ~flags.any(axis=1)
    if good.sum() < 2:
        raise Problem(f"{run.show(source)} has {good.sum()} images without a flag: set broken")
    asked = asked_about(table, good, config)
    similar, distances = find(latents, good, asked, config.count)
    count = similar.shape[1]
    identity = table.iloc[np.repeat(asked, count)][["iauname", "path"]].reset_index(drop=True)
    others = table.iloc[similar.ravel()][["iauname", "path", "ra", "dec"]].reset_index(drop=True)
    result = pd.concat([identity, others.add_prefix("similar_")], axis=1)
    result.insert(2, "order", np.tile(np.arange(1, count + 1), len(asked)))
    result["distance"] = distances.ravel()
    packed = Packed.of(run)
    rows = pd.Index(packed.index["path"])
    if (rows.get_indexer(table["path"]) < 0).any():
        raise Problem(
            f"{run.show(source)} names images that are not in {run.show(run.train_txt)}: delete it "
            f"and run {run.made_by(source)}"
        )
    save_figure(sheet(table, result, packed, rows, config.crop), figure, dpi=110)
    write_parquet(target, result)
    middle = float(np.median(distances[:, 0]))
    print(f"  {len(asked):,} galaxies among {int(good.sum()):,}, the most similar at {middle:.3g} "
          "posterior widths in the median")  # fmt: skip
    stage.finish(asked=len(asked), among=int(good.sum()), median_distance=middle)


if __name__ == "__main__":
    start(main, Config, __doc__)
