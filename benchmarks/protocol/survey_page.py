"""The page and the figure of "Several surveys" of docs/PROTOCOL.md, from the skies measured so far.

Reads:  <results>/<seed>.json
Writes: docs/TRANSFER.md, docs/transfer.png

Example: python benchmarks/protocol/survey_page.py
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.pipeline.files import write_text
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start
from VAE_model.report.figures import GREY, INDIGO, ROSE, new_figure, save_figure
from VAE_model.report.skies import across, read_skies
from VAE_model.report.tables import Table
from VAE_model.report.transfer import label_of as method_label
from VAE_model.surveys import DECALS, label_of
from VAE_model.transfer.adaptation import BEFORE, RECOMMENDED

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import survey_grid, survey_sky
from benchmarks.protocol.results import half_width, text
from benchmarks.protocol.sky import AFFINE
from benchmarks.protocol.survey_networks import METHOD, WEIGHTS
from benchmarks.protocol.survey_search import ALONE, MOVED, TOGETHER
from benchmarks.protocol.survey_sky import GRID, OTHERS, PARTS, PREPARATION, PUBLISHED
from benchmarks.protocol.survey_uses import (
    ADAPTED,
    LABELS,
    NIGHT,
    NOISE,
    OWN,
    POOLED,
    QUANTITIES,
)

Content = dict[str, Any]
By = Mapping[str, Sequence[Content]]  # by survey, of each sky
# What the protocol expects of the forest's gap before adaptation.
EXPECTED = {"des": ("the null", False), "sdss": ("the positive control", True)}
NUMBERS = {  # other numbers than the default network's, in the table of the preparation
    "pixels": "PCA-40 of the pixels",
    "aligned": "PCA-40 of the aligned images",
    WEIGHTS: "weights that travel with the project",
    f"{WEIGHTS}, affine": "the same, moved by an affine map",
}
NULLS = (NOISE, NIGHT)
MAPS = ("standardise", "coral", AFFINE)  # methods in the table of the grid
SHOWN = ("coral", AFFINE, RECOMMENDED)  # methods in the table of uses
FEWEST = str(LABELS[0])


@dataclass(frozen=True)
class Config:
    """Constants of the page."""

    results: Path = survey_sky.Config.results
    """Folder of the results."""
    page: Path = Path("docs/TRANSFER.md")
    """The page; its figure lies beside it."""
    skies: int = 8
    """Skies of the protocol."""


# ---- values of one sky and survey


def score(entry: Content, side: str) -> float:
    """Return the mean score over the questions in a survey: `first` or `second`."""
    return float(np.mean(entry[side]))


def gap(entry: Content) -> float:
    """Return the score in DECaLS minus that in the other survey."""
    return score(entry, "first") - score(entry, "second")


def gaps(of: Sequence[Content], method: str) -> list[float]:
    """Return the gap of a method on each sky; of: entries by method, of each sky."""
    return [gap(one[method]) for one in of]


def shift(entry: Content) -> float:
    """Return how far predicted class fractions move from DECaLS to the other survey.

    Half of the sum of the absolute changes, the mean over the questions.
    """
    changes = [list(of.values()) for of in entry["fractions"].values()]
    return float(np.mean([np.abs(of).sum() / 2 for of in changes]))


def _pooled(of: Content, method: str) -> float:
    """Return the score with the fewest labels of the second survey beside those of DECaLS."""
    if FEWEST not in of["few labels"]:  # no question has so many training galaxies
        return math.nan
    return of["few labels"][FEWEST][method]["pooled"]


def _error(quantity: str) -> Callable[[Content, str], float]:
    return lambda of, method: -of["regression"]["methods"][method][quantity]["error"]


# The experiments: a value of a sky's survey and a method, more of which is better.
USES: dict[str, Callable[[Content, str], float]] = {
    "score of DECaLS's forest": lambda of, m: score(of["adaptation"][m], "second"),
    f"score with {FEWEST} labels and DECaLS's": _pooled,
    "overlap of the outliers": lambda of, m: of["outliers"]["methods"][m]["overlap"],
    "correlation of the outlier scores": lambda of, m: of["outliers"]["methods"][m]["correlation"],
    "retrieval at 1": lambda of, m: of["retrieval"]["methods"][m]["recall_at_1"],
    **{f"− error of the {name}": _error(name) for name in QUANTITIES},
    "− shift of the class fractions": lambda of, m: -shift(of["adaptation"][m]),
}
LABELLED = f"score with {FEWEST} labels and DECaLS's"  # has no null from another night


# ---- across skies


def of_survey(skies: Sequence[Content], survey: str) -> list[Content]:
    """Return the content of a survey on the skies where all its parts are measured."""
    found = [sky["surveys"].get(survey, {}) for sky in skies]
    return [of for of in found if all(part in of for part in PARTS)]


def ratio(above: Sequence[float], below: Sequence[float]) -> Estimate | None:
    """Return the ratio of two means over skies and its 95 % interval (Fieller 1954).

    None unless the mean of `below` is clear of zero, where the interval is unbounded, or for fewer
    than three skies.
    """
    k = len(below)
    if k < 3 or across(below).low <= 0:
        return None
    factor = t.ppf(0.975, k - 1) ** 2 / k
    (vx, cov), (_, vy) = np.cov(above, below)
    x, y = float(np.mean(above)), float(np.mean(below))
    a, b, c = y * y - factor * vy, x * y - factor * cov, x * x - factor * vx
    half = math.sqrt(max(b * b - a * c, 0))
    return Estimate(x / y, (b - half) / a, (b + half) / a)


def share_closed(of: Sequence[Content], method: str) -> Estimate | None:
    """Return the share of the gap that a method regains in the other survey.

    of: entries by method, of each sky. The gap is measured on one half of the test galaxies, what
    the method regains on the other, so that a gap that is large by chance does not close by chance.
    None where that gap is not clear of zero.
    """
    before, after = ([one[name]["halves"] for one in of] for name in (BEFORE, method))
    gaps = [first[0] - second[0] for first, second in before]
    regained = [new[1][1] - old[1][1] for old, new in zip(before, after, strict=True)]
    return ratio(regained, gaps)


def change(of: Sequence[Content], use: str, method: str) -> list[float]:
    """Return a method's value of a use minus that before adaptation, of each sky."""
    value = USES[use]
    found = [value(one, method) - value(one, BEFORE) for one in of]
    return [one for one in found if not math.isnan(one)]


