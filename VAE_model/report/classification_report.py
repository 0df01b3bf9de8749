"""How scores are shown: as plain values, as a table, as charts."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from VAE_model.evaluation.classification import (
    Comparison,
    Estimate,
    Question,
    Result,
    confusion_matrix,
    mcnemar,
)
from VAE_model.report.figures import INDIGO, ROSE, new_figure, save_figure

_NO_SCORE = "no question has galaxies enough"
_MANY = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}  # names below more than three
AFTER, BEFORE, CHANCE = INDIGO, ROSE, "#999999"


def verdict(compared: Comparison) -> str:
    """What the interval of the difference allows to say."""
    if compared.difference.crosses_zero:
        return "undecided: the interval crosses zero"
    return "latents better" if compared.difference.value > 0 else "PCA better"


def as_values(question: Question, result: Result | None) -> dict[str, Any]:
    """All numbers of one question as plain values; `result` is None where it got no score."""
    content: dict[str, Any] = {
        "question": question.name,
        "answers": list(question.answers),
        "n_train": question.n_train,
        "n_test": question.n_test,
        "majority": None if question.too_few else question.majority,
        "no_score_because": question.too_few,
    }
    if result is None:
        return content
    pair = result.pair
    for name, side in (("pca", "before"), ("latents", "after")):
        content[name] = {
            metric: dataclasses.asdict(getattr(compared, side))
            for metric, compared in result.compared.items()
        }
        confusion = confusion_matrix(pair.truth, getattr(pair, side), pair.classes)
        content[name]["confusion"] = confusion.tolist()
    content["difference"] = {
        metric: dataclasses.asdict(c.difference) | {"crosses_zero": c.difference.crosses_zero}
        for metric, c in result.compared.items()
    }
    gained, lost, p = mcnemar(pair.before == pair.truth, pair.after == pair.truth)
    content["mcnemar"] = {"gained": gained, "lost": lost, "p": p}
    content["verdict"] = verdict(result.compared["balanced_accuracy"])
    return content


def score_table(
    questions: list[Question], results: dict[str, Result], mean: Comparison | None
) -> pd.DataFrame:
    """A row a question and one for the mean, as numbers: balanced accuracy of PCA and latents and
    their difference, each with _low and _high, and macro F1."""
    rows = []
    for question in questions:
        row: dict[str, Any] = {
            "question": question.name,
            "answers": " / ".join(question.n_test),
            "n_train": "/".join(map(str, question.n_train.values())),
            "n_test": "/".join(map(str, question.n_test.values())),
        }
        left_out = [name for name in question.n_test if name not in question.answers]
        note = f"without {', '.join(left_out)} (too few); " if left_out else ""
        if question.name in results:
            compared = results[question.name].compared
            row |= {"chance": 1 / len(question.answers), "majority": question.majority}
            row |= _columns(compared["balanced_accuracy"])
            row["pca_macro_f1"] = compared["macro_f1"].before.value
            row["latents_macro_f1"] = compared["macro_f1"].after.value
            rows.append(row | {"verdict": note + verdict(compared["balanced_accuracy"])})
        else:
            rows.append(row | {"verdict": f"no score: {question.too_few}"})
    if mean is not None and len(results) > 1:
        name = f"mean of {len(results)} questions"
        rows.append({"question": name, "verdict": verdict(mean)} | _columns(mean))
    return pd.DataFrame(rows)


def _columns(compared: Comparison) -> dict[str, float]:
    columns: dict[str, float] = {}
    for name, side in (("pca", "before"), ("latents", "after"), ("difference", "difference")):
        estimate = getattr(compared, side)
        columns |= {
            name: estimate.value,
            f"{name}_low": estimate.low,
            f"{name}_high": estimate.high,
        }
    return columns


def markdown(table: pd.DataFrame, dimension: int, words: list[str]) -> str:
    """The table of `score_table` as Markdown, `words` above it."""

    def cell(row: pd.Series, name: str) -> str:
        value = row.get(name, "")
        if f"{name}_low" in row and pd.notna(value):
            return str(Estimate(value, row[f"{name}_low"], row[f"{name}_high"]))
        return "" if pd.isna(value) else f"{value:.3f}" if isinstance(value, float) else str(value)

    columns = {
        "question": "question", "answers": "answers", "n_train": "n train", "n_test": "n test",
        "majority": "majority", "pca": f"PCA-{dimension}", "latents": f"latents-{dimension}",
        "latents_macro_f1": "macro F1", "difference": "latents - PCA", "verdict": "verdict",
    }  # fmt: skip
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + " --- |" * len(columns)]
    for _, row in table.iterrows():
        lines.append("| " + " | ".join(cell(row, name) for name in columns) + " |")
    return "# Questions of morphology\n\n" + "\n\n".join(words) + "\n\n" + "\n".join(lines) + "\n"


def draw_scores(results: list[Result], mean: Comparison | None, dimension: int, path: Path) -> None:
    """Balanced accuracy of each question with its interval: latents, PCA, majority answer."""
    lines = [
        (f"{r.question.name}\nn = {len(r.question.test):,}", r.compared["balanced_accuracy"],
         1 / len(r.question.answers))
        for r in results
    ]  # fmt: skip
    if mean is not None and len(lines) > 1:
        chance = float(np.mean([line[2] for line in lines]))
        lines.append((f"mean of {len(results)}", mean, chance))
    figure = new_figure(8.5, 1.6 + 0.62 * max(len(lines), 1))
    if not lines:
        figure.text(0.5, 0.5, _NO_SCORE, ha="center")
        return save_figure(figure, path)
    axes = figure.subplots()
    for y, (_, compared, chance) in enumerate(lines):
        axes.plot(chance, y, "|", color=CHANCE, markersize=22, markeredgewidth=2.5)
        for estimate, colour, marker, shift in (
            (compared.after, AFTER, "o", -0.14), (compared.before, BEFORE, "s", 0.14),
        ):  # fmt: skip
            axes.plot([estimate.low, estimate.high], [y + shift] * 2, color=colour, linewidth=2.2)
            axes.plot(estimate.value, y + shift, marker, color=colour, markersize=7.5)
    for marker, colour, label in (
        ("o", AFTER, f"{dimension} latents"), ("s", BEFORE, f"{dimension} principal components"),
        ("|", CHANCE, "always the commonest answer"),
    ):  # fmt: skip
        axes.plot([], [], marker, color=colour, label=label, markersize=8, markeredgewidth=2)
    axes.set_yticks(range(len(lines)), [line[0] for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set(xlim=(0, 1), xlabel="balanced accuracy on test galaxies (bars: 95 % intervals)")
    axes.grid(axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    save_figure(figure, path)


def draw_confusion(results: list[Result], path: Path) -> None:
    """Confusion matrix of the forest on the latents, a panel a question: shares of each row."""
    if not results:
        figure = new_figure(4, 2)
        figure.text(0.5, 0.5, _NO_SCORE, ha="center")
        return save_figure(figure, path)
    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    figure = new_figure(3.6 * columns, 3.6 * rows, layout="constrained")
    figure.set_layout_engine("constrained", h_pad=0.12, w_pad=0.12)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(results) :]:
        axes.axis("off")
    for axes, result in zip(panels, results, strict=False):
        names, pair = result.question.answers, result.pair
        counts = confusion_matrix(pair.truth, pair.after, pair.classes)
        shares = counts / counts.sum(axis=1, keepdims=True)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (i, j), share in np.ndenumerate(shares):
            colour = "white" if share > 0.55 else "#222222"
            axes.text(j, i, f"{share:.0%}\n{counts[i, j]}", ha="center", va="center", color=colour)
        ticks = range(len(names))
        folded = [name.replace("-", "-\n").replace(" ", "\n") for name in names]
        axes.set_xticks(ticks, folded, **_MANY if len(names) > 3 else {})
        axes.set_yticks(ticks, names)
        axes.set(title=result.question.name, xlabel="forest says", ylabel="label")
    save_figure(figure, path)
