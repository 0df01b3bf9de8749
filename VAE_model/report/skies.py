"""Results of the protocol of docs/PROTOCOL.md: one file per sky, in benchmarks/protocol/results."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.pipeline.files import read_json
from VAE_model.pipeline.run import ROOT

RESULTS = ROOT / "benchmarks" / "protocol" / "results"
MAIN = "balanced_accuracy"
DEFAULT, FOREST = "default", "forest"
Content = dict[str, Any]


def files(folder: Path = RESULTS) -> list[Path]:
    """Return the files of results, one per sky."""
    return sorted(folder.glob("*.json"))


def read_skies(folder: Path = RESULTS) -> list[Content]:
    """Return the results of the skies that are measured, in the order of their seeds."""
    found = [read_json(path) for path in files(folder)]
    return sorted(found, key=lambda sky: sky["constants"]["seed"])


def rival_score(sky: Content, rival: str, head: str = FOREST, metric: str = MAIN) -> float | None:
    """Return the mean of a metric over the questions of a sky; None if it is not measured."""
    scores = sky["rivals"].get(rival, {}).get("scores", {}).get(head)
    return float(np.mean(scores[metric])) if scores else None


def route_score(sky: Content, method: str, survey: str) -> float:
    """Return the mean over the questions of a forest of the first survey, tested in `survey`."""
    return float(np.mean(sky["transfer"]["methods"][method][survey]))


def gap(sky: Content, method: str) -> float:
    """Return what a forest of the first survey loses in the second, with a method's latents."""
    return route_score(sky, method, "first") - route_score(sky, method, "second")


def across(values: Sequence[float]) -> Estimate:
    """Return the mean of independent skies and its 95 % interval, of Student's t.

    The sky is the unit: k skies have k - 1 degrees of freedom, and one sky has no interval (NaN).
    """
    k, mean = len(values), float(np.mean(values))
    half = t.ppf(0.975, k - 1) * np.std(values, ddof=1) / math.sqrt(k) if k > 1 else math.nan
    return Estimate(mean, mean - half, mean + half)


def demonstration(score: float | None, skies: Sequence[Content]) -> str:
    """Return in words the range of the skies' scores, in which a demo's `score` lies or not."""
    found = [(sky, rival_score(sky, DEFAULT)) for sky in skies]
    scores = [value for _, value in found if value is not None]
    if not scores:
        return (
            "This sky is a demonstration. The skies of the protocol (docs/PROTOCOL.md), on which "
            "claims are based, are not measured yet: make skies."
        )
    galaxies = skies[0]["constants"]["galaxies"]
    low, high = min(scores), max(scores)
    number = f"{len(scores)} skies" if len(scores) > 1 else "one sky"
    words = (
        f"This sky is a demonstration. On {number} of {galaxies:,} galaxies (docs/RESULTS.md) the "
        f"mean balanced accuracy of the same forests is {np.mean(scores):.3f}"
    )
    if len(scores) > 1:
        words += f", from {low:.3f} to {high:.3f}"
    if score is None or len(scores) < 2:
        return f"{words}."
    place = "within" if low <= score <= high else "outside"
    return f"{words}; the {score:.3f} of this sky lies {place} that range."