# ---- tables


MEASURES = {"distance": "distance", "recall_at_1": "recall at 1", "auc": "AUC of the survey"}


def _cells(of: Sequence[Content], names: Sequence[str]) -> list[str]:
    return [text([one[name] for one in of]) if name in of[0] else "–" for name in names]


def _shown(values: Sequence[float], spec: str = "+.3f") -> list[str]:
    """Return mean and interval, and the difference that would show."""
    return [text(values, spec), half_width(values)]


def _scores(of: Sequence[Content]) -> list[str]:
    """Return the scores in DECaLS and in the survey, the gap, and the gap that would show."""
    sides = [text([score(one, side) for one in of]) for side in ("first", "second")]
    return [*sides, *_shown([gap(one) for one in of])]


SCORES = ["DECaLS → DECaLS", "DECaLS → survey", "gap", "gap that would show"]


def preparation_table(by: By) -> Table:
    """Return the gap of the default network's latents and of other numbers, by survey."""
    cells = []
    for survey, of in by.items():
        rows = {words: [one[PREPARATION][name] for one in of] for name, words in NUMBERS.items()}
        rows["**default network**"] = [one["adaptation"][BEFORE] for one in of]
        cells += [[label_of(survey), words, len(of), *_scores(one), *_cells(one, [*MEASURES])]
                  for words, one in rows.items()]  # fmt: skip
    return Table(["survey", "numbers by", "skies", *SCORES, *MEASURES.values()], cells)


