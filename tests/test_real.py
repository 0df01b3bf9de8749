"""The project against survey data that it did not make.

The data are not part of the repository: they lie at ../shared/real from its root, or where the
environment variable GALAXY_VAE_REAL says. Without them these tests are skipped.
"""

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from conftest import succeeded
from pairs_of_tiny_run import add_second_survey
from PIL import Image

from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import SIZE, read_cutout
from VAE_model.data.fits_frames import read_frame
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.preparation.defects import defect_flags
from VAE_model.transfer.pair_latents import read_sides

REAL = Path(os.environ.get("GALAXY_VAE_REAL") or ROOT.parent / "shared" / "real")

pytestmark = pytest.mark.skipif(
    not (REAL / "cutouts").is_dir(),
    reason="real cutouts are absent: set GALAXY_VAE_REAL to the folder that holds cutouts/",
)

Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory, script: Script) -> Run:
    """All of cutouts/ imported and listed by make_datatxt.py, for every test of this file.

    Stages that come after it (a short training, extract_latents.py) are fixtures that take it.
    """
    run = Run(tmp_path_factory.mktemp("real") / "run")
    arguments = ("--folder", str(REAL / "cutouts"), "--name", "cutouts")
    done = succeeded(script("data/import_images.py", run, *arguments))
    assert "imported 14 of 16 images" in done.stdout
    succeeded(script("make_datatxt.py", run))
    return run


def reasons(path: Path) -> dict[str, str]:
    with open(path, newline="") as stream:
        return {Path(name).name: reason for name, reason in list(csv.reader(stream))[1:]}


def pairs(run: Run) -> list[tuple[Path, Path]]:
    """Each imported cutout and the file that it was made of."""
    return [
        (path, REAL / "cutouts" / path.name) for path in sorted(run.images("cutouts").iterdir())
    ]


def test_the_truncated_file_and_the_psf_are_refused_with_their_reasons(real_run):
    refused = reasons(real_run.import_refused("cutouts"))
    assert refused == {
        "decals_example_incomplete.fits": (
            "truncated: 1,386,164 of 2,157,312 bytes of data are there"
        ),
        "decals_59.1067_-30.4848_psf.fits": (
            "not a cutout: a PSF, as each plane has a sum of 1 and its peak in the middle"
        ),
    }


def test_make_datatxt_lists_one_image_a_galaxy(real_run):
    listed = [Path(line).name for line in real_run.train_txt.read_text().splitlines()]
    assert len(listed) == 12 and "decals_example_d.fits" in listed
    refused = reasons(real_run.rejected)  # the same two galaxies in other releases
    half_empty = refused.pop("decals_example_bad_pix.fits")
    assert half_empty.startswith("duplicate position: the same as decals_example_d.fits, of which ")
    assert half_empty.endswith("% more is empty here")
    assert refused == {
        "decals_small_native.fits": "duplicate position: the same as decals_example_a.fits",
    }


def test_originals_of_the_right_size_need_no_import(tmp_path, script):
    run = Run(tmp_path / "run")
    shutil.copytree(REAL / "cutouts", run.images())
    done = script("make_datatxt.py", run)
    assert done.returncode == 0 and "good 3 of 16" in done.stdout, done.stderr
    refused = reasons(run.rejected)
    assert refused["decals_small_native.fits"] == "wrong shape: 3 x 225 x 225, not 3 x 256 x 256"
    assert refused["decals_example_incomplete.fits"].startswith("truncated: ")
    assert refused["decals_59.1067_-30.4848_psf.fits"].startswith("wrong shape: 3 x 63 x 63")


def test_north_and_south_are_told_apart_by_version(real_run):
    for path, original in pairs(real_run):
        north = path.name.startswith("bassmzls")
        assert read_cutout(path).survey == ("bassmzls" if north else "decals")
        assert read_frame(original).survey == "DECaLS"  # in the north too


