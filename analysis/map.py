"""The interactive map of the latent space, as one HTML file that works offline.

Hover (or tap) shows a galaxy's thumbnail, name, labels or votes, and the galaxies most similar to
it; a click keeps them, and opens the survey's viewer there; zoom in, and points become images.
Search by a part of the name or file name, or by position; colour by class, by the answers to a
question, by a label or number of your own table, or by survey. Mark galaxies: the page learns from
the marks, shows what is most like them, and saves them for decals_4.py and classify.py. With
`features`, the map is that of the features of a table.

Reads:  result/map_40.parquet, result/class_latents_40.parquet, or, in a run without classes,
        result/latents_40.parquet, or the table `features`; train.txt (its packed images); where
        they are there: catalogue.parquet (the votes), labels.parquet. The map has the galaxies that
        decals_3.py placed, 5,000 at most unless its constant `most` says otherwise
Writes: figures/map_40.html

Example: python analysis/map.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.galaxy_zoo import ASKED_AFTER, TREE, answer_column, fraction, questions
from VAE_model.data.packed import Packed
from VAE_model.data.sky import viewer_of
from VAE_model.evaluation.marks import COLUMNS, Features
from VAE_model.evaluation.similarity import nearest
from VAE_model.extraction.features import Space, space_of
from VAE_model.extraction.latent_table import posterior_widths, read_means
from VAE_model.extraction.repeatability import SCATTER
from VAE_model.pipeline.files import parquet_columns, read_parquet, write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.pipeline.stages import command
from VAE_model.report.figures import packed_thumbnail
from VAE_model.report.latent_map import TILE, Galaxies, Vote, map_page, sheet_order
from VAE_model.report.map_data import (
    crop_of,
    map_inputs,
    map_source,
    schemes,
    shown_side,
    survey_labels,
)
from VAE_model.report.marking import marking_content
from VAE_model.report.tables import prose
from VAE_model.tables.columns import as_numbers
from VAE_model.tables.joins import image_rows, join_rows
from VAE_model.tables.reading import read_table

SIMILAR = 6  # galaxies on a card


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
    crop: int = 0
    """Side of the central part of a cutout that a thumbnail shows, pixels; 0: 140, or all of an
    image whose scale is unknown."""
    colour: tuple[str, ...] = ()
    """Columns of labels.parquet to colour by, the first one first; none: all that are a label or a
    number, after the class in a run with classes."""


def most_similar(latents: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the rows of the galaxies nearest to each of `latents` (N, D), (N, SIMILAR at most)."""
    rows, _ = nearest(latents, latents, SIMILAR + 1)
    own = rows == np.arange(len(latents))[:, None]
    own[~own.any(axis=1), -1] = True  # more equal ones than fit: drop the last
    return rows[~own].reshape(len(latents), -1)


def leading_votes(catalogue: pd.DataFrame) -> list[Vote]:
    """Return the leading answer to each question of the catalogue, and its share in per cent.

    The share is -1 unless at least half of the volunteers came to the question.
    """
    votes = []
    reached = {question: np.ones(len(catalogue)) for question in TREE}
    for question, answers in TREE.items():
        if question in ASKED_AFTER:
            before, answer = ASKED_AFTER[question]
            column = fraction(before, answer)
            share = catalogue[column].fillna(0).to_numpy(float) if column in catalogue else 0.0
            reached[question] = reached[before] * share
        columns = [fraction(question, answer) for answer in answers]
        if not set(columns) <= set(catalogue):
            continue
        shares = catalogue[columns].to_numpy(float)
        known = np.isfinite(shares).all(axis=1) & (reached[question] >= 0.5)
        shares = np.where(known[:, None], shares, 0)
        per_cent = np.where(known, np.round(100 * shares.max(axis=1)), -1).astype(int)
        words = question.replace("-", " ")
        votes.append(Vote(words, list(answers), shares.argmax(axis=1), per_cent))
    return votes


def votes_of(run: Run, names: pd.Series) -> list[Vote]:
    """Return the votes for galaxies, by their names; none where there is no catalogue."""
    if not run.catalogue.exists():
        return []
    wanted = [fraction(question, answer) for question in TREE for answer in TREE[question]]
    catalogue = read_table(run.catalogue, ["iauname"], wanted)
    catalogue = catalogue.drop_duplicates("iauname", ignore_index=True)
    shown = ("galaxies of the map", run.show(run.catalogue))
    rows = join_rows(names, catalogue["iauname"], shown, "iauname")
    catalogue = catalogue.drop(columns="iauname").reindex(np.where(rows < 0, len(catalogue), rows))
    try:
        for column in catalogue:
            catalogue[column] = as_numbers(catalogue[column])
    except ValueError as error:
        raise Problem(f"{run.show(run.catalogue)}: a fraction is no number ({error})") from None
    return leading_votes(catalogue)