def method_table(of: Sequence[Content]) -> Table:
    """Return a row per method, forest and null of one survey; of: entries by method."""
    cells = []
    names = {OWN: f"*{OWN}: each survey's forest in itself*",
             POOLED: f"*{POOLED}: a forest of both*",
             **{kind: f"*null: DECaLS, {kind}*" for kind in NULLS}}  # fmt: skip
    for method in of[0]:
        entries = [one[method] for one in of]
        row = [names.get(method, method_label(method)), *_scores(entries), "–", "–", "–"]
        if method not in (BEFORE, *NULLS):
            moved = [score(one[method], "second") - score(one[BEFORE], "second") for one in of]
            row[-3:] = [*_shown(moved), _share(of, method)]
        cells.append([*row, *_cells(entries, [*MEASURES])])
    head = ["method", *SCORES, "change in the survey", "change that would show", "share regained",
            *MEASURES.values()]  # fmt: skip
    return Table(head, cells)


def _share(of: Sequence[Content], method: str) -> str:
    share = share_closed(of, method)
    return format(share, ".2f") if share else "–"


def grid_table(grids: Sequence[Content]) -> Table:
    """Return the gap and its closing in each cell of the grid of seeing and depth."""
    cells = []
    for name in survey_grid.GRID:
        of = [one["cells"][name] for one in grids]
        before, after = ([one[method] for one in of] for method in (BEFORE, AFFINE))
        words = f"*null: {name}*" if name == survey_grid.NULL else name
        cells.append([
            words, len(of), *_scores(before), *(text(gaps(of, m), "+.3f") for m in MAPS),
            *(_share(of, method) for method in MAPS), *_cells(before, ["distance", "recall_at_1"]),
            *_cells(after, ["distance", "recall_at_1"]),
        ])  # fmt: skip
    measures = [f"{what}, {when}" for when in ("before", AFFINE)
                for what in ("distance", "recall at 1")]  # fmt: skip
    head = ["cell", "skies", *SCORES, *(f"gap by {m}" for m in MAPS),
            *(f"share regained by {m}" for m in MAPS), *measures]  # fmt: skip
    return Table(head, cells)


def search_table(searches: Sequence[Content]) -> Table:
    """Return the recall of test images among the DECaLS images of all skies, by survey."""
    cells = []
    for survey in searches[0]["surveys"]:
        of = [one["surveys"][survey] for one in searches]
        values = {(method, place): [one[method][place]["recall_at_1"] for one in of]
                  for method in MOVED for place in (ALONE, TOGETHER)}  # fmt: skip
        ten = (text([one[method][TOGETHER]["recall_at_10"] for one in of]) for method in MOVED)
        moved = np.subtract(*(values[method, TOGETHER] for method in reversed(MOVED)))
        words = label_of(survey) if survey in OTHERS else "*null: DECaLS, another night*"
        cells.append([words, len(of), *map(text, values.values()), *_shown(moved), *ten])
    head = [f"at 1, {method_label(method)}, {place}"
            for method in MOVED for place in (ALONE, TOGETHER)]  # fmt: skip
    return Table(["survey", "skies", *head, f"change by {AFFINE}", "change that would show",
                  *(f"at 10, {method_label(method)}, {TOGETHER}" for method in MOVED)],
                 cells)  # fmt: skip


def use_table(by: By) -> Table:
    """Return each experiment before adaptation, by another night, and its changes by SHOWN."""
    cells = []
    for survey, of in by.items():
        for use, value in USES.items():
            before = [one for one in (value(one, BEFORE) for one in of) if not math.isnan(one)]
            if not before:
                continue
            night = "–" if use == LABELLED else text([value(one, NIGHT) for one in of])
            changes = {method: change(of, use, method) for method in SHOWN}
            cells.append([
                label_of(survey), use, len(before), night, text(before),
                *(text(one, "+.3f") for one in changes.values()), half_width(changes[RECOMMENDED]),
            ])  # fmt: skip
    head = ["survey", "more is better", "skies", "another night of DECaLS", "before adaptation",
            *(f"change by {method}" for method in SHOWN),
            f"change by {RECOMMENDED} that would show"]  # fmt: skip
    return Table(head, cells)


