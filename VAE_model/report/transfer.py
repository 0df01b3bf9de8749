"""The comparison of two surveys: tables, figure, sentences, and the chapters of the report.

All but the chapters on pairs and adaptation is made from transfer/comparison.json.
"""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from VAE_model import surveys
from VAE_model.data.splits import SHARES
from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.report import figures
from VAE_model.report.figures import GREEN, GREY, INDIGO, ROSE, WINE
from VAE_model.report.page import Block, Details, Paragraph
from VAE_model.report.plotting import Axes
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.report.run_tables import by_reason
from VAE_model.report.tables import Note, Table, percent, prose, signed
from VAE_model.transfer.adaptation import BEFORE, RECOMMENDED

Content = dict[str, Any]

HOME, CARRIED, BACK, AWAY = (
    "first to first", "first to second", "second to first", "second to second",
)  # fmt: skip
_LOOKS = {HOME: (INDIGO, "o"), CARRIED: (ROSE, "s")}
_MEASURES = ("distance", "recall_at_1", "recall_at_10", "auc")
UNKNOWN = Estimate(np.nan, np.nan, np.nan)
estimate = Estimate.read


def label_of(method: str) -> str:
    """Return the name of a method in tables and figures."""
    return "before" if method == BEFORE else method


def surveys_of(result: Content) -> tuple[str, str]:
    """Return the labels of the two surveys."""
    first, second = map(surveys.label_of, result["surveys"])
    return first, second


def text(values: dict[str, float] | None, sign: bool = False) -> str:
    """Return values of JSON as text: 0.712 [0.650, 0.770]."""
    return format(estimate(values), "+.3f" if sign else "") if values else "–"


def verdicts(result: Content) -> list[str]:
    """Return the conclusions that the numbers allow, a sentence each."""
    first, second = surveys_of(result)
    methods, before = result["methods"], result["methods"][BEFORE]
    n = result["pairs"]["test"]
    if "transfer" in before:
        gap = before["transfer"]["gap"]
        conclusion = (
            "a gap on these galaxies" if gap["low"] > 0
            else "the interval reaches zero: no gap is shown"
        )  # fmt: skip
        lines = [
            f"gap before adaptation (forest of {first} tested on {first}, minus on {second}; "
            f"mean of {len(result['mean_of'])} questions, {n} test pairs) {text(gap, True)}: "
            f"{conclusion}"
        ]
    else:
        none = result["labels"] == "none"
        why = "there are no labels" if none else f"no question has enough of {n} test pairs"
        lines = [f"no forest was fitted: {why}"]
    for name in methods:
        if name == BEFORE:
            continue
        words = []
        if transfer := methods[name].get("transfer"):
            change = transfer["change"]
            words.append(f"{second} {text(change[CARRIED], True)}")
            words.append(f"{first} {text(change[HOME], True)}")
        for key, label in (("auc", "AUC"), ("recall_at_1", "recall at 1"), ("distance",) * 2):
            was, now = (of["agreement"][key]["value"] for of in (before, methods[name]))
            words.append(f"{label} {was:.3f} to {now:.3f}")
        lines.append(f"{name}: {', '.join(words)}")
    return lines


def method_records(result: Content) -> list[Content]:
    """Return a record per method."""
    records = []
    for name, of in result["methods"].items():
        row: Content = {"method": label_of(name), "test_pairs": of["agreement"]["n"]}
        if scores := of.get("transfer"):
            row |= {_named(route, result): estimate(v) for route, v in scores["mean"].items()}
            changed = name != BEFORE
            row |= {"change": estimate(scores["change"][CARRIED]) if changed else UNKNOWN}
            row["gap"] = estimate(scores["gap"])
        row |= {key: estimate(of["agreement"][key]) for key in _MEASURES}
        row |= {key: of["agreement"][key] for key in ("correlation", "mmd")}
        for survey, values in of["reconstruction"].items():
            row |= {f"{key}_{survey}": value for key, value in values.items()}
        records.append(row | {f"kept_{key}": value for key, value in of["kept"].items()})
    return records


