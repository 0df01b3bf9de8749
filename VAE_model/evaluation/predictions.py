"""Predicted answers for every image, with or without a label of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from VAE_model.evaluation.calibration import BINS, bin_of
from VAE_model.evaluation.classification import Question, forest_predict

FOLDS = 5  # parts of the train split
MIN_IN_BIN = 5  # test galaxies behind a reliability


def all_probabilities(
    question: Question, features: NDArray, seeds: Sequence[int], trees: int = 200
) -> NDArray[np.float64]:
    """Return the probability of each answer for every image, (N, answers).

    features: (N, d). Images of the train split are predicted by forests that were fitted on the
    others of it (FOLDS parts in turn, one seed); NaN where an answer has only one of them.
    """
    x, codes = features[question.train], question.train_codes
    found, _ = forest_predict(x, codes, features, seeds, trees)
    folds = min(FOLDS, int(np.bincount(codes).min()))
    found[question.train] = np.nan
    parts = (
        StratifiedKFold(folds, shuffle=True, random_state=0).split(x, codes) if folds > 1 else ()
    )
    for fitted, left in parts:
        rows = question.train[left]
        found[rows], _ = forest_predict(x[fitted], codes[fitted], x[left], seeds[:1], trees)
    return found


def reliability(question: Question, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for every image the share of correct answers at its confidence, (N,).

    The confidence is the probability of the most probable answer. The share is that of the test
    galaxies in the same bin of confidence; NaN with fewer than MIN_IN_BIN of them.
    """
    place = bin_of(np.nan_to_num(probability.max(axis=1)))
    tested = place[question.test]
    correct = probability[question.test].argmax(axis=1) == question.test_codes
    number = np.bincount(tested, minlength=BINS)
    share = np.bincount(tested, correct, minlength=BINS) / np.maximum(number, 1)
    share[number < MIN_IN_BIN] = np.nan
    return np.where(np.isfinite(probability).all(axis=1), share[place], np.nan)


def prediction_table(
    identity: pd.DataFrame,
    labels: pd.DataFrame,
    questions: Sequence[Question],
    probability: Sequence[NDArray[np.float64]],
) -> pd.DataFrame:
    """Return one row per image: identity, and for each question four kinds of columns.

    identity, labels: one row per image, labels with one column per question. Columns, for a
    question `bar`: `bar_predicted` (answer), `bar_label` (the answer in the table of labels, or
    null), `bar_reliability`, and `bar_p_<answer>`. Images without any label come first.
    """
    columns: dict[str, Any] = {}
    for question, of in zip(questions, probability, strict=True):
        known = np.isfinite(of).all(axis=1)
        best = np.array(question.answers, object)[np.nan_to_num(of).argmax(axis=1)]
        columns[f"{question.name}_predicted"] = np.where(known, best, None)
        columns[f"{question.name}_label"] = labels[question.name].to_numpy(object)
        columns[f"{question.name}_reliability"] = reliability(question, of)
        for answer, p in zip(question.answers, of.T, strict=True):
            columns[f"{question.name}_p_{answer}"] = p
    table = pd.concat([identity.reset_index(drop=True), pd.DataFrame(columns)], axis=1)
    labelled = labels.notna().any(axis=1).to_numpy()
    return table.iloc[np.argsort(labelled, kind="stable")].reset_index(drop=True)
