"""The map of images of one's own: without a catalogue, coloured by the columns of their table."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, Browser
from conftest import load_script, run_script
from own_images import COUNT, NUM_VAR, encoded_run
from test_report import Page

from VAE_model.pipeline.files import read_json, read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.provenance import sidecar
from VAE_model.pipeline.run import Run
from VAE_model.report import map_data
from VAE_model.report.figures import CLASS_STYLES

NUMBER = ("--num-var", str(NUM_VAR))
decals_3 = load_script("analysis/decals_3.py")
map_stage = load_script("analysis/map.py")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Imported images with a table of labels, a network of one epoch, and both maps."""
    run = encoded_run(tmp_path_factory, tmp_path_factory.mktemp("own") / "run")
    for script in ("analysis/decals_3.py", "analysis/map.py"):
        done = run_script(script, run, *NUMBER)
        assert done.returncode == 0, (script, done.stderr)
    return run


def content(run: Run) -> dict:
    """The galaxies in the page of the map."""
    text = run.map_page(NUM_VAR).read_text(encoding="utf-8")
    begin = text.index('id="data">') + len('id="data">')
    return json.loads(text[begin : text.index("</script>", begin)])


def labels(scheme: dict) -> list[str]:
    return [answer["label"] for answer in scheme["answers"]]


def test_every_image_is_on_the_map_and_has_its_place(own):
    table = read_parquet(own.map(NUM_VAR))
    assert table.columns.tolist() == ["iauname", "path", "x", "y"]
    assert table["path"].tolist() == own.train_txt.read_text().splitlines()
    assert np.isfinite(table[["x", "y"]]).all(axis=None)
    for name in ("pca_pairs", "map", "map_thumbnails"):
        assert own.figure(f"{name}_{NUM_VAR}.png").exists()
    page = content(own)
    assert sorted(page["paths"]) == sorted(table["path"]) and page["votes"] == []
    assert page["surveys"] == ["mine"] and set(page["ra"]) == {None}
    assert np.shape(page["similar"]) == (COUNT, 6)


def test_the_columns_of_the_table_are_its_colours(own):
    page = content(own)
    table = read_parquet(own.labels).set_index("path").loc[page["paths"]]
    kind, size, type_, images = page["schemes"]
    assert [s["title"] for s in page["schemes"]] == ["kind", "size", "type", "images"]
    assert labels(kind)[:-1] == sorted(table["kind"].dropna().unique())
    assert labels(type_) == ["1", "2", "3", "no answer"] and labels(images)[0] == "mine"
    for scheme in (kind, type_):
        said = [labels(scheme)[code] for code in scheme["codes"]]
        expected = table[scheme["title"]].map(lambda v: v if isinstance(v, str) else f"{v:g}")
        assert said == expected.where(table["kind"].notna(), "no answer").tolist()
    counts = np.bincount(size["codes"], minlength=7)
    assert counts[:6].min() >= 5 and counts[6] == table["size"].isna().sum() == 9
    for value, code, shown in zip(table["size"], size["codes"], size["values"], strict=True):
        if code < 6:
            low, high = map(float, labels(size)[code].split(" to "))
            assert low - 0.05 <= value <= high + 0.05 and float(shown) == pytest.approx(value)


def test_arcsec_is_not_said_of_images_without_a_scale(own):
    text = own.map_page(NUM_VAR).read_text(encoding="utf-8")
    lead = text[text.index("</h1>") : text.index("</p>")]
    assert "Images 256 of 256 pixels a side." in lead and "arcsec" not in lead
    assert not Page(text).wrong


