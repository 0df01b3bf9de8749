"""Images of one's own: predictions, searches, models of other runs, and nothing taken over."""

from pathlib import Path

import numpy as np
import pytest
from conftest import run_script, says_one_line, succeeded
from own_images import COUNT, encoded_run, import_own_images, write_own_images
from own_images import NUM_VAR as NUMBER

from VAE_model.data.cutouts import read_cutout
from VAE_model.extraction.repeatability import SCATTER
from VAE_model.pipeline.files import parquet_columns, read_json, read_parquet
from VAE_model.pipeline.provenance import sidecar
from VAE_model.pipeline.run import Run
from VAE_model.training import checkpoint
from VAE_model.training.model_file import TrainedVAE

LATENTS = ("--num-var", str(NUMBER))


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Own images with labels, listed, trained and encoded."""
    return encoded_run(tmp_path_factory, tmp_path_factory.mktemp("own") / "run")


def test_every_image_gets_an_answer_those_without_a_label_first(own_run: Run) -> None:
    options = ("--label", "kind", "type", "--min-test", "2", "--min-answer", "1", "--trees", "20",
               "--n-bootstrap", "20")  # fmt: skip
    done = succeeded(run_script("analysis/classify.py", own_run, *LATENTS, *options))
    table = read_parquet(own_run.predictions(NUMBER))
    unlabelled = table["kind_label"].isna().to_numpy()
    assert len(table) == COUNT and unlabelled.sum() == -(-COUNT // 5)
    assert unlabelled[: unlabelled.sum()].all()
    assert f"{COUNT} images have a predicted answer, {unlabelled.sum()} of them" in done.stdout
    for question in ("kind", "type"):
        p = table.filter(regex=f"^{question}_p_")
        answers = p.columns.str.removeprefix(f"{question}_p_")
        known = p.notna().all(axis=1).to_numpy()
        assert known[unlabelled].all()  # only a training image of a rare answer may have none
        np.testing.assert_allclose(p[known].sum(axis=1), 1)
        best = answers[p[known].to_numpy().argmax(axis=1)]
        assert (table[f"{question}_predicted"][known] == best).all()
        share = table[f"{question}_reliability"].dropna()
        assert share.between(0, 1).all()


def test_training_images_are_predicted_by_forests_that_did_not_see_them() -> None:
    from VAE_model.evaluation.classification import set_question
    from VAE_model.evaluation.predictions import all_probabilities

    rng = np.random.default_rng(0)  # labels that have nothing to do with the features
    split = np.repeat(["train", "test"], 60)
    question = set_question("q", ["a", "b"], rng.choice(["a", "b"], 120), split)
    p = all_probabilities(question, rng.normal(size=(120, 3)), (0,), 50)
    right = (p[question.train].argmax(axis=1) == question.train_codes).mean()
    assert right < 0.75  # a forest that saw them answers all correctly


def test_a_search_prints_the_neighbours_and_leaves_the_report_alone(
    own_run: Run, tmp_path: Path
) -> None:
    assert run_script("analysis/similar.py", own_run, *LATENTS).returncode == 0
    shown = own_run.similar(NUMBER).read_bytes()
    images, _ = write_own_images(tmp_path, 4)
    outside = images / "ngc_003.jpg"  # the same pixels as the image of the run
    done = succeeded(
        run_script(
            "analysis/similar.py", own_run, *LATENTS, "--broken", "--query", "ngc_007", str(outside)
        )
    )
    assert "  ngc_007: distance in scatters between exposures" in done.stdout
    found = read_parquet(own_run.queries(f"similar_{NUMBER}.parquet"))
    assert list(found["iauname"].unique()) == ["ngc_007", str(outside)]
    assert "ngc_007" not in set(found["similar_iauname"][found["iauname"] == "ngc_007"])
    first = found[found["path"] == str(outside)].iloc[0]
    assert first["similar_iauname"] == "ngc_003" and first["distance"] < 1e-3
    assert own_run.similar(NUMBER).read_bytes() == shown
    assert own_run.queries(f"similar_{NUMBER}.png").exists()
    again = run_script(
        "analysis/similar.py", own_run, *LATENTS, "--broken", "--query", "ngc_007", str(outside)
    )
    assert "nothing to do" in again.stdout and "  ngc_007: distance" in again.stdout


def test_distances_are_in_scatters_between_exposures(own_run: Run) -> None:
    scatter = np.array(read_parquet(own_run.latents(NUMBER)).attrs[SCATTER])
    assert scatter.shape == (NUMBER,) and (scatter > 0).all()


def test_a_model_encodes_another_run_and_refuses_the_other_kind(
    own_run: Run, copy_of_tiny_run: Run, tmp_path: Path
) -> None:
    other = Run(tmp_path / "other")
    import_own_images(other, tmp_path / "mine")
    model = ("--model", str(own_run.model(NUMBER)))
    done = succeeded(run_script("analysis/extract_latents.py", other, *LATENTS, *model))
    here, there = (read_parquet(run.latents(NUMBER)) for run in (own_run, other))
    means = [f"mu_{i:02d}" for i in range(NUMBER)]
    np.testing.assert_allclose(here[means], there[means], rtol=1e-4, atol=1e-5)
    again = run_script("analysis/extract_latents.py", other, *LATENTS, *model)
    assert "nothing to do" in again.stdout
    for script in ("analysis/traversal.py", "analysis/decals_4.py"):  # the model is found again
        done = succeeded(run_script(script, other, *LATENTS))
    flux = copy_of_tiny_run
    done = run_script("analysis/extract_latents.py", flux, *LATENTS, *model)
    assert "trained on 8-bit images, and 48 of 48 images are images of flux" in says_one_line(done)
    succeeded(run_script("analysis/extract_latents.py", flux, *LATENTS, *model, "--any-unit"))
    assert np.isfinite(read_parquet(flux.latents(NUMBER))[means]).all(axis=None)


def test_a_missing_model_of_another_run_is_trained_there(own_run: Run, tmp_path: Path) -> None:
    other = Run(tmp_path / "no such run")
    done = run_script(
        "analysis/extract_latents.py", own_run, "--model", str(other.model(40)), "--num-var", "40"
    )
    assert says_one_line(done).endswith(f"run python Galaxy_VAE_n.py --run '{other.folder}'")


def test_a_path_is_a_string_or_a_path(own_run: Run) -> None:
    model, latents = str(own_run.model(NUMBER)), str(own_run.latents(NUMBER))
    assert TrainedVAE.load(model, NUMBER).config["num_var"] == NUMBER
    assert len(read_parquet(latents)) == COUNT and "mu_00" in parquet_columns(latents)
    assert read_json(str(sidecar(own_run.model(NUMBER))))["config"]["epochs"] == 1
    assert checkpoint.load(model)["config"]["num_var"] == NUMBER
    assert own_run.show(model) == model
    assert own_run.made_by(latents) == own_run.made_by(own_run.latents(NUMBER))
    image = own_run.folder / read_parquet(latents)["path"][0]
    assert (read_cutout(str(image)).flux == read_cutout(image).flux).all()


def test_own_images_and_a_simulated_sky_are_not_mixed(
    own_run: Run, copy_of_tiny_run: Run, tmp_path: Path
) -> None:
    done = run_script("data/simulate.py", own_run, "--galaxies", "3", "--overlap", "0")
    assert "holds imported images (labels.parquet)" in says_one_line(done)
    copy_of_tiny_run.truth.write_bytes(b"")
    images, _ = write_own_images(tmp_path / "more", 2)
    done = run_script("data/import_images.py", copy_of_tiny_run, "--folder", str(images))
    assert "holds simulated images (truth.parquet)" in says_one_line(done)


def test_a_second_import_says_what_it_replaces(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    for number in (1, 2):
        images, table = write_own_images(tmp_path / str(number), 3)
        options = ("--folder", str(images), "--table", str(table), "--name", "mine")
        done = succeeded(run_script("data/import_images.py", run, *options))
        assert ("replaces the images and labels" in done.stdout) == (number == 2)
    assert str(tmp_path / "1" / "labels.csv") in done.stdout


def test_a_list_says_which_folders_it_leaves_out(copy_of_tiny_run: Run) -> None:
    run = copy_of_tiny_run
    run.images("north").mkdir()
    next(run.images().glob("*.fits")).rename(run.images("north") / "a.fits")
    done = succeeded(run_script("make_datatxt.py", run))
    assert "left out: " in done.stdout and "images/north (1 files)" in done.stdout
