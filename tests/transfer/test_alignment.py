"""Measures and maps that align two surveys' latents, against known values."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from VAE_model.evaluation.agreement import agreement, intervals
from VAE_model.evaluation.classification import Question, Scores, set_question
from VAE_model.training.losses import mmd
from VAE_model.transfer import alignment
from VAE_model.transfer.comparison import FIRST, OLD, SECOND, predict_all, transfer_of

RNG = np.random.default_rng(3)


def sample(count: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).standard_normal((count, 4)) * scale + shift
    return torch.from_numpy(values)


def test_mmd_is_what_a_double_loop_gives():
    one, two = sample(7), sample(7, 0.5, seed=1)
    joint = torch.cat([one, two])
    squares = ((joint[:, None] - joint[None]) ** 2).sum(-1)
    mean = squares.sum() / (14 * 13)
    total = 0.0

    def kernel(x, y):
        distance = float(((x - y) ** 2).sum())
        return np.mean([np.exp(-distance / float(mean * 2.0**p)) for p in (-2, -1, 0, 1, 2)])

    for i in range(7):
        for j in range(7):
            if i != j:
                total += kernel(one[i], one[j]) + kernel(two[i], two[j])
                total -= kernel(one[i], two[j]) + kernel(one[j], two[i])
    assert float(mmd(one, two)) == pytest.approx(total / (7 * 6), rel=1e-9)


def test_mmd_is_about_zero_for_one_distribution_and_grows_with_the_shift():
    same = [float(mmd(sample(200, seed=s), sample(200, seed=s + 50))) for s in range(20)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(20)
    one = sample(200)
    assert float(mmd(one, one)) == pytest.approx(0, abs=1e-12)
    noisy = one + 0.3 * sample(200, seed=9)  # the same galaxies, seen again
    assert abs(float(mmd(one, noisy))) < 0.01
    grows = [float(mmd(one, sample(200, shift, seed=1))) for shift in (0.3, 1, 3)]
    assert 0.01 < grows[0] < grows[1] < grows[2] < 2


def test_the_gradient_of_mmd_draws_the_samples_together():
    one, two = sample(100), sample(100, 1.0, seed=1).requires_grad_()
    mmd(one, two).backward()
    assert (two.grad.mean(dim=0) > 0).all()  # downhill is towards smaller values


@pytest.mark.parametrize("method", [alignment.standardise, alignment.coral])
def test_maps_match_the_moments_they_say(method):
    rng = np.random.default_rng(3)  # many galaxies and no flat direction: nothing is shrunk
    source, target = (
        rng.standard_normal((20_000, 5)) @ (np.eye(5) + 0.3 * rng.standard_normal((5, 5))) + shift
        for shift in (3, -1)
    )
    matrix, offset = method(source, target)
    moved = source @ matrix.T + offset
    assert moved.mean(axis=0) == pytest.approx(target.mean(axis=0), abs=1e-6)
    assert moved.std(axis=0) == pytest.approx(target.std(axis=0), rel=0.02)
    if method is alignment.coral:
        covariance = np.cov(target.T)
        assert np.cov(moved.T) == pytest.approx(covariance, abs=0.02 * np.abs(covariance).max())


def test_a_flat_latent_does_not_break_the_maps():
    source = np.column_stack([RNG.standard_normal(50), np.zeros(50)])
    for method in (alignment.standardise, alignment.coral):
        matrix, offset = method(source, source)
        assert np.isfinite(source @ matrix.T + offset).all()


def test_coral_of_fewer_galaxies_than_latents_does_no_harm():
    source, target = RNG.standard_normal((8, 40)), RNG.standard_normal((8, 40))
    matrix, _ = alignment.coral(source, target)
    assert np.linalg.norm(matrix, 2) < 5


def test_agreement_of_known_views():
    one = RNG.standard_normal((300, 6)) * 2
    scatter = one.std(axis=0)
    same = agreement(one, one.copy(), scatter)
    assert same.distance == pytest.approx(np.zeros(300))
    assert (same.rank == 0).all()
    assert same.correlation == pytest.approx(np.ones(6))
    assert same.auc == pytest.approx(0.5, abs=0.12)
    shifted = agreement(one, one + scatter, scatter)
    assert np.median(shifted.distance) == pytest.approx(1)
    assert shifted.auc > 0.8
    assert shifted.mmd > 0.05
    strangers = agreement(one, RNG.permutation(one), scatter)
    assert np.median(strangers.distance) == pytest.approx(np.sqrt(2), abs=0.15)
    assert (strangers.rank < 1).mean() < 0.03
    assert abs(strangers.correlation).max() < 0.25


def test_rank_counts_the_galaxies_that_are_nearer():
    one = np.array([[0.0], [1.0], [3.0], [10.0]])
    two = np.array([[0.1], [2.9], [3.1], [0.4]])
    assert agreement(one, two, np.ones(1)).rank.tolist() == [0, 1, 0, 3]


def test_the_survey_is_not_recognised_by_the_galaxy():
    """Both views of a galaxy are in one fold: two identical views tell nothing."""
    one = RNG.standard_normal((60, 3))
    found = agreement(one, one.copy(), one.std(axis=0))
    assert found.survey_score[0] == pytest.approx(found.survey_score[1])


def test_intervals_hold_the_value_and_shrink_with_n():
    widths = []
    for count in (50, 800):
        one = RNG.standard_normal((count, 5))
        found = agreement(one, one + 0.5 * RNG.standard_normal((count, 5)), np.ones(5))
        for estimate in intervals(found, 200).values():
            assert estimate.low <= estimate.value <= estimate.high
        distance = intervals(found, 200)["distance"]
        widths.append(distance.high - distance.low)
    assert widths[1] < widths[0] / 2


def known_questions(count: int = 900) -> tuple[list[Question], np.ndarray]:
    """Two questions whose answers the sign of the first two features gives."""
    features = RNG.standard_normal((count, 3))
    split = np.where(np.arange(count) % 3, "train", "test")
    asked = []
    for column in (0, 1):
        labels = np.where(features[:, column] > 0, "yes", "no")
        asked.append(set_question(str(column), ["yes", "no"], labels, split))
    return asked, features


def test_a_turned_survey_shows_a_gap_that_the_right_map_closes():
    questions, first = known_questions()
    turned = first[:, [1, 0, 2]]  # the second survey has two latents exchanged
    halfway = np.where(np.arange(len(first))[:, None] % 2, first, turned)
    seconds = {"no_tf": turned, "half": halfway, "right": first}
    latents = {name: {FIRST: first, SECOND: second} for name, second in seconds.items()}
    answers = predict_all(questions, latents, "no_tf", (0,), 30)
    table = Scores.of(questions, answers, n_bootstrap=300)
    before = transfer_of(table, "no_tf", "no_tf", ["no_tf", "half", "right"])
    assert before["mean"]["first to first"]["value"] > 0.95
    assert before["mean"]["first to second"]["value"] == pytest.approx(0.5, abs=0.07)
    assert before["gap"]["low"] > 0.3
    right = transfer_of(table, "right", "no_tf", ["no_tf", "half", "right"])
    assert right["gap"]["value"] == pytest.approx(0, abs=0.01)
    assert right["better_than"]["half"]["low"] > 0
    assert right["questions"]["0"]["mcnemar"]["p"] < 1e-6
    half = transfer_of(table, "half", "no_tf", [])
    assert half["gap"]["value"] == pytest.approx(before["gap"]["value"] / 2, abs=0.05)


def test_scores_and_their_differences_are_those_of_one_list_of_answers_alone():
    questions, first = known_questions(600)
    noisy = first + 0.8 * RNG.standard_normal(first.shape)
    answers = predict_all(questions, {"a": {FIRST: first, SECOND: noisy}}, "a", (0,), 30)
    table = Scores.of(questions, answers)
    for number, question in enumerate(questions):
        codes = answers[("a", FIRST, SECOND)][number]
        expected = Scores.of([question], {"": [codes]}).estimate("")
        found = table.estimate(("a", FIRST, SECOND), number)
        assert found.value == pytest.approx(expected.value)
        assert found.low == pytest.approx(expected.low, abs=0.02)
        assert found.high == pytest.approx(expected.high, abs=0.02)
        assert found.value == pytest.approx(balanced_accuracy_score(question.test_codes, codes))
        correct = table.correct(("a", FIRST, SECOND), number)
        assert np.array_equal(correct, codes == question.test_codes)
    found = table.difference(("a", FIRST, SECOND), ("a", FIRST, FIRST))
    means = [table.estimate(("a", FIRST, side)).value for side in (FIRST, SECOND)]
    assert found.value == pytest.approx(means[1] - means[0])
    assert found.low < found.value < found.high < 0


def test_a_survey_that_is_the_first_has_no_gap():
    questions, first = known_questions(600)
    latents = {"no_tf": {FIRST: first, SECOND: first.copy()}}
    table = Scores.of(
        questions, predict_all(questions, latents, "no_tf", (0,), 30), n_bootstrap=300
    )
    found = transfer_of(table, "no_tf", "no_tf", [])
    assert found["gap"] == {"value": 0, "low": 0, "high": 0}


def test_the_old_forest_is_fitted_before_adaptation():
    questions, first = known_questions(600)
    flipped = -first  # adaptation has turned everything over, in both surveys alike
    latents = {"no_tf": {FIRST: first, SECOND: first}, "m": {FIRST: flipped, SECOND: flipped}}
    table = Scores.of(
        questions, predict_all(questions, latents, "no_tf", (0,), 30), n_bootstrap=100
    )
    assert table.estimate(("m", FIRST, SECOND)).value > 0.95
    assert table.estimate(("m", OLD, FIRST)).value < 0.05
