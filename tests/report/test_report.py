"""The report shows what is there, names what is not, and is a page that stands alone."""

import json
import re
import shlex
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_script, succeeded
from PIL import Image

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.pipeline.files import count_rows, sha256, write_json, write_parquet, write_text
from VAE_model.pipeline.provenance import sidecar
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.report import page, tables
from VAE_model.report.chapters import CHAPTERS
from VAE_model.report.run_outputs import RunOutputs

HOSTILE = '"><script>alert(1)</script><img src=http://example.org/x.png onerror=alert(2)>&amp;.fits'
ESTIMATE = {"value": 0.712, "low": 0.65, "high": 0.77}
VOID = {"meta", "img", "input", "br", "hr", "link"}


class Page(HTMLParser):
    """Reads a page as a browser does; `wrong` says what is not valid in it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.wrong: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        if len(names) != len(set(names)):
            self.wrong.append(f"<{tag}> has an attribute twice: {names}")
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        self.words += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check_stands_alone(text: str) -> Page:
    """Valid, and nothing in it is fetched: only links lead out of it."""
    assert text.startswith("<!DOCTYPE html>")
    read = Page(text)
    assert not read.wrong
    assert not read.of("script") and not read.of("link") and not read.of("iframe")
    assert "@import" not in text and "url(" not in text
    for image in read.of("img"):
        assert image["src"].startswith("data:image/")
        assert image["alt"] and image["width"] and image["height"]
    for _, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on")]
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    inside = [a["href"][1:] for a in read.of("a") if a["href"].startswith("#")]
    assert set(inside) <= set(ids)
    return read


def wrote(run: Run, path: Path, script: str, **numbers: object) -> None:
    """The side-car of a file that a stage is said to have written."""
    content = {
        "script": script, "config": {"constant": 1}, "inputs": {}, "numbers": numbers,
        "output": {"sha256": sha256(path), "rows": count_rows(path)},
        "versions": {"Galaxy_VAE": "0.1.0", "torch": "2.15.0"}, "seconds": 1.5,
        "finished": "2026-11-22T08:00:00+00:00",
    }  # fmt: skip
    write_json(sidecar(path), content)


def a_figure(path: Path, size: tuple[int, int] = (300, 200), noise: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels if noise else pixels * 0).save(path)


def classification() -> dict[str, object]:
    """Of two questions, one with too few galaxies for a score."""
    scores = {
        name: {"balanced_accuracy": ESTIMATE, "macro_f1": ESTIMATE}
        for name in ("pca", "latents", "difference")
    }
    bar = {
        "question": "bar", "answers": ["strong", "no"], "majority": 0.53,
        "mcnemar": {"gained": 9, "lost": 1, "p": 0.03},
        "n_train": {"strong": 90, "no": 95}, "n_test": {"strong": 40, "no": 45},
        "verdict": "<b>undecided</b>", "no_score_because": "", **scores,
    }  # fmt: skip
    merger = {"question": "merger", "answers": [], "n_train": {"merger": 9}, "majority": None,
              "n_test": {"merger": 3}, "no_score_because": "3 are too few"}  # fmt: skip
    difference = {"value": 0.044, "low": -0.01, "high": 0.09}
    mean = {"pca": ESTIMATE | {"value": 0.668}, "latents": ESTIMATE, "difference": difference}
    questions = [bar, merger]
    return {"labels": "simulated", "dimension": 40, "mean": mean, "mean_of": ["bar"],
            "questions": questions}  # fmt: skip


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Stages 1 to 3, A5, A6 and one that nobody has foreseen, as they would leave their files."""
    run = Run(tmp_path_factory.mktemp("report") / "small <run>")
    write_text(run.train_txt, "images/decals/a.fits\nimages/decals/b.fits\n")
    wrote(run, run.train_txt, "make_datatxt.py", good=2, refused=2, surveys={"decals": 2})
    refused = {"path": [HOSTILE, "c.fits"], "reason": [f"unreadable: {HOSTILE}", "truncated: 1"]}
    pd.DataFrame(refused).to_csv(run.rejected, index=False)
    wrote(run, run.rejected, "make_datatxt.py", good=2, refused=2, surveys={"decals": 2})
    line = {
        "epoch": 1, "train_loss": 10.0, "train_kl": 1.0, "skipped_steps": [], "steps": 3,
        "learning_rate": 0.001, "validation_kl": 1.5,
        "validation_loss": 11221.5, "active": 7, "seconds": 2.5,
    }  # fmt: skip
    later = line | {"epoch": 2, "validation_loss": 12000.0}
    write_text(run.model_log(40), f"{json.dumps(line)}\n{json.dumps(later)}\n")
    wrote(run, run.model_log(40), "Galaxy_VAE_n.py")
    images = {"path": ["a", "b"], "survey": "decals", "split": "test", "reduced_chi2": 1.25,
              "ssim": [0.7771, 0.7773], "flag_streak": [True, False]}  # fmt: skip
    write_parquet(run.latents(40), pd.DataFrame(images))
    wrote(run, run.latents(40), "analysis/extract_latents.py")
    write_json(run.classification(40), classification())
    a_figure(run.figure("confusion_40.png"))
    for path in (run.classification(40), run.figure("confusion_40.png")):
        wrote(run, path, "analysis/classify.py")
    rows = [{"num_var": 5, "seeds": 3, "forest": 0.6543, "forest_error": 0.0123, "active": None}]
    write_json(run.dimensions(), {"dimensions": rows, "choice": {}, "verdict": "5 is chosen"})
    wrote(run, run.dimensions(), "analysis/choose_dimension.py")
    write_text(run.result("novelty.csv"), "galaxy,strangeness\nHoag,0.875\n")
    wrote(run, run.result("novelty.csv"), "analysis/novelty.py", looked_at=77)
    a_figure(run.figure("novelty.png"))
    wrote(run, run.figure("novelty.png"), "analysis/novelty.py")
    return run


