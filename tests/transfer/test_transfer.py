"""The second survey: pairs and their audit, adaptation, and the comparison, as a user runs them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import says_one_line, succeeded
from pairs_of_tiny_run import (
    DISPLACED,
    FAR,
    FAR_PIXELS,
    NEAR_PIXELS,
    OTHER,
    SOUTHERN,
    TRUNCATED,
    add_second_survey,
)

from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import read_cutout
from VAE_model.extraction.latent_table import read_means
from VAE_model.pipeline import stages
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.training import checkpoint
from VAE_model.training.loop import Files, Trainer
from VAE_model.training.model_file import TrainedVAE
from VAE_model.transfer.adaptation import PairTask, settings_of
from VAE_model.transfer.pair_latents import read_sides
from VAE_model.transfer.pairs import images_in_both, read_pairs

SHORT = {
    "Galaxy_VAE_n.py": ("--epochs", "2"),
    "transfer/adapt.py": ("--epochs", "2", "--batch-size", "8"),
    "transfer/compare.py": ("--min-test", "4", "--min-answer", "1", "--trees", "10",
                            "--seeds", "0", "--n-bootstrap", "50"),
}  # fmt: skip
STAGES = [e.script for e in stages.needed("take", "compare") if e.number != "0"]


@pytest.fixture(scope="module")
def adapted(make_tiny_run, script, tmp_path_factory) -> tuple[Run, list[str], dict[str, str]]:
    """A tiny run with a second survey and every stage of Part II done; the files with a partner;
    what each stage printed."""
    run = make_tiny_run(tmp_path_factory.mktemp("transfer") / "run", count=72)
    files = add_second_survey(run)
    said = {}
    for stage in STAGES:
        done = script(stage, run, *SHORT.get(stage, ()))
        assert done.returncode == 0, f"{stage}: {done.stderr}"
        assert "Traceback" not in done.stderr
        said[stage] = done.stdout
    return run, files, said


def copy_of(run: Run, folder, *without: str) -> Run:
    """A copy of a run with images as links; the files whose names match `without` left out."""

    def place(source: str, target: str) -> str:
        return os.link(source, target) if source.endswith(".fits") else shutil.copy2(source, target)

    shutil.copytree(run.folder, folder, copy_function=place,
                    ignore=shutil.ignore_patterns(*without))  # fmt: skip
    return Run(folder)


def refused(run: Run) -> dict[str, str]:
    with open(run.pairs_refused, newline="") as stream:
        return {path.split("/")[-1]: reason for path, reason in list(csv.reader(stream))[1:]}


# ---- pairs


def test_the_audit_refuses_what_is_no_pair_and_says_why(adapted):
    run, files, _ = adapted
    reasons = refused(run)
    assert set(reasons) == {files[i] for i in (SOUTHERN, FAR, TRUNCATED)}
    assert reasons[files[SOUTHERN]] == (
        "wrong survey: VERSION 'DR9-south' is decals, not bassmzls, cut from ls-dr9-south: "
        "fetch it from ls-dr9-north"
    )
    assert reasons[files[FAR]] == f"centres apart: {FAR_PIXELS:.2f} pixels, more than 16"
    assert reasons[files[TRUNCATED]].startswith("truncated: ")


def test_pairs_are_the_same_galaxies_with_the_split_of_the_first(adapted):
    run, files, _ = adapted
    pairs = read_pairs(run)
    index = pd.read_parquet(run.packed / "index.parquet").set_index("path")
    assert len(pairs) == len(files) - 3
    for row in pairs.itertuples():
        assert row.path.split("/")[-1] == row.other_path.split("/")[-1]
        assert row.split == index.loc[row.path, "split"]
        assert row.other_release == "DR9-north"
    assert pairs["iauname"].is_unique
    assert pairs["separation"].max() < 15


def test_a_displaced_frame_is_moved_onto_the_first_ones_centre(adapted):
    run, files, _ = adapted
    pairs = read_pairs(run)
    name = files[DISPLACED]
    row = pairs[pairs["path"].str.endswith(name)].iloc[0]
    assert (row["shift_x"], row["shift_y"]) == (NEAR_PIXELS, 0)
    assert row["separation_pixels"] == pytest.approx(NEAR_PIXELS, abs=0.05)
    others = pairs[pairs["pair"] != row["pair"]]
    assert (others[["shift_x", "shift_y"]] == 0).all(axis=None)
    first, second = images_in_both(run, pairs)
    moved = second.packed.images[second.rows[row["pair"]]]
    original = read_cutout(run.images(OTHER) / name).flux
    assert np.array_equal(moved[:, :, NEAR_PIXELS:], original[:, :, :-NEAR_PIXELS])
    assert (moved[:, :, :NEAR_PIXELS] == 0).all()
    seen = first.packed.images[first.rows[row["pair"]]][1]
    peaks = [np.unravel_index(image[110:146, 110:146].argmax(), (36, 36))
             for image in (seen, moved[1])]  # fmt: skip
    assert np.abs(np.subtract(*peaks)).max() <= 6  # a galaxy's core is flat and noisy
    assert row["offset_pixels"] < 2


def test_pairs_with_a_defect_are_kept_and_not_used(adapted, tmp_path, script):
    run = copy_of(adapted[0], tmp_path / "run", "transfer", "model")
    pairs = read_pairs(adapted[0])
    target = run.folder / pairs["other_path"].iloc[3]
    flux = read_cutout(target).flux.copy()
    flux[:, :, :100] = 0
    target.unlink()  # the link, not what it points to
    write_cutout(target, flux, pairs["other_ra"].iloc[3], pairs["other_dec"].iloc[3], "DR9-north")
    succeeded(script("transfer/make_pairs.py", run))
    again = read_pairs(run)
    assert again["defect"].iloc[3] == "bassmzls: gap"
    assert again["usable"].sum() == pairs["usable"].sum() - 1


def test_northern_images_of_southern_release_alone_make_no_pair(adapted, tmp_path, script):
    run = copy_of(adapted[0], tmp_path / "run", "transfer", OTHER)
    shutil.copytree(run.images("decals"), run.images(OTHER))
    line = says_one_line(script("transfer/make_pairs.py", run))
    assert "no galaxy of" in line
    assert "(72 wrong survey)" in line
    assert len(refused(run)) == 72


def test_no_overlap_is_one_line(adapted, tmp_path, script, make_tiny_run):
    run = copy_of(adapted[0], tmp_path / "run", "transfer", OTHER)
    elsewhere = make_tiny_run(tmp_path / "elsewhere", count=5, seed=9)
    for path in elsewhere.images("decals").iterdir():
        cutout = read_cutout(path)
        target = run.images(OTHER) / path.name
        write_cutout(target, cutout.flux, cutout.ra, cutout.dec + 30, "DR9-north")
    line = says_one_line(script("transfer/make_pairs.py", run))
    assert "no galaxy of" in line and "5 no partner" in line
    shutil.rmtree(run.images(OTHER))
    line = says_one_line(script("transfer/make_pairs.py", run))
    assert "images/bassmzls is missing" in line
    run.images(OTHER).mkdir()
    line = says_one_line(script("transfer/make_pairs.py", run))
    assert "has no image of bassmzls with a position: there is nothing to pair" in line


def test_one_pair_is_paired_and_too_few_to_adapt(adapted, tmp_path, script):
    run = copy_of(adapted[0], tmp_path / "run", "transfer", OTHER)
    kept = adapted[1][0]
    run.images(OTHER).mkdir()
    shutil.copy(adapted[0].images(OTHER) / kept, run.images(OTHER))
    for stage in ("transfer/make_pairs.py", "transfer/encode_pairs.py"):
        succeeded(script(stage, run))
    assert len(read_pairs(run)) == 1
    line = says_one_line(script("transfer/adapt.py", run))
    assert "usable training pairs of 1 in" in line and "at least 2 are needed" in line
    line = says_one_line(script("transfer/compare.py", run))
    assert "at least 2 of each are needed" in line


@pytest.mark.parametrize(
    ("stage", "missing", "words"),
    [
        ("transfer/make_pairs.py", "train.txt", "run python make_datatxt.py"),
        ("transfer/encode_pairs.py", "pairs.parquet", "run python transfer/make_pairs.py"),
        ("transfer/encode_pairs.py", "vae_40.safetensors", "run python Galaxy_VAE_n.py"),
        ("transfer/adapt.py", "latents_no_tf.parquet", "run python transfer/encode_pairs.py"),
        ("transfer/compare.py", "latents_no_tf.parquet", "run python transfer/encode_pairs.py"),
    ],
)
def test_a_missing_input_names_the_command(adapted, tmp_path, script, stage, missing, words):
    run = copy_of(adapted[0], tmp_path / "run", missing)
    line = says_one_line(script(stage, run))
    assert missing in line and words in line


def test_pairs_of_another_train_txt_are_stale(adapted, tmp_path, script):
    run = copy_of(adapted[0], tmp_path / "run")
    lines = run.train_txt.read_text().splitlines()
    run.train_txt.write_text("\n".join(lines[1:]) + "\n")
    line = says_one_line(script("transfer/encode_pairs.py", run))
    assert "pairs.parquet is stale (train.txt has changed since)" in line
    assert "run python transfer/make_pairs.py" in line


# ---- latents of both sides


def test_both_sides_are_joined_on_the_pair_and_not_on_row_order(adapted):
    run, _, _ = adapted
    path = run.pair_latents("no_tf")
    sides = read_sides(run, path, 40)
    assert sides.surveys == ("decals", OTHER)
    table = pd.read_parquet(path)
    assert len(table) == 2 * len(sides.pairs)
    mixed = run.transfer("latents_mixed.parquet")
    table.sample(frac=1, random_state=1).sort_values("survey").to_parquet(mixed)
    again = read_sides(run, mixed, 40)
    mixed.unlink()
    assert again.surveys == (OTHER, "decals")
    order = again.pairs.set_index("pair").index.get_indexer(sides.pairs["pair"])
    assert np.array_equal(again.second[order], sides.first)
    assert np.array_equal(again.first[order], sides.second)


def test_the_first_side_before_adaptation_is_what_extract_latents_wrote(adapted):
    run, _, _ = adapted
    table, latents = read_means(run, run.latents(40), 40)
    sides = read_sides(run, run.pair_latents("no_tf"), 40)
    rows = table.set_index("path").index.get_indexer(sides.pairs["path"])
    assert sides.first == pytest.approx(latents[rows], abs=1e-4)


# ---- adaptation


def test_every_method_leaves_a_model_and_latents(adapted):
    run, _, said = adapted
    for method in ("standardise", "coral", "continue", "mmd", "paired"):
        model = TrainedVAE.load(run.model(40, method), 40)
        assert set(model.maps) == ({OTHER} if method in ("standardise", "coral") else set())
        sides = read_sides(run, run.pair_latents(method), 40)
        assert np.isfinite(sides.first).all() and np.isfinite(sides.second).all()
        assert f"  {method}: " in said["transfer/adapt.py"]
    log = [json.loads(line) for line in run.model_log(40, "paired").read_text().splitlines()]
    assert len(log) == 2
    assert {"train_pair", "train_mmd", "train_keep", "validation_pair"} <= set(log[0])


def test_maps_are_fitted_on_usable_training_pairs_and_leave_the_first_survey_alone(adapted):
    run, _, _ = adapted
    before = read_sides(run, run.pair_latents("no_tf"), 40)
    fit = (before.pairs["usable"] & (before.pairs["split"] == "train")).to_numpy()
    for method in ("standardise", "coral"):
        after = read_sides(run, run.pair_latents(method), 40)
        # to rounding: some processors compute batches of another size in another order
        assert after.first == pytest.approx(before.first, abs=1e-4)
        assert after.second[fit].mean(axis=0) == pytest.approx(
            before.first[fit].mean(axis=0), abs=1e-3
        )
    after = read_sides(run, run.pair_latents("standardise"), 40)
    scale = before.first[fit].std(axis=0) / before.second[fit].std(axis=0)
    expected = (before.second - before.second[fit].mean(axis=0)) * scale
    assert after.second == pytest.approx(expected + before.first[fit].mean(axis=0), abs=1e-3)


def test_alignment_draws_the_training_pairs_together_and_no_test_pair_is_seen(adapted, tmp_path):
    """The network is fitted for longer than in the fixture, and twice: once with other images on
    the test galaxies' side, which must change nothing."""
    run, _, _ = adapted
    pairs = read_pairs(run)
    both = images_in_both(run, pairs)
    settings = {"epochs": 12, "batch_size": 16, "learning_rate": 1e-3, "max_grad_norm": 1e4,
                "seed": 0, "precision": "float32"}  # fmt: skip
    distances = {}
    for method in ("continue", "paired"):
        files = Files.of(tmp_path / f"{method}.safetensors")
        task = PairTask(both, pairs, run.model(40), "x", settings_of(method, **settings), 40,
                        torch.device("cpu"))  # fmt: skip
        assert set(pairs["split"].iloc[task.train_rows]) == {"train"}
        assert set(pairs["split"].iloc[task.validation_rows]) == {"validation"}
        used = np.concatenate([task.train_rows, task.validation_rows])
        assert pairs["usable"].iloc[used].all()
        trainer = Trainer(task, files)
        trainer.run()
        distances[method] = trainer.history[-1]["train_pair"]
        assert task.stiffness > 1
    assert distances["paired"] < 0.5 * distances["continue"]
    hidden = pairs.copy()
    rows = hidden.index[hidden["split"] == "test"]
    hidden.loc[rows, "usable"] = False
    task = PairTask(both, hidden, run.model(40), "x", settings_of("paired", **settings), 40,
                    torch.device("cpu"))  # fmt: skip
    again = Trainer(task, Files.of(tmp_path / "hidden.safetensors"))
    again.run()
    assert json.dumps(again.history[-1]["train_pair"]) == json.dumps(distances["paired"])


