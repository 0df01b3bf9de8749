"""Questions of morphology, answered by a random forest on the latent variables.

The questions are the seven of Galaxy Zoo, or, of images that were imported with a table of labels,
the columns of it that the constant `label` names: an image then has its label by its path.

For each question a forest is trained on the galaxies of the train split and scored on those of the
test split, beside the majority answer and a forest on as many principal components of the pixels.
Intervals are 95 %, from resampled test galaxies; differences are paired on the same galaxies.
Whether the forest's probabilities mean what they say is measured on the same galaxies.

Reads:  result/class_latents_40.parquet, or with `label` result/latents_40.parquet and
        labels.parquet; train.txt (its packed images)
Writes: result/classification_40.json, .csv, .md; figures/classification_40.png, confusion_40.png,
        reliability_40.png

Example: python analysis/classify.py --num-var 40 --trees 500
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model import galaxy_zoo, scores
from VAE_model.labels import questions_in, read_answers
from VAE_model.packed import Packed
from VAE_model.pipeline.files import atomic, read_parquet, write_json, write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.pixel_pca import pixel_components
from VAE_model.preparation.stretch import Stretch
from VAE_model.reliability import draw_reliability, reliability
from VAE_model.score_report import (
    as_values,
    draw_confusion,
    draw_scores,
    markdown,
    score_table,
    verdict,
)


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    label: tuple[str, ...] = ()
    """Columns of labels.parquet that are the questions; none: the seven of Galaxy Zoo."""
    features: str = "mu_"
    """What the names of the feature columns begin with."""
    trees: int = 200
    """Trees of a forest."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Forests with these seeds are averaged."""
    min_test: int = 50
    """Test galaxies that a question needs for a score."""
    min_answer: int = 5
    """Galaxies that an answer needs in the train and in the test split; else it is left out."""
    draws: int = 1000
    """Bootstrap draws behind an interval."""
    seed: int = 0
    """Of the bootstrap and of the principal components."""
    pca_side: int = 64
    """Pixels a side and band to which images are averaged before PCA."""
    pca_images: int = 20_000
    """Most training images that the principal components are fitted on."""
    drop_flagged: bool = False
    """Leave out images with a defect flag; by default they stay, as they would in a survey."""
    workers: int = 0
    """Processes that pack images where that is not done yet; 0: one a core."""


def latents_of(config: Config, run: Run) -> Path:
    """The table with the features: of all images, or of those in the Galaxy Zoo classes.

    Raises Problem where there are labels only, and no question is named.
    """
    path = run.class_latents(config.num_var)
    if config.label:
        return run.latents(config.num_var)
    if not path.exists() and not run.classes.exists() and (there := questions_in(run)):
        raise Problem(
            f"{run.show(path)} is missing: run {run.made_by(path)}, or name the labels that are "
            f"the questions with --label ({run.show(run.labels)} has {', '.join(there)})"
        )
    return path


def read_galaxies(config: Config, run: Run) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """The galaxies and their features (N, d)."""
    path = latents_of(config, run)
    shown = run.show(path)
    table = read_parquet(path)
    lacking = [name for name in ("path", "split") if name not in table]
    if lacking:
        raise Problem(f"{shown} has no column {', '.join(lacking)}: run {run.made_by(path)}")
    if config.drop_flagged:
        flags = [name for name in table if name.startswith("flag_")]
        flagged = table[flags].any(axis=1)
        print(f"  dropped {int(flagged.sum()):,} of {len(table):,} galaxies: flagged images")
        table = table[~flagged].reset_index(drop=True)
    names = [name for name in table if name.startswith(config.features)]
    if not names:
        raise Problem(f"{shown} has no column that begins with {config.features!r}: see features")
    features = table[names].to_numpy(np.float32)
    if not np.isfinite(features).all():
        raise Problem(f"{shown} holds features that are not finite: extract the latents anew")
    return table, features


def read_questions(
    config: Config, run: Run, table: pd.DataFrame
) -> tuple[dict[str, list[str]], pd.DataFrame, str]:
    """The answers of each question, the answer of each galaxy (a row a galaxy in the table's
    order, a column a question), and what these labels are."""
    if config.label:
        answers, labels = read_answers(run, config.label, table["path"].tolist())
        return answers, labels, f"by the table that the images came with ({run.labels.name})"
    answers = {name: list(of) for name, of in galaxy_zoo.questions().items()}
    columns = {galaxy_zoo.answer_column(name): name for name in answers}
    lacking = [name for name in columns if name not in table]
    if lacking:
        path = run.class_latents(config.num_var)
        raise Problem(
            f"{run.show(path)} has no column {', '.join(lacking)}: run {run.made_by(path)}"
        )
    labels = table[list(columns)].rename(columns=columns)
    return answers, labels, table.attrs.get("labels") or "of unknown origin"


