"""The examples of docs/CONTRIBUTING.md, applied to a copy of the repository and run there."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from pairs_of_tiny_run import add_second_survey

from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.simulation import Purpose
from VAE_model.surveys import SURVEYS, survey_of
from VAE_model.training import checkpoint

GUIDE = ROOT / "docs" / "CONTRIBUTING.md"
KINDS = ("A stage", "A network", "A method of adaptation", "A survey")
# One process for many scripts: each runs as its own __main__, the imports are paid for once.
DRIVER = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    print("$", *words, flush=True)
    runpy.run_path(words[0], run_name="__main__")
"""


class Block(NamedTuple):
    """A fenced block of the page: under which heading, its language, its lines."""

    kind: str
    language: str
    text: str


def blocks() -> list[Block]:
    found, kind = [], ""
    page = GUIDE.read_text(encoding="utf-8")
    for heading, language, text in re.findall(
        r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    ):
        kind = heading or kind
        if language:
            found.append(Block(kind, language, text))
    return found


def apply(block: Block, root: Path) -> None:
    """Write the file of a block, or change the one that it names."""
    first, text = block.text.split("\n", 1)
    if block.language == "python":
        path = root / first.removeprefix("# ")
        assert not path.exists()
        path.write_text(text, encoding="utf-8")
        return
    path = root / first.removeprefix("--- ")
    lines = [(line[0], line[1:] + "\n") for line in text.splitlines()]
    old = "".join(line for sign, line in lines if sign in " -")
    new = "".join(line for sign, line in lines if sign in " +")
    before = path.read_text(encoding="utf-8")
    assert before.count(old) == 1, f"{path.name}: {old}"
    path.write_text(before.replace(old, new), encoding="utf-8")


