"""Score a table of features beside the latents, on all that the latents are scored on.

The rivals are the features, the latents, as many principal components of the pixels as there are
features, and the majority class, all on the same galaxies: those that have all features.

- Each question (of Galaxy Zoo, or labels and marks as in classify.py): balanced accuracy and macro
  F1 of random forests and of logistic regression, fitted on the train split, scored on the test
  split; and the share of the nearest training galaxies that have the same answer, the mean over the
  answers.
- Outliers, in a simulated sky: how well the rank by distance and isolation finds injected defects,
  as the area under the ROC curve (AUC), and as the share of the n highest ranked images that are
  among the n defects (precision).
- Galaxies with two images in the run: how often the nearest image is of the same galaxy.

Intervals are 95 %, from resampled galaxies; differences are paired.

Reads:  the table `features`; result/latents_40.parquet, train.txt (its packed images); where they
        are there: result/classes.parquet and matches.parquet, labels.parquet, truth.parquet
Writes: result/score_<table>.json, .csv, .md

Example: python analysis/score_features.py --features statmorph.parquet --columns gini m20
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from VAE_model.data.packed import Packed
from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.evaluation.classification import (
    set_question,
)
from VAE_model.evaluation.injected import injected_defects
from VAE_model.evaluation.pca import pixel_components
from VAE_model.evaluation.questions import inputs_of, labels_of, read_questions
from VAE_model.evaluation.rival_scores import (
    OURS,
    PCA,
    THEIRS,
    Record,
    Rivals,
    of_answers,
    of_neighbours,
    of_outliers,
    of_retrieval,
)
from VAE_model.extraction.features import RADIUS, Space, space_of
from VAE_model.extraction.latent_table import read_means
from VAE_model.pipeline.files import read_parquet, write_json, write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.stretch import Stretch
from VAE_model.report.tables import Table, signed, write_csv
from VAE_model.tables.joins import image_rows, join_rows


@dataclass(frozen=True)
class Config:
    """The constants of this script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables to compare with."""
    features: Path | None = None
    """The table of features (docs/FEATURES.md)."""
    columns: tuple[str, ...] = ()
    """Its columns that are features, by names or patterns; none: all that may be."""
    label: tuple[str, ...] = ()
    """Columns of labels.parquet, or a file of marks (.csv); none: the questions of Galaxy Zoo, or,
    without a catalogue, every column with 2 to 20 values."""
    trees: int = 200
    """Trees per forest."""
    forests: int = 3
    """Forests that are averaged."""
    neighbours: int = 10
    """Training galaxies around each test galaxy."""
    min_test: int = 50
    """Test galaxies that a question needs for a score."""
    min_answer: int = 5
    """Galaxies that an answer needs in the train and in the test split; else it is left out."""
    n_bootstrap: int = 1000
    """Bootstrap samples behind an interval."""
    seed: int = 0
    """Seed of the forests, the bootstrap and the principal components."""


def read_rivals(config: Config, run: Run, space: Space, packed: Packed) -> Rivals:
    """Return the galaxies with features and latents, and the numbers of each rival."""
    source, ours = run.latents(space.key), Space(run, config.num_var)
    table, features = read_means(run, source, space.dimension, ("survey", "flag_"))
    every, latents = read_means(run, run.latents(ours.key), config.num_var)
    whole = read_parquet(run.latents(ours.key), [])  # its metadata has the scatters
    names = (f"the features of {space.key}", run.show(run.latents(ours.key)))
    rows = join_rows(table["path"], every["path"], names)
    own = np.flatnonzero(rows >= 0)
    table, features, rows = table.iloc[own].reset_index(drop=True), features[own], rows[own]
    train = np.flatnonzero(table["split"] == "train")
    if len(train) < 3:
        raise Problem(f"{len(train)} training galaxies have features and latents: too few")
    again = f"run {run.remade_by(source)}"
    images = image_rows(run, packed, table["path"], source, again)
    components = pixel_components(
        packed.images, images[train], images, min(features.shape[1], len(train) - 1),
        seed=config.seed, stretch=Stretch.of(packed.index["display"]),
    )  # fmt: skip
    return Rivals(
        table,
        {THEIRS: features, OURS: latents[rows], PCA: components},
        {THEIRS: space.scaled(table, features), OURS: ours.scaled(whole, latents[rows]),
         PCA: components},
        config.n_bootstrap,
        config.seed,
    )  # fmt: skip


def _none(measure: str, reason: str) -> list[Record]:
    print(f"  {measure}: no score, {reason}")
    return []


def score_table(records: list[Record], space: Space, rivals: Rivals) -> Table:
    """Return the table of all scores."""
    sizes = {name: of.shape[1] for name, of in rivals.numbers.items()}
    headings = {
        "measure": "measure", "question": "of", "by": "predictor", "n": "galaxies",
        "chance": "majority or chance", THEIRS: f"{space.key}-{sizes[THEIRS]}",
        OURS: f"latents-{sizes[OURS]}", PCA: f"PCA-{sizes[PCA]}",
        "minus_latents": f"{space.key} − latents", "minus_pca": f"{space.key} − PCA",
    }  # fmt: skip
    shown = [
        of | {"chance": f"{of['chance']:.3f}", "minus_latents": signed(of["minus_latents"]),
              "minus_pca": signed(of["minus_pca"])}
        for of in records
    ]  # fmt: skip
    return Table.of(shown, headings)


def main(config: Config) -> None:
    """Score the features."""
    if config.features is None:
        raise Problem("no table is named: add --features with its path")
    run = Run(config.run)
    space = space_of(run, config.num_var, config.features, config.columns)
    label = labels_of(run, config.label, space.key)
    asked = bool(label) or run.class_latents(space.key).exists()
    source = (run.latents if label else run.class_latents)(space.key)
    inputs = [run.latents(space.key), run.latents(config.num_var), run.train_txt]
    inputs += [*([source] if asked and not label else []), *inputs_of(run, label)]
    inputs += [run.truth] if run.truth.exists() else []
    outputs = [run.result(f"score_{space.key}.{ending}") for ending in ("json", "csv", "md")]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    if min(config.trees, config.forests, config.neighbours, config.n_bootstrap) < 1:
        raise Problem("trees, forests, neighbours and n_bootstrap must be at least 1")
    packed = Packed.of(run)
    rivals = read_rivals(config, run, space, packed)
    records, origin = [], "none"
    if asked:
        galaxies = read_parquet(source)
        answers, labelled, origin = read_questions(run, label, galaxies, source)
        labelled = labelled.set_axis(galaxies["path"]).reindex(rivals.table["path"])
        every = [
            set_question(name, of, labelled[name], rivals.table["split"],
                         min_answer=config.min_answer, min_test=config.min_test)
            for name, of in answers.items()
        ]  # fmt: skip
        for question in (q for q in every if q.too_few):
            print(f"  {question.name}: no score, {question.too_few}")
        seeds = range(config.seed, config.seed + config.forests)
        if questions := [q for q in every if not q.too_few]:
            records += of_answers(rivals, questions, seeds, config.trees)
            records += of_neighbours(rivals, questions, config.neighbours)
    else:
        print("  questions: no score, the run has neither a catalogue nor labels")
    if run.truth.exists():
        bad = injected_defects(run, rivals.table)[0] != ""
        records += of_outliers(rivals, bad) or _none("outliers", "no image has a defect")
    records += of_retrieval(rivals, RADIUS) or _none("retrieval", "no galaxy has two images")
    table, lacking = score_table(records, space, rivals), len(packed.index) - len(rivals.table)
    words = (
        f"{len(rivals.table):,} images for all rivals; {lacking:,} others lack features. Labels: "
        f"{origin}. Means with 95 % intervals of resampled galaxies; differences are paired."
    )
    content = [
        {key: asdict(v) if isinstance(v, Estimate) else v for key, v in of.items()}
        for of in records
    ]
    write_json(outputs[0], {"images": len(rivals.table), "lacking": lacking, "labels": origin,
                            "dimension": space.dimension, "records": content})  # fmt: skip
    write_csv(outputs[1], records)
    write_text(outputs[2], f"# Scores of {space.key}\n\n{words}\n\n{table.markdown()}\n")
    print(f"  {words}")
    for of in records:
        scores = ", ".join(f"{name} {of[name]}" for name in (THEIRS, OURS, PCA))
        print(f"  {of['measure']}, {of['question']} {of['by']}: {scores}")
    stage.finish(images=len(rivals.table), records=len(records))


if __name__ == "__main__":
    start(main, Config, __doc__)