@pytest.fixture(scope="module")
def printed(small_run, script) -> str:
    """The output of the report stage on the small run."""
    done = script("analysis/report.py", small_run)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_report_of_a_run_is_a_valid_page_that_stands_alone(small_run, printed):
    read = check_stands_alone(small_run.report.read_text(encoding="utf-8"))
    assert len(read.of("img")) == 3  # two figures and the learning curve
    commands = f" --run {shlex.quote(str(small_run.folder))}"  # which can be pasted
    assert str(small_run.folder) not in read.words.replace(commands, "")


def test_report_shows_the_numbers_of_the_run_and_prints_the_few_that_matter(small_run, printed):
    words = Page(small_run.report.read_text(encoding="utf-8")).words
    for number in ("0.712", "0.668", "+0.044", "0.500", "11,222", "0.777", "crosses zero"):
        assert number in words, number
        assert number in printed, number
    assert "85 to 85 test galaxies" in words
    others = (
        "0.712[0.650, 0.770]",
        "Labels: simulated",
        "best of 2 epochs",
        "truncated",
        "3 are too few",
    )
    for found in (*others, "analysis/novelty.py", "Hoag", "looked at", "5 is chosen", "± 0.0123"):
        assert found in words, found
    lines = [line for line in printed.splitlines() if line.startswith("  ")]
    assert 5 <= len(lines) <= 9
    assert "report.html" in lines[-1]


def test_hostile_names_stay_text(small_run, printed):
    text = small_run.report.read_text(encoding="utf-8")
    assert "<script" not in text and "<b>" not in text
    read = Page(text)
    assert HOSTILE in read.words
    assert "small <run>" in read.words
    assert not [image for image in read.of("img") if "onerror" in image]


def test_stages_that_have_not_run_are_named_with_their_command(small_run, printed):
    words = Page(small_run.report.read_text(encoding="utf-8")).words
    ran = {"make_datatxt.py", "Galaxy_VAE_n.py", "analysis/extract_latents.py",
           "analysis/classify.py", "analysis/choose_dimension.py"}  # fmt: skip
    outputs = RunOutputs.of(small_run, 40)
    for chapter in CHAPTERS:
        missing = f"Not run yet: {chapter.command(outputs)}" in words
        assert missing is not bool(ran & set(chapter.scripts)), chapter.title


def test_report_again_on_unchanged_input_does_nothing(small_run, printed, script):
    before = small_run.report.stat().st_mtime_ns
    again = script("analysis/report.py", small_run)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert small_run.report.stat().st_mtime_ns == before


