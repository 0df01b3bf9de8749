"""The nearest among many are exact, and so are matches in bands; the stage finds them."""

import numpy as np
import pandas as pd
import pytest
from conftest import run_script, says_one_line, succeeded
from latents_of_tiny_run import NUM_VAR, with_latents
from scipy.spatial.distance import cdist

from VAE_model.data import sky
from VAE_model.evaluation import similarity
from VAE_model.pipeline.run import Run

STAGE = "analysis/similar.py"


@pytest.fixture(scope="module")
def with_similar(tiny_run: Run, tmp_path_factory) -> Run:
    return with_latents(tiny_run, tmp_path_factory.mktemp("similar") / "run")


@pytest.mark.parametrize("offset", [0.0, 3e3])
def test_nearest_are_exact_across_blocks_and_far_from_the_origin(monkeypatch, offset: float):
    """Far from the origin, distances from products of float32 would be wrong."""
    monkeypatch.setattr(similarity, "_QUERIES", 7)
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(1000, 5)).astype(np.float32)
    latents[:2] += np.float32(offset)  # one far outlier spoils the error bound of all
    latents[500] = latents[3]
    rows, distances = similarity.nearest(latents, latents[:20], 6)
    exact = cdist(latents[:20].astype(float), latents.astype(float))
    order = np.argsort(exact, axis=1, kind="stable")[:, :6]
    assert np.array_equal(rows, order)
    assert np.allclose(distances, np.take_along_axis(exact, order, 1), rtol=1e-12, atol=1e-12)
    assert rows[3, :2].tolist() == [3, 500] and distances[3, 1] == 0


def test_fewer_latents_than_neighbours_asked_for():
    latents = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows, distances = similarity.nearest(latents, latents[:1], 10)
    assert rows.tolist() == [[0, 1, 2]]
    assert distances[0, 1] == pytest.approx(8**0.5)


def test_a_match_in_bands_is_that_of_the_whole_sky(monkeypatch):
    """Dense enough that pairs, and rivals for them, straddle the edges of the bands."""
    rng = np.random.default_rng(1)
    ra1, ra2 = rng.uniform(-0.02, 0.02, (2, 3000)) % 360
    dec1, dec2 = rng.uniform(40, 40.03, (2, 3000))
    ra1[5], dec2[7] = np.nan, np.nan
    whole = sky.cross_match(ra1, dec1, ra2, dec2, 2.0)
    vectors = [sky.unit_vectors(*place)[~np.isnan(place).any(axis=0)] for place in
               (np.array([ra1, dec1]), np.array([ra2, dec2]))]  # fmt: skip
    apart = cdist(*vectors)
    mutual = (apart == apart.min(axis=1, keepdims=True)) & (apart == apart.min(axis=0))
    assert len(whole[0]) == np.count_nonzero(mutual & (apart <= sky.chord(2.0)))
    monkeypatch.setattr(sky, "_BAND", 61)
    for one, other in zip(whole, sky.cross_match(ra1, dec1, ra2, dec2, 2.0), strict=True):
        assert np.array_equal(one, other)


def test_the_stage_finds_the_nearest_and_not_the_broken(with_similar: Run):
    table = pd.read_parquet(with_similar.latents(NUM_VAR))
    broken = table.filter(regex="^flag_").any(axis=1).to_numpy()
    asked = table["iauname"][20]
    succeeded(
        run_script(STAGE, with_similar, "--num-var", str(NUM_VAR), "--query", asked, "--count", "5")
    )
    found = pd.read_parquet(with_similar.queries(f"similar_{NUM_VAR}.parquet"))
    means = table.filter(regex="^mu_").to_numpy(float)
    distance = np.linalg.norm(means - means[20], axis=1)
    distance[broken] = np.inf
    distance[20] = np.inf
    best = np.argsort(distance)[:5]
    assert found["iauname"].tolist() == [asked] * 5
    assert found["order"].tolist() == [1, 2, 3, 4, 5]
    assert found["similar_path"].tolist() == table["path"][best].tolist()
    assert np.allclose(found["distance"], distance[best], rtol=1e-5)
    assert with_similar.queries(f"similar_{NUM_VAR}.png").stat().st_size > 10_000


def test_an_unknown_galaxy_is_one_clear_line(with_similar: Run):
    done = run_script(
        STAGE, with_similar, "--num-var", str(NUM_VAR), "--query", "J000000.00+000000.0"
    )
    assert "no image lies within 30 arcsec of 'J000000.00+000000.0'" in says_one_line(done)
