"""The whole pipeline as a newcomer runs it, on a small simulated sky; the README's commands."""

import json
import re
import shlex
import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, run_command, says_one_line, succeeded

from VAE_model import pretrained
from VAE_model.data import galaxy_zoo
from VAE_model.pipeline import stages
from VAE_model.pipeline.provenance import read_sidecar
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.report.run_outputs import RunOutputs

PIPELINE = [entry.script for entry in stages.pipeline()]


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory, script) -> Run:
    run = Run(tmp_path_factory.mktemp("pipeline") / "run")
    for stage in PIPELINE:
        done = script(stage, run, *SMALL.get(stage, ()))
        assert done.returncode == 0, f"{stage}: {done.stderr}"
        assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr
    return run


def test_make_run_ends_in_a_report(small_run: Run):
    assert small_run.report.stat().st_size > 100_000


def test_a_second_make_run_does_nothing_and_says_so(small_run: Run, script):
    times = {path: path.stat().st_mtime_ns for path in small_run.folder.rglob("*.*")}
    for stage in PIPELINE:
        done = succeeded(script(stage, small_run, *SMALL.get(stage, ())))
        assert "nothing to do" in done.stdout, stage
    assert times == {path: path.stat().st_mtime_ns for path in small_run.folder.rglob("*.*")}


def test_the_list_names_what_each_stage_reads_and_writes(small_run: Run):
    records = RunOutputs.of(small_run, 40).records
    records[small_run.report] = read_sidecar(small_run.report)
    there = [path.relative_to(small_run.folder).as_posix() for path in small_run.folder.rglob("*")]
    for entry in stages.pipeline():
        own = {path: r for path, r in records.items() if r["script"] == entry.script}
        written = {path.relative_to(small_run.folder).as_posix() for path in own}
        read = {name for record in own.values() for name in record["inputs"]}
        read -= {pretrained.WEIGHTS.relative_to(ROOT).as_posix()}  # of no run
        for name in written:
            assert any(stages.fits(path, name) for path in entry.writes), (entry.script, name)
            assert entry in stages.makers(name), name
        for path in entry.writes:
            assert any(stages.fits(path, name) for name in there), path
        for name in read if entry.target != "report" else ():
            assert any(stages.fits(path, name) for path in (*entry.reads, *entry.optional)), name
        for path in entry.reads if entry.target != "report" else ():
            assert any(stages.fits(path, name) for name in read), path


def test_latents_follow_train_txt_and_are_complete(small_run: Run):
    table = pd.read_parquet(small_run.latents(40))
    assert table["path"].tolist() == small_run.train_txt.read_text().splitlines()
    assert [c for c in table if c.startswith("mu_")] == [f"mu_{i:02d}" for i in range(40)]
    assert np.isfinite(table.filter(regex="^(mu|logvar|residual|mse|ssim|pose)_?").to_numpy()).all()
    assert set(table["split"]) <= {"train", "validation", "test"}
    taken = pd.read_parquet(small_run.class_latents(40))
    assert [c for c in taken if c.startswith("mu_")] == [f"mu_{i:02d}" for i in range(40)]
    both = taken.merge(table, on="path", suffixes=("", "_again"))
    assert len(both) == len(taken)
    assert (both["mu_07"] == both["mu_07_again"]).all()
    assert (both["iauname"] == both["iauname_again"]).all()


def test_a_simulated_sky_is_asked_for_all_that_is_true_of_it(small_run: Run):
    content = json.loads(small_run.probe(40).read_text())
    known = {
        "flux",
        "size",
        "axis ratio",
        "position angle",
        "PSF width",
        "sky noise",
        "contaminants",
    }
    assert known <= set(content["quantities"])
    assert {of["source"] for of in content["quantities"].values()} == {"truth"}
    assert set(content["left_out"]) <= {"companion"}  # there may be too few
    assert set(content["calibration"]) == {"noise", "night"}
    for of in content["calibration"].values():
        assert of["exposures"] == 3 and of["n"] >= 5 and 0 < of["within"]["value"] < 1


def test_every_output_has_a_side_car_without_a_path_of_this_machine(small_run: Run):
    side_cars = list(small_run.folder.rglob("*.json"))
    assert len(side_cars) > 20
    for path in side_cars:
        text = path.read_text()
        assert str(small_run.folder) not in text, path.name
        assert str(ROOT) not in text, path.name
        if path.with_suffix("").exists():  # else a stage's own numbers
            record = json.loads(text)
            assert record["seed"] == record["config"].get("seed"), path.name
    record = json.loads((small_run.folder / "train.txt.json").read_text())
    assert {"config", "inputs", "versions", "seconds"} <= set(record)


