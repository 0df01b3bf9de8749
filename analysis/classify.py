"""Questions of morphology, answered by a random forest on the latent variables.

The questions are the seven of Galaxy Zoo, or, for images that were imported with a table of labels,
the columns that the constant `label` names (none: every column with 2 to 20 values); labels are
then joined by the path of the image. A label that is a file, marks.csv, holds the marks that the
gallery or the map has saved: the question `mark`.

For each question a forest is trained on the galaxies of the train split and scored on those of the
test split. It is compared with predicting the majority class and with a forest on as many principal
components of the pixels. Intervals are 95 %, from resampled test galaxies; differences are paired.
The calibration of the forest's probabilities is measured on the same galaxies.

The forests also answer for every image, with or without a label (VAE_model/evaluation/
predictions.py): `bar_predicted`, `bar_p_yes` and so on, and `bar_reliability`, the share of correct
answers among test galaxies of a similar probability. Images without a label come first.

With `features`, the forests grow on the features of a table in place of the latents.

Reads:  result/class_latents_40.parquet (with `label` labels.parquet or the file of marks);
        result/latents_40.parquet, or the table `features`; train.txt (its packed images)
Writes: result/classification_40.json, .csv, .md; result/predictions_40.parquet;
        figures/classification_40.png, confusion_40.png, reliability_40.png

Example: python analysis/classify.py --num-var 40 --trees 500
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.data.packed import Packed
from VAE_model.evaluation import classification
from VAE_model.evaluation.calibration import calibration, mean_error
from VAE_model.evaluation.classification import Question, Scores
from VAE_model.evaluation.pca import pixel_components
from VAE_model.evaluation.predictions import all_probabilities, prediction_table
from VAE_model.evaluation.questions import inputs_of, labels_of, read_questions
from VAE_model.extraction.features import Space, space_of
from VAE_model.pipeline.files import read_parquet, write_json, write_parquet, write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.stretch import Stretch
from VAE_model.report import classification as shown
from VAE_model.report.classification import LATENTS, MAIN, PCA
from VAE_model.report.tables import write_csv
from VAE_model.tables.joins import image_rows, join_rows


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
    label: tuple[str, ...] = ()
    """Columns of labels.parquet to predict, or a file of marks (.csv); none: the seven questions of
    Galaxy Zoo, or, without a catalogue, every column with 2 to 20 values."""
    trees: int = 200
    """Trees per forest."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Forests with these seeds are averaged."""
    min_test: int = 50
    """Test galaxies that a question needs for a score."""
    min_answer: int = 5
    """Galaxies that an answer needs in the train and in the test split; else it is left out."""
    n_bootstrap: int = 1000
    """Bootstrap samples behind an interval."""
    seed: int = 0
    """Seed of the bootstrap and of the principal components."""
    pca_side: int = 64
    """Pixels a side to which images are averaged before PCA."""
    pca_images: int = 20_000
    """Training images that the principal components are fitted on, at most."""
    drop_flagged: bool = False
    """Leave out images with a defect flag; by default they stay, as in a survey."""
    workers: int = 0
    """Processes that pack images where that is not done yet; 0: one per core."""


def latents_of(config: Config, space: Space) -> Path:
    """Return the table with the numbers: of all images, or of those in the Galaxy Zoo classes."""
    return (space.run.latents if config.label else space.run.class_latents)(space.key)


