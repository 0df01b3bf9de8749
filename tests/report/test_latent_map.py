"""The interactive map: one file, safe whatever galaxies are called, and usable in a browser."""

import base64
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, Browser
from conftest import load_script, run_script
from latents_of_tiny_run import NUM_VAR, with_latents
from PIL import Image
from test_report import Page

from VAE_model.data.galaxy_zoo import fraction
from VAE_model.data.sky import viewer_of
from VAE_model.extraction.repeatability import SCATTER
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.report import latent_map
from VAE_model.report.latent_map import TILE, Galaxies, Vote
from VAE_model.report.map_data import Answer, Scheme
from VAE_model.tables.lookup import position_in

STAGE = "analysis/map.py"
stage = load_script(STAGE)

HOSTILE = [
    "../../etc/passwd", "\"'><b>&amp;", "</script><script>window.hacked = 1</script>", "two\nlines",
    "$& $1 ${0}", "\u2028 <!-- \\u003c", "<img src=x onerror='window.hacked = 1'>",
]  # fmt: skip

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"
)


def galaxies(names: list[str]) -> Galaxies:
    """On a spiral, the first in the middle, the third without a position.

    The most similar to each are the six after it.
    """
    count = len(names)
    turn = np.arange(count) * 2.4
    radius = np.sqrt(np.arange(count))[:, None]
    ra = 150.0 + 0.1 * np.arange(count)
    ra[2] = np.nan
    answers = [Answer("round", "#CC6677", "o"), Answer("$& <b>", "#332288", "D"),
               Answer("none", "#C4C4C4", "o", none=True)]  # fmt: skip
    return Galaxies(
        places=radius * np.stack([np.cos(turn), np.sin(turn)], axis=1), names=names, ra=ra,
        paths=[f"images/mine/ngc_{i:04d}.fits" for i in range(count)],
        similar=(np.arange(count)[:, None] + np.arange(1, 7)) % count,
        dec=np.full(count, 2.0), survey=np.zeros(count, int), surveys=["<DECaLS>"],
        viewer=[viewer_of("decals")],
        schemes=[Scheme("class", answers, np.arange(count) % 3),
                 Scheme("survey", answers, np.zeros(count, int))],
        votes=[Vote("how rounded", ["</script>", "cigar"], np.arange(count) % 2,
                    np.arange(count) % 101 - 1)],
        labels="votes <i>",
    )  # fmt: skip


def tiles(count: int) -> list[np.ndarray]:
    """Grey images, each a little brighter than the one before."""
    return [np.full((TILE, TILE, 3), 30 + i % 200, np.uint8) for i in range(count)]


def page_of(names: list[str]) -> str:
    made = galaxies(names)
    return latent_map.map_page("A <map>", "lead & more", made, iter(tiles(len(names))))


def content_of(text: str) -> dict:
    """The galaxies in a page, as a browser would read them."""
    begin = text.index('id="data">') + len('id="data">')
    return json.loads(text[begin : text.index("</script>", begin)])


# ---- the page


def check_map_page(text: str, sheets: int) -> None:
    """Valid, its only script is ours, and nothing in it is fetched."""
    read = Page(text)
    assert text.startswith("<!DOCTYPE html>") and not read.wrong
    kinds = [script.get("type") for script in read.of("script")]
    assert kinds == ["application/json", None, *["text/plain"] * sheets]
    assert not read.of("link") and not read.of("iframe") and not read.of("img")
    assert not [s for s in read.of("script") if "src" in s]
    assert "@import" not in text and "url(" not in text
    assert not [n for _, attributes in read.tags for n in attributes if n.startswith("on")]
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    policy = next(m for m in read.of("meta") if "http-equiv" in m)["content"]
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy


def test_hostile_names_and_votes_stay_data():
    text = page_of([*HOSTILE, *"abcdef"])
    check_map_page(text, sheets=1)
    read = content_of(text)
    assert read["name"][: len(HOSTILE)] == HOSTILE
    assert read["votes"][0]["answers"][0] == "</script>" and read["labels"] == "votes <i>"
    assert read["ra"][2] is None and read["ra"][1] == 150.1
    assert "window.hacked = 1</script>" not in text and "<!-- " not in text


def test_every_galaxy_lies_in_the_square_with_its_proportions():
    read = content_of(page_of([str(i) for i in range(50)]))
    places = np.array([read["x"], read["y"]])
    assert places.min() == 0 and places.max() == 1
    assert np.allclose(places.max(axis=1), read["size"], atol=1e-4)


