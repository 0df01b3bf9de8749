"""Calibration of a forest's probabilities.

Of the galaxies whose answer has a probability of 0.8, four in five should be correct. The most
probable answer of each test galaxy counts (Guo et al. 2017, ICML, eqs. 2 and 3): its probability,
the confidence, against the share of correct answers, in bins. A forest with balanced class weights
treats all answers as equally common; `correct_for_shares` converts its probabilities to the shares
of the training galaxies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from VAE_model.evaluation.bootstrap import Estimate, bootstrap
from VAE_model.evaluation.classification import Question

BINS = 10
ALL = "all"
BALANCED, CORRECTED, BASE = "balanced weights", "train shares", "base rate"


@dataclass(frozen=True)
class Forecast:
    """Forecasts of M answers.

    galaxy: row of each galaxy, (M,); confidence: probability of the most probable answer, (M,);
    correct: it is the true one, (M,); brier: squared distance of the probabilities of all answers
    from the truth, 0 to 2, (M,).
    """

    galaxy: NDArray[np.int64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    brier: NDArray[np.float64]

    @classmethod
    def of(
        cls, galaxy: NDArray[np.int64], probability: NDArray[np.float64], truth: NDArray[np.int64]
    ) -> "Forecast":
        """Return the forecast of probabilities (M, answers), given the true codes (M,)."""
        brier = np.square(probability - np.eye(probability.shape[1])[truth]).sum(axis=1)
        return cls(galaxy, probability.max(axis=1), probability.argmax(axis=1) == truth, brier)


def correct_for_shares(
    probability: NDArray[np.float64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return probabilities (M, K) for answers that have `shares` (K,).

    probability: (M, K), for equally common answers (Saerens et al. 2002, Neural Computation 14,
    21, eq. 2.4).
    """
    weighted = probability * shares
    total = weighted.sum(axis=1, keepdims=True)
    return np.where(total > 0, weighted / np.maximum(total, 1e-12), shares)


def calibration_error(confidence: NDArray[np.float64], correct: NDArray) -> NDArray[np.float64]:
    """Return the expected calibration error.

    It is the difference between mean confidence and share of correct answers in each bin, weighted
    by its number. confidence: (M,); correct: (..., M).
    """
    inside = bin_of(confidence)[:, None] == np.arange(BINS)
    return np.abs((correct - confidence) @ inside).sum(axis=-1) / len(confidence)


def as_values(forecast: Forecast, n_bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return the bins, the calibration error and the Brier score with its 95 % interval.

    if_calibrated: the error of perfectly calibrated probabilities on as many galaxies, its mean
    and 95th percentile.
    """
    confidence = forecast.confidence
    drawn = np.random.default_rng(seed).random((n_bootstrap, len(confidence))) < confidence
    error = calibration_error(confidence, drawn)
    place = np.unique(forecast.galaxy, return_inverse=True)[1]
    number, total = np.bincount(place), np.bincount(place, forecast.brier)
    brier = bootstrap(lambda w: (w @ total) / (w @ number), len(number), n_bootstrap, seed)
    return {
        "n": len(confidence),
        "bins": _binned(forecast),
        "calibration_error": float(calibration_error(confidence, forecast.correct)),
        "if_calibrated": {"mean": float(error.mean()), "high": float(np.percentile(error, 95))},
        "brier": asdict(Estimate.of(brier)),
    }


def calibration(
    questions: Sequence[Question],
    probability: Sequence[NDArray[np.float64]],
    n_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Return the values of each question and, under ALL, of all together, by three forecasts.

    The forecasts are the forest's, the forest's at the shares of the training galaxies, and the
    base rate: these shares for every galaxy. Errors of opposite sign may cancel in ALL; mean_error,
    beside it, is the mean over questions.
    """
    found: dict[str, dict[str, Forecast]] = {}
    for question, forest in zip(questions, probability, strict=True):
        counts = np.bincount(question.train_codes, minlength=len(question.answers))
        shares = counts / counts.sum()
        base = np.tile(shares, (len(question.test), 1))
        kinds = {BALANCED: forest, CORRECTED: correct_for_shares(forest, shares), BASE: base}
        found[question.name] = {
            kind: Forecast.of(question.test, of, question.test_codes) for kind, of in kinds.items()
        }
    every = dict(found)
    if len(found) > 1:
        pooled = {}
        for kind in kinds:
            parts = [vars(of[kind]).values() for of in found.values()]
            pooled[kind] = Forecast(*map(np.concatenate, zip(*parts, strict=True)))
        every = {ALL: pooled, **found}
    values = {
        name: {kind: as_values(forecast, n_bootstrap, seed) for kind, forecast in of.items()}
        for name, of in every.items()
    }
    for kind, of in values.get(ALL, {}).items():
        errors = [values[name][kind]["calibration_error"] for name in found]
        of["mean_error"] = float(np.mean(errors))
    return values


def mean_error(of: Mapping[str, Any]) -> float:
    """Return the calibration error, as the mean over the questions where there are several."""
    return of.get("mean_error", of["calibration_error"])


def bin_of(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each confidence, (M,), from 0 to BINS - 1."""
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def _binned(forecast: Forecast) -> list[dict[str, float]]:
    """Return n, mean confidence and accuracy of each bin that holds a galaxy.

    With the binomial 95 % interval of the accuracy (Clopper & Pearson 1934).
    """
    place, lines = bin_of(forecast.confidence), []
    for number in np.unique(place):
        inside = place == number
        n, correct = int(inside.sum()), int(forecast.correct[inside].sum())
        interval = binomtest(correct, n).proportion_ci(0.95, "exact")
        lines.append(
            {
                "n": n, "confidence": float(forecast.confidence[inside].mean()),
                "accuracy": correct / n, "low": float(interval.low), "high": float(interval.high),
            }
        )  # fmt: skip
    return lines