def question_records(result: Content) -> list[Content]:
    """Return a record per method and question, for CSV: counts, and the scores of each route."""
    records = []
    for asked in _asked(result).values():
        for method, of in result["methods"].items():
            scores = of["transfer"]["questions"][asked["question"]]
            row: Content = {"method": label_of(method), **asked}
            for route in (HOME, CARRIED, BACK, AWAY):
                column = _named(route, result)
                row[column] = estimate(scores[route]["balanced_accuracy"])
                row[f"{column}_accuracy"] = scores[route]["accuracy"]
            test = scores["mcnemar"]
            row |= {"gained": test["gained"], "lost": test["lost"], "mcnemar_p": test["p"]}
            records.append(row)
    return records


def _asked(result: Content) -> dict[str, Content]:
    """Return the questions with a score, with numbers of galaxies, majority and chance."""
    return {
        q["question"]: {
            "question": q["question"], "answers": " / ".join(q["answers"]),
            **{n: sum(q[n][answer] for answer in q["answers"]) for n in ("n_train", "n_test")},
            "majority": q["majority"], "chance": q["chance"],
        }
        for q in result["questions"]
        if q["question"] in result["mean_of"]
    }  # fmt: skip


def _named(route: str, result: Content) -> str:
    """Return `first to second` as decals_to_bassmzls."""
    names = dict(zip(("first", "second"), result["surveys"], strict=True))
    return "_".join(names.get(part, part) for part in route.split(" "))


def markdown(result: Content) -> str:
    """Return verdicts and tables as a page of Markdown."""
    first, second = surveys_of(result)
    n, method = result["pairs"], RECOMMENDED
    parts = [
        "# Before and after adaptation",
        f"{n['test']:,} test pairs; fitted on {n['train']:,} training pairs. Labels: "
        f"{result['labels']}.",
        "\n".join(f"- {line}" for line in result["verdicts"]),
    ]
    tables = {"Latents of the same galaxies": agreement_table(result)}
    if result["mean_of"]:
        tables = {"Forests carried from survey to survey": transfer_table(result), **tables}
        if method in result["methods"]:
            tables |= {
                f"Questions within each survey, before and after ({method})":
                    published_table(result, method),
                f"Each question, forest of {first} tested on {second}":
                    mcnemar_table(result, method),
            }  # fmt: skip
    for title, table in tables.items():
        parts += [f"## {title}", table.caption, table.markdown()]
    return "\n\n".join(part for part in parts if part) + "\n"


def transfer_table(result: Content) -> Table:
    """Return each method's scores by the survey of the fit and that of the test."""
    names = dict(zip(("first", "second"), surveys_of(result), strict=True))
    headings = {"method": "method"}
    for route in (HOME, CARRIED, BACK, AWAY):
        fit, test = route.split(" to ")
        headings[_named(route, result)] = f"{names[fit]} → {names[test]}"
    headings["change"] = f"change of {' → '.join(names.values())}"
    for test, name in names.items():
        headings[_named(f"old to {test}", result)] = f"old forest → {name}"
    rows = [row | {"change": signed(row["change"])} for row in method_records(result)]
    counts = {"pairs": result["pairs"]["test"], "questions": len(result["mean_of"])}
    return Table.of(rows, headings, prose("transfer", **counts))


def agreement_table(result: Content) -> Table:
    """Return the agreement of the latents, and what an adaptation changes within each survey."""
    first, second = surveys_of(result)
    headings = {
        "method": "method", "distance": "distance (standard deviations)",
        "correlation": "correlation", "recall_at_1": "recall at 1", "recall_at_10": "recall at 10",
        "auc": "AUC of the survey", "mmd": "MMD",
        **{f"ssim_{name}": f"SSIM {label}"
           for name, label in zip(result["surveys"], (first, second), strict=True)},
        "kept_distance": f"{first} moved by (standard deviations)",
    }  # fmt: skip
    rounded = [
        {name: round(v, 4) if isinstance(v, float) else v for name, v in row.items()}
        for row in method_records(result)
    ]
    return Table.of(rounded, headings, prose("agreement"))


