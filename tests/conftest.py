"""Fixtures of several tests: small runs made of simple galaxies, and a way to run a script.

def test_something(tiny_run): ...          # one for all tests: read it, do not write into it
def test_another(copy_of_tiny_run): ...    # of one's own: images linked, tables copied
def test_more(make_tiny_run, tmp_path):    # of another size
    run = make_tiny_run(tmp_path / "run", count=12)
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from VAE_model.data import galaxy_zoo
from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import SIZE
from VAE_model.data.sky import iauname
from VAE_model.pipeline.files import sha256, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.script_server import ScriptServer

NOISE = (0.0031, 0.0044, 0.0117)  # nanomaggies a pixel in g, r, z, as of DECaLS
COLOUR = (0.5, 1.0, 1.4)  # flux in g, r, z relative to r
MORPHOLOGIES = ("round", "in-between", "cigar-shaped", "edge-on", "barred", "unbarred", "merger")


SMALL = {  # constants that make a stage small
    "data/simulate.py": ("--galaxies", "90", "--overlap", "70"),
    "Galaxy_VAE_n.py": ("--epochs", "2"),
    "analysis/choose_dimension.py": ("--num-var", "2", "4", "--seeds", "0", "1", "--epochs", "1"),
    "analysis/classify.py": ("--min-test", "5", "--min-answer", "2", "--trees", "20",
                             "--seeds", "0"),
    "analysis/probe.py": ("--trees", "20", "--n-bootstrap", "100"),
    "transfer/adapt.py": ("--epochs", "1"),
    "transfer/compare.py": ("--min-test", "5", "--min-answer", "2", "--trees", "20",
                            "--seeds", "0", "--n-bootstrap", "100"),
}  # fmt: skip


ENVIRONMENT = {
    **os.environ, "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1",  # the tests themselves share the cores
    "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "offline"), str(ROOT)]),
}  # fmt: skip
SERVER = ScriptServer(ENVIRONMENT)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Sizes of the long tests (python -m pytest -m long)."""
    parser.addoption("--kills", type=int, default=20, help="kills of each stage")
    parser.addoption("--files", type=int, default=750, help="broken files for each reader")
    parser.addoption("--seed", type=int, default=0, help="of broken files and moments of kills")


LONGEST = ("benchmarks", "pipeline", "transfer", "training")  # packages of tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the packages that take longest, so that all cores have work until the end."""
    items.sort(key=lambda item: [item.path.parent.name != name for name in LONGEST])


