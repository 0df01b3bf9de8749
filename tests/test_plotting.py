"""Claims about figures: the same, whatever settings of matplotlib the user has."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from VAE_model.paths import ROOT

DRAW = """
import sys
from pathlib import Path
from VAE_model.figures import log_scale, new_figure, save_figure
figure = new_figure(4, 3)
axes = figure.subplots()
axes.plot([1, 2, 3], [1, 50, 2], label="cost_$, arcsec²")
axes.set(title="50 % of {A_b}", xlabel="log_10")
log_scale(axes.yaxis)
axes.legend()
save_figure(figure, Path(sys.argv[1]))
"""
ODD = b"""
text.usetex: True
font.family: NoSuchFont
axes.formatter.use_locale: True
axes.grid: True
lines.linewidth: 9
figure.constrained_layout.use: True
path.sketch: 1, 100, 2
savefig.transparent: True
backend: TkAgg
no.such.key: 1
"""
BROKEN = b"\xff\xfe no text"


def drawn(folder: Path, **environment: str) -> bytes:
    """The bytes of a figure drawn by a process in `folder`; nothing else is said."""
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "MATPLOTLIB"))}
    target = folder / "drawn.png"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRAW, str(target)], cwd=folder, capture_output=True,
        env={**bare, "PYTHONPATH": str(ROOT), **environment}, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return target.read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return drawn(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    ("place", "content"),
    [("here", ODD), ("here", BROKEN), ("MATPLOTLIBRC", ODD), ("home", BROKEN)],
    ids=["odd here", "broken here", "odd by MATPLOTLIBRC", "broken at home"],
)
def test_a_matplotlibrc_changes_no_pixel(tmp_path: Path, plain: bytes, place: str, content: bytes):
    folder = tmp_path / "config" / "matplotlib" if place == "home" else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    name = "matplotlibrc" if place != "MATPLOTLIBRC" else "settings"
    (folder / name).write_bytes(content)
    where = {
        "here": {}, "home": {"XDG_CONFIG_HOME": str(tmp_path / "config")},
        "MATPLOTLIBRC": {"MATPLOTLIBRC": str(folder / name)},
    }  # fmt: skip
    assert drawn(tmp_path, **where[place]) == plain


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_a_backend_changes_no_pixel(tmp_path: Path, plain: bytes, backend: str):
    assert drawn(tmp_path, MPLBACKEND=backend) == plain


def test_matplotlib_is_imported_in_one_place():
    """Elsewhere it would read the user's settings first."""
    files = [*ROOT.glob("*.py"), *ROOT.glob("VAE_model/**/*.py")]
    files += [path for folder in ("analysis", "data", "outline", "transfer")
              for path in ROOT.glob(f"{folder}/*.py")]  # fmt: skip
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "matplotlib" for name in names):
                found.add(path.name)
    assert found == {"plotting.py"}