def test_a_killed_adaptation_goes_on_and_ends_with_identical_weights(adapted, tmp_path, script):
    whole = copy_of(adapted[0], tmp_path / "whole", "*paired*")
    parts = copy_of(whole, tmp_path / "parts")
    constants = ("--methods", "paired", "--epochs", "4", "--batch-size", "8")
    done = succeeded(script("transfer/adapt.py", whole, *constants))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "transfer/adapt.py"), "--run", str(parts.folder), *constants],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    log = parts.model_log(40, "paired")
    for _ in range(6000):
        if log.exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not parts.pair_latents("paired").exists(), "it was killed too late to test anything"
    done = succeeded(script("transfer/adapt.py", parts, *constants))
    assert "resumes after epoch" in done.stdout
    models = [checkpoint.load(run.model(40, "paired")) for run in (whole, parts)]
    for name, tensor in models[0]["weights"].items():
        assert torch.equal(tensor, models[1]["weights"][name]), name
    tables = [pd.read_parquet(run.pair_latents("paired")) for run in (whole, parts)]
    pd.testing.assert_frame_equal(*tables)


def test_an_unknown_method_is_one_line(adapted, tmp_path, script):
    line = says_one_line(script("transfer/adapt.py", adapted[0], "--methods", "magic"))
    assert "choose among standardise, coral, continue, mmd, paired" in line


