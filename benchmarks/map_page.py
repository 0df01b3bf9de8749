"""Time to open the interactive map with 10,000 galaxies in a headless Chromium.

The page has simulated thumbnails (a few hundred, repeated) and the votes on ten questions. It is
opened repeatedly, in a new browser with a new profile each time. Measured are the milliseconds from
the navigation to the first drawn frame and to the end of the page, and from the pointer on a galaxy
to its image (whose sheet must first be decoded).

Reads:  nothing
Writes: nothing that stays; prints the times

Example: python benchmarks/map_page.py --repeats 10
"""

import itertools
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from timing import spread

from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start
from VAE_model.report.figures import thumbnail
from VAE_model.report.latent_map import TILE, map_page

sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests" / "report"))
from browser import CHROMIUM, Browser
from conftest import MORPHOLOGIES, draw_galaxy
from test_latent_map import galaxies

DIFFERENT = 300  # thumbnails


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
    made = galaxies([f"galaxy {i}" for i in range(count)])
    made = replace(made, votes=10 * made.votes)
    drawn = [
        thumbnail(draw_galaxy(kind, rng.uniform(0, 3), rng), TILE, 140)
        for kind in itertools.islice(itertools.cycle(MORPHOLOGIES), DIFFERENT)
    ]
    tiles = itertools.islice(itertools.cycle(drawn), count)
    return map_page("Map of the latent space", f"{count:,} galaxies", made, tiles)


def open_once(path: Path) -> tuple[float, float, float]:
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
        return first, whole, 1000 * (time.perf_counter() - began)


def main(config: Config) -> None:
    """Open the page and print the times."""
    if CHROMIUM is None:
        raise Problem("there is no chromium on this machine: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.html"
        path.write_text(page(config.galaxies), encoding="utf-8")
        print(f"{config.galaxies:,} galaxies, {path.stat().st_size / 1e6:.1f} MB")
        times = [open_once(path) for _ in range(config.repeats)]
    names = ("first frame", "whole page", "pointer to image")
    for name, values in zip(names, zip(*times, strict=True), strict=True):
        print(f"  {name}: median {spread(values, 0)} ms (n = {len(values)})")


if __name__ == "__main__":
    start(main, Config, __doc__)
