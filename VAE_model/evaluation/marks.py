"""Learning from marks: a person marks some galaxies, and a logistic model ranks all others.

The model is Bayesian logistic regression on the latents, the flags and three more measurements of
each image (Features). Before the first mark its order is that of the distance from the other
galaxies, because the weight of that column has a prior mean of 1; each mark moves the weights. The
posterior is a Gaussian around its maximum (Laplace approximation; Bishop 2006, Pattern Recognition
and Machine Learning, section 4.5), so that each galaxy has a score and an uncertainty.

The pages do the same in report/marks.js, on the same rounded numbers: `decals_4.py --marks` ranks
as the page does. tests/report/test_marks.py compares the two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.special import expit

from VAE_model.evaluation import outliers
from VAE_model.extraction.latent_table import posterior_widths
from VAE_model.pipeline.problem import Problem
from VAE_model.preparation.defects import FLAGS
from VAE_model.tables.columns import as_text
from VAE_model.tables.reading import read_table

MIN_TRAINING = 10  # training galaxies that the distance from the others needs
MARKS = ("interesting", "boring", "artefact")  # that a page offers; a person may add others
STEP = 4 / 127  # of the rounded features: int8 spans -4 to 4 standard deviations
BACKGROUND = "background_rms_over_flux"
COLUMNS = ("residual", BACKGROUND, *FLAGS)  # of the table of latents, beside the latents

_FLAG = 2.0  # value of a flag that is set, in the unit of the other features
_LATENT_VARIANCE = 4.0  # prior variance of the score from all latents together
_OTHER_VARIANCE, _OFFSET_VARIANCE = 0.5, 4.0  # of the other weights, of the constant
_STEPS = 100  # of Newton's method, at most; it needs some ten
_BLOCK = 65_536  # rows scored at a time


@dataclass(frozen=True)
class Features:
    """The numbers by which the model knows each image, and the prior of its weights.

    values: int8 (N, K) in units of STEP: the latents, then the percentiles of the residual, the
    background and the distance from the other galaxies, then the flags; mean, variance: of the
    Gaussian prior of each weight, (K + 1,), the last one of the constant.
    """

    values: NDArray[np.int8]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, table: pd.DataFrame, latents: NDArray[np.floating]) -> "Features":
        """Return the features of images from their table and latents (N, D).

        table: columns split, COLUMNS and, where known, logvar_*. A latent is divided by the
        standard deviation of its mean plus posterior, so that those that the network does not use
        stay small.
        """
        latents = np.asarray(latents, np.float64)
        known = any(name.startswith("logvar_") for name in table)
        width = posterior_widths(table).astype(float) if known else 0.0
        spread = np.sqrt(latents.var(axis=0) + np.square(width))
        scaled = (latents - latents.mean(axis=0)) / np.where(spread > 0, spread, 1)
        train = (table["split"] == "train").to_numpy()
        train = train if train.sum() >= MIN_TRAINING else np.ones(len(table), bool)
        few = len(table) < MIN_TRAINING
        distance = np.zeros(len(table)) if few else outliers.mahalanobis(latents, train)
        measured = [_uniform(values) for values in (table["residual"], table[BACKGROUND], distance)]
        flags = _FLAG * table[list(FLAGS)].to_numpy(float)
        values = np.concatenate([scaled, np.stack(measured, axis=1), flags], axis=1)
        variance = np.full(values.shape[1] + 1, _OTHER_VARIANCE)
        variance[: latents.shape[1]] = _LATENT_VARIANCE / latents.shape[1]
        variance[-1] = _OFFSET_VARIANCE
        mean = np.zeros(len(variance))
        mean[latents.shape[1] + len(measured) - 1] = 1
        return cls(np.clip(np.rint(values / STEP), -127, 127).astype(np.int8), mean, variance)

    def rows(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Return the features of some rows with a last column of ones, (M, K + 1)."""
        chosen = self.values[np.asarray(rows, np.int64)] * STEP
        return np.concatenate([chosen, np.ones((len(chosen), 1))], axis=1)


def _uniform(values: ArrayLike) -> NDArray[np.float64]:
    """Return percentiles on a scale of mean 0 and variance 1; 0 where unknown."""
    return np.nan_to_num(np.sqrt(12) * (outliers.percentile(values) - 0.5))