def test_a_second_run_does_nothing_and_another_table_makes_the_map_again(own, tmp_path, capsys):
    run = Run(shutil.copytree(own.folder, tmp_path / "run"))
    decals_3.main(decals_3.Config(run.folder, NUM_VAR))
    map_stage.main(map_stage.Config(run.folder, NUM_VAR))
    assert capsys.readouterr().out.count("nothing to do") == 2
    before = read_parquet(run.labels)
    write_parquet(run.labels, before.assign(kind=before["kind"].replace("round", "circular")))
    with pytest.raises(Problem, match=r"map_3.parquet is stale \(labels.parquet has changed since"):
        map_stage.main(map_stage.Config(run.folder, NUM_VAR))
    decals_3.main(decals_3.Config(run.folder, NUM_VAR))
    map_stage.main(map_stage.Config(run.folder, NUM_VAR, colour=("type", "kind")))
    type_, kind, images = content(run)["schemes"]
    assert [type_["title"], images["title"]] == ["type", "images"]
    assert type_["values"], "a number that is named is a number, however few values it has"
    assert "circular" in labels(kind) and "round" not in labels(kind)


def test_a_column_that_makes_no_colours_is_named(own):
    with pytest.raises(
        Problem, match="no column 'bar' to colour by: it has file, kind, size, type"
    ):
        map_stage.main(map_stage.Config(own.folder, NUM_VAR, colour=("bar",)))
    with pytest.raises(Problem, match=f"file has {COUNT} different values among the {COUNT}"):
        decals_3.main(decals_3.Config(own.folder, NUM_VAR, colour=("file",)))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_page_finds_an_image_by_its_file(own):
    with Browser(1280, 800) as browser:
        browser.open(own.map_page(NUM_VAR), "window.firstFrame")
        browser.ask("at('words').value = 'ngc_017.jpg'; at('words').focus()")
        browser.key("Enter")
        assert browser.ask("[data.paths[chosen], found.length]") == ["images/mine/ngc_017.fits", 1]
        assert browser.ask("card.innerText").count("mine") == 1
        assert browser.ask("document.querySelectorAll('.similar button').length") == 6
        assert browser.complaints() == []


# ---- colours and scales


def test_twenty_answers_differ_in_colour_or_marker_and_none_from_the_grey_of_no_answer():
    assert len(set(map_data.LOOKS)) == 20
    assert CLASS_STYLES["none"].colour not in {colour for colour, _ in map_data.LOOKS}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-6, -5, -3, -2, 0, 1, 4, 4, 7, 9, 10, 11],
         ["-6 to -5", "-3 to -2", "0 to 1", "4", "7 to 9", "10 to 11"]),
        ([0] * 50 + list(range(1, 51)), ["0", "1 to 10", "11 to 20", "21 to 30", "31 to 40",
                                         "41 to 50"]),
        ([2.0, 1.0, np.nan, 2.0], ["1", "2"]),
        ([12345.0 + 0.001 * i for i in range(12)],
         ["12345 to 12345.001", "12345.002 to 12345.003", "12345.004 to 12345.005",
          "12345.006 to 12345.007", "12345.008 to 12345.009", "12345.01 to 12345.011"]),
        ([0.123456, 0.2, 3.14159, 1e6, 1.5, 2.5e-5, 7.5],
         ["2.5e-05", "0.123", "0.2", "1.5", "3.14", "7.5 to 1000000"]),
        ([-0.25, 0.0, 0.25], ["-0.25", "0", "0.25"]),
    ],
)  # fmt: skip
def test_a_number_is_cut_into_bins_of_about_equal_counts(values, expected):
    made = map_data.binned("x", np.array(values, float))
    assert [answer.label for answer in made.answers] == [*expected, "no answer"]
    known = np.isfinite(np.array(values, float))
    assert (made.codes[~known] == len(expected)).all() and (made.codes[known] < len(expected)).all()
    order = np.argsort(np.array(values, float)[known], kind="stable")
    assert (np.diff(made.codes[known][order]) >= 0).all(), "bins follow the values"
    brightness = [int(a.colour[1:3], 16) * 0.3 + int(a.colour[3:5], 16) * 0.6 for a in made.answers]
    assert (np.diff(brightness[:-1]) > 0).all(), "the colours are ordered in grey too"


