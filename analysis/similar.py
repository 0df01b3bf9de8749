"""Find the galaxies most similar to one or many query galaxies, by their latent variables.

A query is a name or a part of one, a file name, a position in degrees or sexagesimal, or an image
file that is in no run. For a position of `fetch` the image is downloaded. Distances are in units of
the scatter between two exposures of one galaxy (VAE_model/extraction/repeatability.py): at 1, two
images are as far apart as two exposures. The search is exhaustive and exact.

With `features`, the search is among the features of a table. A query is then an image of the run,
and a distance the root mean square over the features, in robust standard deviations.

Reads:  result/latents_40.parquet, or the table `features`; train.txt (its packed images); for an
        image file the model that made the latents
Writes: result/similar_40.parquet: iauname, path, order (1 for the most similar), similar_iauname,
        similar_path, similar_ra, similar_dec, distance (scatters); figures/similar_40.png: each
        query galaxy and its nearest neighbours. With `query` the same as queries/similar_40.parquet
        and .png, beside what the report shows; with `fetch` queries/<ra>_<dec>.fits

Example: python analysis/similar.py --query J112953.88-000427.4 "152.63 1.367" my_galaxy.jpg
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.packed import Packed
from VAE_model.data.sky import viewer_url
from VAE_model.downloads.cutout_service import SERVICE
from VAE_model.downloads.fetching import fetch_position
from VAE_model.evaluation.similarity import nearest_others
from VAE_model.extraction.features import space_of
from VAE_model.extraction.latent_table import read_means
from VAE_model.extraction.single_image import encode_file, is_image_file, weights_of
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report.figures import (
    ROSE,
    new_figure,
    packed_thumbnail,
    save_figure,
    show_image,
    thumbnail,
)
from VAE_model.report.map_data import crop_of
from VAE_model.report.plotting import Figure
from VAE_model.tables.joins import image_rows
from VAE_model.tables.lookup import find_row, position_in
from VAE_model.training.model_file import TrainedVAE

DRAWN = (10, 8)  # query galaxies, and neighbours of each, in the figure at most
TILE = 160  # pixels on a side of a thumbnail


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
    query: tuple[str, ...] = ()
    """Query galaxies: a name or file name or a part of it, a position ("152.63 1.367" in degrees,
    "10:10:31 +01:22:01"), or an image file; none: `sample` random ones."""
    fetch: tuple[str, ...] = ()
    """Positions outside the run: their cutouts are downloaded from the Legacy Surveys and encoded
    by the model that made the latents."""
    service: str = SERVICE
    """Address of the cutout service."""
    sample: int = 8
    """Random query galaxies where `query` and `fetch` name none; a large number takes all."""
    count: int = 10
    """Neighbours per query galaxy."""
    broken: bool = False
    """Search among images with a defect flag too."""
    crop: int = 0
    """Side of the central part of a cutout that a thumbnail shows, pixels; 0: 140, or all of an
    image whose scale is unknown."""
    seed: int = 1
    """Seed of the sample."""


@dataclass(frozen=True)
class Queries:
    """Query galaxies, the same number Q of each.

    names: as in the table, or the image file; paths: likewise; rows: in the table, -1 for an image
    file; latents: (Q, num_var); images: thumbnails of image files by their path.
    """

    names: list[str]
    paths: list[str]
    rows: NDArray[np.int64]
    latents: NDArray[np.float32]
    images: dict[str, NDArray[np.uint8]]


def read_queries(
    config: Config,
    run: Run,
    table: pd.DataFrame,
    latents: NDArray[np.float32],
    good: NDArray[np.bool_],
    fetched: Sequence[Path] = (),
) -> Queries:
    """Return the query galaxies; image files are encoded by the model of the run.

    table: one row per image, with `latents` (N, num_var) and `good`, images without a flag;
    fetched: image files that follow the queries of the user.
    Raises Problem for a query that fits no image or several.
    """
    asked = [*config.query, *map(run.show, fetched)]
    if not asked:
        some = np.random.default_rng(config.seed).permutation(np.flatnonzero(good))[: config.sample]
        own = np.sort(some)
        names, paths = table["iauname"].iloc[own].tolist(), table["path"].iloc[own].tolist()
        return Queries(names, paths, own, latents[own], {})
    model = None
    found: list[tuple[str, str, int, NDArray[np.float32]]] = []
    images = {}
    for query in asked:
        if is_image_file(query):
            model = model or TrainedVAE.load(weights_of(run, config.num_var), config.num_var)
            mean, flux, display = encode_file(ROOT / query, run, model)
            images[query] = thumbnail(flux, TILE, config.crop, display)
            found.append((query, query, -1, mean[0]))
        else:
            row = find_row(table, query)
            name, path = table["iauname"].iloc[row], table["path"].iloc[row]
            found.append((name, path, row, latents[row]))
    names, paths, rows, means = (list(values) for values in zip(*found, strict=True))
    return Queries(names, paths, np.array(rows), np.stack(means), images)


def sheet(
    queries: Queries,
    found: pd.DataFrame,
    packed: Packed,
    rows: pd.Series,
    config: Config,
    unit: str,
) -> Figure:
    """Return a figure with a row per query galaxy: itself, then its nearest neighbours.

    rows: of the packed image of each path; unit: of the distances.
    """
    count = len(found) // len(queries.names)
    groups = [found[first : first + count] for first in range(0, len(found), count)][: DRAWN[0]]
    columns = 1 + min(DRAWN[1], count)
    figure = new_figure(1.75 * columns, 1.95 * len(groups) + 0.6, layout="constrained")
    panels = figure.subplots(len(groups), columns, squeeze=False)
    for line, name, path, group in zip(panels, queries.names, queries.paths, groups, strict=False):
        titles = [Path(name).name, *(f"{d:.3g}" for d in group["distance"])]
        paths = [path, *group["similar_path"]]
        for place, (axes, one, title) in enumerate(zip(line, paths, titles, strict=False)):
            image = queries.images.get(one)
            if image is None:
                image = packed_thumbnail(packed, rows[one], TILE, config.crop)
            show_image(axes, image, ROSE if place == 0 else "")
            axes.set_title(title, fontsize=9, fontweight="normal", loc="center", pad=3)
    figure.suptitle(
        f"Galaxies, and the most similar of {len(rows):,} (distance in {unit})",
        fontsize=13, fontweight="bold",
    )  # fmt: skip
    return figure


def say(result: pd.DataFrame, shown: str, unit: str) -> None:
    """Print the neighbours of each query galaxy: name, distance, place, link to the viewer."""
    for _, group in result.groupby("path", sort=False):
        print(f"  {group['iauname'].iloc[0]}: distance in {unit}")
        for row in group.itertuples():
            known = np.isfinite(row.similar_ra) and np.isfinite(row.similar_dec)
            link = viewer_url(row.similar_ra, row.similar_dec, row.similar_survey) if known else ""
            print(f"  {row.order:>4}  {row.distance:7.3g}  {row.similar_iauname}  {link}".rstrip())
    print(f"  figure: {shown}")


def main(config: Config) -> None:
    """Write the most similar galaxies and their figure; print them if the user asked for some."""
    run = Run(config.run)
    space = space_of(run, config.num_var, config.features, config.columns)
    number = space.key
    source, target = run.latents(number), run.similar(number)
    figure = run.figure(f"similar_{number}.png")
    positions = [position_in(words) for words in config.fetch]
    if None in positions:
        wrong = config.fetch[positions.index(None)]
        raise Problem(f"--fetch {wrong!r} is no position: RA Dec in degrees, or 10:19:05 +46:27:13")
    by_user = bool(config.query or config.fetch)
    if by_user:
        target, figure = (run.queries(f"similar_{number}.{e}") for e in ("parquet", "png"))
    files = [ROOT / query for query in config.query if is_image_file(query)]
    if (files or positions) and space.foreign:
        outside = [*map(str, files), *config.fetch][0]
        raise Problem(f"{outside} is no image of the run: its features are not in the table")
    models = [weights_of(run, config.num_var)] if files or positions else []
    inputs = [source, run.train_txt, *files, *models]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=[target, figure])
    if stage.is_up_to_date():
        shown = run.show(figure), space.unit
        return say(read_parquet(target), *shown) if by_user else None
    stage.begin()
    if config.count < 1 or config.sample < 1:
        raise Problem("count and sample must be at least 1")
    table, latents = read_means(run, source, space.dimension, ("survey", "flag_"))
    config = replace(config, crop=crop_of(run, table["path"], config.crop))
    flags = table.filter(regex="^flag_").to_numpy(bool)
    good = np.full(len(table), True) if config.broken else ~flags.any(axis=1)
    if good.sum() < 2:
        raise Problem(
            f"{run.show(source)} has {good.sum()} images without a flag: add --broken to search "
            "among the others too"
        )
    fetched = [fetch_position(run, *position, config.service) for position in positions if position]
    queries = read_queries(config, run, table, latents, good, fetched)
    places, asked = space.scaled(table, latents), space.scaled(table, queries.latents)
    similar, distances = nearest_others(places, good, asked, queries.rows, config.count)
    count = similar.shape[1]
    columns = ["iauname", "path", "ra", "dec", "survey"]
    others = table.iloc[similar.ravel()][columns].reset_index(drop=True)
    identity = pd.DataFrame(
        {
            "iauname": np.repeat(queries.names, count), "path": np.repeat(queries.paths, count),
            "order": np.tile(np.arange(1, count + 1), len(queries.names)),
        }
    )  # fmt: skip
    result = pd.concat([identity, others.add_prefix("similar_")], axis=1)
    result["distance"] = distances.ravel()
    packed = Packed.of(run)
    rows = image_rows(run, packed, table["path"], source, f"run {run.remade_by(source)}")
    images = pd.Series(rows, table["path"])
    save_figure(sheet(queries, result, packed, images, config, space.unit), figure, dpi=110)
    write_parquet(target, result)
    if by_user:
        say(result, run.show(figure), space.unit)
    middle = float(np.median(distances[:, 0]))
    print(
        f"  {len(queries.names):,} query galaxies among {int(good.sum()):,}, median distance of "
        f"the nearest neighbour {middle:.3g} {space.unit}"
    )
    stage.finish(queries=len(queries.names), among=int(good.sum()), median_distance=middle)


if __name__ == "__main__":
    start(main, Config, __doc__)
