"""Claims about the version of a script's code, and about what happens when it changes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from VAE_model.pipeline import code_version
from VAE_model.pipeline.run import ROOT

# One process for several scripts: each runs as its own __main__.
DRIVER = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
"""
SCRIPT = '''"""A script."""

from dataclasses import dataclass
from pathlib import Path

from VAE_model.table import total


@dataclass(frozen=True)
class Config:
    workers: int = 0
    """Processes."""


def main(config):
    print("adding")
    if config.workers < 0:
        raise ValueError("too few")
    return total([1, 2])
'''
MODULE = '''"""Sums."""
from VAE_model import weights

def total(values):
    return weights.WEIGHT * sum(values)
'''


@pytest.fixture
def version(tmp_path, monkeypatch):
    """The version of a script in a repository of three files, one of them edited before."""
    monkeypatch.setattr(code_version, "_BESIDE", tmp_path)
    files = {"script.py": SCRIPT, "VAE_model/table.py": MODULE,
             "VAE_model/weights.py": "WEIGHT = 2\nSTYLE = 'a.css'\n", "VAE_model/a.css": "b {}",
             "VAE_model/other.py": "X = 1\n", "VAE_model/__init__.py": "V = 1\n"}  # fmt: skip
    (tmp_path / "VAE_model").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def of(name: str = "script.py", old: str = "", new: str = "", frozen: bool = False) -> str:
        before = files[name]
        assert old in before
        (tmp_path / name).write_text(before.replace(old, new) if old else before)
        code_version._read.cache_clear()
        code_version.code_version.cache_clear()
        found = code_version.code_version(tmp_path / "script.py", frozen=frozen)
        (tmp_path / name).write_text(before)
        return found

    return of


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("script.py", '"""A script."""', '"""A script that adds."""'),
        ("script.py", "    return", "    # as always\n\n    return"),
        ("script.py", "[1, 2]", "[\n        1, 2,\n    ]"),
        ("script.py", '"adding"', '"adding up"'),
        ("script.py", '    print("adding")\n', ""),
        ("script.py", '"too few"', 'f"workers = {config.workers}"'),
        ("script.py", '"""Processes."""', '"""Processes; 0: one per core."""'),
        ("script.py", "workers: int = 0", "workers: int = 4"),  # the side-car has its value
        ("VAE_model/table.py", '"""Sums."""', "# sums"),
        ("VAE_model/other.py", "1", "2"),  # not imported
        ("VAE_model/__init__.py", "1", "2"),  # the version of the package
    ],
)
def test_words_and_layout_do_not_change_the_version(version, name, old, new):
    assert version(name, old, new) == version()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("script.py", "[1, 2]", "[1, 3]"),
        ("script.py", "< 0", "<= 0"),
        ("VAE_model/table.py", "sum", "max"),
        ("VAE_model/weights.py", "2", "3"),  # imported by what is imported
        ("VAE_model/a.css", "{}", "{color: red}"),  # read beside a module
    ],
)
def test_what_decides_a_result_changes_the_version(version, name, old, new):
    assert version(name, old, new) != version()


def test_a_protocol_freezes_the_defaults_of_a_script_and_not_the_pages(
    version, monkeypatch, tmp_path
):
    """A default decides a result that has no side-car; a page shows results."""
    changed = version(old="workers: int = 0", new="workers: int = 4", frozen=True)
    assert changed != version(frozen=True)
    assert version(old='"""Processes."""', new='"""Cores."""', frozen=True) == version(frozen=True)
    monkeypatch.setattr(code_version, "_SHOWN", tmp_path / "VAE_model")
    assert version("VAE_model/table.py", "sum", "max", True) == version(frozen=True)


def test_the_machinery_of_the_pipeline_does_not_count():
    files = set(code_version._files_of("VAE_model.pipeline.stage"))
    assert not files and set(code_version._files_of("VAE_model.data.sky"))


def test_a_changed_code_makes_its_stage_run_again_and_later_ones_stale(
    make_tiny_run, tmp_path: Path
):
    root = tmp_path / "repository"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "VAE_model", root / "VAE_model", ignore=ignore)
    shutil.copytree(ROOT / "analysis", root / "analysis", ignore=ignore)
    shutil.copy2(ROOT / "make_datatxt.py", root)
    run = make_tiny_run(root / "data" / "demo", count=8)

    def python(*commands: list[str]) -> tuple[int, str]:
        """Run scripts one after the other, in one process to spare imports."""
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", DRIVER, json.dumps(commands)], cwd=root,
                              env=environment, capture_output=True, text=True)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def edit(name: str, old: str, new: str) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    listing, matching = ["make_datatxt.py"], ["analysis/decals_2_1.py"]
    assert python(listing, ["analysis/decals_1.py"], matching)[0] == 0
    edit("VAE_model/data/sky.py", '"""', '"""A word more. ')
    edit("make_datatxt.py", "\ndef main", "\n# A comment.\ndef main")
    assert python(listing, matching)[1].count("nothing to do") == 2
    edit("make_datatxt.py", ", 2)\n", ", 3)\n")
    code, said = python(matching)
    assert code == 1
    assert (
        "data/demo/train.txt is stale (the code of make_datatxt.py has changed since): "
        "run python make_datatxt.py; with --accept it keeps the file" in said
    )
    code, said = python([*listing, "--accept", "--duplicate-radius", "3"])
    assert code == 1 and "nothing to accept: more than the code" in said
    written = run.train_txt.stat().st_mtime_ns
    said = python([*listing, "--accept"], matching)[1]
    assert "accepted" in said and "nothing to do" in said
    assert run.train_txt.stat().st_mtime_ns == written
    edit("make_datatxt.py", ", 3)\n", ", 4)\n")
    said = python(listing)[1]
    assert "the code of make_datatxt.py has changed since" in said and "wrote" in said
    assert run.train_txt.stat().st_mtime_ns > written