def run(root: Path, *commands: list[str]) -> str:
    """Run scripts of the copy, one after the other; what they print."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)], cwd=root, check=False,
        capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg",
             "PYTHONPATH": f"{root}{os.pathsep}{ROOT / 'tests' / 'offline'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def extended(make_tiny_run, tmp_path_factory) -> tuple[Path, str]:
    """A copy of the repository with all examples in it and their commands run on a tiny run of two
    surveys; what they printed."""
    root = tmp_path_factory.mktemp("contributing") / "repository"
    keep = ("VAE_model", "analysis", "transfer", "outline", "data")
    for folder in keep:
        shutil.copytree(ROOT / folder, root / folder,
                        ignore=lambda _, names: [n for n in names if (not n.endswith((
                            ".py", ".js", ".mplstyle", ".html", ".css", ".toml",
                            )) and "." in n) or n in (
                            "__pycache__", "demo", "real", "published")])  # fmt: skip
    for path in ROOT.glob("*.py"):
        shutil.copy2(path, root)
    add_second_survey(make_tiny_run(root / "data" / "demo", count=24), missing=2)
    found = blocks()
    for block in found:
        if block.language in ("python", "diff"):
            apply(block, root)
    # what the example of an adaptation needs, as a reader has it from `make run`
    ready = [["make_datatxt.py"], ["transfer/make_pairs.py"], ["transfer/encode_pairs.py"]]
    said = {
        block.kind: [line.split()[1:] for line in block.text.splitlines()]
        for block in found
        if block.language == "bash"
    }
    stage, network, method, survey = (said[kind] for kind in KINDS)
    return root, run(root, ready[0], *stage, *network, *ready[1:], *method, *survey)


def test_every_kind_is_one_file_and_at_most_two_lines_elsewhere():
    """A network is a class in models.py and its entry there; the others are files of their own."""
    found = blocks()
    for kind in KINDS:
        diffs = [b for b in found if b.kind == kind and b.language == "diff"]
        files = [b for b in found if b.kind == kind and b.language == "python"]
        added = [line for b in diffs for line in b.text.splitlines()[1:] if line[0] == "+"]
        if kind == "A network":
            changed = {b.text.split("\n")[0] for b in diffs}
            assert not files and changed == {"--- VAE_model/models.py"}
            continue
        assert len(files) == 1
        if kind == "A stage":
            assert len([line for line in added if "Entry(" in line]) == 1, "an entry"
        else:
            assert len(added) == 2, "an import and an entry"


def test_the_stage_lists_the_reddest(extended):
    root, said = extended
    assert "images have light in g and r" in said
    assert "\nreddest: setup  ## A10 list the reddest galaxies\n" in run(
        root, ["VAE_model/pipeline/__main__.py", "rules"]
    )
    table = read_parquet(Run(root / "data" / "demo").result("reddest.parquet"))
    assert len(table) == 3 and table["colour"].is_monotonic_decreasing
    assert table["colour"].between(0.7, 0.8).all()  # 2.5 log10 2, as the galaxies are drawn


def test_the_network_is_trained_and_drawn(extended):
    root, _ = extended
    demo = Run(root / "data" / "demo")
    content = checkpoint.load(demo.model(40))
    assert content["config"]["network"] == "linear"
    assert content["weights"]["decoder.weight"].shape == (3 * 32**2, 40)
    assert demo.figure("network_linear.svg").exists()


def test_the_method_adapts_with_its_own_term(extended):
    root, said = extended
    demo = Run(root / "data" / "demo")
    assert "deep_coral: the two surveys' covariances are drawn together" in said
    content = checkpoint.load(demo.model(40, "deep_coral"))
    assert content["config"]["terms"] == {"covariance": 1.0} and content["config"]["keep"] == 1
    log = json.loads(demo.model_log(40, "deep_coral").read_text().splitlines()[0])
    assert log["train_covariance"] > 0 and log["train_keep"] >= 0
    assert set(read_parquet(demo.pair_latents("deep_coral"))["survey"]) == {"decals", "bassmzls"}


def test_the_survey_is_drawn_recognised_and_paired(extended):
    root, said = extended
    hazy = Run(root / "data" / "hazy")
    assert len(list(hazy.images("hazy").glob("*.fits"))) == 8
    assert "8 of them in Hazy" in said and not hazy.images("bassmzls").exists()
    pairs = read_parquet(hazy.pairs)
    assert set(pairs["other_survey"]) == {"hazy"} and set(pairs["other_release"]) == {"HZ1"}
    assert len(pairs) >= 6
    truth = pd.read_parquet(hazy.truth)
    ratio = truth["fwhm_r_hazy"] / truth["fwhm_r_decals"]
    assert ratio.median() == pytest.approx(2.1 / 1.33, rel=0.2)  # the weather of 8 nights


def test_every_survey_knows_its_own_files_and_has_random_numbers_of_its_own():
    assert [survey_of(survey.version) for survey in SURVEYS.values()] == list(SURVEYS)
    assert all(name == survey.name for name, survey in SURVEYS.items())
    streams = [survey.stream for survey in SURVEYS.values()]
    assert len(set(streams)) == len(streams) and not set(streams) & {int(p) for p in Purpose}
    assert {survey.mistaken_for for survey in SURVEYS.values()} <= {"", *SURVEYS}
    assert survey_of("DR10-south") == "decals" and survey_of("dr9-North") == "bassmzls"
    assert {survey_of(of_no_survey) for of_no_survey in ("", "SDSS", "unknown", "DR10")} == {
        "unknown"
    }
    assert all(np.all(np.array(survey.noise) > 0) for survey in SURVEYS.values())


# ---- what docs/SCIENCE.md and this page name is there

NAMED = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*)\.(\w+(?:\.\w+)*)`")
PATH = re.compile(r"`((?:VAE_model|analysis|transfer|outline|data|benchmarks|tests|docs)/[\w/.]+)`")


@pytest.mark.parametrize("page", ["SCIENCE.md", "CONTRIBUTING.md"])
def test_what_a_page_names_is_in_the_code(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for path in PATH.findall(text):
        assert (ROOT / path).exists(), path
    names = [
        (module, name)
        for module, name in NAMED.findall(text)
        if (ROOT / "VAE_model" / f"{module.replace('.', '/')}.py").exists()
    ]
    for module, name in names:
        found = importlib.import_module(f"VAE_model.{module}")
        for part in name.split("."):
            found = getattr(found, part)
    assert len(names) >= (20 if page == "SCIENCE.md" else 0)
    for target in re.findall(r"\]\(([\w.]+\.md)\)", text):
        assert (ROOT / "docs" / target).exists(), target
