"""The scores of analysis/classify.py as plain values, tables and figures.

Everything is made from the content of classification_40.json, by the stage and by the report.
"""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.evaluation.calibration import ALL, BALANCED, BASE, CORRECTED
from VAE_model.evaluation.classification import Question, Scores, confusion_matrix
from VAE_model.report import figures
from VAE_model.report.figures import GREEN, GREY, INDIGO, ROSE, new_figure, save_figure
from VAE_model.report.page import Block, Details, Paragraph, facts
from VAE_model.report.plotting import Axes, Figure
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.report.tables import Note, Table, number, signed

Content = dict[str, Any]
estimate = Estimate.read

PCA, LATENTS = "pca", "latents"  # keys of the two sets of features
MAIN = "balanced_accuracy"
_PREDICTED = 12  # predictions of each question on the page
_LOOKS = {LATENTS: (INDIGO, "o", -0.14), PCA: (ROSE, "s", 0.14)}  # colour, marker, offset
_CALIBRATED = {BALANCED: (ROSE, "s", -0.006), CORRECTED: (INDIGO, "o", 0.006)}
_SLANTED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}


def verdict(difference: Estimate, name: str = LATENTS) -> str:
    """Return the conclusion that the interval of latents - PCA allows; name: of the latents."""
    if difference.crosses_zero:
        return "undecided: the interval crosses zero"
    return f"{name} better" if difference.value > 0 else "PCA better"


def compared(scores: Scores[str], question: int | None = None) -> dict[str, dict[str, Any]]:
    """Return the scores of PCA, latents, and their difference, of one question or the mean."""
    difference = scores.difference(LATENTS, PCA, question)
    return {
        PCA: asdict(scores.estimate(PCA, question)),
        LATENTS: asdict(scores.estimate(LATENTS, question)),
        "difference": asdict(difference) | {"crosses_zero": difference.crosses_zero},
    }


def unscored(question: Question) -> Content:
    """Return what is known of a question before it has scores."""
    return {
        "question": question.name, "answers": list(question.answers),
        "n_train": question.n_train, "n_test": question.n_test,
        "majority": None if question.too_few else question.majority,
        "no_score_because": question.too_few,
    }  # fmt: skip


def scored(by_metric: dict[str, Scores[str]], number: int, name: str = LATENTS) -> Content:
    """Return the scores of one question, by its number, in all metrics, and its confusion.

    name: of the latents, or of the features in their place, in the verdict.
    """
    scores = by_metric[MAIN]
    question = scores.questions[number]
    parts = {metric: compared(of, number) for metric, of in by_metric.items()}
    content: Content = {
        key: {metric: of[key] for metric, of in parts.items()}
        for key in (PCA, LATENTS, "difference")
    }
    for key in (PCA, LATENTS):
        codes = scores.answers[key][number]
        confusion = confusion_matrix(question.test_codes, codes, len(question.answers))
        content[key]["confusion"] = confusion.tolist()
    content["mcnemar"] = scores.mcnemar(LATENTS, PCA, number)
    content["verdict"] = verdict(scores.difference(LATENTS, PCA, number), name)
    return unscored(question) | content


def records(content: Content) -> list[Content]:
    """Return a record per question and one for the mean.

    Balanced accuracy of PCA, of the latents and their difference, and macro F1.
    """
    rows: list[Content] = []
    for of in content["questions"]:
        row = {
            "question": of["question"], "answers": " / ".join(of["n_test"]),
            "n_train": "/".join(map(str, of["n_train"].values())),
            "n_test": "/".join(map(str, of["n_test"].values())),
        }  # fmt: skip
        if LATENTS not in of:
            rows.append(row | {"verdict": f"no score: {of['no_score_because']}"})
            continue
        left_out = [name for name in of["n_test"] if name not in of["answers"]]
        note = f"without {', '.join(left_out)} (too few); " if left_out else ""
        row |= {"chance": 1 / len(of["answers"]), "majority": of["majority"]}
        row |= {name: estimate(of[name][MAIN]) for name in (PCA, LATENTS, "difference")}
        row |= {f"{name}_macro_f1": of[name]["macro_f1"]["value"] for name in (PCA, LATENTS)}
        rows.append(row | {"p": of["mcnemar"]["p"], "verdict": note + of["verdict"]})
    mean = content["mean"]
    if mean and len(content["mean_of"]) > 1:
        row = {"question": f"mean of {len(content['mean_of'])}", "verdict": mean["verdict"]}
        rows.append(row | {name: estimate(mean[name]) for name in (PCA, LATENTS, "difference")})
    return rows