def published_table(result: Content, method: str) -> Table:
    """Return the published table: accuracy within each survey, before and after."""
    names = surveys_of(result)
    head = ["question", "N train", "N test", "majority"]
    head += [f"{survey} {when}" for when in ("before", "after") for survey in names]
    rows = []
    for name, asked in _asked(result).items():
        cells, n = [], asked["n_test"]
        for of in (BEFORE, method):
            for route in (HOME, AWAY):
                scores = result["methods"][of]["transfer"]["questions"][name]
                correct = round(scores[route]["accuracy"] * n)
                low, high = binomtest(correct, n).proportion_ci(method="wilson")
                share = Estimate(100 * scores[route]["accuracy"], 100 * low, 100 * high)
                cells.append(Note(*f"{share:.1f}".split(" ", 1)))
        rows.append([name, asked["n_train"], n, f"{100 * asked['majority']:.2f}", *cells])
    return Table(head, rows, prose("published"))


def mcnemar_table(result: Content, method: str) -> Table:
    """Return each question before and after, with the galaxies gained and lost."""
    asked = _asked(result)
    rows: list[list[object]] = []
    for question in result["questions"]:
        name = question["question"]
        if name not in asked:
            rows.append([name, *[None] * 5, "", question["no_score_because"]])
            continue
        before, after = (
            result["methods"][of]["transfer"]["questions"][name] for of in (BEFORE, method)
        )
        values = [estimate(of[CARRIED]["balanced_accuracy"]) for of in (before, after)]
        test, chance = after["mcnemar"], f"{question['chance']:.3f}"
        changes = test["gained"], test["lost"], f"{test['p']:.2g}"
        rows.append([name, asked[name]["n_test"], chance, *values, *changes])
    return Table.named("mcnemar", rows)


def draw_comparison(result: Content, path: Path) -> None:
    """Draw the comparison, one row per method.

    The score of a forest in either survey, the AUC of a classifier of the survey, and the distance
    between a galaxy's two latents.
    """
    methods = list(result["methods"])
    first, second = surveys_of(result)
    figure = figures.new_figure(12.5, 2.0 + 0.42 * len(methods), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=(1.3, 1, 1))
    for y, name in enumerate(methods):
        of = result["methods"][name]
        if "transfer" in of:
            for route, shift in ((HOME, -0.14), (CARRIED, 0.14)):
                values = of["transfer"]["mean"][route]
                figures.draw_interval(left, values, y + shift, *_LOOKS[route])
        figures.draw_interval(middle, of["agreement"]["auc"], y, GREEN, "o")
        figures.draw_interval(right, of["agreement"]["distance"], y, WINE, "o")
    if "transfer" in result["methods"][BEFORE]:
        for (colour, marker), survey in zip(_LOOKS.values(), (first, second), strict=True):
            left.plot([], [], f"{marker}-", color=colour, label=f"tested on {survey}")
        chance = float(np.mean([asked["chance"] for asked in _asked(result).values()]))
        _mark(left, chance, "chance")
        figure.legend(loc="outside lower left", ncols=2)
    else:
        left.text(0.5, 0.5, "too few test galaxies", transform=left.transAxes, ha="center")
    _mark(middle, 0.5, "chance")
    left.set_yticks(range(len(methods)), [label_of(name) for name in methods])
    left.set_ylim(len(methods) - 0.4, -0.6)
    left.set_title(f"A forest fitted on {first}:\ndoes it hold on {second}?")
    middle.set_title("Can a classifier distinguish\nthe surveys?")
    right.set_title("How far apart are a galaxy's\ntwo latents?")
    left.set_xlabel("balanced accuracy, mean of the questions")
    middle.set_xlabel("AUC of a classifier of the survey")
    right.set_xlabel("median distance (standard deviations)")
    right.set_xlim(left=0)
    for axes in (left, middle, right):
        axes.grid(axis="x")
    figures.save_figure(figure, path)


