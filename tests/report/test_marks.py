"""Marks: the page learns as the script does, a session by keyboard, the file of marks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, Browser
from conftest import load_script, run_script, says_one_line
from latents_of_tiny_run import NUM_VAR, with_latents
from scipy.stats import spearmanr
from test_latent_map import HOSTILE, galaxies, tiles

from VAE_model.evaluation.marks import BACKGROUND, MARKS, Features, learn, read_marks
from VAE_model.pipeline.files import read_json, read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.preparation.defects import FLAGS
from VAE_model.report.gallery import Card, Kind, gallery_page
from VAE_model.report.latent_map import map_page
from VAE_model.report.marking import marking_content

GALLERY = "analysis/decals_4.py"
classify = load_script("analysis/classify.py")
experiment = load_script("benchmarks/experiments/marks.py")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"
)
READY = "document.documentElement?.dataset.ready === 'yes'"


def images_of(names: list[str], latents: int = 12) -> tuple[pd.DataFrame, np.ndarray]:
    """Images with random measurements and latents; the third without a position."""
    rng, count = np.random.default_rng(5), len(names)
    table = pd.DataFrame({"iauname": names, "path": [f"images/x/{i}.fits" for i in range(count)],
                          "ra": 150 + 0.1 * np.arange(count), "dec": 2.0,
                          "split": "train"})  # fmt: skip
    table.loc[2, ["ra", "dec"]] = np.nan
    table["residual"], table[BACKGROUND] = rng.exponential(size=(2, count))
    for flag in FLAGS:
        table[flag] = rng.random(count) < 0.05
    return table, rng.normal(size=(count, latents)) * np.linspace(0.2, 3, latents)


def gallery_of(folder: Path, names: list[str]) -> tuple[Path, pd.DataFrame, Features]:
    table, latents = images_of(names)
    features = Features.of(table, latents)
    cards = [
        Card(kind="rare", title=row["iauname"], picture="", path=row["path"],
             ra=None if np.isnan(row["ra"]) else row["ra"], dec=row["dec"])
        for _, row in table.replace({"dec": {np.nan: None}}).iterrows()
    ]  # fmt: skip
    marking = marking_content(Run(folder), table, features, np.arange(len(names)))
    page = folder / "gallery.html"
    kinds = (Kind("rare", "rare", "rare", "#44AA99"),)
    page.write_text(gallery_page("Marks", [], kinds, cards, marking), encoding="utf-8")
    return page, table, features


def asked(browser: Browser, expression: str) -> np.ndarray:
    return np.array(browser.ask(f"Array.from({expression})"))


def busy(browser: Browser) -> float:
    """Milliseconds that a core has spent on the page's main thread."""
    metrics = browser.send("Performance.getMetrics")["metrics"]
    return 1000 * next(m["value"] for m in metrics if m["name"] == "TaskDuration")


# ---- the model


def test_before_the_first_mark_the_order_is_that_of_the_distance():
    table, latents = images_of([str(i) for i in range(200)])
    latents[17] *= 9
    features = Features.of(table, latents)
    found = learn(features, [], [])
    assert found.score.argmax() == 17 and (found.variance > 0).all()
    assert found.next(np.zeros(200, bool)) == 17


def test_marks_move_what_is_like_the_marked_to_the_top():
    table, latents = images_of([str(i) for i in range(600)])
    wanted = latents[:, -1] > 3.5
    features = Features.of(table, latents)
    rows = np.arange(80)
    before, after = (learn(features, r, wanted[r]) for r in (rows[:0], rows))
    rest, top = np.arange(600)[80:], lambda found: wanted[80:][np.argsort(-found.score[80:])[:50]]
    assert top(after).mean() > 0.8 > 0.5 > top(before).mean()
    assert after.variance[rest].mean() < before.variance[rest].mean()
    uncertain = after.next(np.zeros(600, bool), uncertain=True)
    assert abs(after.moderate[uncertain]) == np.abs(after.moderate).min()


