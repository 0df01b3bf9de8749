"""Time to open the interactive map, of 10,000 or 1,000,000 galaxies, in a headless Chromium.

The page has simulated thumbnails (a few hundred, repeated) and the votes on ten questions. It is
opened repeatedly, in a new browser with a new profile each time. Measured are the milliseconds from
the navigation to the first drawn frame and to the end of the page, and from the pointer on a galaxy
to its image (whose sheet must first be decoded). Above `LARGE` galaxies the page is that of
analysis/map_all.py; of it are also measured, at three zooms, the milliseconds between frames while
the map is dragged for 60 frames, and of making the image of all points again when it rests.

Reads:  nothing
Writes: nothing that stays; prints the times

Example: python benchmarks/map_page.py --galaxies 1000000 --repeats 10
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from timing import spread

from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start
from VAE_model.report.figures import thumbnail
from VAE_model.report.large_map import large_map_page
from VAE_model.report.latent_map import TILE, map_page, sheet_order
from VAE_model.report.map_data import LOOKS, Answer, Scheme

sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests" / "report"))
from browser import CHROMIUM, Browser
from conftest import MORPHOLOGIES, draw_galaxy
from test_latent_map import galaxies

DIFFERENT = 300  # thumbnails
LARGE = 50_000  # galaxies from which on the page is that of many
SAMPLE = 2000  # galaxies with a thumbnail there
ZOOMS = (1, 4, 30)
# Milliseconds between the frames of a drag, into window.paces.
DRAG = """(() => { const paces = []; let before = 0, left = 60;
const step = (now) => { if (before) paces.push(now - before); before = now; move(7, 3);
  if (left--) requestAnimationFrame(step); else window.paces = paces; };
window.paces = null; requestAnimationFrame(step); })()"""


@dataclass(frozen=True)
class Config:
    """Constants of the benchmark."""

    galaxies: int = 10_000
    """Galaxies on the map."""
    repeats: int = 10
    """Times that the page is opened."""


def page(count: int) -> str:
    """Return the page."""
    rng = np.random.default_rng(1)
    drawn = [
        thumbnail(draw_galaxy(kind, rng.uniform(0, 3), rng), TILE, 140)
        for kind in itertools.islice(itertools.cycle(MORPHOLOGIES), DIFFERENT)
    ]
    if count > LARGE:
        return large_page(count, rng, itertools.islice(itertools.cycle(drawn), SAMPLE))
    made = galaxies([f"galaxy {i}" for i in range(count)])
    made = replace(made, votes=10 * made.votes)
    tiles = itertools.islice(itertools.cycle(drawn), count)
    return map_page("Map of the latent space", f"{count:,} galaxies", made, tiles)


def large_page(count: int, rng: np.random.Generator, tiles: Iterator[np.ndarray]) -> str:
    """Return the page of many galaxies: groups of different density, names as of a survey."""
    group = rng.integers(0, 30, count)
    places = rng.uniform(-60, 60, (30, 2))[group]
    places = places + rng.normal(size=(count, 2)) * rng.uniform(1, 9, 30)[group, None]
    places = places[sheet_order(places)]
    parts = rng.integers(0, [240_000, 100, 800_000, 10], (count, 4)).tolist()
    names = [f"J{a:06d}.{b:02d}+{c:06d}.{d}" for a, b, c, d in parts]
    answers = [Answer(f"answer {k}", *LOOKS[k]) for k in range(8)]
    colours = [Scheme(title, answers, rng.integers(0, 8, count)) for title in ("class", "survey")]
    sample = np.sort(rng.choice(count, SAMPLE, replace=False))
    title, lead = "Map of the latent space", f"{count:,} galaxies"
    return large_map_page(title, lead, places, names, colours, sample, tiles)


def drag_once(path: Path) -> dict[str, float]:
    """Return milliseconds to the first frame, and of drags of the page of many galaxies."""
    with Browser(1280, 800) as browser:
        browser.open(path, "window.firstFrame && document.readyState === 'complete'")
        found = {"first frame": browser.ask("window.firstFrame")}
        for zoom in ZOOMS:
            browser.ask(f"reset(); zoomAbout(width / 2, height / 2, {zoom})")
            browser.wait("!drawing && rested()")
            browser.ask(DRAG)
            browser.wait("window.paces")
            paces = sorted(browser.ask("window.paces"))
            found[f"zoom {zoom}, dragged: middle frame"] = paces[len(paces) // 2]
            found[f"zoom {zoom}, dragged: slowest frame"] = paces[-1]
            found[f"zoom {zoom}, all points drawn"] = browser.ask(
                "(t => { makeLayer(); return performance.now() - t; })(performance.now())"
            )
        began = time.perf_counter()
        browser.ask("choose(sample[0])")
        browser.wait("card.querySelector('h2') !== null")
        found["first name (all names are read)"] = 1000 * (time.perf_counter() - began)
        return found


def open_once(path: Path) -> dict[str, float]:
    """Return milliseconds to the first frame, to the end of the page, and to the image."""
    with Browser(1280, 800) as browser:
        browser.open(path, "window.firstFrame && document.readyState === 'complete'")
        browser.wait("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
        first = browser.ask("window.firstFrame")
        whole = browser.ask("performance.getEntriesByType('navigation')[0].loadEventEnd")
        number = browser.ask("nearest(width / 2, height / 2, Infinity)")
        box = browser.ask("(({left, top}) => [left, top])(canvas.getBoundingClientRect())")
        x, y = box[0] + browser.ask(f"toX({number})"), box[1] + browser.ask(f"toY({number})")
        began = time.perf_counter()
        browser.mouse("mouseMoved", x, y)
        grey = "getContext('2d').getImageData(80, 80, 1, 1).data[3]"
        browser.wait(f"card.querySelector('canvas') && card.querySelector('canvas').{grey} > 0")
        image = 1000 * (time.perf_counter() - began)
        return {"first frame": first, "whole page": whole, "pointer to image": image}


def main(config: Config) -> None:
    """Open the page and print the times."""
    if CHROMIUM is None:
        raise Problem("there is no chromium on this machine: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.html"
        path.write_text(page(config.galaxies), encoding="utf-8")
        print(f"{config.galaxies:,} galaxies, {path.stat().st_size / 1e6:.1f} MB")
        once = drag_once if config.galaxies > LARGE else open_once
        times = [once(path) for _ in range(config.repeats)]
    for name in times[0]:
        values = [found[name] for found in times]
        print(f"  {name}: median {spread(values, 0)} ms (n = {len(values)})")


if __name__ == "__main__":
    start(main, Config, __doc__)