def label_table(by: By) -> Table:
    """Return the scores with few labels in the second survey, by their number."""
    cells = []
    for survey, every in by.items():
        for number in map(str, LABELS):
            of = [one["few labels"][number] for one in every if number in one["few labels"]]
            if not of:
                continue
            row: list[object] = [label_of(survey), int(number), len(of)]
            row.append(f"{np.mean([one['questions'] for one in of]):.1f}")
            row.append(text([one[OWN] for one in of]))
            for method in ADAPTED:
                row += _cells([one[method] for one in of], ["labels of DECaLS", "pooled"])
            cells.append([*row, *_shown([one[RECOMMENDED]["pooled"] - one[OWN] for one in of])])
    heads = (h for m in map(method_label, ADAPTED) for h in (f"{m}: DECaLS's labels", f"{m}: both"))
    head = ["survey", "labels in it", "skies", "questions", "these labels alone", *heads,
            f"{RECOMMENDED}, both, minus alone", "difference that would show"]  # fmt: skip
    return Table(head, cells)


def regression_table(by: By) -> Table:
    """Return bias and scatter of quantities learned in DECaLS, by survey and method."""
    cells = []
    for survey, of in by.items():
        for quantity, unit in QUANTITIES.items():
            for method in (NIGHT, BEFORE, *SHOWN):
                entries = [one["regression"]["methods"][method][quantity] for one in of]
                cells.append([
                    label_of(survey), f"{quantity} ({unit})" if unit else quantity,
                    method_label(method), len(of), *_shown([e["bias"] for e in entries], "+.4f"),
                    *(text([one[name] for one in entries], ".4f")
                      for name in ("scatter_first", "scatter_second")),
                ])  # fmt: skip
    head = ["survey", "quantity", "method", "skies", "bias", "bias that would show",
            "scatter in DECaLS", "scatter in the survey"]  # fmt: skip
    return Table(head, cells)


def fraction_table(by: By) -> Table:
    """Return the change of the predicted fraction of each answer, before and after adaptation."""
    columns = [(survey, method) for survey in by for method in (BEFORE, RECOMMENDED)]
    columns.insert(0, (next(iter(by)), NIGHT))
    values: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    for survey, method in columns:
        for of in by[survey]:
            for question, answers in of["adaptation"][method]["fractions"].items():
                for answer, value in answers.items():
                    row = values.setdefault((question, answer), {})
                    row.setdefault((survey, method), []).append(value)
    cells = [
        [question, answer,
         *(text(row[column], "+.3f") if column in row else "–" for column in columns)]
        for (question, answer), row in values.items()
    ]  # fmt: skip
    head = [f"{label_of(survey)}, {method_label(method)}" for survey, method in columns[1:]]
    return Table(["question", "answer", "DECaLS, another night", *head], cells)


# ---- sentences


def state_of(gaps: Sequence[float]) -> str:
    """Return in words whether a gap is shown."""
    if len(gaps) < 2:
        return "one sky decides nothing"
    found = across(gaps)
    if found.low > 0:
        return "there is a gap"
    if found.high < 0:
        return "the forest scores higher there"
    return f"no gap is shown; one of {half_width(gaps)} would have shown"


def gap_sentence(of: Sequence[Content], words: str, role: str = "", there: bool = False) -> str:
    """Return the gap before adaptation, and for a control whether it is what was expected.

    of: entries by method, of each sky; role: of a control, there: whether it should have a gap.
    """
    found = gaps(of, BEFORE)
    line = f"{words}: gap before adaptation {text(found, '+.3f')} (n = {len(of)} skies)"
    line += f": {state_of(found)}"
    if role and len(found) > 1:
        agrees = (across(found).low > 0) == there
        line += f". It is {role}: {'as' if agrees else 'against what was'} expected"
    return f"{line}."