def read_map(run: Run, space: Space) -> tuple[pd.DataFrame, NDArray[np.float32], str]:
    """Return the galaxies of the map, their latents and the origin of the votes.

    Columns: iauname, path, x, y, class and answers (in a run with classes), ra, dec. The latents
    are in units of the scatter between two exposures if that is known, else of the posterior width.
    Raises Problem where the table of latents lacks a galaxy.
    """
    number = space.key
    places, source = read_parquet(run.map(number)), map_source(run, number)
    answers = [answer_column(question) for question in questions()]
    others, latents = read_means(run, source, space.dimension, ("logvar_", *answers))
    rows = join_rows(
        places["path"], others["path"], (run.show(run.map(number)), run.show(source)),
        required=f"run {run.made_by(run.map(number))}",
    )  # fmt: skip
    images = others
    if run.latents(number).exists():
        images = read_parquet(run.latents(number), [])
    scattered = SCATTER in images.attrs or space.foreign
    scaled = space.scaled(images, latents) if scattered else latents / posterior_widths(others)
    columns = ["ra", "dec", *(name for name in answers if name in others)]
    table = pd.concat([places, others[columns].iloc[rows].reset_index(drop=True)], axis=1)
    return table, scaled[rows], str(others.attrs.get("labels", "")) or "votes"


def marking_of(run: Run, space: Space, paths: pd.Series) -> dict[str, Any] | None:
    """Return what the page needs to learn from marks of galaxies, by their paths.

    None where the table of all latents is missing, or lacks one of them or a measurement.
    """
    source = run.latents(space.key)
    if not source.exists() or not set(COLUMNS) <= {*parquet_columns(source)}:
        return None
    images, latents = read_means(run, source, space.dimension, ("logvar_",), COLUMNS)
    rows = pd.Index(images["path"]).get_indexer(paths.to_numpy(object))
    if (rows < 0).any():
        return None
    return marking_content(run, images, Features.of(images, latents), rows)


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    space = space_of(run, config.num_var, config.features, config.columns)
    number = space.key
    inputs = [run.map(number), *map_inputs(run, number)]
    inputs += [run.catalogue] if run.catalogue.exists() else []
    stage = Stage(__file__, run, config, inputs=inputs, outputs=[run.map_page(number)])
    if space.foreign and not run.map(number).exists() and not stage.dry_run:
        words = ["--features", str(config.features)]
        words += ["--columns", *config.columns] if config.columns else []
        first = command("analysis/decals_3.py", run.folder, words)
        raise Problem(f"{run.show(run.map(number))} is missing: run {first}")
    if stage.is_up_to_date():
        return
    stage.begin()
    table, latents, labels = read_map(run, space)
    packed = Packed.of(run)
    again = f"run {run.made_by(run.map(number))}"
    rows = image_rows(run, packed, table["path"], run.map(number), again)
    order = sheet_order(table[["x", "y"]].to_numpy(float))
    table, rows, latents = table.iloc[order].reset_index(drop=True), rows[order], latents[order]
    surveys = packed.index["survey"].to_numpy(object)[rows]
    shown = pd.DataFrame({"survey": surveys, "label": survey_labels(surveys, table["path"])})
    codes = shown.groupby(["survey", "label"]).ngroup().to_numpy()
    shown = shown.drop_duplicates().sort_values(["survey", "label"])
    galaxies = Galaxies(
        places=table[["x", "y"]].to_numpy(float),
        names=table["iauname"].astype(str).tolist(),
        paths=table["path"].astype(str).tolist(),
        ra=table["ra"].to_numpy(float),
        dec=table["dec"].to_numpy(float),
        survey=codes,
        surveys=shown["label"].tolist(),
        viewer=[viewer_of(survey) for survey in shown["survey"]],
        schemes=schemes(run, table, surveys, config.colour),
        similar=most_similar(latents),
        votes=votes_of(run, table["iauname"]),
        labels=labels,
        simulated=run.truth.exists(),
        marking=marking_of(run, space, table["path"]),
    )
    crop = crop_of(run, table["path"], config.crop)
    side = shown_side(run, table["path"], crop)
    lead = prose("map_page", galaxies=len(table), space=space.words, side=side)
    tiles = (packed_thumbnail(packed, row, TILE, crop) for row in rows)
    page = map_page(f"Map of the {space.name}", lead, galaxies, tiles)
    write_text(run.map_page(number), page)
    size = run.map_page(number).stat().st_size
    print(f"  {len(table):,} galaxies, {size / 1e6:.1f} MB")
    stage.finish(galaxies=len(table), bytes=size)


if __name__ == "__main__":
    start(main, Config, __doc__)