def test_flux_is_conserved(real_run):
    for path, original in pairs(real_run):
        before = read_frame(original).flux.sum((1, 2), dtype=float)
        after = read_cutout(path).flux.sum((1, 2), dtype=float)
        np.testing.assert_allclose(after, before, rtol=1e-5, err_msg=path.name)


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_the_sky_is_where_it_was_to_a_tenth_of_a_pixel(real_run):
    x, y = (axis.ravel() for axis in np.meshgrid([1, 64, 128.5, 256], [1, 128.5, 200, 256]))
    for path, original in pairs(real_run):
        frame = read_frame(original)
        step = frame.flux.shape[-1] / SIZE
        new, old = WCS(fits.getheader(path)).celestial, WCS(frame.header).celestial
        there = old.all_world2pix(*new.all_pix2world(x, y, 1), 1)
        expected = (x - 0.5) * step + 0.5, (y - 0.5) * step + 0.5
        off = np.hypot(there[0] - expected[0], there[1] - expected[1]) / step
        assert off.max() < 0.1, path.name


def test_the_half_empty_frame_is_imported_and_flagged(real_run):
    path = real_run.images("cutouts") / "decals_example_bad_pix.fits"
    pixels = read_cutout(path).flux
    assert ((pixels[:2] == 0).mean((1, 2)) > 0.7).all() and (pixels[2] != 0).all()
    assert defect_flags(pixels)["flag_gap"]
    whole = read_cutout(real_run.images("cutouts") / "decals_example_d.fits").flux
    assert not defect_flags(whole)["flag_gap"]


def test_pictures_are_imported_with_their_labels(tmp_path, script):
    folder, run = tmp_path / "mine", Run(tmp_path / "run")
    labels = pd.read_csv(REAL / "gz2_spiral" / "labels.csv", dtype={"file": str})[:30]
    for name in labels["file"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REAL / "gz2_spiral" / "images" / name, folder / name)
    arguments = ("--folder", str(folder), "--table", str(REAL / "gz2_spiral" / "labels.csv"))
    done = succeeded(script("data/import_images.py", run, *arguments))
    assert "30 rows have an image, 1,970 have none; 0 images have no row" in done.stdout
    imported = pd.read_parquet(run.labels).set_index("file")
    assert imported.loc[labels["file"], ["label", "split"]].to_numpy().tolist() == (
        labels[["label", "split"]].to_numpy().tolist()
    )
    assert script("make_datatxt.py", run).returncode == 0
    assert len(run.train_txt.read_text().splitlines()) == 30
    for name in labels["file"][:5]:
        cutout = read_cutout(run.folder / imported.loc[name, "path"])
        shown = cutout.flux[::-1].transpose(1, 2, 0)[::-1] * 255
        same = Image.open(folder / name).resize((SIZE, SIZE), Image.Resampling.BOX)
        assert cutout.display and np.abs(shown - np.asarray(same)).mean() < 2


def test_ring_images_have_the_positions_of_their_table(tmp_path, script):
    folder, run = tmp_path / "mine", Run(tmp_path / "run")
    folder.mkdir()
    for path in sorted((REAL / "gzdecals_ring" / "images").iterdir())[:20]:
        shutil.copy(path, folder)
    table = REAL / "gzdecals_ring" / "labels.csv"
    done = script("data/import_images.py", run, "--folder", str(folder), "--table", str(table))
    assert done.returncode == 0 and "imported 20 of 20" in done.stdout, done.stderr
    labels = pd.read_parquet(run.labels)
    assert labels["ra"].notna().all() and labels["ring"].isin([0, 1]).all()
    cutout = read_cutout(run.folder / labels["path"][0])
    assert (cutout.ra, cutout.dec) == (labels["ra"][0], labels["dec"][0])