def named_records(content: Content) -> list[Content]:
    """Return the records with the name of the features in place of `latents`, for a CSV."""
    name = content["name"]
    return [{k.replace(LATENTS, name): value for k, value in row.items()}
            for row in records(content)]  # fmt: skip


def score_table(content: Content) -> Table:
    """Return the table of all questions."""
    shown = []
    for row in records(content):
        row |= {"difference": signed(row.get("difference"))}
        if "p" in row:
            p = f"p = {row['p']:.2g}" if row["p"] >= 0.001 else "p < 0.001"
            row |= {
                "question": Note(row["question"], row["answers"]),
                "chance": Note(f"{row['chance']:.3f}", f"accuracy {row['majority']:.3f}"),
                "latents_macro_f1": f"{row['latents_macro_f1']:.3f}",
                "verdict": Note(row["verdict"].split(":")[0], p),
            }
        shown.append(row)
    name, n = content.get("name", LATENTS), content["dimension"]
    return Table.named("scores", shown, len(content["mean_of"]) > 1, n=n, what=name)


def markdown(content: Content, words: str) -> str:
    """Return the table as a page of Markdown, `words` above it."""
    table = score_table(content)
    return f"# Questions of morphology\n\n{words}\n\n{table.caption}\n\n{table.markdown()}\n"


def calibration_table(content: Content) -> list[Table]:
    """Return the table of calibration errors and Brier scores; none where there are no scores."""
    found = content.get("calibration", {})
    rows: list[list[object]] = []
    for name, of in found.items():
        kinds = [of[kind] for kind in (BALANCED, CORRECTED, BASE)]
        errors = [
            Note(f"{kind['calibration_error']:.3f}",
                 f"if calibrated below {kind['if_calibrated']['high']:.3f}")
            for kind in kinds
        ]  # fmt: skip
        brier = [estimate(kind["brier"]) for kind in kinds]
        rows.append([name, kinds[0]["n"], *errors, *brier])
    if several := ALL in found:
        means = (f"{of['mean_error']:.3f}" for of in found[ALL].values())
        rows.append([f"mean of {len(rows) - 1}", None, *means, None, None, None])
    return [Table.named("calibration", rows, several)] if rows else []


def blocks(outputs: RunOutputs) -> list[Block]:
    """Return the chapter of the report."""
    content = outputs.json(outputs.run.classification(outputs.num_var))
    if not content.get("questions"):
        return []
    everything = facts({of["question"]: of for of in content["questions"]})
    return [
        Paragraph(f"Labels: {content['labels']}."), score_table(content),
        *calibration_table(content), *prediction_tables(outputs),
        Details("Every number of each question", everything),
    ]  # fmt: skip