def closing_sentence(of: Sequence[Content], words: str) -> str:
    """Return which methods regain a share of the gap; empty where no gap is shown."""
    methods = [m for m in of[0] if m not in (BEFORE, OWN, POOLED, *NULLS)]
    shares = {m: share for m in methods if (share := share_closed(of, m))}
    if not shares:
        why = "no share is given, as the gap is not clear of zero on half of the galaxies"
        return f"{words}: {why}." if across(gaps(of, BEFORE)).low > 0 else ""
    clear = {m: share for m, share in shares.items() if share.low > 0}
    if not clear:
        return f"{words}: no method regains a share of the gap with an interval above 0."
    listed = ", ".join(f"{m} {share:.2f}" for m, share in clear.items())
    return f"{words}: share of the gap regained: {listed}; by {OWN} {share_closed(of, OWN):.2f}."


def against_sentence(of: Sequence[Content], words: str, method: str) -> str:
    """Return a method against the affine map, and the survey's own labels."""
    found = []
    for other in (AFFINE, OWN):
        difference = [score(one[method], "second") - score(one[other], "second") for one in of]
        found.append(f"minus {other} {text(difference, '+.3f')}")
        if len(of) > 1 and across(difference).low <= 0 <= across(difference).high:
            found[-1] += f" (undecided; {half_width(difference)} would have shown)"
    return f"{words}: score in the survey by {method} {', '.join(found)}."


def pixel_sentence(by: By) -> str:
    """Return the gaps of the pixels, the control of the preparation."""
    found = {survey: [gap(one[PREPARATION]["pixels"]) for one in of] for survey, of in by.items()}
    listed = "; ".join(f"{label_of(s)} {text(v, '+.3f')}, {state_of(v)}" for s, v in found.items())
    return f"The same gap of principal components of the pixels: {listed}."


def grid_sentence(grids: Sequence[Content]) -> str:
    """Return in which cells of the grid there is a gap, and where the affine map regains of it."""
    if len(grids) < 2:
        return "Seeing and depth: one sky decides nothing."
    by = {name: [one["cells"][name] for one in grids] for name in survey_grid.GRID}
    null = gaps(by.pop(survey_grid.NULL), BEFORE)
    wide = [f"{name} {text(gaps(of, BEFORE), '+.3f')}" for name, of in by.items()
            if across(gaps(of, BEFORE)).low > 0]  # fmt: skip
    shares = {name: share for name, of in by.items() if (share := share_closed(of, AFFINE))}
    closed = [f"{name} {share:.2f}" for name, share in shares.items() if share.low > 0]
    return (
        f"Seeing and depth, the weights that travel with the project (n = {len(grids)} skies): in "
        f"another night of the same conditions {text(null, '+.3f')}, {state_of(null)}; a gap clear "
        f"of zero in {len(wide)} of {len(by)} worse cells{': ' * bool(wide)}{'; '.join(wide)}. "
        f"Share regained by {AFFINE}: {'; '.join(closed) or 'none is shown'}."
    )


def search_sentence(searches: Sequence[Content]) -> str:
    """Return the change of the recall among all skies by the affine map, by survey."""
    if not searches:
        return "The search among all skies is measured when every sky is."
    found = []
    for survey in searches[0]["surveys"]:
        before, after = (
            [one["surveys"][survey][method][TOGETHER]["recall_at_1"] for one in searches]
            for method in MOVED
        )
        words = label_of(survey) if survey in OTHERS else "another night of DECaLS"
        found.append(f"{words} {text(before)}, {text(after)}")
    return (
        f"A test image's galaxy is the nearest of {searches[0]['among'][TOGETHER]:,} DECaLS images "
        f"of all skies, before adaptation and after {AFFINE}: {'; '.join(found)}."
    )


