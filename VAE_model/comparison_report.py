"""How a comparison of adaptations is shown: verdicts, tables, the figure."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from VAE_model import surveys
from VAE_model.adaptation import BEFORE, RECOMMENDED
from VAE_model.figures import GREEN, INDIGO, ROSE, WINE, new_figure, save_figure
from VAE_model.plotting import Axes

Content = dict[str, Any]

HOME, CARRIED, BACK, AWAY = (
    "first to first", "first to second", "second to first", "second to second",
)  # fmt: skip
_STYLES = {HOME: (INDIGO, "o"), CARRIED: (ROSE, "s")}


def label_of(method: str) -> str:
    return "before" if method == BEFORE else method


def surveys_of(result: Content) -> tuple[str, str]:
    """The names of the two surveys, as people write them."""
    first, second = map(surveys.label_of, result["surveys"])
    return first, second


def shown(value: dict[str, float] | None, sign: bool = False) -> str:
    """0.712 [0.650, 0.770]."""
    if value is None:
        return "–"
    middle, low, high = (
        f"{value[key]:{'+' if sign else ''}.3f}" for key in ("value", "low", "high")
    )
    return f"{middle} [{low}, {high}]"


def verdicts(result: Content) -> list[str]:
    """What the numbers allow to say, a sentence each."""
    first, second = surveys_of(result)
    methods, lines = result["methods"], []
    before = methods[BEFORE]
    n = result["pairs"]["test"]
    if "transfer" in before:
        gap = before["transfer"]["gap"]
        says = (
            "there is a gap to close" if gap["low"] > 0 else
            "the interval reaches zero: no gap is shown, and none can be closed"
        )  # fmt: skip
        lines.append(
            f"gap before adaptation (forest of {first} asked about {first}, minus about {second}; "
            f"mean of {len(result['mean_of'])} questions, {n} test pairs) {shown(gap, True)}: "
            f"{says}"
        )
    else:
        why = (
            "there are no labels" if result["labels"] == "none" else
            f"no question has test galaxies enough among {n} test pairs"
        )  # fmt: skip
        lines.append(f"no forest was asked: {why}")
    for name in methods:
        if name == BEFORE:
            continue
        words = [f"{name}:"]
        transfer = methods[name].get("transfer")
        if transfer:
            change = transfer["change"]
            words.append(
                f"{second} {shown(change[CARRIED], True)}, {first} {shown(change[HOME], True)}"
            )
            if transfer["closed"]:
                words.append(f"closes {shown(transfer['closed'])} of the gap")
        found, was = methods[name]["agreement"], before["agreement"]
        words.append(
            f"AUC {was['auc']['value']:.3f} to {found['auc']['value']:.3f}, recall at 1 "
            f"{was['recall_at_1']['value']:.3f} to {found['recall_at_1']['value']:.3f}, distance "
            f"{was['distance']['value']:.3f} to {found['distance']['value']:.3f}"
        )
        lines.append(" ".join([words[0], ", ".join(words[1:])]))
    return lines


def table_of_methods(result: Content) -> pd.DataFrame:
    """A row a method, as numbers; scores and measures with _low and _high."""
    rows = []
    for name, of in result["methods"].items():
        row: dict[str, Any] = {"method": label_of(name), "test_pairs": of["agreement"]["n"]}
        if "transfer" in of:
            for route, estimate in of["transfer"]["mean"].items():
                row |= _columns(_named(route, result), estimate)
            row |= _columns("gap", of["transfer"]["gap"])
            row |= _columns("closed", of["transfer"]["closed"])
        for measure in ("distance", "recall_at_1", "recall_at_10", "auc"):
            row |= _columns(measure, of["agreement"][measure])
        row |= {"correlation": of["agreement"]["correlation"], "mmd": of["agreement"]["mmd"]}
        for survey, values in of["reconstruction"].items():
            row |= {f"ssim_{survey}": values["ssim"], f"mse_{survey}": values["mse"]}
        row |= {f"kept_{measure}": value for measure, value in of["kept"].items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _named(route: str, result: Content) -> str:
    """first to second -> decals_to_bassmzls."""
    names = dict(zip(("first", "second"), result["surveys"], strict=True))
    return "_".join(names.get(part, part) for part in route.split(" "))


def _columns(name: str, estimate: dict[str, float] | None) -> dict[str, float]:
    values = estimate or {"value": np.nan, "low": np.nan, "high": np.nan}
    return {name: values["value"], f"{name}_low": values["low"], f"{name}_high": values["high"]}


def question_table(result: Content) -> pd.DataFrame:
    """A row a method and question: n, majority, accuracy and balanced accuracy of each route."""
    rows = []
    for question in result["questions"]:
        name = question["question"]
        if name not in result["mean_of"]:
            continue
        facts = {
            "question": name,
            "answers": " / ".join(question["answers"]),
            "n_train": sum(question["n_train"][a] for a in question["answers"]),
            "n_test": sum(question["n_test"][a] for a in question["answers"]),
            "majority": question["majority"],
            "chance": question["chance"],
        }
        for method, of in result["methods"].items():
            scores = of["transfer"]["questions"][name]
            row = {"method": label_of(method), **facts}
            for route in (HOME, CARRIED, BACK, AWAY):
                column = _named(route, result)
                row |= _columns(column, scores[route]["balanced_accuracy"])
                row[f"{column}_accuracy"] = scores[route]["accuracy"]
            gained, lost, p = (scores["mcnemar"][key] for key in ("gained", "lost", "p"))
            rows.append(row | {"gained": gained, "lost": lost, "mcnemar_p": p})
    return pd.DataFrame(rows)


def markdown(result: Content) -> str:
    """Verdicts, the transfer matrix, the two views, the published table, as Markdown."""
    first, second = surveys_of(result)
    n = result["pairs"]
    parts = [
        "# Before and after adaptation",
        f"{n['test']:,} test pairs; fitted on {n['train']:,} training pairs. Labels: "
        f"{result['labels']}. Balanced accuracy, mean of {len(result['mean_of'])} questions, with "
        "95 % intervals of resampled test galaxies.",
        "\n".join(f"- {line}" for line in result["verdicts"]),
    ]
    if result["mean_of"]:
        parts += ["## Forests carried from survey to survey", _pipes(*transfer_rows(result))]
    parts += ["## The two views of a galaxy", _pipes(*agreement_rows(result))]
    method = RECOMMENDED
    if method in result["methods"] and result["mean_of"]:
        parts += [
            f"## Seven questions within each survey, before and after ({method})",
            "Accuracy in per cent, forest fitted and tested in the same survey, as Xu et al. 2023 "
            "report it, but on galaxies that nothing was fitted on; in brackets the 95 % interval "
            "of Wilson (1927).",
            _pipes(*published_rows(result, method)),
            f"## Each question, forest of {first} asked about {second}",
            _pipes(*mcnemar_rows(result, method)),
        ]
    return "\n\n".join(parts) + "\n"


def transfer_rows(result: Content) -> tuple[list[str], list[list[str]]]:
    """Head and rows: each method's scores by where the forest learned and where it is asked."""
    names = surveys_of(result)
    head = ["method", *(f"{fit} → {test}" for fit in names for test in names)]
    head += [f"change of {' → '.join(names)}", *(f"old forest → {name}" for name in names)]
    rows = []
    for name, of in result["methods"].items():
        mean, change = of["transfer"]["mean"], of["transfer"]["change"]
        rows.append(
            [label_of(name), *(shown(mean[route]) for route in (HOME, CARRIED, BACK, AWAY)),
             "–" if name == BEFORE else shown(change[CARRIED], True),
             shown(mean["old to first"]), shown(mean["old to second"])]
        )  # fmt: skip
    return head, rows