def read_components(
    config: Config, run: Run, table: pd.DataFrame, dimension: int
) -> NDArray[np.float32]:
    """Principal components (N, dimension) of the galaxies' images, fitted on the train split.

    Raises Problem where the features were made of other images, or by another split of them.
    """
    packed, path = Packed.of(run, config.workers), latents_of(config, run)
    place = pd.Series(np.arange(len(packed.index)), index=packed.index["path"])
    rows = place.reindex(table["path"])
    if rows.isna().any():
        again = [run.latents(config.num_var)] if config.label else [run.matches, path]
        raise Problem(
            f"{run.show(path)} names {rows.index[rows.isna()][0]}, which is not in "
            f"{run.show(run.train_txt)}: run {' and '.join(map(run.made_by, again))}"
        )
    split = packed.index["split"].to_numpy()[rows.to_numpy(np.int64)]
    if (split != table["split"].to_numpy()).any():
        raise Problem(
            f"{run.show(path)} has another split than {run.show(run.packed)}: delete it and run "
            "the stages from Galaxy_VAE_n.py on again"
        )
    return pixel_components(
        packed.images,
        packed.rows("train"),
        rows.to_numpy(np.int64),
        dimension,
        config.pca_side,
        config.pca_images,
        config.seed,
        Stretch.of(packed.index["display"]),
    )


def main(config: Config) -> None:
    run = Run(config.run)
    endings = ("json", "csv", "md")
    json_path, csv_path, md_path = (run.classification(config.num_var, e) for e in endings)
    chart = run.figure(f"classification_{config.num_var}.png")
    panels = run.figure(f"confusion_{config.num_var}.png")
    trust = run.figure(f"reliability_{config.num_var}.png")
    stage = Stage(
        __file__,
        run,
        config,
        inputs=[latents_of(config, run), run.train_txt, *([run.labels] if config.label else [])],
        outputs=[json_path, csv_path, md_path, chart, panels, trust],
    )
    if stage.is_up_to_date():
        return
    stage.begin()
    if not config.seeds or min(config.trees, config.draws, config.min_answer) < 1:
        raise Problem("seeds, trees, draws and min_answer: at least one of each is needed")
    table, features = read_galaxies(config, run)
    dimension = features.shape[1]
    answers, labelled, labels = read_questions(config, run, table)
    asked = [
        scores.set_question(
            name, of, labelled[name], table["split"],
            min_answer=config.min_answer, min_test=config.min_test,
        )
        for name, of in answers.items()
    ]  # fmt: skip
    scored = [question for question in asked if not question.too_few]
    components = read_components(config, run, table, dimension) if scored else features[:, :0]
    results = {
        question.name: scores.compare_features(
            question, components, features, config.seeds, config.trees, config.draws, config.seed
        )
        for question in tqdm(scored, desc="growing forests", unit="question")
    }
    mean = None
    if results:
        pairs = [result.pair for result in results.values()]
        mean = scores.paired_difference(pairs, draws=config.draws, seed=config.seed)
    trusted = reliability(results, config.draws, config.seed)
    content = {
        "labels": labels,
        "features": config.features,
        "dimension": dimension,
        "questions": [as_values(question, results.get(question.name)) for question in asked],
        "mean_of": list(results),
        "mean": dataclasses.asdict(mean) | {"verdict": verdict(mean)} if mean else None,
        "reliability": trusted,
    }
    words = [
        f"Labels: {labels}. Random forests of {config.trees} trees, {len(config.seeds)} seeds "
        "averaged, fitted on the train split and scored on the test split.",
        f"Balanced accuracy with 95 % intervals of resampled test galaxies ({config.draws} draws). "
        "Majority: the accuracy of always giving the commonest answer; its balanced accuracy is "
        "1 / number of answers. PCA: of the pixels, fitted on all images of the train split. "
        "Counts are in the order of the answers.",
    ]
    summary = score_table(asked, results, mean)
    write_json(json_path, content)
    with atomic(csv_path) as temporary:
        summary.to_csv(temporary, index=False)
    write_text(md_path, markdown(summary, dimension, words))
    draw_scores(list(results.values()), mean, dimension, chart)
    draw_confusion(list(results.values()), panels)
    draw_reliability(trusted, trust)
    print(f"  labels: {labels}")
    some = labelled.notna().any(axis=1)
    print(f"  {int(some.sum()):,} of {len(table):,} images have an answer")
    compared = {name: result.compared["balanced_accuracy"] for name, result in results.items()}
    for name, words_on_it in zip(summary["question"], summary["verdict"], strict=True):
        both = compared.get(name, mean if name.startswith("mean of") else None)
        shown = f"PCA {both.before}, latents {both.after}, " if both else ""
        print(f"  {name}: {shown}{words_on_it}")
    for kind, of in next(iter(trusted.values()), {}).items():
        error = of.get("mean_error", of["calibration_error"])
        print(f"  probabilities {kind}: calibration error {error:.3f} (mean of the questions), "
              f"Brier score {scores.Estimate(**of['brier'])}")  # fmt: skip
    stage.finish(scored=list(results), mean=content["mean"])


if __name__ == "__main__":
    start(main, Config, __doc__)
