"""Claims about the calls for notebooks, and about the pages of the site."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import run_script

import VAE_model
from VAE_model import api
from VAE_model.pipeline import run as paths
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run

PAGE = (ROOT / "docs" / "PYTHON.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## (\w+)$.*?^```pycon\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def root(make_tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in data/demo, encoded by the weights that travel with the project."""
    folder = tmp_path_factory.mktemp("python")
    run = make_tiny_run(folder / "data" / "demo", count=18)
    for script, *options in (
        ("make_datatxt.py",),
        ("analysis/extract_latents.py", "--model", "pretrained"),
    ):
        done = run_script(script, run, *options)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def demo(root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`Run("data/demo")` as the examples name it."""
    monkeypatch.setattr(paths, "ROOT", root)
    return Run("data/demo")


def docstring_examples(text: str) -> str:
    examples = doctest.DocTestParser().get_examples(inspect.cleandoc(text))
    lines = (f">>> {e.source}".replace("\n", "\n... ")[:-4] + e.want for e in examples)
    return "".join(lines)


def test_the_page_has_every_call_and_its_example():
    assert set(EXAMPLES) == set(VAE_model.__all__) and len(EXAMPLES) == 10
    reference = (ROOT / "docs" / "API.md").read_text(encoding="utf-8")
    for name in VAE_model.__all__:
        call = getattr(VAE_model, name)
        assert f"::: {call.__module__}.{name}\n" in reference
        if call.__module__ == api.__name__:
            assert docstring_examples(call.__doc__) == EXAMPLES[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_says(name: str, demo: Run):
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], {}, name, "docs/PYTHON.md", 0)
    assert test.examples and doctest.DocTestRunner().run(test).failed == 0


def test_an_image_of_the_run_is_its_own_neighbour(demo: Run):
    table, latents = VAE_model.read_latents(demo)
    flux = VAE_model.read_images(demo, table["path"][[7, 3]])
    mean, _ = VAE_model.encode(flux, demo, batch_size=1)
    np.testing.assert_allclose(mean, latents[[7, 3]], atol=1e-4)
    found = VAE_model.neighbours(demo, mean[0], count=2)
    assert found.index[0] == 7 and found["distance"].iloc[0] < 1e-3
    assert VAE_model.neighbours(demo, table["iauname"][7], count=2).index[0] == found.index[1]
    pixels = VAE_model.read_images(demo, found["path"])
    figure = VAE_model.show_galaxies(pixels, found["iauname"], columns=1)
    assert [axes.get_title() for axes in figure.axes] == found["iauname"].tolist()


def test_mistakes_are_said_in_one_line(demo: Run, tmp_path: Path):
    with pytest.raises(ValueError, match=r"\(N, 3, 256, 256\) is needed"):
        VAE_model.encode(np.zeros((3, 256, 256), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        VAE_model.encode(np.full((1, 3, 256, 256), np.nan, np.float32))
    with pytest.raises(Problem, match=r"is missing: run python analysis/extract_latents\.py"):
        VAE_model.read_latents(Run(tmp_path))
    with pytest.raises(Problem, match=r"train\.txt does not list nothing\.fits"):
        VAE_model.read_images(demo, ["nothing.fits"])
    with pytest.raises(ValueError, match=r"\(40,\) is needed"):
        VAE_model.neighbours(demo, [0.0, 1.0])
    with pytest.raises(ValueError, match="10 galaxies at least"):
        VAE_model.rank_outliers(np.zeros((9, 2)))
    with pytest.raises(ValueError, match="one title for each"):
        VAE_model.show_galaxies(np.zeros((2, 3, 256, 256)), ["one"])


def test_the_package_is_imported_without_torch():
    code = "import sys, VAE_model; from VAE_model import Run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert set(VAE_model.__all__) <= set(dir(VAE_model))
    with pytest.raises(AttributeError, match="nothing"):
        importlib.import_module("VAE_model").nothing  # noqa: B018


def test_the_site_has_every_page_and_every_module_of_the_reference():
    site = (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r": (\S+\.md)$", site, re.MULTILINE)) == pages | {
        "README.md", "README_zh.md"
    }  # fmt: skip
    reference = (ROOT / "docs" / "API.md").read_text(encoding="utf-8")
    for name in re.findall(r"^::: (\S+)$", reference, re.MULTILINE):
        assert pkgutil.resolve_name(name), name