def use_sentence(by: By) -> str:
    """Return the experiments in which the recommended method helps or harms."""
    better, worse, number = [], [], 0
    for survey, of in by.items():
        for use in USES:
            changes = change(of, use, RECOMMENDED)
            if len(changes) < 2:
                continue
            number += 1
            found = across(changes)
            listed = f"{label_of(survey)}, {use} {text(changes, '+.3f')}"
            better += [listed] * (found.low > 0)
            worse += [listed] * (found.high < 0)
    if not number:
        return "Uses: one sky decides nothing."
    used = "; ".join(better) or (
        "none is shown; the table of uses says for each which change would have shown"
    )
    harm = f" It harms: {'; '.join(worse)}." if worse else ""
    return (
        f"Uses of {RECOMMENDED} on galaxies it never saw, of {number} comparisons that are not "
        f"corrected for their number: {used}.{harm}"
    )


def verdicts(by: By, published: By, grids: Sequence[Content], searches: Sequence[Content]) -> str:
    """Return the conclusions that the numbers allow, a sentence each.

    by, published: entries by method of the default and of the published network.
    """
    latents = {survey: [one["adaptation"] for one in of] for survey, of in by.items()}
    lines = [gap_sentence(of, label_of(s), *EXPECTED.get(s, ())) for s, of in latents.items()]
    lines += [closing_sentence(of, label_of(survey)) for survey, of in latents.items()]
    lines += [against_sentence(of, label_of(s), RECOMMENDED) for s, of in latents.items()]
    lines += [pixel_sentence(by), use_sentence(by)]
    for survey, of in published.items():
        words = f"Published network, {label_of(survey)}"
        lines += [gap_sentence(of, words), closing_sentence(of, words),
                  against_sentence(of, words, METHOD)]  # fmt: skip
    lines += [grid_sentence(grids)] * bool(grids) + [search_sentence(searches)]
    return "\n".join(f"- {line}" for line in lines if line)


# ---- the page


