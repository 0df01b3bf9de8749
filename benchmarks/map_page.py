"""Time to open the interactive map with 10,000 galaxies in a headless Chromium.

The page contains simulated thumbnails (a few hundred, repeated), names, votes of ten questions and
eight classes. It is opened repeatedly, in a new browser with a new profile each time. Measured are
the milliseconds from the navigation to the first drawn frame and to the end of the page, and from
the pointer on a galaxy to its image (whose sheet must first be decoded).

Reads:  nothing
Writes: map_page.html in the folder `keep`, where that is given; prints the times

Example: python benchmarks/map_page.py --repeats 10
"""

import itertools
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from browser import CHROMIUM, Browser
from conftest import MORPHOLOGIES, draw_galaxy

from VAE_model.data.galaxy_zoo import TREE
from VAE_model.data.sky import iauname, viewer_of
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start
from VAE_model.report.figures import CLASS_STYLES, thumbnail
from VAE_model.report.latent_map import TILE, Galaxies, Vote, map_page
from VAE_model.report.map_data import Answer, Scheme

sys.path.insert(0, str(ROOT / "tests"))


DIFFERENT = 300  # thumbnails


@dataclass(frozen=True)
class Config:
    galaxies: int = 10_000
    """Galaxies on the map."""
    repeats: int = 10
    """Repeats."""
    keep: Path | None = None
    """Folder in which the page is kept."""
    seed: int = 1
    """Seed of everything that is drawn."""


def page(config: Config) -> str:
    """Return the page."""
    rng = np.random.default_rng(config.seed)
    n = config.galaxies
    drawn = [
        thumbnail(
            draw_galaxy(MORPHOLOGIES[i % len(MORPHOLOGIES)], rng.uniform(0, 3), rng), TILE, 140
        )
        for i in range(DIFFERENT)
    ]
    group = rng.integers(0, len(CLASS_STYLES), n)
    ra, dec = rng.uniform(0, 360, n), rng.uniform(-5, 35, n)
    places = rng.normal(0, 1, (n, 2)) + 3 * np.stack([np.cos(group), np.sin(group)], axis=1)
    classes = [Answer(s.label, s.colour, s.marker) for s in CLASS_STYLES.values()]
    names = [iauname(*at) for at in zip(ra, dec, strict=True)]
    galaxies = Galaxies(
        places=places, names=names, ra=ra, dec=dec, similar=rng.integers(0, n, (n, 6)),
        paths=[f"images/decals/{a:.4f}_{d:.4f}.fits" for a, d in zip(ra, dec, strict=True)],
        survey=np.zeros(n, int), surveys=["DECaLS"], viewer=[viewer_of("decals")],
        schemes=[Scheme("class", classes, group), Scheme("survey", classes[:1], 0 * group)],
        votes=[
            Vote(q, list(answers), rng.integers(0, len(answers), n), rng.integers(-1, 101, n))
            for q, answers in TREE.items()
        ],
        labels="drawn at random",
    )  # fmt: skip
    tiles = itertools.islice(itertools.cycle(drawn), n)
    return map_page("Map of the latent space", f"{n:,} galaxies", galaxies, tiles)


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


def shown(name: str, values: list[float]) -> str:
    low, middle, high = np.percentile(values, [0, 50, 100])
    return f"  {name}: median {middle:,.0f} ms, {low:,.0f} to {high:,.0f} (n = {len(values)})"


def main(config: Config) -> None:
    if CHROMIUM is None:
        raise Problem("there is no chromium on this machine: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(config.keep or folder) / "map_page.html"
        path.write_text(page(config), encoding="utf-8")
        print(f"{config.galaxies:,} galaxies, {path.stat().st_size / 1e6:.1f} MB")
        times = [open_once(path) for _ in range(config.repeats)]
    names = ("first frame", "whole page", "pointer to image")
    for name, values in zip(names, zip(*times, strict=True), strict=True):
        print(shown(name, list(values)))


if __name__ == "__main__":
    start(main, Config, __doc__)
