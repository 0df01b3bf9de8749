"""Claims about the choice of the number of latent variables."""

from conftest import load_script

choose_dimension = load_script("analysis/choose_dimension.py")


def test_knee_of_a_curve_that_saturates():
    assert choose_dimension.knee([5, 10, 20, 40, 80], [0.0, 10.0, 18.0, 19.0, 19.5]) == 20


def test_knee_of_a_straight_line_is_its_best_end():
    assert choose_dimension.knee([10, 100, 1000], [1.0, 2.0, 3.0]) == 1000
    assert choose_dimension.knee([5, 10], [1.0, 2.0]) == 10


def test_knee_of_a_quality_that_falls_is_the_best_dimension():
    assert choose_dimension.knee([5, 10, 20], [3.0, 2.0, 1.0]) == 5