def prediction_tables(outputs: RunOutputs) -> list[Block]:
    """Return the first predictions of each question, of images without a label where there are."""
    path = outputs.run.predictions(outputs.num_var)
    found = outputs.parquet(path)
    if found is None:
        return []
    tables: list[Block] = []
    for column in (name for name in found if name.endswith("_predicted")):
        question = column.removesuffix("_predicted")
        unlabelled = found[f"{question}_label"].isna()
        some = found[unlabelled] if unlabelled.any() else found
        best = some.filter(regex=f"^{re.escape(question)}_p_").max(axis=1)
        columns = ("iauname", f"{question}_label", column, f"{question}_reliability")
        rows = [
            (name, label or "", predicted or "", number_or_none(p), number_or_none(share))
            for (name, label, predicted, share), p in zip(
                some[list(columns)].astype(object).itertuples(index=False), best, strict=True
            )
        ][:_PREDICTED]
        which = " without a label" if unlabelled.any() else ""
        tables.append(
            Table.named(
                "predictions", rows, question=question, shown=len(rows), count=len(some),
                which=which, file=path.relative_to(outputs.run.folder).as_posix(),
            )
        )  # fmt: skip
    return [Details("Predicted answers", tables)] if tables else []


def number_or_none(value: object) -> str | None:
    """Return a number with two digits, None for NaN."""
    return f"{value:.2f}" if isinstance(value, float) and value == value else None


def headline(content: Content, num_var: int) -> list[tuple[str, object, str]]:
    """Return the scores of latents, PCA and chance, means over the scored questions."""
    mean = content.get("mean")
    if not mean:
        return []
    asked = [q for q in content["questions"] if q["question"] in content["mean_of"]]
    tested = sorted(sum(q["n_test"][a] for a in q["answers"]) for q in asked)
    chance = sum(1 / len(q["answers"]) for q in asked) / len(asked)
    what = f"mean of {len(asked)} questions with {tested[0]:,} to {tested[-1]:,} test galaxies"
    crosses = estimate(mean["difference"]).crosses_zero
    rows = {
        f"Forest on {num_var} latents": (LATENTS, "", f"balanced accuracy, {what}"),
        f"Forest on PCA-{num_var}": (PCA, "", "balanced accuracy, the same galaxies"),
        "Latents minus PCA": ("difference", "+.3f", "paired on the same galaxies" + (
            "; it crosses zero: no difference shown" if crosses else "")),
    }  # fmt: skip
    found: list[tuple[str, object, str]] = []
    for name, (key, spec, note) in rows.items():
        value, interval = format(estimate(mean[key]), spec).replace("-", "−").split(" ", 1)
        found.append((name, value, f"95 % interval {interval}, {note}"))
    note = "balanced accuracy of predicting the majority class"
    return [*found, ("Chance", f"{chance:.3f}", note)]


def dimension_blocks(outputs: RunOutputs) -> list[Block]:
    """Return the chapter on the number of latent variables."""
    content = outputs.json(outputs.run.dimensions())
    rows = content.get("dimensions", [])
    if not rows:
        return []
    shown = [
        {n: Note(v, f"± {number(row[f'{n}_error'])}") if row.get(f"{n}_error") else v
         for n, v in row.items()}
        for row in rows
    ]  # fmt: skip
    return [Table.named("dimensions", shown), Paragraph(content["verdict"])]