def test_an_adapted_model_extracts_images_of_the_second_survey(adapted, tmp_path, script):
    """The use by a survey team: another run, of northern images alone, and the adapted model."""
    run, _, _ = adapted
    north = Run(tmp_path / "north")
    succeeded(script("make_datatxt.py", north, "--folders", str(run.images(OTHER))))
    for method in ("paired", "coral"):
        model = str(run.model(40, method))
        succeeded(script("analysis/extract_latents.py", north, "--model", model))
        table = pd.read_parquet(north.latents(40))
        sides = read_sides(run, run.pair_latents(method), 40)
        names = table["path"].str.split("/").str[-1]
        unmoved = read_pairs(run).query("shift_x == 0 and shift_y == 0")["pair"]
        for row in sides.pairs[sides.pairs["pair"].isin(unmoved)].index[:5]:
            name = sides.pairs["other_path"][row].split("/")[-1]
            means = table.loc[names == name].filter(regex="^mu_").to_numpy()[0]
            assert means == pytest.approx(sides.second[row], abs=1e-4)


# ---- comparison


def test_the_comparison_reports_on_test_pairs_alone(adapted):
    run, _, said = adapted
    content = json.loads(run.comparison().read_text())
    pairs = read_pairs(run)
    usable = pairs[pairs["usable"]]["split"].value_counts()
    assert content["pairs"] == {"train": usable["train"], "test": usable["test"]}
    assert list(content["methods"]) == [
        "no_tf", "standardise", "coral", "continue", "mmd", "paired",
    ]  # fmt: skip
    assert content["mean_of"], "the tiny run should score some question"
    for name, of in content["methods"].items():
        assert of["agreement"]["n"] == usable["test"]
        assert len(of["agreement"]["correlations"]) == 40
        for route in ("first to first", "first to second", "second to first", "second to second"):
            estimate = of["transfer"]["mean"][route]
            assert 0 <= estimate["low"] <= estimate["high"] <= 1
        assert set(of["transfer"]["better_than"]) == set(content["methods"]) - {name}
    before = content["methods"]["no_tf"]
    assert before["kept"]["distance"] == 0
    assert before["transfer"]["change"]["first to second"] == {"value": 0, "low": 0, "high": 0}
    assert content["methods"]["coral"]["kept"]["distance"] == pytest.approx(0, abs=1e-5)
    assert "gap before adaptation" in said["transfer/compare.py"]


