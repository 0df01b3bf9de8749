"""The tables of docs/REAL.md, from the results that real.py has measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import real_sets
from benchmarks.protocol.experts import ATTRIBUTES, STAGE
from benchmarks.protocol.real_sets import DEFECT, EFIGI, EXAMPLES, RING, SPIRAL, codes_of
from benchmarks.protocol.rivals import RIVALS
from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.evaluation.classification import (
    Metric,
    Question,
    Scores,
    accuracy,
    balanced_accuracy,
)
from VAE_model.pipeline.files import read_json
from VAE_model.pipeline.stage import Problem
from VAE_model.report.tables import Table

SETS = (SPIRAL, EFIGI, RING, EXAMPLES, DEFECT)
DEFAULT, UNTRAINED = "default", "untrained"
ORDER = tuple(dict.fromkeys((DEFAULT, UNTRAINED, *RIVALS)))  # of the rows


# ---- reading results


def in_words(of: Estimate, spec: str, more: str = "") -> str:
    """Return a value and its interval."""
    value, low, high = (format(number, spec) for number in (of.value, of.low, of.high))
    return f"{value} ({low} to {high}{more})"


@dataclass(frozen=True)
class Row:
    """One rival and head on one set.

    draws: by score, (seeds, 1 + resamples), the score of the test galaxies first; minutes: of one
    seed; other_code: some of it was measured by other code.
    """

    rival: str
    head: str
    draws: dict[str, NDArray[np.float64]]
    minutes: float
    other_code: bool

    def estimate(self, score: str) -> Estimate:
        """Return the mean of the seeds with its interval."""
        return Estimate.of(self.draws[score].mean(axis=0))

    def minus(self, other: "Row", score: str) -> Estimate:
        """Return the paired difference to another row of the set, of the means of the seeds."""
        return Estimate.of(self.draws[score].mean(axis=0) - other.draws[score].mean(axis=0))

    def cell(self, score: str, with_seeds: bool = False) -> str:
        """Return mean, interval, marks, and with_seeds the range of the seeds."""
        count = len(self.draws[score])
        more = "" if count == 3 else f", {count} seed{'s' * (count > 1)}"
        more += f"; seeds {self.seeds(score)}" if with_seeds and count > 1 else ""
        return in_words(self.estimate(score), ".3f", more) + "†" * self.other_code

    def seeds(self, score: str) -> str:
        """Return the lowest and the highest of the seeds."""
        values = self.draws[score][:, 0]
        return f"{values.min():.3f} to {values.max():.3f}" if len(values) > 1 else "–"


@dataclass(frozen=True)
class Results:
    """The images, questions and results of one set.

    about: set.json; found: by rival its results, one per seed; rows: of heads, empty for
    gz2_defect.
    """

    about: dict[str, Any]
    found: dict[str, list[dict[str, Any]]]
    rows: list[Row]

    def row(self, rival: str, head: str = "forest") -> Row | None:
        """Return the row of a rival, of its first head or of the given one."""
        own = [row for row in self.rows if row.rival == rival and row.head in (head, "network")]
        return own[0] if own else None


def questions_of(about: dict[str, Any]) -> list[Question]:
    """Return the questions of a set with their test galaxies, from set.json."""
    none = np.empty(0, np.int64)
    return [
        Question(name, tuple(q["answers"]), none, np.array(q["test"].split(), np.int64), none,
                 codes_of(q["truth"]), q["n_train"], q["n_test"], "")
        for name, q in about["questions"].items()
    ]  # fmt: skip


def read_results(folder: Path, seeds: Sequence[int], n_bootstrap: int) -> Results | None:
    """Return the results of a set in its folder, the default network first; None without any."""
    if not (folder / "set.json").exists():
        return None
    about, found = read_json(folder / "set.json"), {}
    for rival in ORDER:
        paths = [folder / f"{rival}_{seed}.json" for seed in seeds]
        of_seeds = [read_json(path) for path in paths if path.exists()]
        if own := [of for of in of_seeds if of["constants"]["images"] == about["hash"]]:
            found[rival] = own
    rows = []
    for rival, own in found.items():
        other = any(of["code"] != real_sets.code_of(rival) for of in own)
        minutes = float(np.mean([of["minutes"] for of in own]))
        for head in own[0].get("heads", {}):
            answers = [of["heads"][head] for of in own]
            draws = _draws(about, answers, n_bootstrap)
            rows.append(Row(rival, head, draws, minutes, other))
    return Results(about, found, rows)


def _draws(
    about: dict[str, Any], seeds: list[dict[str, Any]], n_bootstrap: int
) -> dict[str, NDArray[np.float64]]:
    """Return by score draws (seeds, 1 + resamples) of the answers, or values, of one head."""
    if about["attributes"]:
        return {
            score: np.array([of["draws"][score].split() for of in seeds], float)
            for score in ("spearman", "within", "stage")
        }
    questions = questions_of(about)
    answers = {number: [codes_of(of[q.name]) for q in questions] for number, of in enumerate(seeds)}

    def draws(metric: Metric, question: int | None = None) -> NDArray[np.float64]:
        scores = Scores.of(questions, answers, metric, n_bootstrap)
        return np.stack([scores.of_draws(number, question) for number in answers])

    each = {q.name: draws(balanced_accuracy, number) for number, q in enumerate(questions)}
    return {"balanced": draws(balanced_accuracy), "accuracy": draws(accuracy), **each}


# ---- the page


def primary(about: dict[str, Any]) -> str:
    """Return the name of the primary score of a set."""
    return "spearman" if about["attributes"] else "balanced"


def first_table(results: dict[str, Results]) -> str:
    """Return the primary scores of all rivals, a column per set."""
    sets = {name: of for name, of in results.items() if of.rows}
    heading = [f"{name}, {_tested(of.about):,}" for name, of in sets.items()]
    measured = {row.rival for of in sets.values() for row in of.rows}
    rows = []
    for rival in (rival for rival in ORDER if rival in measured):
        cells = [
            row.cell(primary(of.about), with_seeds=True) if (row := of.row(rival)) else "–"
            for of in sets.values()
        ]
        rows.append((RIVALS[rival].words, *cells))
    return Table(["numbers", *heading], rows).markdown()


def _tested(about: dict[str, Any]) -> int:
    """Return the number of galaxies that the primary score is measured on."""
    if about["attributes"]:
        return max(of["test"] for of in about["attributes"].values())
    return len({row for q in about["questions"].values() for row in q["test"].split()})


def training_gain(results: dict[str, Results]) -> list[str]:
    """Return what the training of the default network adds, in words."""
    differences = {
        f"{name}, {head}": trained.minus(untrained, primary(of.about))
        for name, of in results.items()
        for head in ("forest", "logistic", "linear")
        if (trained := of.row(DEFAULT, head)) and (untrained := of.row(UNTRAINED, head))
    }
    if not differences:
        return []
    listed = "; ".join(f"{key} {in_words(of, '+.3f')}" for key, of in differences.items())
    up = [name for name, of in differences.items() if of.low > 0]
    down = [name for name, of in differences.items() if of.high < 0]
    verdict = (
        f"Training adds something on {'; '.join(up)}" if up
        else "On none of them does the training of the networks add anything that the set can show"
    )  # fmt: skip
    loss = f", and takes something away on {'; '.join(down)}" if down else ""
    return [f"Trained minus untrained: {listed}. {verdict}{loss}.", ""]


def row_table(of: Results, scores: dict[str, str]) -> str:
    """Return a row per rival and head; scores: heading by score, the primary one first."""
    first = next(iter(scores))
    rows = []
    for row in of.rows:
        default = of.row(DEFAULT, row.head) or of.row(DEFAULT)
        ours = row.rival == DEFAULT or default is None
        rows.append((
            RIVALS[row.rival].words, row.head, *(row.cell(score) for score in scores),
            row.seeds(first), None if ours else in_words(default.minus(row, first), "+.3f"),
            f"{row.minutes:.1f}",
        ))  # fmt: skip
    head = ["numbers", "head", *scores.values(), "seeds", "default minus this", "minutes"]
    return Table(head, rows).markdown()


def question_section(name: str, of: Results) -> list[str]:
    """Return the lines of a set with questions."""
    counts = []
    for question, q in of.about["questions"].items():
        answers = ", ".join(
            f"{answer} {q['n_train'][answer]:,} / {q['n_test'][answer]:,}"
            for answer in q["answers"]
        )
        counts.append(f"{question}: {answers} (majority {q['majority']:.3f})")
    lines = [
        f"## {name}", "",
        f"Galaxies outside the test split / in it: {'; '.join(counts)}.", "",
        row_table(of, {"balanced": "balanced accuracy", "accuracy": "accuracy"}), "",
    ]  # fmt: skip
    if len(of.about["questions"]) > 1:
        names = list(of.about["questions"])
        rows = [
            (RIVALS[row.rival].words, row.head, *(row.cell(question) for question in names))
            for row in of.rows
        ]
        small = "The intervals show how little so few galaxies tell."
        lines += [f"Balanced accuracy of each question. {small}", ""]
        lines += [Table(["numbers", "head", *names], rows).markdown(), ""]
    return lines


def expert_section(of: Results) -> list[str]:
    """Return the lines of EFIGI."""
    attributes = of.about["attributes"]
    baseline = float(np.mean([attributes[name]["within_median"] for name in ATTRIBUTES]))
    scores = {"spearman": "Spearman, mean of 16 attributes", "stage": "Spearman, stage T",
              "within": "within limits, mean of 16"}  # fmt: skip
    shown = [row for row in of.rows if row.head in ("forest", "network")]
    words = [RIVALS[row.rival].words for row in shown]
    halves = [
        (one["spearman"][2] - one["spearman"][1]) / 2
        for row in shown
        for one in of.found[row.rival][0]["heads"][row.head]["attributes"].values()
    ]

    def table(score: str, more: list[str]) -> str:
        rows = []
        for name in (STAGE, *ATTRIBUTES):
            n = attributes[name]
            known = (f"{n['train']:,} / {n['test']:,}", *(f"{n[key]:.3f}" for key in more))
            cells = [_mean(of.found[row.rival], row.head, name, score) for row in shown]
            rows.append((name.replace("_", " "), *known, *cells))
        extra = ["median of training"] * len(more)
        return Table(["attribute", "n train / test", *extra, *words], rows).markdown()

    return [
        f"## {EFIGI}", "",
        f"The median of the training galaxies lies within the experts' limits for {baseline:.3f} "
        "of the test galaxies (mean of 16 attributes).", "",
        row_table(of, scores), "",
        "Spearman's correlation of each attribute, forests, mean of the seeds. Half of a 95 % "
        f"interval is {min(halves):.2f} to {max(halves):.2f}, the largest for attributes with few "
        "galaxies or rare values.",
        "", table("spearman", []), "", *unsteady(of),
        "Share of predictions within the experts' limits, forests:", "",
        table("within", ["within_median"]), "",
    ]  # fmt: skip


def unsteady(of: Results) -> list[str]:
    """Return the attributes of which the seeds of the default network differ by more than 0.1."""
    seeds = [one["heads"]["forest"]["attributes"] for one in of.found.get(DEFAULT, [])]
    names = seeds[0] if seeds else ()
    values = {name: [one[name]["spearman"][0] for one in seeds] for name in names}
    found = [
        f"{name.replace('_', ' ')} {', '.join(f'{value:.3f}' for value in each)}"
        for name, each in values.items()
        if max(each) - min(each) > 0.1
    ]
    if not found:
        return []
    return [f"The seeds of the default network differ by more than 0.1: {'; '.join(found)}.", ""]


def _mean(seeds: list[dict[str, Any]], head: str, attribute: str, score: str) -> str:
    values = [of["heads"][head]["attributes"][attribute][score][0] for of in seeds]
    return f"{np.mean(values):.3f}"


def defect_section(of: Results) -> list[str]:
    """Return the lines of gz2_defect; a score that does not depend on the network has one row."""
    rows, printed = [], dict[str, list[float]]()
    for rival, seeds in of.found.items():
        for name in seeds[0]["ranked"]:
            numbers = np.array([one["ranked"][name] for one in seeds])
            if printed.get(name) == seeds[0]["ranked"][name]:
                continue
            printed[name] = seeds[0]["ranked"][name]
            area, low, high, fifty, hundred, all_200 = numbers.mean(axis=0)
            rows.append((
                name + (", untrained" if rival == UNTRAINED else ""), len(numbers),
                in_words(Estimate(area, low, high), ".3f"),
                f"{numbers[:, 0].min():.3f} to {numbers[:, 0].max():.3f}",
                f"{fifty:.2f}, {hundred:.2f}", f"{all_200:.3f}",
            ))  # fmt: skip
    head = ["score", "seeds", "area under the ROC curve", "of the seeds",
            "broken among the first 50, 100", "among the first 200 of all"]  # fmt: skip
    return [
        f"## {DEFECT}", "",
        f"{of.about['broken']:,} broken images among {of.about['images']:,}. All scores are "
        "unsupervised. Areas and the first two precisions are of the half on which nothing was "
        "chosen; intervals are means of the seeds' own.", "",
        Table(head, rows).markdown(), "",
    ]  # fmt: skip


def page(folder: Path, seeds: Sequence[int], n_bootstrap: int) -> str:
    """Return the measured part of the page, from the results that are there.

    folder: with a folder for each set.
    """
    every = {name: read_results(folder / name, seeds, n_bootstrap) for name in SETS}
    results = {name: of for name, of in every.items() if of and of.found}
    if not results:
        raise Problem(f"{folder} holds no result: give --sets")
    marked = any(row.other_code for of in results.values() for row in of.rows)
    lines = [
        "Primary score on the test galaxies (their number beside the set), mean of the seeds and "
        "95 % interval of resampled test galaxies; range of the seeds. By chance balanced accuracy "
        "is 0.5, and Spearman's correlation is 0.", "",
        first_table(results), "",
        *(["† measured by another version of the code.", ""] if marked else []),
        *training_gain(results),
        "Minutes are those of one seed on a shared machine of two cores, without importing, "
        "packing and preparing; the second of two rows of the published network that share a "
        "training has only the rest.", "",
    ]  # fmt: skip
    for name, of in results.items():
        if name == EFIGI:
            lines += expert_section(of)
        elif name == DEFECT:
            lines += defect_section(of)
        else:
            lines += question_section(name, of)
    return "\n".join(lines)
