"""The conclusions of "Several surveys" of docs/PROTOCOL.md: statistics across skies, and sentences.

Entries are what survey_uses.py measures, by method; `of` is a list with those of each sky.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.pipeline.run import ROOT
from VAE_model.report.skies import across
from VAE_model.surveys import label_of
from VAE_model.transfer.adaptation import BEFORE, RECOMMENDED

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import survey_grid
from benchmarks.protocol.results import half_width, text
from benchmarks.protocol.sky import AFFINE
from benchmarks.protocol.survey_networks import METHOD
from benchmarks.protocol.survey_search import MOVED, TOGETHER
from benchmarks.protocol.survey_sky import OTHERS, PARTS, PREPARATION
from benchmarks.protocol.survey_uses import LABELS, NIGHT, NOISE, OWN, POOLED, QUANTITIES

Content = dict[str, Any]
By = Mapping[str, Sequence[Content]]  # by survey, of each sky
# What the protocol expects of the forest's gap before adaptation.
EXPECTED = {"des": ("the null", False), "sdss": ("the positive control", True)}
NULLS = (NOISE, NIGHT)
FEWEST = str(LABELS[0])
LABELLED = f"score with {FEWEST} labels and DECaLS's"  # has no null from another night


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
    LABELLED: _pooled,
    "overlap of the outliers": lambda of, m: of["outliers"]["methods"][m]["overlap"],
    "correlation of the outlier scores": lambda of, m: of["outliers"]["methods"][m]["correlation"],
    "retrieval at 1": lambda of, m: of["retrieval"]["methods"][m]["recall_at_1"],
    **{f"− error of the {name}": _error(name) for name in QUANTITIES},
    "− shift of the class fractions": lambda of, m: -shift(of["adaptation"][m]),
}


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
            better += [listed] if found.low > 0 else []
            worse += [listed] if found.high < 0 else []
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