def test_a_column_is_a_label_a_number_or_no_colour(tmp_path):
    run, count = Run(tmp_path), 30
    paths = [f"images/mine/{i}.fits" for i in range(count)]
    table = pd.DataFrame(
        {
            "path": paths, "iauname": "x", "ra": np.nan, "dec": np.nan, "pixel_scale": np.nan,
            "name": [f"g{i}" for i in range(count)], "one": "same",
            "twenty": [f"answer {i % 20}" for i in range(count)],
            "grade": [float(i % 12) for i in range(count)],
            "barred": [i % 3 == 0 for i in range(count)],
            "mass": [np.inf if i == 4 else 9.5 + 0.1 * i for i in range(count)],
        }
    )  # fmt: skip
    write_parquet(run.labels, table)
    found = {s.title: s for s in map_data.label_schemes(run, [*paths, "images/decals/a.fits"])}
    assert list(found) == ["twenty", "grade", "barred", "mass"]
    for scheme in found.values():
        looks = {(a.colour, a.marker) for a in scheme.answers}
        assert len(looks) == len(scheme.answers) and scheme.codes[-1] == len(scheme.answers) - 1
    assert len(found["twenty"].answers) == 21
    grades = [answer.label for answer in found["grade"].answers]
    assert grades == [*map(str, range(12)), "no answer"], "in the order of numbers"
    assert found["mass"].codes[4] == 6, "infinity is no number"
    assert [a.label for a in found["barred"].answers] == ["False", "True", "no answer"]
    (named,) = map_data.label_schemes(run, paths, ["grade"])
    assert len(named.answers) == 7


@pytest.mark.parametrize(
    ("scales", "expected"),
    [
        ([0.262, 0.262], "37 arcsec"),
        ([0.5, 0.503], "70 arcsec"),
        ([0.5, 0.6], "140 of 256 pixels"),
        ([0.5, np.nan], "140 of 256 pixels"),
    ],
)
def test_the_side_of_an_image_is_in_arcsec_where_the_scale_is_known(tmp_path, scales, expected):
    run, paths = Run(tmp_path), ["images/a/1.fits", "images/a/2.fits"]
    assert map_data.shown_side(run, paths, 140) == "37 arcsec", "of a survey"
    write_parquet(run.labels, pd.DataFrame({"path": paths, "pixel_scale": scales}))
    assert map_data.shown_side(run, paths, 140) == expected
    assert map_data.shown_side(run, ["images/decals/1.fits"], 256) == "67 arcsec"
    whole = 256 if np.isnan(scales).any() else 140
    assert map_data.crop_of(run, paths, 0) == whole and map_data.crop_of(run, paths, 60) == 60
    assert map_data.crop_of(run, ["images/decals/1.fits"], 0) == 140


def test_the_page_is_about_these_images_only(own, tmp_path):
    run = Run(shutil.copytree(own.folder, tmp_path / "run"))
    old = run.latents(2)  # of another dimension, and stale
    shutil.copy2(run.latents(NUM_VAR), old)
    record = read_json(sidecar(run.latents(NUM_VAR)))
    sidecar(old).write_text(json.dumps(record | {"code": "0"}))
    stages = ("decals_4", "classify", "similar", "traversal", "report")  # fmt: skip
    for stage in stages:
        done = run_script(f"analysis/{stage}.py", run, *NUMBER)
        assert done.returncode == 0, (stage, done.stderr)
    assert "left out: " in done.stdout and "latents_2.parquet is stale" in done.stdout
    page = Page(run.report.read_text(encoding="utf-8"))
    for words in ("Your images", "Few images: the network was trained", "latents_2.parquet is",
                  "Few test images", "unreadable", "broken.jpg", "no score"):  # fmt: skip
        assert words in page.words, words
    for words in ("simulated", "Galaxy Zoo", "arcsec", "magnitude", "second survey", "BASS"):
        assert words not in page.words, words
    alts = [attributes.get("alt") for attributes in page.of("img")]
    assert "confusion matrix of each question" not in alts  # no figure without a score