def draw_galaxy(kind: str, angle: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A cutout (3, 256, 256) in nanomaggies of Gaussian blobs, long axis at `angle` (radians)."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)

    def blob(a: float, b: float, peak: float, shift: float = 0.0) -> NDArray[np.floating]:
        return peak * np.exp(-0.5 * (((along - shift) / a) ** 2 + (across / b) ** 2))

    light = {
        "round": lambda: blob(12, 12, 0.5),
        "in-between": lambda: blob(16, 9, 0.5),
        "cigar-shaped": lambda: blob(24, 6, 0.5),
        "edge-on": lambda: blob(40, 4, 0.3),
        "barred": lambda: blob(36, 34, 0.1) + blob(20, 4, 0.4),
        "unbarred": lambda: blob(36, 34, 0.1) + blob(5, 5, 0.4),
        "merger": lambda: blob(14, 9, 0.4, -20) + blob(9, 12, 0.4, 20),
    }[kind]()
    noise = rng.standard_normal((3, SIZE, SIZE), np.float32) * np.array(NOISE)[:, None, None]
    return (light * np.array(COLOUR)[:, None, None] + noise).astype(np.float32)


def vote_fractions(kind: str, number: int) -> dict[str, float]:
    """Fractions of all questions and shares asked; `number` turns answers over that kind leaves
    open, so that every answer of the seven questions has galaxies."""
    said = {
        "smooth-or-featured": "smooth" if kind in MORPHOLOGIES[:3] else "featured-or-disk",
        "how-rounded": kind if kind in MORPHOLOGIES[:3] else "in-between",
        "disk-edge-on": "yes" if kind == "edge-on" else "no",
        "edge-on-bulge": "rounded",
        "bar": "strong" if kind == "barred" else "no",
        "has-spiral-arms": ("yes", "yes", "no")[number % 3],
        "spiral-winding": ("tight", "medium", "loose")[number // 2 % 3],
        "spiral-arm-count": "2",
        "bulge-size": ("none", "small", "moderate")[number // 3 % 3],
        "merging": "merger" if kind == "merger" else "none",
    }
    row = {}
    for question, answers in galaxy_zoo.TREE.items():
        rest = 0.1 / (len(answers) - 1)
        for answer in answers:
            row[galaxy_zoo.fraction(question, answer)] = 0.9 if said[question] == answer else rest
        row[galaxy_zoo.asked(question)] = 0.8
    return row


def write_tiny_run(folder: Path, count: int = 48, seed: int = 1) -> Run:
    """A run with `count` cutouts of one survey under images/decals and their catalogue.parquet.

    The kinds take turns; the galaxies stand half a degree and more apart across RA 0, so that
    they fall into different splits; all catalogue columns that the pipeline uses are there.
    """
    run, rng, rows = Run(folder), np.random.default_rng(seed), []
    for number in range(count):
        kind = MORPHOLOGIES[number % len(MORPHOLOGIES)]
        ra = round((355.0 + 0.71 * number) % 360.0, 4)
        dec = round(-3.0 + 1.13 * (number % 7) + rng.uniform(0, 0.1), 4)
        flux = draw_galaxy(kind, rng.uniform(0, np.pi), rng)
        write_cutout(run.images() / f"{ra:.4f}_{dec:.4f}.fits", flux, ra, dec, "DR9-south")
        rows.append(
            {
                "iauname": iauname(ra, dec), "ra": ra, "dec": dec,
                "redshift": 0.05, "elpetro_absmag_r": -20.5, "sersic_nmgy_r": 300.0,
                "mag_r": 16.3, "petro_th50": 4.0, "petro_th90": 10.0, "petro_theta": 8.0,
                "wrong_size_statistic": 10.0, "wrong_size_warning": False,
                **vote_fractions(kind, number // len(MORPHOLOGIES)),
            }
        )  # fmt: skip
    write_parquet(run.catalogue, pd.DataFrame(rows))
    return run


def run_script(
    script: str, run: Run, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python <script> --run <run> <arguments>` as a user types it, output captured as text.

    As `make run` does it, by a process that has the package loaded; with an `environment` by a new
    one. Where it asks the network for anything beyond this machine, it ends with exit code 97.
    """
    command = [str(ROOT / script), "--run", str(run.folder), *arguments]
    if environment:
        return subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=600, check=False,
            env=ENVIRONMENT | environment,
        )  # fmt: skip
    return run_command(command)


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`python <command>` in the folder of the project, output captured as text."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        code = SERVER.run(command, out, err, timeout=600)
        return subprocess.CompletedProcess(command, code, out.read_text(), err.read_text())


def load_script(script: str) -> ModuleType:
    """A script of the pipeline as a module, e.g. load_script("analysis/decals_1.py")."""
    name = Path(script).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def succeeded(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """A script that ended without an error."""
    assert done.returncode == 0, done.stderr
    return done


def says_one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a script that met bad input; asserts exit code 1 and no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), done.stderr
    return last


@pytest.fixture(scope="session", autouse=True)
def server() -> Iterator[None]:
    """Ends the process that runs scripts when the tests are over."""
    with SERVER:
        yield


@pytest.fixture(scope="session")
def make_tiny_run() -> Callable[..., Run]:
    """write_tiny_run(folder, count=48, seed=1)."""
    return write_tiny_run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """48 galaxies, listed by make_datatxt.py. Tests share it: read it, do not write into it."""
    run = write_tiny_run(tmp_path_factory.mktemp("tiny") / "run")
    succeeded(run_script("make_datatxt.py", run))
    return run


@pytest.fixture
def copy_of_tiny_run(tiny_run: Run, tmp_path: Path) -> Iterator[Run]:
    """A tiny run of the test's own: images are hard links, everything else is a copy.

    A test may remove or replace an image; one that writes into it, or touches it, fails.
    """

    def place(source: str, target: str) -> str:
        return os.link(source, target) if source.endswith(".fits") else shutil.copy2(source, target)

    shutil.copytree(tiny_run.folder, tmp_path / "run", copy_function=place)
    before = sha256(tiny_run.images())
    yield Run(tmp_path / "run")
    assert sha256(tiny_run.images()) == before, "the images of other tests were changed"


@pytest.fixture(scope="session")
def script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """run_script(script, run, *arguments): how a user runs a stage."""
    return run_script