@pytest.mark.parametrize("answer", [True, False])
def test_marks_of_one_kind_alone_are_enough(answer):
    table, latents = images_of([str(i) for i in range(60)])
    found = learn(Features.of(table, latents), [3, 4], [answer, answer])
    assert np.isfinite(found.score).all() and (found.score[3] > 0) == answer


def test_a_latent_that_the_network_does_not_use_has_no_weight():
    table, latents = images_of([str(i) for i in range(100)])
    latents[:, 0] *= 1e-5
    table = table.assign(**{f"logvar_{k:02d}": 0.0 for k in range(12)})
    assert not Features.of(table, latents).values[:, 0].any()


def test_a_simulated_user_who_follows_the_proposals_finds_more():
    table, latents = images_of([str(i) for i in range(240)])
    wanted = latents[:, -1] > 3
    config = experiment.Config(marks=(0, 30), first=15, repeats=3)
    ranks = pd.DataFrame({"rank": np.arange(240), "image_rank": np.arange(240)})
    scores = experiment.measure(Features.of(table, latents), wanted, ranks, config)
    found = {name: values[:, -1].mean() for name, values in scores.items()}
    assert found["best"] > found["rank"] + 0.2
    assert found["found best"] > 1.5 * found["found random"]
    text = experiment.table_of("x", wanted, scores, config)
    assert text.count("\n| ") == 8 and "240 images" in text


def test_what_is_interesting_is_a_defect_or_a_value_of_a_label(tmp_path):
    run, table = Run(tmp_path), images_of(list("abcd"))[0].assign(survey="decals")
    write_parquet(run.truth, table[["iauname"]][::-1].assign(defect_decals=["", "gap", "", ""]))
    labels = pd.DataFrame({"bar": [0.0, 0.5, -1, 0.7], "ring": ["no", "no", "yes", None]})
    write_parquet(run.labels, table[["path"]].join(labels)[::-1])
    for what, expected in (("defect", [2]), ("bar>=0.5", [1, 3]), ("ring=yes|bar>=0.7", [2, 3])):
        assert np.flatnonzero(experiment.interesting(run, what, table)).tolist() == expected
    with pytest.raises(Problem, match="'odd' is neither"):
        experiment.interesting(run, "odd", table)


# ---- in a browser


@needs_chromium
def test_the_page_learns_as_the_script_does(tmp_path):
    page, _, features = gallery_of(tmp_path, [f"galaxy {i}" for i in range(300)])
    rng = np.random.default_rng(1)
    with Browser() as browser:
        browser.open(page, READY)
        for count in (0, 1, 7, 60):
            rows = rng.choice(300, count, replace=False)
            wanted = rng.random(count) < 0.4
            pairs = [
                [int(row), MARKS[0] if w else MARKS[1]] for row, w in zip(rows, wanted, strict=True)
            ]
            browser.ask("marking.state.marks = {}; marking.state.advance = false; "
                        f"{json.dumps(pairs)}.forEach(([i, mark]) => marking.mark(mark, i)); "
                        "marking.update()")  # fmt: skip
            found = learn(features, rows, wanted)
            assert asked(browser, "marking.ranking.score") == pytest.approx(found.score, abs=1e-8)
            variances = "marking.order.map((_, i) => Learner.variance(marking.ranking, i))"
            assert asked(browser, variances) == pytest.approx(found.variance, abs=1e-8)
            order = asked(browser, "marking.order")
            assert (np.diff(found.score[order]) < 1e-8).all()
            marked = np.isin(np.arange(300), rows)
            for by in ("best", "uncertain"):
                browser.ask(f"marking.state.by = '{by}'")
                assert browser.ask("marking.proposal()") == found.next(marked, by == "uncertain")
        assert browser.complaints() == []