def _panels(count: int, side: float, share: bool = False) -> tuple[Figure, NDArray]:
    """Return a figure with `count` square panels in rows of four; without any, it says why."""
    columns, rows = min(4, max(count, 1)), max(-(-count // 4), 1)
    figure = new_figure(side * columns, side * rows, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share).ravel()
    for axes in panels[count:]:
        axes.axis("off")
    if not count:
        figure.suptitle("no question has enough galaxies")
    return figure, panels[:count]


def draw_scores(content: Content, path: Path) -> None:
    """Draw the balanced accuracy of each question with its interval: latents, PCA, chance."""
    asked = [q for q in content["questions"] if LATENTS in q]
    lines = [
        (f"{q['question']}\nn = {sum(q['n_test'][a] for a in q['answers']):,}",
         {name: q[name][MAIN] for name in _LOOKS}, 1 / len(q["answers"]))
        for q in asked
    ]  # fmt: skip
    if not lines:
        return save_figure(_panels(0, 4)[0], path)
    if len(lines) > 1:
        chance = float(np.mean([line[2] for line in lines]))
        lines.append((f"mean of {len(asked)}", content["mean"], chance))
    figure = new_figure(8.5, 1.6 + 0.62 * len(lines))
    axes = figure.subplots()
    for y, (_, of, chance) in enumerate(lines):
        axes.plot(chance, y, "|", color=GREY, markersize=22, markeredgewidth=2.5)
        for name, (colour, marker, shift) in _LOOKS.items():
            figures.draw_interval(axes, of[name], y + shift, colour, marker)
    n = content["dimension"]
    name = content.get("name", LATENTS)
    words = f"{n} {name}" if name == LATENTS else f"{n} features of {name}"
    labels = {LATENTS: words, PCA: f"{n} principal components"}
    legend = [(*_LOOKS[name][:2], label) for name, label in labels.items()]
    for colour, marker, label in (*legend, (GREY, "|", "majority class")):
        axes.plot([], [], marker, color=colour, label=label, markersize=8, markeredgewidth=2)
    axes.set_yticks(range(len(lines)), [line[0] for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set(xlim=(0, 1), xlabel="balanced accuracy on test galaxies (bars: 95 % intervals)")
    axes.grid(axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    save_figure(figure, path)


def draw_confusion(content: Content, path: Path) -> None:
    """Draw the confusion matrix of the forest on the latents, one panel per question."""
    asked = [q for q in content["questions"] if LATENTS in q]
    figure, panels = _panels(len(asked), 3.6)
    figure.set_layout_engine("constrained", h_pad=0.12, w_pad=0.12)
    for axes, question in zip(panels, asked, strict=True):
        names, counts = question["answers"], np.array(question[LATENTS]["confusion"])
        shares = counts / counts.sum(axis=1, keepdims=True)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (i, j), share in np.ndenumerate(shares):
            colour = "white" if share > 0.55 else "#222222"
            axes.text(j, i, f"{share:.0%}\n{counts[i, j]}", ha="center", va="center", color=colour)
        folded = [name.replace("-", "-\n").replace(" ", "\n") for name in names]
        axes.set_xticks(range(len(names)), folded, **_SLANTED if len(names) > 3 else {})
        axes.set_yticks(range(len(names)), names)
        axes.set(title=question["question"], xlabel="predicted", ylabel="label")
    save_figure(figure, path)


def draw_calibration(content: Content, path: Path) -> None:
    """Draw the share of correct answers against confidence: all questions, then each."""
    found = content["calibration"]
    figure, panels = _panels(len(found), 3.3, share=True)
    figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() + 0.9)
    for axes, (name, of) in zip(panels, found.items(), strict=True):
        _draw_bins(axes, "all questions" if name == ALL else name, of)
    figure.supxlabel("probability of the forest's answer", fontsize=11)
    figure.supylabel("share of correct answers (bars: 95 % intervals)", fontsize=11)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    save_figure(figure, path)


def _draw_bins(axes: Axes, name: str, of: Content) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, zorder=0)
    for kind, (colour, marker, aside) in _CALIBRATED.items():
        keys = ("confidence", "accuracy", "low", "high")
        x, y, low, high = np.array([[line[key] for key in keys] for line in of[kind]["bins"]]).T
        axes.errorbar(x + aside, y, np.maximum([y - low, high - y], 0), fmt=marker, color=colour,
                      markersize=5, linewidth=1.3, label=f"forest, {kind}")  # fmt: skip
    base = of[BASE]["bins"][0]
    axes.plot(base["confidence"], base["accuracy"], "D", color=GREEN, markersize=6, label=BASE)
    errors = [of[kind]["calibration_error"] for kind in _CALIBRATED]
    axes.set_title(f"{name}, n = {of[BALANCED]['n']:,}", pad=22)
    axes.text(0, 1.03, "calibration error {:.3f} (squares), {:.3f} (dots)".format(*errors),
              transform=axes.transAxes, fontsize=8.5, color="#555555")  # fmt: skip
    axes.set(xlim=(0.25, 1.03), ylim=(-0.03, 1.04))