def test_the_tables_hold_what_the_json_holds(adapted):
    run, _, _ = adapted
    content = json.loads(run.comparison().read_text())
    table = pd.read_csv(run.comparison("csv")).set_index("method")
    assert list(table.index) == ["before", *list(content["methods"])[1:]]
    mean = content["methods"]["paired"]["transfer"]["mean"]["first to second"]
    row = table.loc["paired"]
    assert row["decals_to_bassmzls"] == pytest.approx(mean["value"])
    assert row["decals_to_bassmzls_low"] == pytest.approx(mean["low"])
    questions = pd.read_csv(run.transfer("comparison_questions.csv"))
    assert len(questions) == len(content["methods"]) * len(content["mean_of"])
    text = run.comparison("md").read_text()
    assert "| before |" in text and "| paired |" in text and "McNemar p" in text
    assert run.figure("comparison.png").stat().st_size > 20_000


def test_the_report_has_the_chapters_of_the_second_survey(adapted, tmp_path, script):
    run = copy_of(adapted[0], tmp_path / "run")
    succeeded(script("analysis/report.py", run))
    page = run.report.read_text()
    for words in ("T1 The same galaxies in a second survey", "T2, T3 Adapting the model",
                  "T4 Before and after", "wrong survey", "AUC of the survey"):  # fmt: skip
        assert words in page