@needs_chromium
def test_hostile_names_come_back_from_the_file(tmp_path, capsys):
    names = [*HOSTILE, 'a,"b";c', " spaces ", *"defg"]
    page, table, _ = gallery_of(tmp_path, names)
    with Browser() as browser:
        browser.open(page, READY)
        browser.ask("marking.state.advance = false; marking.addLabel('</script>,\"'); "
                    "marking.buttons()")  # fmt: skip
        for i in range(len(names)):
            browser.ask(f"marking.mark(marking.state.labels[{i} % 4], {i})")
        text = browser.ask("marking.csv()")
        marks = tmp_path / "marks.csv"
        marks.write_bytes(text.encode())
        read = read_marks(marks, table)
        labels = browser.ask("marking.state.labels")
        assert read["mark"].tolist() == [labels[i % 4] for i in range(len(names))]
        assert read["time"].str.match(r"\d{4}-\d\d-\d\dT").all()
        assert f"{len(names)} images are marked\n" in capsys.readouterr().out
        kept = browser.ask("marking.state.marks")
        browser.ask("marking.state.marks = {}")
        assert browser.ask(f"marking.read({json.dumps(text)})") == f"{len(names)} marks read."
        assert browser.ask("marking.state.marks") == kept
        shown = browser.ask("[...document.querySelectorAll('.sign')].map((s) => s.textContent)")
        assert '</script>,"' in shown
        assert browser.ask("window.hacked === undefined") and browser.complaints() == []


@needs_chromium
def test_the_page_says_what_is_wrong_with_a_file(tmp_path):
    page, _, _ = gallery_of(tmp_path, list("abcdefgh"))
    with Browser() as browser:
        browser.open(page, READY)
        for words in ("", "\0\1\2", "name,ra\na,1", 'name,mark\n"a,boring'):
            assert "no CSV file" in browser.ask(f"marking.read({json.dumps(words)})"), words
        said = browser.ask(
            r"marking.read('\ufeffmark;name\r\nboring;b\r\nodd;nobody\r\n;c\r\nodd;d')"
        )
        assert said == "2 marks read; 2 of unknown galaxies, or without a mark, left out."
        assert browser.ask("[0, 1, 2, 3].map((i) => marking.of(i))") == ["", "boring", "", "odd"]
        browser.key("u")
        assert browser.ask("marking.count") == 0


@needs_chromium
def test_a_class_of_ones_own_an_undo_and_a_reload(tmp_path):
    page, _, _ = gallery_of(tmp_path, [f"galaxy {i}" for i in range(40)])
    with Browser() as browser:
        browser.open(page, READY)
        browser.ask("document.querySelector('#marking details').open = true; "
                    "document.getElementById('mark-label').focus()")  # fmt: skip
        browser.type("ring1")
        browser.key("Enter")
        assert browser.ask("marking.state.labels") == [*MARKS, "ring1"]
        browser.ask("document.activeElement.blur()")
        browser.key("ArrowRight")
        assert browser.ask("marking.current") == 0
        for key in "4n1n2":
            browser.key(key)
        assert browser.ask("marking.count") == 3
        first = browser.ask("marking.data.paths.map((_, i) => marking.of(i)).filter(Boolean)")
        assert sorted(first) == ["boring", "interesting", "ring1"]
        browser.key("u")
        assert browser.ask("[marking.count, marking.of(marking.current)]") == [2, ""]
        browser.key("1")
        browser.key("ArrowLeft")
        order = browser.ask("sorted.map((card) => cards.indexOf(card))")
        browser.open(page, READY)
        assert browser.ask("marking.count") == 3
        assert browser.ask("sorted.map((card) => cards.indexOf(card))") == order
        assert browser.ask("document.getElementById('mark-target').length") == 4
        browser.ask("document.querySelector('label[for=show-marked]').click()")
        shown = "cards.filter((card) => card.offsetParent).length"
        assert browser.ask(shown) == 3
        assert browser.complaints() == []


