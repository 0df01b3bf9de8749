"""Compare the latents before and after adaptation, on the test pairs alone.

Forests are fitted on the latents of one survey to predict the answers to seven questions, and
tested on the other survey (the transfer matrix) and on their own (the published table). Further
measures are the distance between a galaxy's latents in the two surveys, the share of galaxies that
are their own nearest neighbours across the surveys, the AUC of a classifier of the survey, and the
quality of the reconstructions. Nothing is fitted on the test pairs.

Reads:  transfer/pairs.parquet, every transfer/latents_<method>.parquet, and for the labels
        result/class_latents_40.parquet
Writes: transfer/comparison.json, .csv (a row per method), .md, comparison_questions.csv (a row
        per method and question), figures/comparison.png

Example: python transfer/compare.py --trees 200
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.data import galaxy_zoo
from VAE_model.evaluation.agreement import Agreement, agreement, intervals
from VAE_model.evaluation.classification import Scores, set_question
from VAE_model.pipeline.files import read_parquet, write_json, write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report.classification import unscored
from VAE_model.report.tables import write_csv
from VAE_model.report.transfer import (
    draw_comparison,
    markdown,
    method_records,
    question_records,
    verdicts,
)
from VAE_model.tables.joins import join_rows
from VAE_model.transfer.adaptation import BEFORE, METHODS
from VAE_model.transfer.comparison import FIRST, SECOND, predict_all, transfer_of
from VAE_model.transfer.pair_latents import Sides, read_sides


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
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
    """Seed of the bootstrap and of the classifier of the survey."""


def methods_there(run: Run) -> list[str]:
    """Return the methods with latents: before adaptation first, then in the order of METHODS."""
    paths = sorted(run.transfer("").glob("latents_*.parquet"))
    found = [path.stem.removeprefix("latents_") for path in paths]
    order = [BEFORE, *METHODS, *found]
    return sorted(found, key=order.index)


def read_labels(run: Run, num_var: int, paths: pd.Series) -> tuple[pd.DataFrame, str]:
    """Return the answers to the seven questions of each pair, and their origin.

    paths: of the first survey's images. All answers are null if the latents have not been matched
    to a catalogue.
    """
    source = run.class_latents(num_var)
    again = f"run {run.made_by(source)}"
    columns = {galaxy_zoo.answer_column(name): name for name in galaxy_zoo.questions()}
    if not source.exists():
        print(f"  {run.show(source)} is missing ({again}): without labels no forest is fitted")
        return pd.DataFrame(None, range(len(paths)), list(columns.values()), dtype=object), "none"
    table = read_parquet(source)
    if lacking := [name for name in ["path", *columns] if name not in table]:
        raise Problem(f"{run.show(source)} has no column {', '.join(lacking)}: {again}")
    names = run.show(run.pairs), run.show(source)
    rows = join_rows(paths, table["path"], names, mend=again)
    labels = table[list(columns)].rename(columns=columns)
    found = labels.reindex(np.where(rows < 0, len(table), rows)).reset_index(drop=True)
    return found, table.attrs.get("labels") or "of unknown origin"


def kept(after: NDArray, before: NDArray, deviation: NDArray) -> dict[str, float]:
    """Return the effect of adaptation on the first survey's latents.

    It is the median distance in standard deviations, and the median correlation over the latents.
    """
    distance = np.sqrt((((after - before) / deviation) ** 2).mean(axis=1))
    pairs = zip(after.T, before.T, strict=True)
    correlation = [np.corrcoef(a, b)[0, 1] if a.std() * b.std() else 0.0 for a, b in pairs]
    return {"distance": float(np.median(distance)), "correlation": float(np.median(correlation))}


def agreement_values(found: Agreement, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Return the measures as plain values."""
    values = {name: asdict(e) for name, e in intervals(found, n_bootstrap, seed).items()}
    each = [float(value) for value in found.correlation]
    return {**values, "correlation": float(np.median(each)), "correlations": each,
            "mmd": found.mmd, "n": len(found.distance)}  # fmt: skip


