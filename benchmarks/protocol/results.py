"""The page and the figure of the protocol, from the results of the skies that are measured.

Reads:  <results>/<seed>.json
Writes: docs/RESULTS.md, docs/results.png

Example: python benchmarks/protocol/results.py
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from VAE_model.data import galaxy_zoo
from VAE_model.pipeline.files import write_text
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start
from VAE_model.report import figures
from VAE_model.report.figures import GREY, INDIGO, ROSE, new_figure, save_figure
from VAE_model.report.skies import (
    DEFAULT,
    FOREST,
    MAIN,
    Content,
    across,
    gap,
    read_skies,
    rival_score,
    route_score,
)
from VAE_model.report.tables import Table
from VAE_model.report.transfer import label_of
from VAE_model.transfer.adaptation import BEFORE, RECOMMENDED

sys.path.insert(0, str(ROOT))
from benchmarks.protocol.rivals import RIVALS

LOGISTIC, NETWORK = "logistic", "network"
AFFINE = "affine"
COMPARED = ("untrained", "baseline", "weights", "resnet")  # with the default, in the first table


@dataclass(frozen=True)
class Config:
    """Constants of the page."""

    results: Path = Path("benchmarks/protocol/results")
    """Folder of the results."""
    page: Path = Path("docs/RESULTS.md")
    """The page; its figure lies beside it."""
    skies: int = 10
    """Skies of the protocol."""


@dataclass(frozen=True)
class Row:
    """A rival with one way to predict from its numbers, and its skies."""

    rival: str
    head: str
    skies: Sequence[Content]

    def values(self, metric: str = MAIN) -> list[float]:
        """Return a metric of each sky, the mean over the questions."""
        found = (rival_score(sky, self.rival, self.head, metric) for sky in self.skies)
        return [value for value in found if value is not None]

    def differences(self) -> list[float]:
        """Return the default network minus this rival on each sky, both by the same predictor.

        A supervised network is compared with the forest on the default network's latents.
        """
        head = FOREST if self.head == NETWORK else self.head
        default = (rival_score(sky, DEFAULT, head) for sky in self.skies)
        return [a - b for a, b in zip(default, self.values(), strict=True) if a is not None]


def rows_of(skies: Sequence[Content]) -> list[Row]:
    """Return a row for each rival and predictor that is measured, in the order of RIVALS."""
    rows = []
    for rival in RIVALS:
        there = [sky for sky in skies if rival in sky["rivals"]]
        heads = dict.fromkeys(h for sky in there for h in sky["rivals"][rival]["scores"])
        rows += [Row(rival, head, there) for head in heads]
    return rows


def text(values: Sequence[float], spec: str = ".3f") -> str:
    """Return the mean of skies and its interval: 0.712 [0.700, 0.724]; of one sky its value."""
    found = across(values)
    return format(found, spec) if len(values) > 1 else format(found.value, spec)


def span(values: Sequence[float]) -> str:
    """Return the lowest and the highest value."""
    return f"{min(values):.3f} to {max(values):.3f}"


def half_width(values: Sequence[float]) -> str:
    """Return half of the interval: the smallest difference that it would have shown."""
    found = across(values)
    return f"{(found.high - found.low) / 2:.3f}" if len(values) > 1 else "–"


def learning_table(rows: Sequence[Row]) -> Table:
    """Return what the training adds: the default network minus others.

    Of each the better of its predictors counts, by the mean over the skies.
    """
    best: dict[str, Row] = {}
    for row in rows:
        if row.rival not in best or np.mean(row.values()) > np.mean(best[row.rival].values()):
            best[row.rival] = row
    own = best[DEFAULT]
    cells = []
    for row in (best[rival] for rival in COMPARED if rival in best):
        there = {id(sky) for sky in row.skies}
        mine = [v for sky, v in zip(own.skies, own.values(), strict=True) if id(sky) in there]
        differences = [a - b for a, b in zip(mine, row.values(), strict=True)]
        cells.append([
            RIVALS[row.rival].words, row.head, len(differences), text(row.values()),
            text(differences, "+.3f"), half_width(differences),
        ])  # fmt: skip
    minus = f"default ({own.head}, {text(own.values())}) minus this"
    head = ["numbers by", "better predictor", "skies", "balanced accuracy", minus,
            "difference that would show"]  # fmt: skip
    return Table(head, cells)


def rival_table(rows: Sequence[Row]) -> Table:
    """Return the table of the rivals."""
    head = ["numbers by", "how many", "predictor", "skies", "balanced accuracy",
            "lowest to highest sky", "macro F1", "accuracy", "default minus this",
            "difference that would show", "minutes"]  # fmt: skip
    cells = []
    for row in rows:
        own = row.rival == DEFAULT
        of = [sky["rivals"][row.rival] for sky in row.skies]
        values, differences = row.values(), row.differences()
        cells.append([
            RIVALS[row.rival].words, of[0]["numbers"], row.head, len(values), text(values),
            span(values), text(row.values("macro_f1")), f"{np.mean(row.values('accuracy')):.3f}",
            "–" if own or not differences else text(differences, "+.3f"),
            "–" if own or not differences else half_width(differences),
            f"{np.mean([one['minutes'] for one in of]):.1f}",
        ])  # fmt: skip
    return Table(head, cells)


def question_table(skies: Sequence[Content]) -> Table:
    """Return a row per question: galaxies, majority rate, and scores of some rivals."""
    shown = [(DEFAULT, FOREST), (DEFAULT, LOGISTIC), ("structure", FOREST), ("resnet", NETWORK)]
    shown = [(r, h) for r, h in shown if any(h in sky["rivals"].get(r, {}).get("scores", {})
                                             for sky in skies)]  # fmt: skip
    names = [f"{RIVALS[rival].words.strip('*')}, {head}" for rival, head in shown]
    cells = []
    for name in galaxy_zoo.questions():
        of = [sky["questions"][name] for sky in skies if name in sky["questions"]]
        if not of:
            continue
        scores = []
        for rival, head in shown:
            there = [sky for sky in skies if name in sky["questions"] and rival in sky["rivals"]]
            values = [
                sky["rivals"][rival]["scores"][head][MAIN][list(sky["questions"]).index(name)]
                for sky in there
            ]
            scores.append(text(values) if values else "–")
        counts = (f"{np.mean([one[key] for one in of]):,.0f}" for key in ("n_train", "n_test"))
        majority = f"{np.mean([one['majority'] for one in of]):.3f}"
        chance = f"{np.mean([1 / one['answers'] for one in of]):.3f}"
        cells.append([name, len(of), *counts, majority, chance, *scores])
    head = ["question", "skies", "train galaxies", "test galaxies", "majority rate (accuracy)",
            "chance", *names]  # fmt: skip
    return Table(head, cells)


def transfer_table(skies: Sequence[Content]) -> Table:
    """Return a row per method of adaptation, and the floor: two exposures by the first survey."""
    head = ["method", "skies", "DECaLS → DECaLS", "DECaLS → BASS+MzLS", "gap",
            "change on BASS+MzLS", "distance", "recall at 1", "AUC of the survey"]  # fmt: skip
    measures = ("distance", "recall_at_1", "auc")
    cells: list[list[object]] = []
    for method in skies[0]["transfer"]["methods"]:
        first, second = (
            [route_score(sky, method, survey) for sky in skies] for survey in ("first", "second")
        )
        before = [route_score(sky, BEFORE, "second") for sky in skies]
        change = [b - a for a, b in zip(before, second, strict=True)]
        of = [sky["transfer"]["methods"][method] for sky in skies]
        cells.append([
            label_of(method), len(skies), text(first), text(second),
            text([gap(sky, method) for sky in skies], "+.3f"),
            "–" if method == BEFORE else text(change, "+.3f"),
            *(text([one[key] for one in of]) for key in measures),
        ])  # fmt: skip
    for kind in skies[0]["transfer"]["floor"]:
        of = [sky["transfer"]["floor"][kind] for sky in skies]
        alike = [text([one[key] for one in of]) for key in measures]
        cells.append([f"*floor: DECaLS twice, {kind}*", len(skies), *["–"] * 4, *alike])
    return Table(head, cells)


def sky_table(skies: Sequence[Content], rows: Sequence[Row]) -> Table:
    """Return a row per sky: the forest's score on every rival's numbers, and the gap."""
    shown = [row for row in rows if row.head in (FOREST, NETWORK)]
    names = [RIVALS[row.rival].words.strip("*") for row in shown]
    cells = []
    for sky in skies:
        scores = [rival_score(sky, row.rival, row.head) for row in shown]
        there = "transfer" in sky
        cells.append([
            sky["constants"]["seed"],
            *("–" if value is None else f"{value:.3f}" for value in scores),
            f"{gap(sky, BEFORE):+.3f}" if there else "–",
            f"{gap(sky, RECOMMENDED):+.3f}" if there else "–",
        ])  # fmt: skip
    return Table(["seed", *names, "gap before", f"gap after {RECOMMENDED}"], cells)


def verdicts(skies: Sequence[Content], rows: Sequence[Row]) -> list[str]:
    """Return the conclusions that the numbers allow, a sentence each; those against us too."""
    by_key = {(row.rival, row.head): row for row in rows}
    main = by_key[DEFAULT, FOREST]
    lines = [
        f"A forest on the 40 latents of the default network reaches {text(main.values())} (primary "
        f"outcome, n = {len(main.values())})."
    ]
    for row in rows:
        differences = row.differences()
        found = across(differences)
        if row.rival != DEFAULT and len(differences) > 1 and found.low <= 0:
            better = "is better" if found.high < 0 else "is not shown to be worse"
            words = f"{RIVALS[row.rival].words} ({row.head}) {better} than the default network"
            lines.append(f"{words}: default minus this {text(differences, '+.3f')}.")
    there = [sky for sky in skies if "transfer" in sky]
    if there:
        gaps = [gap(sky, BEFORE) for sky in there]
        state = (
            "one sky decides nothing" if len(gaps) < 2
            else "there is a gap" if across(gaps).low > 0
            else "no gap is shown"
        )  # fmt: skip
        lines.append(f"Gap between the surveys before adaptation: {text(gaps, '+.3f')}: {state}.")
        distances = {
            name: [sky["transfer"]["methods"][name]["distance"] for sky in there]
            for name in (AFFINE, RECOMMENDED)
        }
        apart = [b - a for a, b in zip(*distances.values(), strict=True)]
        lines.append(
            f"Distance after {RECOMMENDED} minus after an affine map: {text(apart, '+.3f')}."
        )
    return lines


def draw(skies: Sequence[Content], rows: Sequence[Row], path: Path) -> None:
    """Draw scores of the rivals and gaps of the methods: each sky, and mean with interval."""
    left_rows = [
        (RIVALS[row.rival].words.strip("*") + (", logistic" if row.head == LOGISTIC else ""),
         row.values())
        for row in rows
    ]  # fmt: skip
    there = [sky for sky in skies if "transfer" in sky]
    methods = there[0]["transfer"]["methods"] if there else ()
    right_rows = [(label_of(m), [gap(sky, m) for sky in there]) for m in methods]
    figure = new_figure(12, 1.6 + 0.3 * len(left_rows), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    for axes, shown, colour in ((left, left_rows, INDIGO), (right, right_rows, ROSE)):
        for y, (_, values) in enumerate(shown):
            of = across(values)
            axes.plot(values, np.full(len(values), y), "o", color=GREY, markersize=3)
            figures.draw_interval(axes, vars(of), y, colour, "o", 6)
        axes.set_yticks(range(len(shown)), [name for name, _ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(axis="x")
    right.locator_params(axis="x", nbins=5)
    right.axvline(0, color=GREY, linestyle="--", linewidth=1)
    left.set_xlabel("balanced accuracy, mean of seven questions")
    right.set_xlabel("DECaLS → DECaLS minus DECaLS → BASS+MzLS")
    left.set_title("Scores of the rivals")
    right.set_title("Gap between the surveys")
    save_figure(figure, path)


def write(folder: Path, page: Path, wanted: int) -> None:
    """Write the page and its figure.

    folder: of the results; wanted: skies of the protocol. Raises Problem if no sky is measured, or
    the results are of different code.
    """
    skies = [sky for sky in read_skies(ROOT / folder) if DEFAULT in sky["rivals"]]
    if not skies:
        raise Problem(f"{ROOT / folder} has no measured sky: run make skies")
    if len({sky["code"] for sky in skies}) > 1:
        raise Problem(f"{ROOT / folder}: results of different code are not mixed")
    rows, of = rows_of(skies), skies[0]["constants"]
    there = [sky for sky in skies if "transfer" in sky]
    page = ROOT / page
    figure = page.with_name(f"{page.stem.lower()}.png")
    draw(skies, rows, figure)
    versions = ", ".join(f"{name} {number}" for name, number in skies[0]["versions"].items())
    parts = [
        "# Results of the protocol",
        f"Made by `make skies` as [PROTOCOL.md](PROTOCOL.md) lays down: {len(skies)} of {wanted} "
        f"skies of {of['galaxies']:,} galaxies, {of['overlap']:,} of them in both surveys. Code "
        f"`{skies[0]['code']}` ({versions}). Means over skies with 95 % t intervals, in which the "
        "sky is the unit; the column *skies* is n. Scores are means over the seven questions on "
        "the test galaxies.",
        "\n".join(f"- {line}" for line in verdicts(skies, rows)),
        "## What the training adds",
        "Of each the better of its two predictors.",
        learning_table(rows).markdown(),
        f"![Each sky, and the mean with its interval]({figure.name})",
        "## Rivals",
        "*default minus this*: paired on the skies, by the same predictor (a supervised network is "
        "compared with the forest); *difference that would show*: half of its interval; *minutes*: "
        "of the numbers, without drawing, packing and preparing. The published network is trained "
        "once per rate, which counts in the row of 10 epochs.",
        rival_table(rows).markdown(),
        "## Questions",
        "Balanced accuracy; numbers of galaxies are means over the skies.",
        question_table(skies).markdown(),
    ]
    if there:
        parts += [
            "## The second survey",
            "A forest is fitted on DECaLS latents of the training pairs and tested on the test "
            "pairs in either survey. *distance*: median, between the latents of two images of a "
            "galaxy, in standard deviations of the latents among galaxies; *recall at 1*: share "
            "of galaxies whose other image is the most similar one; *AUC*: of a classifier of the "
            "survey (of the floor: of the exposure), 0.5 is chance.",
            transfer_table(there).markdown(),
        ]
    parts += ["## Every sky", sky_table(skies, rows).markdown()]
    write_text(page, "\n\n".join(parts) + "\n")
    print(f"{page}: {len(skies)} of {wanted} skies", flush=True)


def main(config: Config) -> None:
    """Write the page."""
    write(config.results, config.page, config.skies)


if __name__ == "__main__":
    start(main, Config, __doc__)