def test_report_of_an_empty_run_is_one_clear_line(tmp_path, script):
    done = script("analysis/report.py", Run(tmp_path))
    assert done.returncode == 1
    assert "make run" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_large_figure_is_scaled_and_small_in_the_page(tmp_path):
    a_figure(tmp_path / "photographs.png", (3200, 1000), noise=True)
    source, width, height = page.embed(tmp_path / "photographs.png", widest=1600)
    assert (width, height) == (1600, 500)
    assert source.startswith("data:image/jpeg;base64,") and len(source) < 1_500_000
    a_figure(tmp_path / "drawing.png")
    assert page.embed(tmp_path / "drawing.png")[0].startswith("data:image/png;base64,")


def test_text_is_escaped_wherever_it_enters_a_page():
    cells = [["<c>", tables.Note("<n>", HOSTILE, 'https://example.org/"><script>')],
             [HOSTILE, tables.Note("x", url="javascript:alert(1)")]]  # fmt: skip
    blocks = [
        tables.Table(["<h>", HOSTILE], cells, "<k>"),
        page.Details("<s>", [page.Paragraph("<d>", link=("<l>", '"><script>'))]),
        page.Tiles([("<a>", "<v>", HOSTILE)]),
    ]
    section = {"title": "<u>", "sentence": "<w>", "made": {"<m>": 1.0}, "pages": [], "command": "",
               "blocks": blocks}  # fmt: skip
    shown = page.render("report.html", title="<t>", name="<r>", summary=HOSTILE, opening=blocks,
                        sections=[section])  # fmt: skip
    read = check_stands_alone(shown)
    assert "<script" not in shown and "javascript:" not in shown
    for word in "tnhcksdlavuwmr":
        assert f"<{word}>" in read.words, word
    assert read.words.count(HOSTILE) == 1 + 2 * 4
    assert read.of("a")[1]["href"] == 'https://example.org/"><script>'


def test_one_table_is_markdown_html_csv_and_pandas(tmp_path):
    records = [
        {"name": "a|b\nc", "score": Estimate(0.5, -0.25, 1), "n": 1234},
        {"name": "d", "score": None, "n": None},
    ]
    table = tables.Table.of(records, {"name": "question", "score": "score", "n": "galaxies"})
    assert table.markdown().splitlines() == [
        "| question | score | galaxies |", "| --- | --- | --- |",
        "| a\\|b c | 0.500 [-0.250, 1.000] | 1,234 |", "| d | – | – |",
    ]  # fmt: skip
    assert table.numeric == [False, True, True]
    assert table.frame().loc["d"].tolist() == ["–", "–"]
    assert tables.signed(Estimate(0.5, -0.25, 1)) == tables.Note("+0.500", "[-0.250, +1.000]")
    tables.write_csv(tmp_path / "t.csv", records)
    read = pd.read_csv(tmp_path / "t.csv")
    assert read.columns.tolist()[:4] == ["name", "score", "score_low", "score_high"]
    assert read.loc[0, "score_low"] == -0.25 and pd.isna(read.loc[1, "score"])


def test_numbers_are_written_as_people_read_them():
    given = [None, float("nan"), True, 12345, 0.123456, 1234.56, 3.0, np.float32(0.25),
             np.int64(-4321), float("inf"), "x"]  # fmt: skip
    read = ["–", "–", "yes", "12,345", "0.1235", "1,234.6", "3", "0.25", "-4,321", "inf", "x"]
    assert [tables.number(value) for value in given] == read


def test_a_run_can_be_looked_at_while_it_trains(copy_of_tiny_run: Run):
    run = copy_of_tiny_run
    command = [sys.executable, "Galaxy_VAE_n.py", "--run", run.folder, "--num-var", "4",
               "--epochs", "500", "--start", "random"]  # fmt: skip
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, **silent) as training:
        try:
            log, until = run.model_log(4), time.monotonic() + 120
            while not log.exists() and training.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            said = succeeded(run_script("analysis/report.py", run, "--num-var", "4")).stdout
            assert training.poll() is None, "the report disturbs nobody"
        finally:
            training.kill()
    line = next(line for line in said.splitlines() if "is at work" in line)
    assert line.strip().startswith(f"Galaxy_VAE_n.py, process {training.pid}, is at work")
    assert re.search(r"vae_4: epoch \d+ of 500, validation loss \S+; about \d+ min", said)
    text = run.report.read_text()
    assert "is at work" in text and "loss against epoch" in text
    check_stands_alone(text)
    said = succeeded(run_script("analysis/report.py", run, "--num-var", "4")).stdout
    assert "is at work" not in said + run.report.read_text()