def test_the_half_empty_frame_is_flagged_where_it_is_the_only_one(real_run, tmp_path, script):
    """Without a better image of the galaxy it is listed, and extract_latents.py's flag finds it."""
    run = Run(tmp_path / "run")
    run.images().mkdir(parents=True)
    for path in real_run.images("cutouts").iterdir():
        if path.name != "decals_example_d.fits":
            shutil.copy(path, run.images())
    for stage, *arguments in (
        ("make_datatxt.py",),
        ("Galaxy_VAE_n.py", "--num-var", "2", "--epochs", "1", "--batch-size", "4"),
        ("analysis/extract_latents.py", "--num-var", "2"),
    ):
        succeeded(script(stage, run, *arguments))
    table = pd.read_parquet(run.latents(2)).set_index("path")
    assert table.loc["images/decals/decals_example_bad_pix.fits", "flag_gap"]
    assert not table.loc["images/decals/decals_example_b.fits", "flag_gap"]


def test_a_short_training_and_the_extraction_work_on_real_cutouts(real_run, script):
    brief = ("--num-var", "3", "--epochs", "2", "--batch-size", "4")
    for stage, arguments in (
        ("Galaxy_VAE_n.py", brief),
        ("analysis/extract_latents.py", ("--num-var", "3")),
    ):
        succeeded(script(stage, real_run, *arguments))
    table = pd.read_parquet(real_run.latents(3))
    assert table["path"].tolist() == real_run.train_txt.read_text().splitlines()
    assert np.isfinite(table[["mu_00", "mu_01", "mu_02", "reduced_chi2", "ssim"]].to_numpy()).all()
    flagged = table.set_index(table["path"].map(lambda path: Path(path).name))
    assert flagged.loc["bassmzls_134.7709_46.4537_star.fits", "flag_saturated"]
    assert set(table["survey"]) == {"decals", "bassmzls"}


def test_the_smallest_pictures_are_enlarged_and_the_scale_recorded(tmp_path, script):
    """EFIGI: 88 x 88 pixels, each galaxy scaled to its own size."""
    folder, run = tmp_path / "mine", Run(tmp_path / "run")
    folder.mkdir()
    for path in sorted((REAL / "efigi" / "images").iterdir())[:20]:
        shutil.copy(path, folder)
    arguments = ("--folder", str(folder), "--table", str(REAL / "efigi" / "labels.csv"))
    done = script("data/import_images.py", run, *arguments)
    assert done.returncode == 0 and "imported 20 of 20" in done.stdout, done.stderr
    assert "20 were enlarged, up to 2.91 times" in done.stdout
    labels = pd.read_parquet(run.labels)
    assert labels["T"].notna().all() and (labels["enlarged"] == 256 / 88).all()
    for name, path in zip(labels["file"], labels["path"], strict=True):
        shown = read_cutout(run.folder / path).flux[::-1].transpose(1, 2, 0)[::-1] * 255
        same = Image.open(folder / name).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        assert np.abs(shown - np.asarray(same)).mean() < 1


def test_plates_of_one_galaxy_are_joined_where_it_lies(tmp_path, script):
    """POSS-I blue and red have pixels of 1.0 and 1.7 arcsec, POSS-II has three bands."""
    plates = pd.read_csv(REAL / "poss_pairs" / "plates.csv").head(10)
    plates["name"] = plates["file"].str.extract(r"^([^_]+_[^_]+)_")[0]
    for survey, columns in (
        ("POSS-I", {"blue": "g", "red": "z"}),
        ("POSS-II", {"blue": "g", "red": "r", "ir": "z"}),
    ):
        run, table = Run(tmp_path / survey), tmp_path / f"{survey}.csv"
        wide = plates[plates["survey"] == survey]
        wide = wide.pivot(index=["name", "ra", "dec"], columns="band", values="file")
        wide.rename(columns=columns).reset_index().to_csv(table, index=False)
        arguments = ("--folder", str(REAL / "poss_pairs" / "plates"), "--table", str(table))
        done = script("data/import_images.py", run, *arguments, "--unit", "display")
        assert done.returncode == 0 and "imported 2 of 2 images" in done.stdout, done.stderr
        for path, scale in pd.read_parquet(run.labels)[["path", "pixel_scale"]].itertuples(
            index=False
        ):
            g, r, z = read_cutout(run.folder / path).flux
            assert np.corrcoef(g.ravel(), z.ravel())[0, 1] > 0.7 and r.any()
            assert scale == pytest.approx(297 / SIZE, rel=0.03)