def agreement_rows(result: Content) -> tuple[list[str], list[list[str]]]:
    """Head and rows: how far apart the views are, and what that leaves of either survey."""
    first, second = surveys_of(result)
    head = ["method", "distance (scatters)", "correlation", "recall at 1", "recall at 10",
            "AUC of the survey", "MMD", f"SSIM {first}", f"SSIM {second}",
            f"{first} moved by (scatters)"]  # fmt: skip
    rows = []
    for name, of in result["methods"].items():
        found = of["agreement"]
        rows.append(
            [label_of(name), shown(found["distance"]), f"{found['correlation']:.3f}",
             shown(found["recall_at_1"]), shown(found["recall_at_10"]), shown(found["auc"]),
             f"{found['mmd']:.4f}", *(f"{q['ssim']:.3f}" for q in of["reconstruction"].values()),
             f"{of['kept']['distance']:.3f}"]
        )  # fmt: skip
    return head, rows


def published_rows(result: Content, method: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the published table: accuracy within each survey, before and after."""
    names = surveys_of(result)
    head = ["question", "N train", "N test", "majority"]
    head += [f"{survey} {when}" for when in ("before", "after") for survey in names]
    rows = []
    for question in result["questions"]:
        name = question["question"]
        if name not in result["mean_of"]:
            continue
        counts = [sum(question[n][a] for a in question["answers"]) for n in ("n_train", "n_test")]
        cells = [
            _per_cent(
                result["methods"][m]["transfer"]["questions"][name][route]["accuracy"], counts[1]
            )
            for m in (BEFORE, method)
            for route in (HOME, AWAY)
        ]
        rows.append([name, *map(str, counts), f"{100 * question['majority']:.2f}", *cells])
    return head, rows


def _per_cent(share: float, count: int) -> str:
    """A share of `count` galaxies with its 95 % interval (Wilson 1927), per cent."""
    low, high = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def mcnemar_rows(result: Content, method: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows: each question before and after, galaxies gained and lost."""
    head = ["question", "n", "chance", "before", "after", "gained", "lost", "McNemar p"]
    rows = []
    for question in result["questions"]:
        name = question["question"]
        if name not in result["mean_of"]:
            rows.append([name, *["–"] * 5, "", question["no_score_because"]])
            continue
        before, after = (
            result["methods"][m]["transfer"]["questions"][name] for m in (BEFORE, method)
        )
        test = after["mcnemar"]
        rows.append(
            [name, str(sum(question["n_test"][a] for a in question["answers"])),
             f"{question['chance']:.3f}", shown(before[CARRIED]["balanced_accuracy"]),
             shown(after[CARRIED]["balanced_accuracy"]), str(test["gained"]), str(test["lost"]),
             f"{test['p']:.2g}"]
        )  # fmt: skip
    return head, rows


def _pipes(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def draw_comparison(result: Content, path: Path) -> None:
    """Three questions a newcomer can follow, a row a method: does what a forest learned in one
    survey hold in the other, can the surveys be told apart, is a galaxy found again."""
    methods = list(result["methods"])
    first, second = surveys_of(result)
    figure = new_figure(12.5, 2.0 + 0.42 * len(methods), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=(1.3, 1, 1))
    for y, name in enumerate(methods):
        of = result["methods"][name]
        if "transfer" in of:
            for route, shift in ((HOME, -0.14), (CARRIED, 0.14)):
                _bar(left, of["transfer"]["mean"][route], y + shift, *_STYLES[route])
        _bar(middle, of["agreement"]["auc"], y, GREEN)
        _bar(right, of["agreement"]["distance"], y, WINE)
    if "transfer" in result["methods"][BEFORE]:
        for route, survey in ((HOME, first), (CARRIED, second)):
            colour, marker = _STYLES[route]
            left.plot([], [], f"{marker}-", color=colour, label=f"asked about {survey}")
        chance = np.mean([q["chance"] for q in result["questions"]
                          if q["question"] in result["mean_of"]])  # fmt: skip
        left.axvline(chance, color="#999999", linestyle="--", linewidth=1)
        _note(left, chance, "guessing")
        left.legend(loc="center", bbox_to_anchor=(0.42, 0.5), title=None)
    else:
        left.text(0.5, 0.5, "too few test galaxies", transform=left.transAxes, ha="center")
    middle.axvline(0.5, color="#999999", linestyle="--", linewidth=1)
    _note(middle, 0.5, "not at all")
    left.set_yticks(range(len(methods)), [label_of(name) for name in methods])
    left.set_ylim(len(methods) - 0.4, -0.6)
    left.set_title(f"A forest that learned on {first}:\ndoes it hold on {second}?")
    middle.set_title("Can the surveys be told apart\nby the latents?")
    right.set_title("How far apart are a galaxy's\ntwo views?")
    left.set_xlabel("balanced accuracy, mean of the questions")
    middle.set_xlabel("AUC of a classifier of the survey")
    right.set_xlabel("median distance (scatters of the latents)")
    right.set_xlim(left=0)
    for axes in (left, middle, right):
        axes.grid(axis="x")
    save_figure(figure, path)


def _bar(axes: Axes, estimate: dict[str, float], y: float, colour: str, marker: str = "o") -> None:
    axes.plot([estimate["low"], estimate["high"]], [y, y], color=colour, linewidth=2.4)
    axes.plot(estimate["value"], y, marker, color=colour, markersize=7)


def _note(axes: Axes, x: float, words: str) -> None:
    """A word along a vertical line, to its right."""
    axes.annotate(words, (x, 0.02), (4, 0), ("data", "axes fraction"), "offset points", fontsize=9,
                  rotation=90, ha="left", color="#666666")  # fmt: skip
