"""A search in an index on disk gives what a search in memory gives, to the last bit."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_command, says_one_line, succeeded
from latents_of_tiny_run import NUM_VAR, with_latents

from VAE_model.evaluation import latent_index
from VAE_model.evaluation.latent_index import LatentIndex, build
from VAE_model.evaluation.similarity import nearest
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run

SCRIPT = "analysis/search_survey.py"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """So that a few thousand rows have several of each."""
    for name, size in (("FIRST", 300), ("READ", 700), ("BLOCK", 64), ("QUERIES", 7), ("PAIRS", 50)):
        monkeypatch.setattr(latent_index, f"_{name}", size)
    monkeypatch.setattr(latent_index, "_SAMPLE", (3, 500))


def latents_of(kind: str) -> np.ndarray:
    """(5000, 6): correlated, far from the origin, with far outliers, or with many ties."""
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(5000, 6)) @ rng.normal(size=(6, 6)) * [1, 1, 1, 1, 0.01, 0]
    if kind == "outliers":
        latents[[0, 7, 4000, 4999]] *= 1e4
    if kind == "ties":
        latents = rng.integers(0, 3, (5000, 6))
    return (latents + (3e3 if kind == "far" else 0)).astype(np.float32)


@pytest.mark.parametrize("kind", ["correlated", "far", "outliers", "ties"])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_search_on_disk_is_that_in_memory(tmp_path, kind: str, workers: int):
    latents = latents_of(kind)
    made = build(tmp_path, np.array_split(latents, 11))
    rng = np.random.default_rng(2)
    queries = np.concatenate([latents[::250], latents[[4000]] + 0.01, rng.normal(0, 9, (3, 6))])
    queries = queries.astype(np.float32)
    rows, distances = made.search(queries, 12, workers)
    apart = latents.astype(np.float64)[None] - queries[:, None]
    apart = np.sqrt(np.square(apart).sum(axis=2))
    order = np.argsort(apart, axis=1, kind="stable")[:, :12]
    assert np.array_equal(rows, order)
    assert np.array_equal(distances, np.take_along_axis(apart, order, 1))
    if kind != "ties":  # among which the search in memory takes no more than some
        for here, there in zip((rows, distances), nearest(latents, queries, 12), strict=True):
            assert np.array_equal(here, there)


def test_no_latent_is_farther_from_its_copy_than_the_error_and_few_are_without():
    latents = latents_of("outliers")
    centre, step = np.zeros(6), np.abs(latents_of("correlated")).max(axis=0) / 127 + 1e-9
    codes, norms, far, error = latent_index._copy(latents, centre, step)
    assert far.tolist() == [0, 7, 4000, 4999] and np.isinf(norms[far]).all()
    apart = np.linalg.norm(np.delete(latents - codes * step, far, axis=0), axis=1)
    assert apart.max() == pytest.approx(error) and 0 < error < 0.5001 * np.linalg.norm(step)


def test_only_few_galaxies_are_measured_from_their_latents(tmp_path, monkeypatch):
    latents = latents_of("correlated")
    made, read = build(tmp_path, [latents]), []
    whole = LatentIndex.latents
    monkeypatch.setattr(
        LatentIndex, "latents", lambda self, rows: read.extend(rows) or whole(self, rows)
    )
    made.search(latents[:1], 10, 1)
    assert 10 < len(read) < 500


def test_more_neighbours_than_latents_and_one_latent(tmp_path):
    rows, distances = build(tmp_path, [np.ones((1, 4), np.float32)]).search(
        np.zeros((2, 4), np.float32), 5
    )
    assert rows.tolist() == [[0], [0]] and distances.tolist() == [[2.0], [2.0]]


def test_what_cannot_be_searched_is_one_line(tmp_path):
    latents = latents_of("correlated")
    latents[4321, 2] = np.nan
    with pytest.raises(Problem, match="not finite"):
        build(tmp_path, [latents])
    with pytest.raises(Problem, match=r"index.json is missing"):
        LatentIndex(tmp_path)
    made = build(tmp_path, [latents[:4000]])
    with pytest.raises(Problem, match="has 6 latents, not 5"):
        made.search(latents[:1, :5], 3)
    with open(tmp_path / "codes.int8", "r+b") as file:
        file.truncate(100)
    with pytest.raises(Problem, match=r"codes.int8 is missing or cut short"):
        LatentIndex(tmp_path)


def test_a_survey_of_two_runs_is_searched_by_name_path_and_position(tiny_run, tmp_path):
    one = with_latents(tiny_run, tmp_path / "one")
    shutil.copytree(one.folder, tmp_path / "two", copy_function=os.link)
    two = Run(tmp_path / "two")
    tables = [read_parquet(run.latents(NUM_VAR)) for run in (one, two)]
    tables[1]["iauname"] += "b"
    tables[1]["dec"] += 1.0
    tables[1]["mu_00"] += np.float32(0.001)
    two.latents(NUM_VAR).unlink()
    write_parquet(two.latents(NUM_VAR), tables[1])
    index = ("--index", str(tmp_path / "index"), "--num-var", str(NUM_VAR))
    runs = ("--runs", str(one.folder), str(two.folder))
    succeeded(run_command([SCRIPT, *index, *runs]))
    galaxy = tables[0].iloc[20]
    queries = [tables[1]["iauname"][20], f"{galaxy['ra']} {galaxy['dec']}",
               f"one/{galaxy['path']}"]  # fmt: skip
    succeeded(run_command([SCRIPT, *index, "--count", "4", "--query", *queries]))
    found = read_parquet(tmp_path / "index" / "search.parquet")
    both = pd.concat(tables, ignore_index=True)
    good = ~both.filter(regex="^flag_").any(axis=1).to_numpy()
    means = both.filter(regex="^mu_").to_numpy(float)
    for query, own in zip(queries, (20 + len(tables[0]), 20, 20), strict=True):
        distance = np.linalg.norm(means - means[own], axis=1)
        distance[~good], distance[own] = np.inf, np.inf
        part = found[found["query"] == query]
        best = np.argsort(distance)[:4]
        assert part["iauname"].tolist() == both["iauname"][best].tolist()
        assert np.allclose(part["distance"], distance[best], rtol=1e-4)
        assert part["order"].tolist() == [1, 2, 3, 4]
    wrong = run_command([SCRIPT, *index, "--query", Path(galaxy["path"]).name])
    assert "fits 2 images" in says_one_line(wrong)
    wrong = run_command([SCRIPT, *index, "--query", "J000000.00+000000.0"])
    assert "has no galaxy 'J000000.00+000000.0'" in says_one_line(wrong)