def test_a_single_plate_is_refused_with_the_remedy_and_its_numbers_questioned(tmp_path, script):
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in sorted((REAL / "poss_pairs" / "plates").glob("*dss2red*"))[:3]:
        shutil.copy(path, folder)
    done = script("data/import_images.py", Run(tmp_path / "a"), "--folder", str(folder))
    assert done.returncode == 1 and "none of 3 images could be imported" in done.stderr
    assert "--bands 0" in next(
        iter(reasons(Run(tmp_path / "a").import_refused("imported")).values())
    )
    arguments = ("--folder", str(folder), "--bands", "0")
    done = script("data/import_images.py", Run(tmp_path / "b"), *arguments)
    assert "3 are grey" in done.stdout and "3 images state no unit" in done.stdout


def labelled(folder: Path, run: Run, source: str, rows: pd.DataFrame, script: Script) -> None:
    """Import the pictures that rows of a folder's labels.csv name, with the whole table."""
    for name in rows["file"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REAL / source / "images" / name, folder / name)
    table = str(REAL / source / "labels.csv")
    done = script("data/import_images.py", run, "--folder", str(folder), "--table", table)
    assert done.returncode == 0 and f"imported {len(rows)} of" in done.stdout, done.stderr


def classified(run: Run, label: str, script: Script) -> dict:
    """classification_3.json of a run that has its images and labels, after a short training."""
    for stage, *arguments in (
        ("make_datatxt.py",),
        ("Galaxy_VAE_n.py", "--num-var", "3", "--epochs", "2", "--batch-size", "8"),
        ("analysis/extract_latents.py", "--num-var", "3"),
        ("analysis/classify.py", "--num-var", "3", "--label", label, "--trees", "20",
         "--n-bootstrap", "100", "--min-test", "4", "--min-answer", "2"),
    ):  # fmt: skip
        succeeded(script(stage, run, *arguments))
    return json.loads(run.classification(3).read_text())["questions"][0]


def test_spirals_are_classified_by_the_split_of_their_table(tmp_path, script):
    run = Run(tmp_path / "run")
    labels = pd.read_csv(REAL / "gz2_spiral" / "labels.csv", dtype={"file": str})
    rows = labels.groupby(["label", "split"]).head(14)
    labelled(tmp_path / "mine", run, "gz2_spiral", rows, script)
    question = classified(run, "label", script)
    assert question["n_test"] == {"not-spiral": 14, "spiral": 14}
    latents = pd.read_parquet(run.latents(3)).merge(pd.read_parquet(run.labels), on="path")
    given = pd.crosstab(latents["split_y"], latents["split_x"])
    assert given.loc["test", "test"] == 28 and given.loc["test"].sum() == 28
    assert given.loc["train", "validation"] > 0  # taken from what is given to train
    assert sum(question["n_train"].values()) == given.loc["train", "train"]
    line = script("analysis/decals_1.py", run)
    assert line.returncode == 1 and "classify.py --run" in line.stderr
    assert line.stderr.rstrip().endswith(" --label label")


@pytest.mark.parametrize(
    ("source", "label", "answers"),
    [("gz2_defect", "label", ["galaxy", "nongalaxy"]), ("gzdecals_ring", "ring", ["0", "1"])],
)
def test_other_labelled_pictures_pass_through_to_the_scores(
    tmp_path, script, source, label, answers
):
    run = Run(tmp_path / "run")
    rows = pd.read_csv(REAL / source / "labels.csv").groupby(label).head(25)
    labelled(tmp_path / "mine", run, source, rows, script)
    question = classified(run, label, script)
    assert question["answers"] == answers and "latents" in question, question
    assert sum(question["n_train"].values()) > sum(question["n_test"].values()) >= 4


