"""The page and the figure of "Several surveys" of docs/PROTOCOL.md, from the skies measured so far.

Reads:  <results>/<seed>.json
Writes: docs/TRANSFER.md, docs/transfer.png

Example: python benchmarks/protocol/survey_page.py
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
from benchmarks.protocol.survey_sky import GRID, OTHERS, PREPARATION, PUBLISHED
from benchmarks.protocol.survey_uses import ADAPTED, LABELS, NIGHT, OWN, POOLED, QUANTITIES
from benchmarks.protocol.survey_verdicts import (
    LABELLED,
    NULLS,
    USES,
    By,
    Content,
    change,
    gap,
    gaps,
    of_survey,
    score,
    share_closed,
    verdicts,
)

NUMBERS = {  # other numbers than the default network's, in the table of the preparation
    "pixels": "PCA-40 of the pixels",
    "aligned": "PCA-40 of the aligned images",
    WEIGHTS: "weights that travel with the project",
    f"{WEIGHTS}, affine": "the same, moved by an affine map",
}
MAPS = ("standardise", "coral", AFFINE)  # methods in the table of the grid
SHOWN = ("coral", AFFINE, RECOMMENDED)  # methods in the table of uses


@dataclass(frozen=True)
class Config:
    """Constants of the page."""

    results: Path = survey_sky.Config.results
    """Folder of the results."""
    page: Path = Path("docs/TRANSFER.md")
    """The page; its figure lies beside it."""
    skies: int = 8
    """Skies of the protocol."""


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
