"""The map of many galaxies: places for all, and a page of bounded size that a browser shows."""

import base64
import gzip

import numpy as np
import pytest
from browser import Browser
from conftest import run_script, succeeded
from latents_of_tiny_run import NUM_VAR, with_latents
from test_latent_map import HOSTILE, needs_chromium, tiles
from test_report import Page

from VAE_model.evaluation.placing import NEIGHBOURS, place_among
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.report.large_map import large_map_page
from VAE_model.report.map_data import Answer, Scheme

ANSWERS = [Answer("round", "#CC6677", "o"), Answer("$& <b>", "#332288", "D")]


def page_of(names: list[str], sample: int = 20) -> str:
    """A square of galaxies, those in its right half of the second answer."""
    count = len(names)
    places = np.random.default_rng(0).uniform(0, 50, (count, 2))
    scheme = Scheme("class", ANSWERS, (places[:, 0] > 25).astype(int))
    other = Scheme("survey", ANSWERS[:1], np.zeros(count, int))
    chosen = np.arange(sample) * (count // sample)
    return large_map_page(
        "A <map>", "lead", places, names, [scheme, other], chosen, iter(tiles(sample))
    )


def test_a_galaxy_lies_among_those_that_are_most_like_it_and_a_placed_one_where_it_was():
    rng = np.random.default_rng(0)
    placed = np.concatenate([rng.normal(c, 1, (40, 3)) for c in (0, 50)]).astype(np.float32)
    places = np.concatenate([rng.normal(c, 1, (40, 2)) for c in (0, 9)])
    found = place_among(placed, placed, places)
    assert np.allclose(found, places, atol=1e-5)
    new = rng.normal(50, 1, (30, 3)).astype(np.float32)
    found = place_among(new, placed, places)
    apart = np.linalg.norm(placed - new[3], axis=1)
    near = np.argsort(apart)[:NEIGHBOURS]
    expected = np.average(places[near], axis=0, weights=apart[near] ** -2.0)
    assert np.allclose(found[3], expected, rtol=1e-4)
    assert (np.linalg.norm(found - 9, axis=1) < 4).all()


def test_the_page_has_all_places_and_names_and_no_markup_of_theirs():
    names = [*HOSTILE, *(f"galaxy {i}" for i in range(3000))]
    text = page_of(names)
    read = Page(text)
    assert not read.wrong and "window.hacked = 1</script>" not in text

    def content(name: str) -> bytes:
        return base64.b64decode(text.split(f'id="{name}">')[1].split("</script>")[0])

    assert gzip.decompress(content("names")).decode().split("\n")[-1] == "galaxy 2999"
    assert len(gzip.decompress(content("names")).decode().split("\n")) == len(names)
    x = np.frombuffer(content("x"), "<u2")
    codes = np.frombuffer(content("codes-0"), np.uint8)
    assert len(x) == len(names) and x.max() > 65000
    assert np.array_equal(codes == 1, x / x.max() > 0.5) or (codes == (x > 32767)).mean() > 0.99


def test_a_million_galaxies_have_a_page_of_25_mb():
    """By the bytes per galaxy: names are most of them."""
    rng = np.random.default_rng(0)
    names = [f"J{a:06d}.{b:02d}+{c:06d}.{d}" for a, b, c, d in
             rng.integers(0, [240000, 100, 900000, 10], (20_000, 4))]  # fmt: skip
    assert (len(page_of(names)) - len(page_of(names[:1000]))) / 19_000 < 25


@needs_chromium
def test_a_browser_draws_pans_finds_and_colours(tmp_path):
    path = tmp_path / "map.html"
    path.write_text(page_of([*HOSTILE, *(f"galaxy {i}" for i in range(20_000))]), encoding="utf-8")
    with Browser(1200, 800) as browser:
        browser.open(path, "window.firstFrame && document.readyState === 'complete'")

        def colour(i: int) -> list[int]:
            return browser.ask(f"[...pen.getImageData(toX({i}), toY({i}), 1, 1).data].slice(0, 3)")

        right = browser.ask("xs.findIndex((x) => x > 60000)")
        assert colour(right)[2] > colour(right)[0]  # the second answer is blue
        before = browser.ask(f"toX({right})")
        browser.ask("move(-40, 0)")
        browser.wait("!drawing && rested()")
        assert browser.ask(f"toX({right})") == pytest.approx(before - 40)
        assert colour(right)[2] > colour(right)[0]
        browser.ask("at('words').value = 'GALAXY 1999'; at('search').requestSubmit()")
        browser.wait("card.querySelector('h2')?.textContent === 'galaxy 1999'")
        assert browser.ask("Math.abs(toX(chosen) - width / 2) < 1")
        browser.ask("choose(0)")
        browser.wait(f"card.querySelector('h2')?.textContent === {HOSTILE[0]!r}")
        grey = "card.querySelector('canvas').getContext('2d').getImageData(40, 40, 1, 1).data[0]"
        browser.wait(f"Math.abs({grey} - 30) < 4")
        browser.ask("reset(); document.querySelectorAll('#legend button')[1].click()")
        browser.wait("!drawing && rested()")
        assert browser.ask(f"nearest(toX({right}), toY({right}), 1)") == -1
        assert browser.ask("window.hacked === undefined") and browser.complaints() == []


def test_the_stage_places_every_galaxy_of_the_table(tiny_run, tmp_path):
    run = with_latents(tiny_run, tmp_path / "run")
    source = read_parquet(run.class_latents(NUM_VAR))
    places = source[["iauname", "path"]].assign(x=source["mu_00"], y=source["mu_01"])[::2]
    write_parquet(run.map(NUM_VAR), places)
    succeeded(run_script("analysis/map_all.py", run, "--num-var", str(NUM_VAR)))
    found = read_parquet(run.result(f"map_all_{NUM_VAR}.parquet")).set_index("path")
    assert set(found.index) == set(source["path"]) and found["placed"].sum() == len(places)
    same = found.loc[places["path"], ["x", "y"]].to_numpy()
    assert np.allclose(same, places[["x", "y"]].to_numpy(), atol=1e-4)
    page = run.figure(f"map_all_{NUM_VAR}.html").read_text(encoding="utf-8")
    assert not Page(page).wrong and "48 galaxies by 5 latent variables. 24 are placed" in page
