"""Claims about the list of stages, and about what follows from it."""

import re
import subprocess

import pytest

from VAE_model.pipeline import __main__ as generated
from VAE_model.pipeline import stages
from VAE_model.pipeline.files import write_json
from VAE_model.pipeline.provenance import sidecar
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.script_server import ScriptServer
from VAE_model.report.chapters import CHAPTERS


def make(*words: str) -> list[str]:
    """The commands that make would run for a target."""
    command = ["make", "--no-print-directory", "-n", "-o", ".venv/installed", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.replace("\\\n", "").splitlines()


def scripts(lines: list[str]) -> list[str]:
    return [found for line in lines for found in re.findall(r"python (\S+\.py)", line)]


def ran(command: str, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> tuple[int, list[str]]:
    """The exit code of `python -m VAE_model.pipeline after ...` and the scripts that it ran."""
    seen = []

    def run(self: ScriptServer, command: list[str]) -> int:
        seen.append(command[0])
        return 3 * (command[0] == fails)

    monkeypatch.setattr(ScriptServer, "run", run)
    words = command.split(" -m VAE_model.pipeline ")[1].split()
    assert words[0] == "after"
    return generated.run_after(*words[1:]), seen


def test_make_runs_the_stages_of_the_list_in_order(monkeypatch):
    pipeline = [entry.script for entry in stages.pipeline()]
    simulate, following = make("run", "RUN=data/x")
    assert scripts([simulate]) == pipeline[:1] and "--run data/x " in simulate
    assert following.endswith(" data/x") and ran(following, monkeypatch) == (0, pipeline[1:])
    download, following = make("real")
    assert scripts([download]) == ["data/download.py"] and "--run data/real " in download
    assert ran(following, monkeypatch) == (0, pipeline[1:])
    assert ran(following, monkeypatch, fails=pipeline[2]) == (3, pipeline[1:3])
    assert {entry.script for entry in stages.STAGES} == {
        *pipeline, "data/download.py", "data/import_images.py", "data/simulate_exposures.py",
    }  # fmt: skip


def test_images_of_ones_own_go_through_the_stages_that_need_no_catalogue(monkeypatch):
    expected = ["datatxt", "train", "latents", "project", "map", "outliers", "classify",
                "dimension", "similar", "traversal", "probe", "diagram", "report"]  # fmt: skip
    assert [entry.target for entry in stages.after("import")] == expected
    commands = make("mine", "FOLDER=pictures")[1:]  # the first says where FOLDER is missing
    assert 'data/import_images.py --run data/mine --folder "pictures" --name mine' in commands[0]
    expected = [entry.script for entry in stages.for_own_images()]
    assert ran(commands[1], monkeypatch) == (0, expected)


@pytest.mark.parametrize("entry", stages.STAGES, ids=lambda entry: entry.target)
def test_every_stage_has_a_script_and_a_target(entry):
    assert (ROOT / entry.script).exists()
    assert scripts(make(entry.target)) == [entry.script]


def test_make_help_has_a_line_for_each_stage():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    for entry in stages.STAGES:
        assert f"{entry.target:<14}{f'{entry.number} {entry.does}'.strip()}" in lines


def test_chapters_follow_the_list_and_cover_it():
    shown = [script for chapter in CHAPTERS for script in chapter.scripts]
    listed = [entry.script for entry in stages.STAGES]
    assert set(listed) - set(shown) == {"analysis/report.py"}
    first = [listed.index(chapter.scripts[0]) for chapter in CHAPTERS]
    assert first == sorted(first)


@pytest.mark.parametrize("name", generated.READMES)
def test_the_tables_of_a_readme_are_those_of_the_list(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert generated.write_tables(text) == text, "run make tables"
    assert generated.write_tables(text.replace("`train.txt`", "x")) == text


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("model/vae_20.safetensors", "python Galaxy_VAE_n.py --num-var 20"),
        ("model/vae_20_last.safetensors", "python Galaxy_VAE_n.py --num-var 20"),
        ("model/vae_20_mmd.safetensors", "python transfer/adapt.py --num-var 20 --methods mmd"),
        ("transfer/latents_no_tf.parquet", "python transfer/encode_pairs.py"),
        ("transfer/latents_mmd.parquet", "python transfer/adapt.py --methods mmd"),
        ("model/dimensions/seed_1/vae_4.safetensors", "python analysis/choose_dimension.py"),
        ("model/dimensions/seed_0", "python analysis/choose_dimension.py"),
        ("figures/map_20.html", "python analysis/map.py --num-var 20"),
        ("figures/map_40.png", "python analysis/decals_3.py"),
        ("result/classes.parquet", "python analysis/decals_1.py"),
        ("result/class_latents_8.parquet", "python analysis/decals_2_2.py --num-var 8"),
        (
            "images/decals",
            "python data/simulate.py, or python data/download.py, or python data/import_images.py",
        ),
        ("notes.txt", ""),
    ],
)
def test_the_command_that_makes_a_file(name, command):
    run = Run("data/none there")
    assert run.made_by(run.folder / name) == command.replace(".py", ".py --run 'data/none there'")


def test_the_command_names_the_run():
    run = Run("data/my run")
    assert run.made_by(run.train_txt) == "python make_datatxt.py --run 'data/my run'"


def test_the_command_has_the_constants_that_the_file_was_made_with(tmp_path):
    run = Run(tmp_path / "run")
    config = {"num_var": [8], "epochs": 3, "contaminants": "kept", "workers": 5, "block": 0}
    record = {"script": "Galaxy_VAE_n.py", "config": config, "inputs": {}, "output": {"sha256": ""}}
    write_json(sidecar(run.model(8)), record)
    command = (
        f"python Galaxy_VAE_n.py --run {run.folder} --num-var 8 --contaminants kept --epochs 3"
    )
    assert run.made_by(run.model(8)) == command
    assert run.remade_by(run.model(8)) == f"{command} --again"
    assert run.made_by(run.model_log(8)) == command