@dataclass(frozen=True)
class Ranking:
    """The score of each galaxy, (N,): log-odds of being wanted, and the variance of that."""

    score: NDArray[np.float64]
    variance: NDArray[np.float64]

    @property
    def moderate(self) -> NDArray[np.float64]:
        """Log-odds with the uncertainty averaged over (Bishop 2006, equation 4.153)."""
        return self.score / np.sqrt(1 + np.pi * self.variance / 8)

    def next(self, marked: NDArray[np.bool_], uncertain: bool = False) -> int:
        """Return the row to look at next, -1 for none.

        It is the unmarked galaxy of highest score, or, `uncertain`, the one whose probability is
        nearest to one half.
        """
        if marked.all():
            return -1
        order = -np.abs(self.moderate) if uncertain else self.score
        return int(np.where(marked, -np.inf, order).argmax())


def learn(features: Features, rows: ArrayLike, wanted: ArrayLike) -> Ranking:
    """Return the ranking of all galaxies that the marks of some of them lead to.

    rows: marked galaxies, (M,), may be none; wanted: whether each has the mark that is ranked by.
    """
    given, wanted = features.rows(rows), np.asarray(wanted, float)
    weights, factor = features.mean, np.diag(np.sqrt(1 / features.variance))
    loss = _loss(weights, given, wanted, features)
    for _ in range(_STEPS if len(given) else 0):
        chance = expit(given @ weights)
        slope = given.T @ (chance - wanted) + (weights - features.mean) / features.variance
        curve = (given.T * (chance * (1 - chance))) @ given + np.diag(1 / features.variance)
        factor = cho_factor(curve, lower=True)[0]
        step = cho_solve((factor, True), slope)
        size = 1.0
        while (new := _loss(weights - size * step, given, wanted, features)) > loss and size > 1e-4:
            size /= 2
        weights, loss = weights - size * step, new
        if np.abs(step).max() < 1e-9:
            break
    score, variance = np.empty(len(features.values)), np.empty(len(features.values))
    for block in _blocks(len(score)):
        x = features.rows(block)
        score[block] = x @ weights
        variance[block] = np.square(solve_triangular(factor, x.T, lower=True)).sum(axis=0)
    return Ranking(score, variance)


def _loss(
    weights: NDArray[np.float64], given: NDArray, wanted: NDArray, features: Features
) -> float:
    """Return the negative logarithm of the posterior, up to a constant."""
    sign = np.where(wanted, 1, -1) * (given @ weights)
    apart = np.square(weights - features.mean) / features.variance
    return float(np.logaddexp(0, -sign).sum() + apart.sum() / 2)


def _blocks(count: int) -> Iterator[NDArray[np.int64]]:
    for first in range(0, count, _BLOCK):
        yield np.arange(first, min(first + _BLOCK, count))


def read_marks(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return the mark of each image of a table and its time, "" where it has none, from a file.

    path: a CSV as the pages write it (name, path, ra, dec, mark, time), or any table with the
    column mark and one of name and path. table: columns iauname and path. An image is found by its
    path, else by its name if only one image has it; of two marks of one image the last counts.
    Prints how many marks were left out. Raises Problem where the file is no such table, or none of
    its marks is of an image.
    """
    read = read_table(path, ["mark"], ["path", "name", "time"])
    if not {"path", "name"} & set(read):
        raise Problem(f"{path} has neither a column path nor name: which galaxies were marked?")
    for column in {"mark", "time"} & set(read):
        read[column] = read[column].map(as_text).fillna("")
    read = read[read["mark"] != ""]
    rows = pd.Series(-1, read.index)
    for column, values in (("name", table["iauname"]), ("path", table["path"])):
        if column in read:
            single = ~values.duplicated(keep=False).to_numpy()
            place = pd.Series(np.flatnonzero(single), values.astype(str)[single])
            rows = read[column].map(place).fillna(rows).astype(int)
    known = (rows >= 0).to_numpy()
    if not known.any():
        first = read.filter(["name", "path"]).iloc[:1].to_numpy().ravel().tolist()
        what = f" (the first is of {first[0]})" if first else ""
        raise Problem(
            f"{path} has no mark of an image of this run{what}: name the marks of this run"
        )
    marks = pd.DataFrame("", table.index, ["mark", "time"], dtype=object)
    for column in {"mark", "time"} & set(read):
        marks.loc[marks.index[rows[known]], column] = read.loc[known, column].to_numpy(object)
    count, left = int((marks["mark"] != "").sum()), int((~known).sum())
    notes = [f"{count:,} images are marked"]
    if left:
        notes.append(f"{left:,} marks of unknown images are left out")
    if twice := int(known.sum()) - count:
        notes.append(f"{twice:,} earlier marks of the same images do not count")
    print(f"  {path}: {'; '.join(notes)}")
    return marks
