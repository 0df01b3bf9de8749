"""Before and after adaptation, on the test pairs alone: do the latents mean the same in both?

Forests learn the seven questions from the latents of one survey and are asked about the other
(the transfer matrix) and their own (the published table). Beside them: how far apart a galaxy's
two views are, how often a galaxy is its own nearest neighbour across the surveys, how well the
surveys can be told apart, and how well either is reconstructed. Nothing here was fitted on the
galaxies that it is reported on.

Reads:  transfer/pairs.parquet, every transfer/latents_<method>.parquet, and for the labels
        result/class_latents_40.parquet
Writes: transfer/comparison.json, .csv (a row a method), .md, comparison_questions.csv (a row a
        method and question), figures/comparison.png

Example: python transfer/compare.py --trees 200
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model import galaxy_zoo, scores
from VAE_model.agreement import Agreement, agreement, intervals
from VAE_model.comparison import FIRST, SECOND, Scores, ask_all, transfer_of
from VAE_model.comparison_report import (
    draw_comparison,
    markdown,
    question_table,
    table_of_methods,
    verdicts,
)
from VAE_model.pipeline.files import atomic, read_parquet, write_json, write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.transfer.adaptation import BEFORE, METHODS
from VAE_model.transfer.pair_latents import Sides, read_sides


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
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
    """Of the bootstrap and of the classifier that tells the surveys apart."""


def methods_there(run: Run) -> list[str]:
    """What has been encoded: the model before adaptation first, then in the order of METHODS."""
    found = [
        path.stem.removeprefix("latents_")
        for path in sorted(run.transfer("").glob("latents_*.parquet"))
    ]
    known = [name for name in (BEFORE, *METHODS) if name in found]
    return known + [name for name in found if name not in known]


def read_labels(run: Run, num_var: int, paths: pd.Series) -> pd.DataFrame:
    """The answers to the seven questions of each pair, by the first survey's image; null for all
    where the latents have not been matched to a catalogue."""
    source = run.class_latents(num_var)
    columns = [galaxy_zoo.answer_column(name) for name in galaxy_zoo.questions()]
    if not source.exists():
        none = pd.DataFrame(None, range(len(paths)), columns, dtype=object)
        none.attrs["labels"] = "none"
        return none
    table = read_parquet(source)
    lacking = [name for name in ["path", *columns] if name not in table]
    if lacking:
        raise Problem(
            f"{run.show(source)} has no column {', '.join(lacking)}: run {run.made_by(source)}"
        )
    labels = table.drop_duplicates("path").set_index("path")[columns].reindex(paths)
    labels.attrs["labels"] = table.attrs.get("labels") or "of unknown origin"
    return labels.reset_index(drop=True)


def kept(after: NDArray, before: NDArray, scatter: NDArray) -> dict[str, float]:
    """What adaptation did to the first survey's own latents: median distance in units of the
    scatter, and median correlation over the latents."""
    distance = np.sqrt((((after - before) / scatter) ** 2).mean(axis=1))
    pairs = zip(after.T, before.T, strict=True)
    correlation = [np.corrcoef(a, b)[0, 1] if a.std() * b.std() else 0.0 for a, b in pairs]
    return {"distance": float(np.median(distance)), "correlation": float(np.median(correlation))}


def agreement_values(found: Agreement, draws: int, seed: int) -> dict[str, Any]:
    values = {name: asdict(e) for name, e in intervals(found, draws, seed).items()}
    each = [float(value) for value in found.correlation]
    return {**values, "correlation": float(np.median(each)), "correlations": each,
            "mmd": found.mmd, "n": len(found.distance)}  # fmt: skip


def quality(sides: Sides, test: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """Median SSIM and error of the test images in either survey."""
    values = {}
    for survey, prefix in zip(sides.surveys, ("", "other_"), strict=True):
        table = sides.pairs[test]
        values[survey] = {
            name: float(table[f"{prefix}{name}"].median()) for name in ("ssim", "mse")
        }
    return values


def main(config: Config) -> None:
    run = Run(config.run)
    names = methods_there(run)
    source = run.class_latents(config.num_var)
    inputs = [run.pairs, *(run.pair_latents(n) for n in (names or [BEFORE]))]
    inputs += [source] if source.exists() else []
    questions_csv = run.transfer("comparison_questions.csv")
    outputs = [*(run.comparison(e) for e in ("json", "csv", "md")), questions_csv,
               run.figure("comparison.png")]  # fmt: skip
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    if BEFORE not in names:
        path = run.pair_latents(BEFORE)
        raise Problem(f"{run.show(path)} is missing: run {run.made_by(path)}")
    if not config.seeds or min(config.trees, config.draws, config.min_answer) < 1:
        raise Problem("seeds, trees, draws and min_answer: at least one of each is needed")
    sides = {name: read_sides(run, run.pair_latents(name), config.num_var) for name in names}
    pairs = sides[BEFORE].pairs
    if any(not side.pairs["pair"].equals(pairs["pair"]) for side in sides.values()):
        raise Problem(
            f"the tables of latents in {run.show(run.transfer(''))} are of different pairs: "
            f"run {run.made_by(run.pair_latents('any'))}"
        )
    usable = pairs["usable"].to_numpy(bool)
    if not source.exists():
        print(
            f"  {run.show(source)} is missing (run {run.made_by(source)}): there are no labels, "
            "so no forest is asked"
        )
    labels = read_labels(run, config.num_var, pairs["path"])
    split = np.where(usable, pairs["split"], "left out")
    asked = [
        scores.set_question(
            name, list(answers), labels[galaxy_zoo.answer_column(name)], split,
            min_answer=config.min_answer, min_test=config.min_test,
        )
        for name, answers in galaxy_zoo.questions().items()
    ]  # fmt: skip
    scored = [question for question in asked if not question.too_few]
    test, fit = (usable & (pairs["split"] == part).to_numpy() for part in ("test", "train"))
    if test.sum() < 2 or fit.sum() < 2:
        raise Problem(
            f"{int(fit.sum())} training and {int(test.sum())} test pairs that are usable: at "
            f"least 2 of each are needed; see {run.show(run.pairs_refused)}"
        )
    before = sides[BEFORE].first
    scatter = np.maximum(before[fit].std(axis=0), 1e-6)
    content = {}
    for name, side in tqdm(sides.items(), desc="measuring agreement", unit="method"):
        found = agreement(side.first[test], side.second[test], scatter, config.seed)
        content[name] = {
            "sentence": METHODS[name].sentence if name in METHODS else "",
            "agreement": agreement_values(found, config.draws, config.seed),
            "kept": kept(side.first[test], before[test], scatter),
            "reconstruction": quality(side, test),
        }
    if scored:
        latents = {name: {FIRST: s.first, SECOND: s.second} for name, s in sides.items()}
        answers = ask_all(scored, latents, BEFORE, config.seeds, config.trees)
        table = Scores.of(scored, answers, config.draws, config.seed)
        for name in names:
            content[name]["transfer"] = transfer_of(table, name, BEFORE, names)
    result = {
        "surveys": list(sides[BEFORE].surveys),
        "labels": labels.attrs["labels"],
        "pairs": {"train": int(fit.sum()), "test": int(test.sum())},
        "questions": [
            {
                "question": q.name, "answers": list(q.answers), "n_train": q.n_train,
                "n_test": q.n_test, "majority": None if q.too_few else q.majority,
                "chance": 1 / max(len(q.answers), 1), "no_score_because": q.too_few,
            }
            for q in asked
        ],
        "mean_of": [question.name for question in scored],
        "methods": content,
    }  # fmt: skip
    result["verdicts"] = verdicts(result)
    write_json(run.comparison("json"), result)
    summary, by_question = table_of_methods(result), question_table(result)
    for path, frame in ((run.comparison("csv"), summary), (questions_csv, by_question)):
        with atomic(path) as temporary:
            frame.to_csv(temporary, index=False)
    write_text(run.comparison("md"), markdown(result))
    draw_comparison(result, outputs[-1])
    for line in result["verdicts"]:
        print(f"  {line}")
    stage.finish(methods=names, pairs=result["pairs"], verdicts=result["verdicts"])


if __name__ == "__main__":
    start(main, Config, __doc__)
