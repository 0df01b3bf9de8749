"""Claims about the package when it is installed from a wheel, apart from the repository."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copy2, copytree, ignore_patterns

import pytest

from VAE_model.pipeline.run import ROOT

# import name: its distribution, where the two differ
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}
SCRIPTS = ("analysis", "data", "outline", "transfer")
USED = """
import importlib, sys
from pathlib import Path
for name in sys.argv[2:]:
    importlib.import_module(name)
import VAE_model
from VAE_model.pipeline import run as paths
from VAE_model.report.figures import new_figure, save_figure
from VAE_model.report import latent_map
assert Path(VAE_model.__file__).is_relative_to(sys.argv[1]), VAE_model.__file__
assert paths.Run("run").folder == Path.cwd() / "run", paths.Run("run").folder
figure = new_figure(2, 2)
figure.subplots().plot([1, 2])
save_figure(figure, Path("figure.png"))
assert Path(latent_map.__file__).with_name("latent_map.js").read_text()
"""


def modules() -> list[str]:
    files = sorted((ROOT / "VAE_model").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    return [name.removesuffix(".__init__") for name in names]


def imported() -> set[str]:
    """Distributions that the package and the scripts import."""
    files = [*ROOT.glob("*.py"), *(ROOT / "VAE_model").rglob("*.py")]
    files += [path for folder in SCRIPTS for path in (ROOT / folder).glob("*.py")]
    names = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).split(".")[0])
    own = {"VAE_model", "benchmarks", *(path.stem for path in files)}
    return {DISTRIBUTIONS.get(n, n) for n in names - own - set(sys.stdlib_module_names)}


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[=<>\[ ]", line)[0].lower() for line in requirements}


def test_every_import_is_declared_and_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    of = {extra: names_of(names) for extra, names in project["optional-dependencies"].items()}
    dev, extras = of["dev"], of["onnx"] | of["hats"]
    needed = {name.lower() for name in imported()}
    assert needed - names_of(project["dependencies"]) <= extras | dev & {"nbclient", "nbformat"}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = names_of([line for line in lines if "==" in line])
    assert needed - dev - extras <= pinned
    assert names_of(project["dependencies"]) == pinned, "the two lists say the same"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    copytree(ROOT / "VAE_model", source / "VAE_model", ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy2(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(built), str(source)]
    subprocess.run(build, check=True)
    target = tmp_path_factory.mktemp("installed")
    wheel = str(next(built.glob("*.whl")))
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), wheel], check=True)
    return target


def test_every_module_works_from_the_wheel(installed: Path, tmp_path: Path):
    """And a relative run lies in the working directory, not beside the installed packages."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", USED, str(installed), *modules()], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.png").exists()
