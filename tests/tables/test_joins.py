"""Joins are by value, say what they kept and dropped, and refuse what is ambiguous."""

import pytest

from VAE_model.pipeline.problem import Problem
from VAE_model.tables.joins import check_unique, join_rows

NAMES = ("left.parquet", "right.parquet")


def test_a_join_is_by_value_and_says_what_it_kept_and_dropped(capsys):
    rows = join_rows(["b", "x", "a", "b"], ["a", "b", "c"], NAMES)
    assert rows.tolist() == [1, -1, 0, 1]
    assert capsys.readouterr().out == (
        "  join on path: kept 3 of 4 rows of left.parquet; dropped 1: not in right.parquet; "
        "1 rows of right.parquet not used\n"
    )
    assert join_rows([], [], NAMES).tolist() == []


def test_a_required_row_that_is_missing_is_named_with_what_to_do():
    with pytest.raises(Problem, match=r"left.parquet names x, which is not in right.*: run this"):
        join_rows(["a", "x"], ["a"], NAMES, required="run this")


@pytest.mark.parametrize("twice", [["a", "b", "a"], [None, "a", None]])
def test_a_value_that_stands_twice_is_refused(twice):
    with pytest.raises(Problem, match=r"right.parquet has 1 rows with a duplicate path"):
        join_rows(["a"], twice, NAMES)
    with pytest.raises(Problem, match=r"first: 3.*delete it"):
        check_unique([3, 4, 3], "t", "class_row", "delete it")