def test_without_labels_the_views_are_compared_and_no_forest_is_asked(adapted, tmp_path, script):
    others = (f"latents_{name}*" for name in ("standardise", "coral", "continue", "mmd"))
    run = copy_of(adapted[0], tmp_path / "run", "comparison*", "class_latents*", *others)
    done = succeeded(script("transfer/compare.py", run, *SHORT["transfer/compare.py"]))
    assert "class_latents_40.parquet is missing" in done.stdout
    assert "run python analysis/decals_2_2.py" in done.stdout
    content = json.loads(run.comparison().read_text())
    assert content["mean_of"] == [] and "transfer" not in content["methods"]["paired"]
    assert content["methods"]["paired"]["agreement"]["n"] > 1
    assert "no forest" in content["verdicts"][0]


def test_an_unknown_table_of_latents_is_compared_too(adapted, tmp_path, script):
    """A method of one's own needs only a file transfer/latents_<name>.parquet."""
    others = (f"latents_{name}*" for name in ("standardise", "coral", "continue", "mmd"))
    run = copy_of(adapted[0], tmp_path / "run", "comparison*", *others)
    shutil.copy(run.pair_latents("no_tf"), run.pair_latents("mine"))
    succeeded(script("transfer/compare.py", run, *SHORT["transfer/compare.py"]))
    content = json.loads(run.comparison().read_text())
    mine = content["methods"]["mine"]["transfer"]["change"]["first to second"]
    assert mine == {"value": 0, "low": 0, "high": 0}
