"""The notebooks run from top to bottom on a tiny run, and are committed executed and small."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import torch
from conftest import load_script, succeeded
from nbclient import NotebookClient
from pairs_of_tiny_run import add_second_survey

from VAE_model.data.packed import Packed
from VAE_model.pipeline import stages
from VAE_model.pipeline.files import sha256
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.preparation.stretch import Stretch
from VAE_model.training.exposure_task import task_of
from VAE_model.training.loop import Files, Trainer

NOTEBOOKS = sorted([*ROOT.glob("outline/*.ipynb"), *ROOT.glob("transfer/*.ipynb")])
LARGEST = 1_000_000  # bytes


def train(run: Run, num_var: int, best: Path) -> None:
    """A model of the published network after one epoch, in the given place."""
    galaxy_vae_n = load_script("Galaxy_VAE_n.py")
    config = galaxy_vae_n.Config(network="published", epochs=1, batch_size=8)
    settings = galaxy_vae_n.settings_of(config, num_var, Stretch())
    settings = dataclasses.replace(settings, train_images=16)
    files = Files.of(best)
    files.last.unlink(missing_ok=True)
    task = task_of(Packed.of(run), sha256(run.train_txt), settings, torch.device("cpu"))
    Trainer(task, files).run()


@pytest.fixture(scope="module")
def reconstructing_run(
    make_tiny_run: Callable[..., Run], script: Callable, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run with classes, a main model of 40 latents and brief ones of 4 and 8; its train.txt has
    gone astray."""
    run = make_tiny_run(tmp_path_factory.mktemp("notebooks") / "run", count=42)
    for stage in ("make_datatxt.py", "analysis/decals_1.py"):
        succeeded(script(stage, run))
    train(run, 40, run.model(40))
    for num_var in (4, 8):
        train(run, num_var, run.dimension_model(num_var))
    run.train_txt.unlink()
    return run


def execute(path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    monkeypatch.setenv("GALAXY_VAE_RUN", str(run.folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, startup_timeout=300, resources=place).execute()
    return notebook


def written(notebook: nbformat.NotebookNode) -> str:
    """All text in the outputs of a notebook."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    plain = [output.get("data", {}).get("text/plain", "") for output in outputs]
    return "\n".join([*(output.get("text", "") for output in outputs), *plain])


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum(any(k.startswith("image/") for k in o.get("data", {})) for o in outputs)


def test_visualization_shows_galaxies_and_their_reconstructions(reconstructing_run, monkeypatch):
    path = ROOT / "outline" / "visualization.ipynb"
    notebook = execute(path, reconstructing_run, monkeypatch)
    text = written(notebook)
    assert pictures(notebook) == 3
    assert "train.txt is missing: running python make_datatxt.py" in text
    for name in ("4 latents", "8 latents", "40, trained in full", "mean SSIM", "merger"):
        assert name in text, name
    assert len(nbformat.writes(notebook)) < LARGEST


@pytest.fixture(scope="module")
def paired_run(
    make_tiny_run: Callable[..., Run], script: Callable, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Galaxies in two surveys, adapted for an epoch by three methods and compared."""
    run = make_tiny_run(tmp_path_factory.mktemp("pairs") / "run")
    add_second_survey(run)
    few = (
        "--trees",
        "5",
        "--n-bootstrap",
        "20",
        "--min-test",
        "4",
        "--min-answer",
        "1",
        "--seeds",
        "0",
    )
    constants = {
        "train": ("--epochs", "1"),
        "adapt": ("--methods", "coral", "mmd", "paired", "--epochs", "1"),
        "compare": few,
    }
    for entry in stages.needed("take", "compare"):
        if entry.number != "0":
            succeeded(script(entry.script, run, *constants.get(entry.target, ())))
    return run


@pytest.fixture(scope="module")
def lone_run(paired_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same without a catalogue and so without a comparison, and before the adaptation."""
    run = Run(shutil.copytree(paired_run.folder, tmp_path_factory.mktemp("lone") / "run"))
    shutil.rmtree(run.result(""))
    run.catalogue.unlink()
    for path in (*run.transfer("").glob("comparison*"), run.pair_latents("coral")):
        path.unlink()
    return run


def test_dataset_resu_shows_the_pairs_and_what_was_refused(paired_run, monkeypatch):
    notebook = execute(ROOT / "transfer" / "dataset_resu.ipynb", paired_run, monkeypatch)
    text = written(notebook)
    assert pictures(notebook) == 5
    for words in ("wrong survey", "centres apart", "truncated", "1 frames moved", "no truth of"):
        assert words in text, words


def test_no_tf_compares_the_two_views_of_a_galaxy(paired_run, monkeypatch):
    notebook = execute(ROOT / "transfer" / "no_tf.ipynb", paired_run, monkeypatch)
    text = written(notebook)
    assert pictures(notebook) == 5
    for words in (
        "times as far apart as the two images",
        "among the first ten",
        "gap of the forest",
    ):
        assert words in text, words


def test_transfer_learning_shows_before_and_after(paired_run, monkeypatch):
    notebook = execute(ROOT / "transfer" / "transfer_learning.ipynb", paired_run, monkeypatch)
    text = written(notebook)
    assert pictures(notebook) == 6
    for words in ("old forest", "recall at 10", "McNemar", "gap before adaptation", "majority"):
        assert words in text, words


def test_outline_ranks_the_pairs_and_gives_reasons(paired_run, monkeypatch):
    notebook = execute(ROOT / "outline" / "outline.ipynb", paired_run, monkeypatch)
    text = written(notebook)
    assert pictures(notebook) == 6  # and no defect to draw
    for words in ("most unlike", "have a defect", "not centred alike", "neither"):
        assert words in text, words


@pytest.mark.parametrize("name", ["no_tf", "transfer_learning"])
def test_notebooks_of_pairs_need_no_catalogue(name, lone_run, monkeypatch):
    notebook = execute(ROOT / "transfer" / f"{name}.ipynb", lone_run, monkeypatch)
    assert "no comparison beside this run" in written(notebook)
    assert pictures(notebook) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_committed_executed_small_and_without_a_trace_of_a_machine(path):
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert kinds and "error" not in kinds
    assert pictures(notebook)
    assert len(text.encode()) < LARGEST
    homes = (f"/{name}/" for name in ("home", "root", "tmp", "Users"))
    for trace in (*homes, "Traceback", "Warning"):
        assert trace not in written(notebook), trace