def quality(sides: Sides, test: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """Return median SSIM and reduced chi-squared per pixel of the test images in either survey."""
    table, names = sides.pairs[test], ("ssim", "reduced_chi2")
    return {
        survey: {name: float(table[f"{prefix}{name}"].median()) for name in names}
        for survey, prefix in zip(sides.surveys, ("", "other_"), strict=True)
    }


def read_all(run: Run, names: list[str], num_var: int) -> dict[str, Sides]:
    """Return the latents of all methods. Raises Problem if they are of different pairs."""
    sides = {name: read_sides(run, run.pair_latents(name), num_var) for name in names}
    pairs = sides[BEFORE].pairs["pair"]
    if any(not side.pairs["pair"].equals(pairs) for side in sides.values()):
        raise Problem(
            f"the tables of latents in {run.show(run.transfer(''))} are of different pairs: "
            f"run {run.made_by(run.pair_latents('any'))}"
        )
    return sides


def compare(config: Config, run: Run, sides: dict[str, Sides]) -> dict[str, Any]:
    """Return the content of comparison.json."""
    pairs, before = sides[BEFORE].pairs, sides[BEFORE].first
    usable = pairs["usable"].to_numpy(bool)
    labels, origin = read_labels(run, config.num_var, pairs["path"])
    split = np.where(usable, pairs["split"], "left out")
    asked = [
        set_question(
            name, list(answers), labels[name], split,
            min_answer=config.min_answer, min_test=config.min_test,
        )
        for name, answers in galaxy_zoo.questions().items()
    ]  # fmt: skip
    scored = [question for question in asked if not question.too_few]
    test, fit = (split == part for part in ("test", "train"))
    if test.sum() < 2 or fit.sum() < 2:
        raise Problem(
            f"{int(fit.sum())} training and {int(test.sum())} test pairs that are usable: at "
            f"least 2 of each are needed; see {run.show(run.pairs_refused)}"
        )
    deviation = np.maximum(before[fit].std(axis=0), 1e-6)
    content = {}
    for name, side in tqdm(sides.items(), desc="measuring agreement", unit="method"):
        found = agreement(side.first[test], side.second[test], deviation, config.seed)
        content[name] = {
            "sentence": METHODS[name].sentence if name in METHODS else "",
            "agreement": agreement_values(found, config.n_bootstrap, config.seed),
            "kept": kept(side.first[test], before[test], deviation),
            "reconstruction": quality(side, test),
        }
    if scored:
        latents = {name: {FIRST: s.first, SECOND: s.second} for name, s in sides.items()}
        answers = predict_all(scored, latents, BEFORE, config.seeds, config.trees)
        scores = Scores.of(scored, answers, n_bootstrap=config.n_bootstrap, seed=config.seed)
        for name in sides:
            content[name]["transfer"] = transfer_of(scores, name, BEFORE, sides)
    result = {
        "surveys": list(sides[BEFORE].surveys),
        "labels": origin,
        "pairs": {"train": int(fit.sum()), "test": int(test.sum())},
        "questions": [unscored(q) | {"chance": 1 / max(len(q.answers), 1)} for q in asked],
        "mean_of": [question.name for question in scored],
        "methods": content,
    }
    return result | {"verdicts": verdicts(result)}


def main(config: Config) -> None:
    """Compare all methods that have latents, and write the tables and the figure."""
    run = Run(config.run)
    names, source = methods_there(run), run.class_latents(config.num_var)
    inputs = [run.pairs, *(run.pair_latents(n) for n in (names or [BEFORE]))]
    inputs += [source] if source.exists() else []
    json_path, csv_path, md_path = (run.comparison(ending) for ending in ("json", "csv", "md"))
    questions_csv, figure = run.transfer("comparison_questions.csv"), run.figure("comparison.png")
    outputs = [json_path, csv_path, md_path, questions_csv, figure]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    if BEFORE not in names:
        path = run.pair_latents(BEFORE)
        raise Problem(f"{run.show(path)} is missing: run {run.made_by(path)}")
    if not config.seeds or min(config.trees, config.n_bootstrap, config.min_answer) < 1:
        raise Problem("seeds, trees, n_bootstrap and min_answer must be at least 1")
    result = compare(config, run, read_all(run, names, config.num_var))
    write_json(json_path, result)
    write_csv(csv_path, method_records(result))
    write_csv(questions_csv, question_records(result))
    write_text(md_path, markdown(result))
    draw_comparison(result, figure)
    for line in result["verdicts"]:
        print(f"  {line}")
    stage.finish(methods=names, pairs=result["pairs"], verdicts=result["verdicts"])


if __name__ == "__main__":
    start(main, Config, __doc__)