def draw(by: By, path: Path) -> None:
    """Draw the gaps of each survey: each sky, and mean with interval."""
    figure = new_figure(3.2 * len(by) + 1.6, 3.4, layout="constrained")
    panels = figure.subplots(1, len(by), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (survey, of) in zip(panels, by.items(), strict=True):
        rows = {"PCA of the pixels": [gap(one[PREPARATION]["pixels"]) for one in of]}
        for method in (BEFORE, AFFINE, RECOMMENDED, OWN, NIGHT):
            name = {NIGHT: "null: another night"}.get(method, method_label(method))
            rows[name] = gaps([one["adaptation"] for one in of], method)
        for y, values in enumerate(rows.values()):
            found, colour = across(values), INDIGO if y else ROSE
            axes.plot(values, np.full(len(values), y), "o", color=GREY, markersize=3)
            axes.plot([found.low, found.high], [y, y], color=colour, linewidth=2)
            axes.plot(found.value, y, "o", color=colour, markersize=6)
        axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.set_title(label_of(survey))
        axes.set_xlabel("gap")
    save_figure(figure, path)


def _searched(searches: Sequence[Content]) -> list[str]:
    if not searches:
        return ["Measured when every sky is."]
    among = searches[0]["among"]
    return [f"*{ALONE}*: among {among[ALONE]:,} images; *{TOGETHER}*: among {among[TOGETHER]:,}.",
            search_table(searches).markdown()]  # fmt: skip


def write(folder: Path, page: Path, wanted: int) -> None:
    """Write the page and its figure.

    folder: of the results; wanted: skies of the protocol. Raises Problem if no survey is measured,
    or the results are of different code or constants.
    """
    skies = read_skies(ROOT / folder)
    every = {survey: of_survey(skies, survey) for survey in OTHERS}
    if not (by := {survey: of for survey, of in every.items() if of}):
        raise Problem(f"{ROOT / folder} has no measured sky: run make surveys")
    if len({sky["code"] for sky in skies}) > 1:
        raise Problem(f"{ROOT / folder}: results of different code are not mixed")
    page = ROOT / page
    figure = page.with_name(f"{page.stem.lower()}.png")
    draw(by, figure)
    versions = ", ".join(f"{name} {number}" for name, number in skies[0]["versions"].items())
    counted = "; ".join(
        f"{label_of(survey)} {len(of)} of {wanted} skies, "
        f"{np.mean([one['pairs']['train'] for one in of]):,.0f} training and "
        f"{np.mean([one['pairs']['test'] for one in of]):,.0f} test pairs each"
        for survey, of in by.items()
    )
    published = {survey: [one[PUBLISHED] for one in of if PUBLISHED in one]
                 for survey, of in by.items()}  # fmt: skip
    published = {survey: of for survey, of in published.items() if of}
    home = [sky["surveys"].get(DECALS.name, {}) for sky in skies]
    grids = [of[GRID] for of in home if GRID in of]
    searches = [sky["search"] for sky in skies if "search" in sky]
    galaxies = skies[0]["constants"]["galaxies"]
    parts = [
        "# From DECaLS to other surveys",
        "Made by `make surveys` as [PROTOCOL.md](PROTOCOL.md#several-surveys) lays down, on "
        f"simulated skies of {galaxies:,} galaxies: {counted}. Code `{skies[0]['code']}` "
        f"({versions}). Means over skies with 95 % t intervals, in which the sky is the unit; "
        "*that would show*: half of an interval. Scores are balanced accuracies, means over the "
        "questions of Galaxy Zoo on test pairs, of forests fitted on DECaLS images of training "
        "pairs.",
        verdicts(by, published, grids, searches),
        f"![Gaps of each sky, and the mean with its interval]({figure.name})",
        "## Where the gap is",
        "The gap before adaptation, in the images and in the latents.",
        preparation_table(by).markdown(),
        "## Methods of adaptation",
        "*share regained*: of the gap, which is measured on one half of the test galaxies, and "
        "what is regained on the other; given where that gap is clear of zero. *distance*, *recall "
        "at 1* and *AUC*: as in [RESULTS.md](RESULTS.md).",
        *(part for survey, of in by.items() for part in (
            f"### {label_of(survey)}", method_table([one["adaptation"] for one in of]).markdown())),
        "## The published network",
        "Trained on the DECaLS images of the sky for 20 epochs at a rate of 1e-3, on the first "
        f"skies alone. *{METHOD}*: its published adaptation, as `transfer/adapt.py` does it.",
        *(part for survey, of in published.items()
          for part in (f"### {label_of(survey)}, {len(of)} skies", method_table(of).markdown())),
        "## Seeing and depth",
        "DECaLS in worse conditions, the weights that travel with the project as they are; maps "
        f"fitted on {survey_grid.TRAINING} training pairs. *mag*: by which the noise of a pixel is "
        "brighter.",
        grid_table(grids).markdown(),
        "## Search among all skies",
        "Share of test images whose galaxy is the nearest (among the ten nearest) of all DECaLS "
        "images, by the weights that travel with the project.",
        *_searched(searches),
        "## Uses",
        "The change is that by a method, minus before adaptation, on galaxies it never saw.",
        use_table(by).markdown(),
        "### Few labels in the second survey",
        "Logistic regression; means over the questions with so many training galaxies.",
        label_table(by).markdown(),
        "### Quantities learned in DECaLS and predicted in the other survey",
        "*bias*: predicted in the survey minus in DECaLS; *scatter*: of prediction minus truth.",
        regression_table(by).markdown(),
        "### Class fractions on either side of the border",
        "Predicted fraction in the survey minus that in DECaLS, of the same galaxies.",
        fraction_table(by).markdown(),
    ]  # fmt: skip
    write_text(page, "\n\n".join(parts) + "\n")
    print(f"{page}: {counted}", flush=True)


def main(config: Config) -> None:
    """Write the page."""
    write(config.results, config.page, config.skies)


if __name__ == "__main__":
    start(main, Config, __doc__)