def test_dry_run_shows_and_writes_nothing(tmp_path, script):
    run = Run(tmp_path / "nowhere")
    for stage in PIPELINE:
        done = succeeded(script(stage, run, "--dry-run"))
        assert "--dry-run: nothing is read or written" in done.stdout, stage
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("make_datatxt.py", "images/decals is missing: run python data/simulate.py"),
        ("Galaxy_VAE_n.py", "train.txt is missing: run python make_datatxt.py"),
        ("analysis/extract_latents.py", "train.txt is missing: run python make_datatxt.py"),
        ("analysis/decals_1.py", "catalogue.parquet is missing: run python data/simulate.py"),
        ("analysis/decals_2_1.py", "classes.parquet is missing: run python analysis/decals_1.py"),
        ("analysis/decals_2_2.py", "classes.parquet is missing: run python analysis/decals_1.py"),
        ("analysis/decals_3.py", "is missing: run python analysis/extract_latents.py"),
        ("analysis/decals_4.py", "is missing: run python analysis/extract_latents.py"),
        ("analysis/classify.py", "is missing: run python analysis/decals_2_2.py"),
        ("analysis/choose_dimension.py", "train.txt is missing: run python make_datatxt.py"),
        ("analysis/map.py", "map_40.parquet is missing: run python analysis/decals_3.py"),
        ("analysis/similar.py", "is missing: run python analysis/extract_latents.py"),
        ("analysis/probe.py", "is missing: run python analysis/extract_latents.py"),
        ("analysis/traversal.py", "vae_40.safetensors is missing: run python Galaxy_VAE_n.py"),
        ("analysis/report.py", "has no output of any stage: run make run"),
    ],
)
def test_a_stage_before_its_predecessor_names_the_command(tmp_path, script, stage, words):
    done = script(stage, Run(tmp_path / "empty"))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def spoiled(small_run: Run, tmp_path, name: str, content: bytes) -> Run:
    """A run that holds small_run's files as links, but one of them is spoiled.

    It has the same name, which the map names.
    """
    run = Run(tmp_path / "spoiled" / small_run.folder.name)
    run.folder.parent.mkdir()
    subprocess.run(["cp", "-al", str(small_run.folder), str(run.folder)], check=True)
    target = run.folder / name
    target.unlink()
    target.write_bytes(content)
    return run


def as_bytes(table: pd.DataFrame) -> bytes:
    return table.to_parquet(index=False)


@pytest.mark.parametrize(
    ("stage", "name", "content", "words"),
    [
        ("analysis/extract_latents.py", "model/vae_40.safetensors", b"not a model", "is corrupt"),
        ("analysis/decals_1.py", "catalogue.parquet", b"not a table", "no readable parquet"),
        ("analysis/decals_2_2.py", "result/latents_40.parquet", b"no", "no readable parquet"),
    ],
)
def test_a_corrupt_input_gets_one_line(small_run, tmp_path, script, stage, name, content, words):
    run = spoiled(small_run, tmp_path, name, content)
    done = script(stage, run)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_of_another_dimension_gets_one_line(small_run: Run, tmp_path, script):
    content = small_run.dimension_model(4).read_bytes()
    run = spoiled(small_run, tmp_path, "model/vae_40.safetensors", content)
    done = script("analysis/extract_latents.py", run)
    assert done.returncode == 1
    assert "has 4 latents, not 40" in done.stderr
    for stage in ("analysis/probe.py", "analysis/traversal.py"):
        said = says_one_line(script(stage, run))
        assert "latents_40.parquet is stale (model/vae_40.safetensors has changed since)" in said


def test_latents_of_another_dimension_get_one_line(small_run: Run, tmp_path, script):
    table = pd.read_parquet(small_run.latents(40))
    last = [name for name in table if name.endswith("_39")]
    run = spoiled(
        small_run, tmp_path, "result/latents_40.parquet", as_bytes(table.drop(columns=last))
    )
    for stage in ("analysis/similar.py", "analysis/probe.py", "analysis/traversal.py"):
        assert "holds 39 latent variables, not 40" in says_one_line(script(stage, run))


def test_a_catalogue_without_a_column_is_named(small_run: Run, tmp_path, script):
    table = pd.read_parquet(small_run.catalogue)
    run = spoiled(small_run, tmp_path, "catalogue.parquet", b"")
    table.drop(columns=galaxy_zoo.fraction("bar", "no")).to_parquet(run.catalogue)
    done = script("analysis/decals_1.py", run)
    assert done.returncode == 1
    assert "bar_no_fraction" in done.stderr


