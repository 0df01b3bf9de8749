"""The interactive map of the latent space, as one HTML file that works offline.

Hover (or tap) shows a galaxy's thumbnail, name and votes; a click opens the survey's viewer there;
zoom in, and points become images. Search by name, or by position (RA, Dec in degrees); colour by
class, by the answers to a question, or by survey.

Reads:  result/map_40.parquet, result/class_latents_40.parquet, train.txt (its packed images);
        where it is there: catalogue.parquet (the votes). The map has the galaxies that
        decals_3.py placed, 5,000 at most unless its constant `most` says otherwise
Writes: figures/map_40.html

Example: python analysis/map.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.data.galaxy_zoo import ASKED_AFTER, TREE, answer_column, fraction, questions
from VAE_model.data.packed import Packed
from VAE_model.data.sky import viewer_of
from VAE_model.pipeline.files import parquet_columns, read_parquet, write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report.figures import (
    CLASS_STYLES,
    CYAN,
    GREEN,
    INDIGO,
    NO_CLASS,
    ROSE,
    SAND,
    packed_thumbnail,
)
from VAE_model.report.latent_map import TILE, Answer, Galaxies, Scheme, Vote, map_page, sheet_order
from VAE_model.surveys import label_of
from VAE_model.tables.columns import as_numbers
from VAE_model.tables.joins import image_rows, join_rows
from VAE_model.tables.reading import read_table

# Colours and markers of the answers to a question.
LOOKS = ((INDIGO, "o"), (ROSE, "s"), (GREEN, "^"), (SAND, "D"), (CYAN, "o"))


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    crop: int = 140
    """Side of the central part of a cutout that a thumbnail shows, pixels of 0.262 arcsec."""


def scheme(
    title: str, values: pd.Series, looks: dict[str, Answer], none: str = "no answer"
) -> Scheme:
    """Return colours by the answers in `values`; other values come last, as `none`."""
    codes = pd.Index(list(looks)).get_indexer(values)
    last = Answer(none, CLASS_STYLES[NO_CLASS].colour, "o", none=True)
    return Scheme(title, [*looks.values(), last], np.where(codes < 0, len(looks), codes))


def schemes(table: pd.DataFrame) -> list[Scheme]:
    """Return colours by class, by each question that the table has, and by survey."""
    classes = {
        name: Answer(style.label, style.colour, style.marker)
        for name, style in CLASS_STYLES.items()
        if name != NO_CLASS
    }
    found = [scheme("class", table["class"], classes, CLASS_STYLES[NO_CLASS].label)]
    for question, answers in questions().items():
        if answer_column(question) in table:
            looks = {a: Answer(a, *look) for a, look in zip(answers, LOOKS, strict=False)}
            found.append(scheme(question, table[answer_column(question)], looks))
    surveys = {
        name: Answer(label_of(name), *LOOKS[number % len(LOOKS)])
        for number, name in enumerate(sorted(set(table["survey"])))
    }
    return [*found, scheme("survey", table["survey"], surveys)]


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


def read_map(run: Run, number: int) -> tuple[pd.DataFrame, str]:
    """Return the galaxies of the map, and the origin of the votes.

    Columns: iauname, path, x, y, class, ra, dec, and the answers. Raises Problem where the class
    latents lack a galaxy.
    """
    places, source = read_parquet(run.map(number)), run.class_latents(number)
    present = parquet_columns(source)
    answers = [answer_column(q) for q in questions() if answer_column(q) in present]
    others = read_parquet(source, ["path", "ra", "dec", *answers])
    rows = join_rows(
        places["path"], others["path"], (run.show(run.map(number)), run.show(source)),
        required=f"run {run.made_by(run.map(number))}",
    )  # fmt: skip
    table = pd.concat(
        [places, others.drop(columns="path").iloc[rows].reset_index(drop=True)], axis=1
    )
    return table, str(others.attrs.get("labels", "")) or "votes"


def main(config: Config) -> None:
    """Run the stage."""
    run, number = Run(config.run), config.num_var
    inputs = [run.map(number), run.class_latents(number), run.train_txt]
    inputs += [run.catalogue] if run.catalogue.exists() else []
    stage = Stage(__file__, run, config, inputs=inputs, outputs=[run.map_page(number)])
    if stage.is_up_to_date():
        return
    stage.begin()
    table, labels = read_map(run, number)
    packed = Packed.of(run)
    again = f"run {run.made_by(run.map(number))}"
    rows = image_rows(run, packed, table["path"], run.map(number), again)
    order = sheet_order(table[["x", "y"]].to_numpy(float))
    table, rows = table.iloc[order].reset_index(drop=True), rows[order]
    table["survey"] = packed.index["survey"].to_numpy(object)[rows]
    codes, surveys = pd.factorize(table["survey"], sort=True)
    galaxies = Galaxies(
        places=table[["x", "y"]].to_numpy(float),
        names=table["iauname"].astype(str).tolist(),
        ra=table["ra"].to_numpy(float),
        dec=table["dec"].to_numpy(float),
        survey=codes,
        surveys=[label_of(survey) for survey in surveys],
        viewer=[viewer_of(survey) for survey in surveys],
        schemes=schemes(table),
        votes=votes_of(run, table["iauname"]),
        labels=labels,
        simulated=run.truth.exists(),
    )
    lead = (
        f"{len(table):,} galaxies by {number} latent variables (t-SNE): galaxies that are close "
        "look alike to the network; large distances and the axes have no meaning. Images "
        f"{config.crop * PIXEL_SCALE:.0f} arcsec a side."
    )
    title = "Map of the latent space"
    tiles = (packed_thumbnail(packed, row, TILE, config.crop) for row in rows)
    page = map_page(title, lead, galaxies, tiles)
    write_text(run.map_page(number), page)
    size = run.map_page(number).stat().st_size
    print(f"  {len(table):,} galaxies, {size / 1e6:.1f} MB")
    stage.finish(galaxies=len(table), bytes=size)


if __name__ == "__main__":
    start(main, Config, __doc__)