@needs_chromium
def test_ten_thousand_galaxies_are_ranked_again_within_a_tenth_of_a_second(tmp_path):
    names = [f"galaxy {i}" for i in range(10_000)]
    table, latents = images_of(names, 40)
    marking = marking_content(Run(tmp_path), table, Features.of(table, latents), np.arange(10_000))
    page = tmp_path / "map.html"
    made = replace(galaxies(names), marking=marking, paths=table["path"].tolist())
    page.write_text(map_page("map", "", made, iter(tiles(10_000))), encoding="utf-8")
    with Browser() as browser:
        browser.open(page, "window.firstFrame && document.readyState === 'complete'")
        browser.key("n")
        wall = []
        for number in range(30):
            browser.key("12"[number % 2])
            wall.append(browser.ask("marking.milliseconds"))
        assert browser.ask("[marking.count, marking.order.length]") == [30, 10_000]
        assert browser.ask("document.querySelectorAll('#ranked button').length") == 24
        # the time of a core, which does not depend on what else the machine does
        browser.wait("!drawing")
        browser.send("Performance.enable", timeDomain="threadTicks")
        times = [busy(browser)]
        for _ in range(10):
            browser.ask("marking.update(); drawing = true")  # what is drawn comes after the order
            times.append(busy(browser))
        core = np.median(np.diff(times))
        print(f"a new order of 10,000 galaxies: {core:.0f} ms of a core, {np.median(wall):.0f} ms "
              f"({min(wall):.0f} to {max(wall):.0f}) on this machine as busy as it is")  # fmt: skip
        assert core < 100
        browser.ask("drawing = false")
        browser.ask("at('scheme').value = schemes.length - 1; "
                    "at('scheme').dispatchEvent(new Event('change'))")  # fmt: skip
        assert "% or more" in browser.ask("at('legend').innerText")
        assert browser.complaints() == []


# ---- the scripts


@pytest.fixture(scope="module")
def marked(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A tiny run with its gallery, and the marks of a session by keyboard."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    folder = tmp_path_factory.mktemp("marked")
    run = with_latents(tiny_run, folder / "run")
    done = run_script(GALLERY, run, "--num-var", str(NUM_VAR))
    assert done.returncode == 0, done.stderr
    with Browser(1280, 800) as browser:
        browser.open(run.outliers_page(NUM_VAR), READY)
        browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        browser.key("n")
        for number in range(30):
            browser.key("123"[number % 3])
        assert browser.ask("marking.count") == 30
        browser.ask("document.getElementById('mark-save').click()")
        file = folder / "marks_run.csv"
        browser.wait("1")
        for _ in range(200):
            if file.exists() and file.stat().st_size:
                break
            browser.wait("1")
        order = browser.ask("marking.order.map((i) => data.paths[i])")
        (folder / "order.json").write_text(json.dumps(order))
        assert browser.complaints() == []
    return run, file


def test_the_script_ranks_as_the_page_after_thirty_marks_by_keyboard(marked):
    run, file = marked
    done = run_script(GALLERY, run, "--num-var", str(NUM_VAR), "--marks", str(file))
    assert done.returncode == 0, done.stderr
    assert "30 images are marked" in done.stdout
    table = read_parquet(run.outliers(NUM_VAR))
    given = table.loc[table["mark"] != "", "mark"]
    assert given.value_counts().to_dict() == dict.fromkeys(MARKS, 10)
    order = json.loads((file.parent / "order.json").read_text())
    assert sorted(order) == sorted(table["path"]), "the gallery of a tiny run shows all images"
    assert table.sort_values("mark_rank")["path"].tolist() == order
    assert (spearmanr(table["mark_rank"], table["rank"]).statistic) < 1
    with Browser() as browser:  # the new page begins with the marks
        browser.open(run.outliers_page(NUM_VAR), READY)
        assert browser.ask("[marking.count, marking.known]") == [30, 30]
        assert browser.ask("marking.order.map((i) => data.paths[i])") == order


def test_marks_are_a_label_of_the_classification(marked):
    run, file = marked
    small = ("--min-test", "2", "--min-answer", "1", "--trees", "20", "--n-bootstrap", "50")
    done = run_script("analysis/classify.py", run, "--num-var", str(NUM_VAR), *small,
                      "--label", str(file))  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = read_json(run.classification(NUM_VAR))
    assert [q["question"] for q in content["questions"]] == ["mark"]
    assert content["labels"] == "by a person's marks (marks_run.csv)"
    table = read_parquet(run.predictions(NUM_VAR))
    assert set(table["mark_predicted"]) <= set(MARKS) and len(table) == 48


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"marks.csv (is|has|.*readable)"),
        ("name,path\na,b\n", "marks.csv has no column mark"),
        ("mark,time\nboring,1\n", "has neither a column path nor name"),
        ("name,mark\nnobody,boring\n", r"no mark of an image of this run \(.* of nobody\)"),
        ("name,mark\ng3,\n", "no mark of an image of this run"),
        ("name,mark\ng3,boring,7,8\ng4,odd\n", "marks.csv"),
    ],
)  # fmt: skip
def test_a_bad_file_of_marks_gets_one_clear_line(tmp_path, text, message):
    path = tmp_path / "marks.csv"
    path.write_text(text)
    table, _ = images_of([f"g{i}" for i in range(9)])
    with pytest.raises(Problem, match=message):
        read_marks(path, table)