def test_cutouts_of_four_sizes_pass_through_with_their_labels(tmp_path, script):
    """Twelve images are too few for a score, and that is what they get told."""
    run, table = Run(tmp_path / "run"), tmp_path / "table.csv"
    names = sorted(path.name for path in (REAL / "cutouts").glob("*.fits"))
    side = ["north" if name.startswith("bassmzls") else "south" for name in names]
    pd.DataFrame({"file": names, "side": side}).to_csv(table, index=False)
    arguments = ("--folder", str(REAL / "cutouts"), "--table", str(table))
    assert script("data/import_images.py", run, *arguments).returncode == 0
    labels = pd.read_parquet(run.labels)
    assert labels["side"].value_counts().to_dict() == {"south": 12, "north": 2}
    assert "fewer than" in classified(run, "side", script)["no_score_because"]


@pytest.fixture(scope="module")
def two_surveys(
    real_run: Run, make_tiny_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Simple galaxies in two surveys, and among them every real cutout in both.

    No galaxy of cutouts/ is there in both surveys. So each real DECaLS cutout stands in the north
    too, and each real northern one in the south, under a header that says so: real pixels on both
    sides, but the same ones. The northern galaxy, the star and two southern files lie in the
    northern folder as they are.
    """
    run = make_tiny_run(tmp_path_factory.mktemp("surveys") / "run", count=40)
    add_second_survey(run)
    for path in sorted(real_run.images("cutouts").iterdir()):
        cutout = read_cutout(path)
        north = cutout.survey == "bassmzls"
        there = {True: "DR9-north", False: "DR9-south"}
        shutil.copy(path, run.images("bassmzls" if north else "decals"))
        other = run.images("decals" if north else "bassmzls") / path.name
        write_cutout(other, cutout.flux, cutout.ra, cutout.dec, there[not north])
    for name in ("decals_example_b.fits", "decals_example_c.fits"):
        shutil.copy(real_run.images("cutouts") / name, run.images("bassmzls") / f"as_it_is_{name}")
    return run


def test_real_cutouts_pass_through_audit_encoding_and_adaptation(two_surveys, script):
    run = two_surveys
    for stage, *arguments in (
        ("make_datatxt.py",),
        ("Galaxy_VAE_n.py", "--epochs", "1", "--num-var", "4"),
        ("transfer/make_pairs.py",),
        ("transfer/encode_pairs.py", "--num-var", "4"),
        ("transfer/adapt.py", "--num-var", "4", "--epochs", "1", "--batch-size", "8"),
    ):
        succeeded(script(stage, run, *arguments))
    table = pd.read_parquet(run.pairs)
    table.index = table["path"].map(lambda path: Path(path).name)
    assert table.loc["bassmzls_154.7709_46.4537.fits", "defect"] == ""
    star = table.loc["bassmzls_134.7709_46.4537_star.fits"]
    assert star["defect"] == "decals: saturated; bassmzls: saturated" and not star["usable"]
    real = table[table.index.str.contains("decals_|bassmzls_")]
    assert len(real) == 12  # of 14: two galaxies are there in two releases
    assert real["usable"].sum() >= 9
    refused = reasons(run.pairs_refused)
    for name in ("decals_example_b.fits", "decals_example_c.fits"):
        assert refused[f"as_it_is_{name}"].startswith("wrong survey: VERSION 'DR")
        assert "is decals, not bassmzls" in refused[f"as_it_is_{name}"]
    for method in ("no_tf", "standardise", "coral", "continue", "mmd", "paired"):
        sides = read_sides(run, run.pair_latents(method), 4)
        assert np.isfinite(sides.first).all() and np.isfinite(sides.second).all()
    before = read_sides(run, run.pair_latents("no_tf"), 4)
    names, others = (before.pairs[c].str.split("/").str[-1] for c in ("path", "other_path"))
    same = (names.isin(real.index) & (names == others)).to_numpy()
    assert same.sum() >= 10  # a galaxy of two releases may have another one as its partner
    assert before.first[same] == pytest.approx(before.second[same], abs=1e-4)  # the same pixels
