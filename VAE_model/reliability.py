"""Whether a forest's probabilities mean what they say: of the galaxies to which it gives an answer
a chance of 0.8, four in five should have it.

Of each test galaxy the likeliest answer counts (Guo et al. 2017, ICML, eqs. 2 and 3): its
probability against how often it is right, in bins. A forest with balanced class weights speaks of
a world in which all answers are equally common; `at_shares` brings its probabilities back to the
shares of the training galaxies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from VAE_model.figures import GREEN, INDIGO, ROSE, new_figure, save_figure
from VAE_model.plotting import Axes
from VAE_model.scores import Estimate, Question, Result

BINS = 10
ALL = "all"
GROWN, SHARES, BASE = "as grown", "at the train shares", "base rate"
_STYLES = {GROWN: (ROSE, "s", -0.006), SHARES: (INDIGO, "o", 0.006)}


@dataclass(frozen=True)
class Forecast:
    """galaxy: which one each is, (M,); said: probability of its likeliest answer, (M,);
    right: whether it is the true one, (M,); brier: squared distance of all answers'
    probabilities from the truth, 0 to 2, (M,)."""

    galaxy: NDArray[np.int64]
    said: NDArray[np.float64]
    right: NDArray[np.bool_]
    brier: NDArray[np.float64]

    @classmethod
    def of(
        cls, galaxy: NDArray[np.int64], probability: NDArray[np.float64], truth: NDArray[np.int64]
    ) -> "Forecast":
        """Of probabilities (M, answers) and the true answers' codes (M,)."""
        happened = np.eye(probability.shape[1])[truth]
        right = probability.argmax(axis=1) == truth
        brier = np.square(probability - happened).sum(axis=1)
        return cls(galaxy, probability.max(axis=1), right, brier)

    @classmethod
    def together(cls, parts: Sequence["Forecast"]) -> "Forecast":
        """Those of several questions as one."""
        names = ("galaxy", "said", "right", "brier")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def at_shares(probability: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (M, K) that hold where all answers are equally common, where they have
    `shares` (K,) (Saerens et al. 2002, Neural Computation 14, 21, eq. 2.4)."""
    weighed = probability * shares
    total = weighed.sum(axis=1, keepdims=True)
    return np.where(total > 0, weighed / np.maximum(total, 1e-12), shares)


def forecasts(result: Result) -> dict[str, Forecast]:
    """Of one question: the forest as it is, the forest at the training galaxies' shares, and these
    shares alone, whatever the galaxy: the base rate."""
    question: Question = result.question
    counts = np.bincount(question.train_codes, minlength=len(question.answers))
    shares = counts / counts.sum()
    said = {
        GROWN: result.probability,
        SHARES: at_shares(result.probability, shares),
        BASE: np.tile(shares, (len(question.test), 1)),
    }
    return {name: Forecast.of(question.test, p, question.test_codes) for name, p in said.items()}


def calibration_error(said: NDArray[np.float64], right: NDArray) -> NDArray[np.float64]:
    """Expected calibration error: the gap between what is said and how often it is right, by
    bins, weighted by their number. said: (M,); right: (..., M)."""
    inside = _bins(said)[:, None] == np.arange(BINS)
    return np.abs((right - said) @ inside).sum(axis=-1) / len(said)


def as_values(forecast: Forecast, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """The bins, the calibration error, and the Brier score with the 95 % interval of resampled
    galaxies. by_luck: the error that probabilities which are exactly right would show on as many
    galaxies, in the mean and at the 95th percentile."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((draws, len(forecast.said))) < forecast.said
    luck = calibration_error(forecast.said, drawn)
    ids = np.unique(forecast.galaxy, return_inverse=True)[1]
    number, total = np.bincount(ids), np.bincount(ids, forecast.brier)
    times = rng.multinomial(len(number), np.full(len(number), 1 / len(number)), draws)
    low, high = np.percentile(times @ total / (times @ number), [2.5, 97.5])
    return {
        "n": len(forecast.said),
        "bins": _binned(forecast),
        "calibration_error": float(calibration_error(forecast.said, forecast.right)),
        "by_luck": {"mean": float(luck.mean()), "high": float(np.percentile(luck, 95))},
        "brier": vars(Estimate(float(forecast.brier.mean()), float(low), float(high))),
    }


def reliability(results: dict[str, Result], draws: int, seed: int) -> dict[str, Any]:
    """The values of each question and, under ALL, of all together, by the three forecasts. Errors
    of questions may cancel in ALL; mean_error, beside its values, is the mean over questions."""
    found = {name: forecasts(result) for name, result in results.items()}
    if len(found) > 1:
        kinds = next(iter(found.values()))
        pooled = {k: Forecast.together([of[k] for of in found.values()]) for k in kinds}
        found = {ALL: pooled, **found}
    values = {
        name: {kind: as_values(one, draws, seed) for kind, one in of.items()}
        for name, of in found.items()
    }
    for kind, of in values.get(ALL, {}).items():
        errors = [values[name][kind]["calibration_error"] for name in results]
        of["mean_error"] = float(np.mean(errors))
    return values


def _bins(said: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum((said * BINS).astype(int), BINS - 1)


def _binned(forecast: Forecast) -> list[dict[str, float]]:
    """Each bin that holds a galaxy: n, the mean of what was said, how often it was right, and the
    binomial 95 % interval of that (Clopper & Pearson 1934)."""
    place, lines = _bins(forecast.said), []
    for number in np.unique(place):
        inside = place == number
        n, right = int(inside.sum()), int(forecast.right[inside].sum())
        interval = binomtest(right, n).proportion_ci(0.95, "exact")
        lines.append(
            {
                "n": n, "said": float(forecast.said[inside].mean()), "right": right / n,
                "low": float(interval.low), "high": float(interval.high),
            }
        )  # fmt: skip
    return lines


def draw_reliability(found: dict[str, Any], path: Path) -> None:
    """What is said against how often it is right: a panel for all questions, one for each."""
    if not found:
        figure = new_figure(4, 2)
        figure.text(0.5, 0.5, "no question has galaxies enough", ha="center")
        return save_figure(figure, path)
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure(3.3 * columns, 3.3 * rows + 0.9, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in panels[len(found) :]:
        axes.axis("off")
    for axes, (name, of) in zip(panels, found.items(), strict=False):
        _panel(axes, "all questions" if name == ALL else name, of)
    figure.supxlabel("probability of the forest's answer", fontsize=11)
    figure.supylabel("share of right answers (bars: 95 % intervals)", fontsize=11)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    save_figure(figure, path)


def _panel(axes: Axes, name: str, of: dict[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, zorder=0)
    for kind, (colour, marker, aside) in _STYLES.items():
        lines = of[kind]["bins"]
        x = np.array([line["said"] for line in lines])
        y = np.array([line["right"] for line in lines])
        bars = [y - [line["low"] for line in lines], [line["high"] for line in lines] - y]
        label = f"forest, {kind}"
        axes.errorbar(x + aside, y, np.maximum(bars, 0), fmt=marker, color=colour, markersize=5,
                      linewidth=1.3, label=label)  # fmt: skip
    base = of[BASE]["bins"][0]
    axes.plot(base["said"], base["right"], "D", color=GREEN, markersize=6, label="base rate")
    error, corrected = (of[kind]["calibration_error"] for kind in (GROWN, SHARES))
    axes.set_title(f"{name}, n = {of[GROWN]['n']:,}", pad=22)
    axes.text(0, 1.03, f"calibration error {error:.3f} (squares), {corrected:.3f} (dots)",
              transform=axes.transAxes, fontsize=8.5, color="#555555")  # fmt: skip
    axes.set(xlim=(0.25, 1.03), ylim=(-0.03, 1.04))