def test_thumbnails_lie_in_the_sheets_in_the_order_of_the_galaxies():
    count = latent_map.TILES**2 + 3
    found = [Image.open(io.BytesIO(base64.b64decode(s))) for s in latent_map.sheets(tiles(count))]
    assert [image.size[0] for image in found] == [latent_map.TILES * TILE] * 2
    for number in (0, 17, 255, 256, 258):
        place = number % latent_map.TILES**2
        y, x = (TILE * part + TILE // 2 for part in divmod(place, latent_map.TILES))
        grey = np.asarray(found[number // latent_map.TILES**2])[y, x]
        assert abs(grey.astype(int) - (30 + number % 200)).max() <= 2, number


def test_neighbours_share_a_sheet():
    rng = np.random.default_rng(0)
    places = np.concatenate([rng.normal(c, 0.5, (100, 2)) for c in ((0, 0), (90, 0), (0, 90))])
    mixed = rng.permutation(300)
    order = latent_map.sheet_order(places[mixed])
    assert sorted(order) == list(range(300))
    cluster = mixed[order] // 100
    assert (np.diff(cluster) != 0).sum() == 2
    assert latent_map.sheet_order(np.zeros((4, 2))).tolist() == [0, 1, 2, 3]


def test_votes_are_told_where_half_of_the_volunteers_came_to_the_question():
    rows = pd.DataFrame(
        {
            fraction("smooth-or-featured", "smooth"): [0.8, 0.1, np.nan],
            fraction("smooth-or-featured", "featured-or-disk"): [0.15, 0.9, np.nan],
            fraction("smooth-or-featured", "artifact"): [0.05, 0.0, np.nan],
            fraction("disk-edge-on", "yes"): [0.6, 0.25, 1.0],
            fraction("disk-edge-on", "no"): [0.4, 0.75, 0.0],
        }
    )
    first, edge_on = stage.leading_votes(rows)
    assert first.share.tolist() == [80, 90, -1] and first.leads[:2].tolist() == [0, 1]
    assert edge_on.share.tolist() == [-1, 75, -1] and edge_on.answers[edge_on.leads[1]] == "no"


def test_the_most_similar_are_the_nearest_and_never_the_galaxy_itself():
    line = np.arange(20, dtype=np.float32)[:, None] ** 2
    found = stage.most_similar(line)
    assert found.shape == (20, stage.SIMILAR)
    assert found[0].tolist() == [1, 2, 3, 4, 5, 6] and found[19].tolist() == [
        18,
        17,
        16,
        15,
        14,
        13,
    ]
    equal = stage.most_similar(np.zeros((12, 3), np.float32))
    assert not (equal == np.arange(12)[:, None]).any()
    assert stage.most_similar(line[:4]).shape == (4, 3)


# ---- the stage


@pytest.fixture(scope="module")
def mapped(tiny_run, tmp_path_factory):
    """A tiny run with latents and places, a galaxy of a hostile name, and the map of it."""
    run = with_latents(tiny_run, tmp_path_factory.mktemp("page") / "run")
    source = read_parquet(run.class_latents(NUM_VAR))
    source.loc[0, "iauname"] = HOSTILE[2]
    write_parquet(run.class_latents(NUM_VAR), source)
    places = source[["iauname", "path"]].assign(x=source["mu_00"], y=source["mu_01"])
    write_parquet(run.map(NUM_VAR), places.assign(**{"class": "smoothRounded"}))
    done = run_script(STAGE, run, "--num-var", str(NUM_VAR))
    assert done.returncode == 0, done.stderr
    return run, done.stdout


def test_the_stage_maps_every_galaxy_with_its_votes(mapped):
    run, said = mapped
    assert "48 galaxies, " in said
    text = run.map_page(NUM_VAR).read_text(encoding="utf-8")
    check_map_page(text, sheets=1)
    read = content_of(text)
    source = read_parquet(run.class_latents(NUM_VAR))
    assert sorted(read["name"]) == sorted(source["iauname"])
    own = dict(zip(source["iauname"], source["ra"], strict=True))
    assert all(own[n] == pytest.approx(ra) for n, ra in zip(read["name"], read["ra"], strict=True))
    assert read["surveys"] == ["DECaLS"] and read["viewer"] == [viewer_of("decals")]
    smooth = next(vote for vote in read["votes"] if vote["question"] == "smooth or featured")
    told = [s for n, s in zip(read["name"], smooth["share"], strict=True) if n != HOSTILE[2]]
    assert set(told) == {90}


def test_similar_galaxies_are_near_in_units_of_the_posterior_or_of_the_exposures(mapped, tmp_path):
    """A latent that another exposure does not confirm hardly counts."""
    run, _ = mapped
    other = Run(shutil.copytree(run.folder, tmp_path / "run"))
    table = read_parquet(run.latents(NUM_VAR))
    table.attrs[SCATTER] = [1e6] * (NUM_VAR - 1) + [1.0]
    write_parquet(other.latents(NUM_VAR), table)
    stage.main(stage.Config(other.folder, NUM_VAR))
    before, after = (
        content_of(r.map_page(NUM_VAR).read_text(encoding="utf-8")) for r in (run, other)
    )
    source = read_parquet(run.class_latents(NUM_VAR)).set_index("path").loc[before["paths"]]
    means = source.filter(regex="^mu_").to_numpy(float)
    for page, values in ((before, means), (after, means[:, -1:])):
        for i in (0, 20, 47):
            apart = np.square(values - values[i]).sum(axis=1)
            apart[i] = np.inf
            assert page["similar"][i] == np.argsort(apart)[: stage.SIMILAR].tolist()


def test_a_galaxy_of_the_map_without_latents_is_named(mapped, tmp_path):
    run, _ = mapped
    other = Run(tmp_path)
    places = read_parquet(run.map(NUM_VAR))
    places.loc[0, "path"] = "images/gone.fits"
    write_parquet(other.map(NUM_VAR), places)
    write_parquet(other.class_latents(NUM_VAR), read_parquet(run.class_latents(NUM_VAR)))
    other.train_txt.write_text("images/gone.fits\n")
    with pytest.raises(Problem, match=r"names images/gone.fits, .* run python analysis/decals_3"):
        stage.main(stage.Config(tmp_path, NUM_VAR))


# ---- in a browser


def centre_of(browser: Browser, galaxy: int) -> tuple[float, float]:
    """Where a galaxy is drawn, in the window."""
    box = browser.ask("(({left, top}) => [left, top])(canvas.getBoundingClientRect())")
    return box[0] + browser.ask(f"toX({galaxy})"), box[1] + browser.ask(f"toY({galaxy})")


def opened(browser: Browser, tmp_path, names: list[str]) -> None:
    path = tmp_path / "map.html"
    path.write_text(page_of(names), encoding="utf-8")
    browser.open(path, "window.firstFrame && document.readyState === 'complete'")
    browser.ask("window.opened = []; window.open = (url) => window.opened.push(url)")


def find(browser: Browser, words: str) -> str:
    """Search, and return what is said; what is found stands in the middle of the map."""
    browser.ask(f"at('words').focus(); at('words').value = {json.dumps(words)}")
    browser.key("Enter")
    if browser.ask("found.length"):
        x, y = browser.ask("[toX(chosen) / width, toY(chosen) / height]")
        assert x == pytest.approx(0.5) and (y == pytest.approx(0.5) or y < 0.4)
    return browser.ask("at('said').textContent")


@needs_chromium
def test_a_mouse_and_a_keyboard_find_their_way(tmp_path):
    with Browser(1200, 800) as browser:
        opened(browser, tmp_path, [*HOSTILE, *(f"galaxy {i}" for i in range(300))])
        # hover: the card has the name as it is, the votes, and the picture
        for number, name in enumerate(HOSTILE):
            browser.mouse("mouseMoved", *centre_of(browser, number))
            assert browser.ask("card.querySelector('h2').textContent") == name
        browser.mouse("mouseMoved", *centre_of(browser, 40))
        assert browser.ask("card.innerText").count("39 %") == 1
        grey = "card.querySelector('canvas').getContext('2d').getImageData(40, 40, 1, 1).data[0]"
        browser.wait(f"Math.abs({grey} - 70) < 4")
        # click: the survey's viewer at the galaxy's place; none where there is no place
        browser.click(*centre_of(browser, 1))
        browser.click(*centre_of(browser, 2))
        assert browser.ask("window.opened") == [
            "https://www.legacysurvey.org/viewer?ra=150.10000&dec=2.00000&layer=ls-dr9-south&zoom=16"
        ]
        assert browser.ask("card.querySelector('a') === null")
        # keys: to a neighbour on the right, closer, and away
        before = browser.ask("data.x[chosen]")
        browser.ask("canvas.focus()")
        browser.key("ArrowRight")
        assert browser.ask("data.x[chosen]") > before
        zoom = browser.ask("view.zoom")
        browser.key("+")
        assert browser.ask("view.zoom") > 1.3 * zoom
        browser.key("Enter")
        assert browser.ask("window.opened.length") == 2
        browser.key("Escape")
        assert browser.ask("card.hidden && chosen === -1")
        # search by name, then by position
        assert find(browser, "GALAXY 29") == "1 of 11: Enter for the next."
        assert browser.ask("chosen") == 36
        browser.key("Enter")
        assert browser.ask("data.name[chosen]") == "galaxy 290"
        said = find(browser, "152.0003, +2.0")
        assert said.startswith("Nearest: galaxy 13, 1.1 arcsec")
        find(browser, "$&")
        assert browser.ask("data.name[chosen]") == HOSTILE[4]
        # an answer that is switched off is not found under the pointer
        browser.key("Escape")
        browser.ask("reset(); document.querySelector('#legend button').click()")
        assert browser.ask("nearest(toX(0), toY(0), 3)") == -1
        browser.ask("at('scheme').value = '1'; at('scheme').dispatchEvent(new Event('change'))")
        assert browser.ask("nearest(toX(0), toY(0), 3)") == 0
        assert browser.ask("window.hacked === undefined")
        assert browser.complaints() == []


@needs_chromium
def test_ten_thousand_galaxies_are_drawn_within_three_seconds(tmp_path):
    """(benchmarks/map_page.py measures it, with thumbnails of a realistic size.)"""
    with Browser() as browser:
        opened(browser, tmp_path, [f"galaxy {i}" for i in range(10_000)])
        assert browser.ask("window.firstFrame") < 3000
        # wherever one looks closer, the thumbnails come to rest
        browser.ask("zoomAbout(width / 2, height / 2, 12)")
        browser.wait("side > 0 && inSight.size > 1 && [...inSight].every(sheet) && !drawing")
        assert browser.complaints() == []


@needs_chromium
def test_a_finger_looks_first_and_opens_with_the_second_tap(tmp_path):
    with Browser(390, 780, touch=True) as browser:
        opened(browser, tmp_path, [f"galaxy {i}" for i in range(60)])
        assert browser.ask("document.documentElement.scrollWidth") <= 390
        browser.tap(*centre_of(browser, 50))
        assert browser.ask("card.querySelector('h2').textContent") == "galaxy 50"
        assert browser.ask("window.opened.length") == 0
        low = browser.ask("card.getBoundingClientRect().top")
        assert centre_of(browser, 50)[1] < low, "the card does not hide what it is about"
        browser.tap(*centre_of(browser, 50))
        assert browser.ask("window.opened.length") == 1
        assert browser.complaints() == []


@needs_chromium
def test_a_search_finds_a_galaxy_as_a_person_names_it(tmp_path):
    with Browser(1280, 800) as browser:
        opened(browser, tmp_path, [f"galaxy {i}" for i in range(40)])
        assert browser.ask("document.documentElement.scrollHeight") <= 800
        # exactly, before the names that it is a part of; then by file, with an ending or without
        assert find(browser, "Galaxy 3") == "1 of 11: Enter for the next."
        assert browser.ask("chosen") == 3
        browser.key("Enter")
        assert browser.ask("chosen") == 30
        for words in ("ngc_0003", "NGC_0003.fits", "ngc_0003.jpg", "gc_0003",
                      "images/mine/ngc_0003.fits"):  # fmt: skip
            assert find(browser, words) == "", words
            assert browser.ask("chosen") == 3, words
        for words in ("10:01:12.0 +02:00:00", "10h01m12s +2d00m00s", "J100112.00+020000.0",
                      "150.3 2"):  # fmt: skip
            assert find(browser, words).startswith("Nearest: galaxy 3, 0.0 arcsec"), words
        before = browser.ask("[chosen, view.x, view.y]")
        said = find(browser, "150.36 2.0")
        assert said == "No galaxy within 30 arcsec: the nearest, galaxy 4, is 143.9 arcsec away."
        assert find(browser, "M 31") == "No galaxy has this name or position."
        assert browser.ask("[chosen, view.x, view.y]") == before
        assert browser.complaints() == []


@needs_chromium
def test_a_position_is_read_as_the_command_line_reads_it(tmp_path):
    with Browser() as browser:
        opened(browser, tmp_path, list("abcdefgh"))
        for words in (
            "154.77 46.45", " 154.77, -46.45 ", "-10 5", "361 5", "154.77 91", "12 5.",
            "154.7709_46.4537", "J101905.01-462713.3", "10:19:05.0 +46:27:13",
            "10:19:05.0 -00:27:13", "10h19m05s +46d27m13s", "10h19m05.5s -6d27m13.5s",
            "10 19 05 +46 27 13", "10:19 +46:27", "10:61:05 +46:27:13", "25:19:05 +46:27:13",
            "ngc 3", "3", "",
        ):  # fmt: skip
            expected, read = position_in(words), browser.ask(f"positionIn({json.dumps(words)})")
            assert (read is None) == (expected is None), words
            if expected:
                apart = (np.array(read) - expected + 180) % 360 - 180
                assert np.abs(apart).max() < 1e-9, (words, read, expected)


@needs_chromium
def test_a_card_leads_to_the_most_similar_galaxies(tmp_path):
    with Browser(1280, 800) as browser:
        opened(browser, tmp_path, [*HOSTILE, *(f"galaxy {i}" for i in range(600))])
        find(browser, "galaxy 300")
        names = "[...card.querySelectorAll('.similar button')].map((b) => b.innerText.trim())"
        assert browser.ask(names) == [f"galaxy {i}" for i in range(301, 307)]
        grey = "getContext('2d').getImageData(40, 40, 1, 1).data[0]"
        first = f"card.querySelector('.similar canvas').{grey}"
        browser.wait(f"Math.abs({first} - {30 + 308 % 200}) < 4")
        # the card stays while the pointer passes over the map on its way to it
        browser.mouse("mouseMoved", *centre_of(browser, 310))
        assert browser.ask("data.name[chosen]") == "galaxy 300"
        box = browser.ask(
            "(({left, top}) => [left, top])(card.querySelectorAll('.similar button')[1]"
            ".getBoundingClientRect())"
        )
        browser.click(box[0] + 10, box[1] + 10)
        assert browser.ask("data.name[chosen]") == "galaxy 302"
        assert browser.ask("[toX(chosen) / width, toY(chosen) / height]") == pytest.approx(
            [0.5] * 2
        )
        # by keyboard too, and until the card is closed
        assert browser.ask("document.activeElement.innerText.trim()") == "galaxy 303"
        browser.key("Enter")
        assert browser.ask("data.name[chosen]") == "galaxy 303"
        browser.key("Escape")
        assert browser.ask("card.hidden && document.activeElement === canvas")
        browser.mouse("mouseMoved", *centre_of(browser, 310))
        assert browser.ask("chosen") == 310
        assert browser.complaints() == []


@needs_chromium
def test_an_empty_view_says_so_and_leads_back(tmp_path):
    with Browser(390, 844, touch=True) as browser:
        opened(browser, tmp_path, [f"galaxy {i}" for i in range(60)])
        assert browser.ask("at('nothing').hidden")
        browser.ask("view.x += 3000; redraw()")
        browser.wait("!at('nothing').hidden")
        assert browser.ask("at('nothing').innerText").split("\n")[::2] == [
            "No galaxy here", "Show all",
        ]  # fmt: skip
        box = browser.ask("(({left, top}) => [left, top])(at('back').getBoundingClientRect())")
        browser.tap(box[0] + 20, box[1] + 20)
        browser.wait("at('nothing').hidden")
        inside = "data.x.every((_, i) => toX(i) > 0 && toX(i) < width && toY(i) > 0)"
        assert browser.ask(inside)
        # what is found, or chosen as similar, is not behind the card, nor out of sight above
        find(browser, "ngc_0059")
        browser.ask("scrollTo(0, 400); card.querySelector('.similar button').click()")
        for _ in range(2):
            top, low = browser.ask("[0, card.getBoundingClientRect().top]")
            assert top < centre_of(browser, browser.ask("chosen"))[1] < low
            find(browser, "ngc_0021")
        browser.ask("card.querySelector('.close').click()")
        assert browser.ask("card.hidden && chosen === -1")
        assert browser.complaints() == []