def read_galaxies(config: Config, space: Space) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Return the galaxies and their latents or features (N, d)."""
    run, path = space.run, latents_of(config, space)
    name = run.show(path)
    table = read_parquet(path)
    lacking = [column for column in ("path", "split") if column not in table]
    if lacking:
        raise Problem(f"{name} has no column {', '.join(lacking)}: run {run.made_by(path)}")
    if config.drop_flagged:
        flags = [name for name in table if name.startswith("flag_")]
        flagged = table[flags].any(axis=1)
        print(f"  dropped {int(flagged.sum()):,} of {len(table):,} galaxies: flagged images")
        table = table[~flagged].reset_index(drop=True)
    return table, numbers_of(run, table, path)


def numbers_of(run: Run, table: pd.DataFrame, path: Path) -> NDArray[np.float32]:
    """Return the latents or features of a table, (N, d), that was read from `path`."""
    name = run.show(path)
    names = [column for column in table if column.startswith("mu_")]
    if not names:
        raise Problem(f"{name} has no column mu_00: run {run.remade_by(path)}")
    features = table[names].to_numpy(np.float32)
    if not np.isfinite(features).all():
        raise Problem(f"{name} holds features that are not finite: run {run.remade_by(path)}")
    return features


def read_components(
    config: Config, space: Space, table: pd.DataFrame, dimension: int
) -> NDArray[np.float32]:
    """Return principal components (N, dimension) of the images, fitted on the train split.

    Of many features, there are as many components as training images allow, one less than those.
    Raises Problem where the features belong to other images, or to another split of them.
    """
    run, path = space.run, latents_of(config, space)
    packed = Packed.of(run, config.workers)
    again = [run.latents(space.key)] if config.label else [run.matches, path]
    mend = f"run {' and '.join(map(run.made_by, again))}"
    rows = image_rows(run, packed, table["path"], path, mend)
    split = packed.index["split"].to_numpy()[rows]
    if (split != table["split"].to_numpy()).any():
        remedy = f"run {run.remade_by(run.model(config.num_var))}"
        raise Problem(f"{run.show(path)} has another split than {run.show(run.packed)}: {remedy}")
    fit = packed.rows("train")
    if space.foreign and dimension >= len(fit):
        dimension = len(fit) - 1
        print(f"  {dimension:,} principal components: there are {len(fit):,} training images")
    return pixel_components(
        packed.images, fit, rows, dimension, config.pca_side, config.pca_images,
        config.seed, Stretch.of(packed.index["display"]),
    )  # fmt: skip


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    space = space_of(run, config.num_var, config.features, config.columns)
    number = space.key
    config = replace(config, label=labels_of(run, config.label, number))
    if not config.label and run.labels.exists() and not run.catalogue.exists():
        return print(f"analysis/classify.py: nothing to do, {run.show(run.labels)} has no labels")
    json_path, csv_path, md_path = (run.classification(number, e) for e in ("json", "csv", "md"))
    figures = {
        run.figure(f"classification_{number}.png"): shown.draw_scores,
        run.figure(f"confusion_{number}.png"): shown.draw_confusion,
        run.figure(f"reliability_{number}.png"): shown.draw_calibration,
    }
    source = latents_of(config, space)
    inputs = [*dict.fromkeys([source, run.latents(number)]), run.train_txt]
    inputs += inputs_of(run, config.label)
    outputs = [json_path, csv_path, md_path, run.predictions(number), *figures]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    if not config.seeds or min(config.trees, config.n_bootstrap, config.min_answer) < 1:
        raise Problem("seeds, trees, n_bootstrap and min_answer must be at least 1")
    table, features = read_galaxies(config, space)
    answers, labelled, labels = read_questions(run, config.label, table, source)
    print(f"  labels: {labels}")
    some = labelled.notna().any(axis=1)
    print(f"  {int(some.sum()):,} of {len(table):,} images have an answer")
    asked = [
        classification.set_question(
            name, of, labelled[name], table["split"],
            min_answer=config.min_answer, min_test=config.min_test,
        )
        for name, of in answers.items()
    ]  # fmt: skip
    probability = predict(config, space, table, labelled, asked)
    content = {
        "labels": labels, "name": str(number) if space.foreign else LATENTS,
        "dimension": features.shape[1],
        **evaluate(config, space, table, features, asked, probability),
    }  # fmt: skip
    words = (
        f"Labels: {labels}. Random forests of {config.trees} trees, {len(config.seeds)} seeds "
        f"averaged, fitted on the train split and scored on the test split; {config.n_bootstrap} "
        "bootstrap samples."
    )
    write_json(json_path, content)
    write_csv(csv_path, shown.named_records(content))
    write_text(md_path, shown.markdown(content, words))
    for path, draw in figures.items():
        draw(content, path)
    report(content)
    stage.finish(scored=content["mean_of"], mean=content["mean"])


def predict(
    config: Config, space: Space, table: pd.DataFrame, labelled: pd.DataFrame, asked: list[Question]
) -> dict[str, NDArray[np.float64]]:
    """Write the predicted answers of every image with latents.

    Return the probabilities of each question's answers for its test galaxies, (M, answers).
    """
    run, source, latents = space.run, latents_of(config, space), space.run.latents(space.key)
    every = read_parquet(latents)
    features = numbers_of(run, every, latents)
    again = f"run {run.made_by(source)}"
    names = run.show(source), run.show(latents)
    place = join_rows(table["path"], every["path"], names, required=again)
    questions = [
        replace(question, train=place[question.train], test=place[question.test])
        for question in asked
        if len(question.answers) > 1
    ]
    progress = tqdm(questions, desc="growing forests", unit="question")
    found = [all_probabilities(q, features, config.seeds, config.trees) for q in progress]
    labels = labelled.set_axis(place).reindex(range(len(every)))
    identity = every[["iauname", "ra", "dec", "path", "survey", "split"]]
    flagged = every.filter(regex="^flag_").any(axis=1)
    predictions = prediction_table(identity.assign(flagged=flagged), labels, questions, found)
    write_parquet(run.predictions(space.key), predictions)
    without = int(labels.isna().all(axis=1).sum())
    print(f"  {len(every):,} images have a predicted answer, {without:,} of them have no label")
    return {q.name: p[q.test] for q, p in zip(questions, found, strict=True)}


def evaluate(
    config: Config,
    space: Space,
    table: pd.DataFrame,
    features: NDArray[np.float32],
    asked: list[Question],
    of_latents: dict[str, NDArray[np.float64]],
) -> dict[str, Any]:
    """Fit forests on principal components, and score them beside those on the features.

    of_latents: by question, the probabilities of the latents' forest for the test galaxies.

    Returns the questions, the mean over those with a score, and the calibration as plain values.
    """
    questions = [question for question in asked if not question.too_few]
    if not questions:
        content = [shown.unscored(question) for question in asked]
        return {"questions": content, "mean_of": [], "mean": None, "calibration": {}}
    pca = read_components(config, space, table, features.shape[1])
    probability = {
        PCA: [classification.probabilities(q, pca, config.seeds, config.trees) for q in questions],
        LATENTS: [of_latents[question.name] for question in questions],
    }
    predicted = {name: [p.argmax(axis=1) for p in of] for name, of in probability.items()}
    scores = {
        metric.__name__: Scores.of(questions, predicted, metric, config.n_bootstrap, config.seed)
        for metric in classification.METRICS
    }
    name = str(space.key) if space.foreign else LATENTS
    place = {question.name: number for number, question in enumerate(questions)}
    difference = scores[MAIN].difference(LATENTS, PCA)
    trusted = calibration(questions, probability[LATENTS], config.n_bootstrap, config.seed)
    return {
        "questions": [
            shown.scored(scores, place[q.name], name) if q.name in place else shown.unscored(q)
            for q in asked
        ],
        "mean_of": list(place),
        "mean": shown.compared(scores[MAIN]) | {"verdict": shown.verdict(difference, name)},
        "calibration": trusted,
    }


def report(content: dict[str, Any]) -> None:
    """Print the main numbers."""
    for row in shown.records(content):
        scores = f"PCA {row[PCA]}, {content['name']} {row[LATENTS]}, " if PCA in row else ""
        print(f"  {row['question']}: {scores}{row['verdict']}")
    for kind, of in next(iter(content["calibration"].values()), {}).items():
        print(f"  probabilities, {kind}: calibration error {mean_error(of):.3f} (mean of the "
              f"questions), Brier score {shown.estimate(of['brier'])}")  # fmt: skip


if __name__ == "__main__":
    start(main, Config, __doc__)