def test_a_changed_input_makes_what_follows_stale(small_run: Run, tmp_path, script):
    lines = small_run.train_txt.read_text().splitlines()
    shorter = "".join(f"{line}\n" for line in lines[2:]).encode()
    run = spoiled(small_run, tmp_path, "train.txt", shorter)
    done = script("analysis/extract_latents.py", run)
    assert done.returncode == 1
    assert (
        "vae_40.safetensors is stale (train.txt has changed since): run python Galaxy_VAE_n.py"
        in (done.stderr)
    )


@pytest.mark.parametrize(
    ("edit", "stage"),
    [
        (lambda lines: lines[:3] + lines[4:], "analysis/decals_2_2.py"),
        (lambda lines: lines[::-1], "analysis/classify.py"),
        (lambda lines: lines[::-1], "analysis/decals_4.py"),
        (lambda lines: [*lines, lines[0]], "transfer/compare.py"),
        (lambda lines: lines[:3] + lines[4:], "analysis/report.py"),
        (lambda lines: lines[::-1], "analysis/map.py"),
        (lambda lines: lines[:3] + lines[4:], "analysis/similar.py"),
        (lambda lines: lines[::-1], "analysis/probe.py"),
        (lambda lines: [*lines, lines[0]], "analysis/traversal.py"),
    ],
    ids=["removed", "reordered", "reordered again", "doubled", "removed again",
         "map", "similar", "probe", "traversal"],
)  # fmt: skip
def test_a_list_edited_by_hand_stops_every_later_stage(small_run, tmp_path, script, edit, stage):
    """However many files lie between: all of them were made from the list as it was."""
    lines = edit(small_run.train_txt.read_text().splitlines())
    run = spoiled(small_run, tmp_path, "train.txt", "".join(f"{line}\n" for line in lines).encode())
    done = script(stage, run)
    assert done.returncode == 1, done.stdout
    assert " is stale (train.txt has changed since): run python " in done.stderr
    assert "Traceback" not in done.stderr and "nothing to do" not in done.stdout


def test_rows_are_joined_by_name_and_not_by_their_order(small_run: Run, tmp_path, script):
    """Tables that someone sorted otherwise: the map, the similar and the probe stay the same."""
    shuffled = pd.read_parquet(small_run.map(40)).sample(frac=1, random_state=1)
    run = spoiled(small_run, tmp_path, "result/map_40.parquet", as_bytes(shuffled))
    page = run.map_page(40).read_bytes()
    done = script("analysis/map.py", run)
    assert "wrote" in done.stdout, done.stderr
    assert run.map_page(40).read_bytes() == page

    shuffled = pd.read_parquet(small_run.latents(40)).sample(frac=1, random_state=1)
    run.latents(40).unlink()
    run.latents(40).write_bytes(as_bytes(shuffled))
    similar, probed = pd.read_parquet(run.similar(40)), pd.read_parquet(run.probe(40, "parquet"))
    names = similar["path"].unique()
    assert "wrote" in script("analysis/similar.py", run, "--query", *names).stdout
    again = pd.read_parquet(run.queries("similar_40.parquet"))
    assert again["similar_path"].tolist() == similar["similar_path"].tolist()
    assert again["distance"].to_numpy() == pytest.approx(similar["distance"].to_numpy(), rel=1e-4)
    done = script("analysis/probe.py", run, *SMALL["analysis/probe.py"])
    assert "wrote" in done.stdout, done.stderr
    kl = pd.read_parquet(run.probe(40, "parquet")).set_index("latent")["kl"]
    assert kl[probed["latent"]].to_numpy() == pytest.approx(probed["kl"].to_numpy(), rel=1e-4)


def test_an_unwritable_folder_gets_one_line(small_run: Run, tmp_path, script):
    """A file where the folder should be: even root cannot write there."""
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    run.catalogue.write_bytes(small_run.catalogue.read_bytes())
    run.result("").write_text("in the way")
    done = script("analysis/decals_1.py", run)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().startswith("error: ")


def readme_commands(name: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_both_readmes_have_the_same_commands_and_numbers():
    english, chinese = (readme_commands(name) for name in ("README.md", "README_zh.md"))
    assert english == chinese
    numbers = [
        sorted(re.findall(r"\d+\.\d+", (ROOT / name).read_text(encoding="utf-8")))
        for name in ("README.md", "README_zh.md")
    ]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("command", sorted(set(readme_commands("README.md"))))
def test_a_command_of_the_readme_exists(command: str):
    """Every constant that a command sets is one of the script's, every target one of make's."""
    words = shlex.split(command)
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word] or ["help"]
        text = (ROOT / "Makefile").read_text()
        assert all(f"\n{target}:" in text for target in targets)
    elif words[0] == "python":
        done = run_command([words[1], "--help"])
        assert done.returncode == 0, done.stderr
        assert all(word in done.stdout for word in words if word.startswith("--"))
    else:
        assert words[0] in ("git", "cd", "source")