def _mark(axes: Axes, x: float, words: str) -> None:
    """Draw a dashed vertical line with a word to its right."""
    axes.axvline(x, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(words, (x, 0.02), (4, 0), ("data", "axes fraction"), "offset points", fontsize=9,
                  rotation=90, ha="left", color="#666666")  # fmt: skip


def pair_blocks(outputs: RunOutputs) -> list[Block]:
    """Return the number of pairs in each split, and the refused images by reason."""
    run = outputs.run
    found = outputs.parquet(run.pairs, ["split", "usable", "defect", "shift_x", "shift_y"])
    if found is None:
        return []
    moved = found.assign(moved=(found[["shift_x", "shift_y"]] != 0).any(axis=1))
    groups = {split: moved[moved["split"] == split] for split in SHARES} | {"all": moved}
    rows = [(name, len(of), of["usable"].sum(), of["moved"].sum()) for name, of in groups.items()]
    return [Table.named("pairs", rows, total=True), *by_reason(outputs.csv(run.pairs_refused))]


def adaptation_blocks(outputs: RunOutputs) -> list[Block]:
    """Return the best epoch of each method that trains."""
    numbers: Content = next(
        (r["numbers"] for r in outputs.records.values() if r["script"] == "transfer/adapt.py"), {}
    )
    rows = [
        (
            method, best["epoch"], f"{best['validation_reconstruction']:,.0f}",
            f"{best['validation_pair'] ** 0.5:.3f}", f"{best['validation_mmd']:.4f}",
            f"{best['validation_keep'] ** 0.5:.3f}", f"{best['stiffness']:,.0f}",
        )
        for method, best in numbers.get("best", {}).items()
    ]  # fmt: skip
    return [Table.named("adaptation", rows)] if rows else []


def comparison_blocks(outputs: RunOutputs) -> list[Block]:
    """Return the comparison of the methods."""
    content = outputs.json(outputs.run.comparison())
    if not content:
        return []
    verdict = content["verdicts"][0]
    parts: list[Block] = [Paragraph(f"{verdict[0].upper()}{verdict[1:]}.")]
    if not content["mean_of"]:
        return [*parts, agreement_table(content)]
    parts += [transfer_table(content), agreement_table(content)]
    for method in content["methods"]:
        if method != BEFORE:
            tables = [mcnemar_table(content, method), published_table(content, method)]
            parts.append(Details(f"Each question, before and after: {method}", tables))
    return parts


def headline(outputs: RunOutputs) -> list[tuple[str, object, str]]:
    """Return the forest's score in the second survey, the AUC of the surveys, and the recall."""
    content = outputs.json(outputs.run.comparison())
    before, after = (content.get("methods", {}).get(name) for name in (BEFORE, RECOMMENDED))
    if before is None or after is None:
        return []
    first, second = surveys_of(content)
    found: list[tuple[str, object, str]] = []
    if content["mean_of"]:
        was, now = (of["transfer"]["mean"][CARRIED]["value"] for of in (before, after))
        change = Estimate.read(after["transfer"]["change"][CARRIED])
        note = f"balanced accuracy, before {was:.3f}; paired change {change:+.3f}"
        found.append((f"{first} forest on {second}", f"{now:.3f}", note))
    was, now = (of["agreement"]["auc"]["value"] for of in (before, after))
    note = f"classifier on the latents, before {was:.3f}; 0.5 is chance"
    found.append(("AUC of the survey", f"{now:.3f}", note))
    was, now = (of["agreement"]["recall_at_1"]["value"] for of in (before, after))
    note = f"test galaxies that are their own nearest neighbour, before {percent(was)}"
    return [*found, ("Found again in the other survey", percent(now), note)]