def test_the_path_counts_before_the_name_and_the_last_mark_before_the_first(tmp_path, capsys):
    table, _ = images_of(["a", "a", *"cdefgh"])
    path = tmp_path / "marks.csv"
    path.write_text("name,path,mark\na,images/x/1.fits,boring\na,,artefact\nc,gone.fits,odd\n"
                    "zz,images/x/4.fits,1\na,images/x/1.fits,interesting\n")  # fmt: skip
    marks = read_marks(path, table)["mark"]
    assert marks.tolist() == ["", "interesting", "odd", "", "1", "", "", ""]
    said = capsys.readouterr().out
    assert "3 images are marked; 1 marks of unknown images are left out; 1 earlier marks" in said


def test_the_scripts_say_what_they_miss(copy_with_latents):
    run = copy_with_latents
    number = ("--num-var", str(NUM_VAR))
    line = says_one_line(run_script(GALLERY, run, *number, "--marks", "gone.csv"))
    assert "gone.csv is missing: check the path" in line
    path = run.folder / "marks.csv"
    names = read_parquet(run.latents(NUM_VAR))["iauname"]
    path.write_text(f"name,mark\n{names[0]},boring\n")
    line = says_one_line(run_script(GALLERY, run, *number, "--marks", str(path)))
    assert "no image is marked 'interesting': choose --target from boring" in line
    with pytest.raises(Problem, match="has only the mark 'boring'"):
        classify.main(classify.Config(run.folder, NUM_VAR, label=(str(path),)))


@pytest.fixture
def copy_with_latents(tiny_run: Run, tmp_path: Path) -> Run:
    return with_latents(tiny_run, tmp_path / "run")


@needs_chromium
@pytest.mark.parametrize("page", ["gallery", "map"])
def test_a_finger_marks_on_a_phone(tmp_path, page):
    names = [f"galaxy {i}" for i in range(60)]
    path, table, features = gallery_of(tmp_path, names)
    ready = READY
    if page == "map":
        marking = marking_content(Run(tmp_path), table, features, np.arange(60))
        made = replace(galaxies(names), marking=marking, paths=table["path"].tolist())
        path.write_text(map_page("map", "lead", made, iter(tiles(60))), encoding="utf-8")
        ready = "window.firstFrame && document.readyState === 'complete'"
    with Browser(390, 780, touch=True) as browser:
        browser.open(path, ready)
        assert browser.ask("document.documentElement.scrollWidth") <= 390
        boxes = browser.ask(
            "[...document.querySelectorAll('#mark-labels button, .mark-move > button, "
            "#marking summary')].map((b) => { const r = b.getBoundingClientRect(); "
            "return [r.left, r.top, r.width, r.height, r.bottom, b.id]; })"
        )
        assert len(boxes) == 6
        for left, _, width, height, bottom, _ in boxes:
            assert left >= 0 and left + width <= 390 and height >= 43.9 and bottom <= 780
        at = {box[5] or str(n): (box[0] + 20, box[1] + 20) for n, box in enumerate(boxes)}
        browser.tap(*at["mark-next"])
        browser.wait("marking.current >= 0")
        for button in ("0", "1", "0"):
            before = browser.ask("marking.count")
            browser.tap(*at[button])
            browser.wait(f"marking.count === {before + 1}")
        browser.tap(*at["mark-undo"])
        browser.wait("marking.count === 2")
        assert browser.complaints() == []
