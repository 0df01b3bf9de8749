"""The cut into classes and questions, the sky match, and the join with the latents."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from conftest import load_script, says_one_line, succeeded, vote_fractions

from VAE_model.data import galaxy_zoo
from VAE_model.data.sky import cross_match
from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run

sys.path.insert(0, str(ROOT / "benchmarks"))
catalogue_scale = load_script("benchmarks/catalogue_scale.py")
decals_1 = load_script("analysis/decals_1.py")
decals_2_1 = load_script("analysis/decals_2_1.py")
decals_2_2 = load_script("analysis/decals_2_2.py")

COLUMNS = sorted(set(vote_fractions("round", 0)))


def catalogue_of(*rows: dict[str, float], dtype: type = float) -> pd.DataFrame:
    """Rows of fractions; what a row does not give is zero."""
    table = pd.DataFrame([{**dict.fromkeys(COLUMNS, 0.0), **row} for row in rows]).astype(dtype)
    positions = {"iauname": [f"J{i}" for i in range(len(rows))], "ra": 10.0, "dec": 2.0}
    return pd.concat([pd.DataFrame(positions), table], axis=1)


def fractions(cut: dict[tuple[str, str], float]) -> dict[str, float]:
    return {galaxy_zoo.fraction(*key): value for key, value in cut.items()}


# The published table, written out a second time: name, fractions just above their thresholds.
SMOOTH, FEATURED = ("smooth-or-featured", "smooth"), ("smooth-or-featured", "featured-or-disk")
NOT_EDGE_ON = ("disk-edge-on", "no")
PUBLISHED = {
    "smoothRounded": {SMOOTH: 0.7, ("how-rounded", "round"): 0.8},
    "smoothInBetween": {SMOOTH: 0.7, ("how-rounded", "in-between"): 0.85},
    "smoothCigarShaped": {SMOOTH: 0.5, ("how-rounded", "cigar-shaped"): 0.6},
    "edgeOn": {FEATURED: 0.5, ("disk-edge-on", "yes"): 0.7},
    "diskNoBar": {FEATURED: 0.5, NOT_EDGE_ON: 0.5, ("bar", "no"): 0.8},
    "diskWeakBar": {FEATURED: 0.5, NOT_EDGE_ON: 0.5, ("bar", "weak"): 0.5},
    "diskStrongBar": {FEATURED: 0.5, NOT_EDGE_ON: 0.5, ("bar", "strong"): 0.5},
}
MERGERS = ("minor-disturbance", "major-disturbance", "merger")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_galaxy_is_in_its_class_only_above_every_threshold(name):
    at = PUBLISHED[name]
    above = {key: value + 1e-6 for key, value in at.items()}
    rows = [fractions(above), *(fractions(above | {key: at[key]}) for key in at)]
    for dtype in (np.float64, np.float32):
        chosen = galaxy_zoo.CLASSES[name].select(catalogue_of(*rows, dtype=dtype))
        assert chosen.tolist() == [True] + [False] * len(at)


@pytest.mark.parametrize("answer", MERGERS)
def test_each_sign_of_merging_makes_a_merger_above_its_threshold(answer):
    rows = [fractions({("merging", answer): value}) for value in (0.6, 0.6 + 1e-6)]
    assert galaxy_zoo.CLASSES["merger"].select(catalogue_of(*rows)).tolist() == [False, True]


def test_a_missing_fraction_passes_no_cut():
    row = catalogue_of(fractions({key: np.nan for key in PUBLISHED["edgeOn"]}))
    assert not any(cut.select(row).any() for cut in galaxy_zoo.CLASSES.values())


def test_answers_to_a_question_exclude_each_other_even_where_fractions_are_broken():
    rng = np.random.default_rng(0)
    rows = [dict(zip(COLUMNS, rng.uniform(0, 1, len(COLUMNS)), strict=True)) for _ in range(2000)]
    catalogue = catalogue_of(*rows)  # fractions that sum to far more than one
    for answers in galaxy_zoo.questions().values():
        passed = np.stack([cut.select(catalogue) for cut in answers.values()])
        taken = decals_1.take_answers(catalogue, answers, decals_1.Config())
        assert (passed.sum(axis=0) > 1).any()
        assert taken.notna().to_numpy().tolist() == (passed.sum(axis=0) == 1).tolist()


def test_the_gates_on_volunteers_and_size_leave_galaxies_out():
    rows = [
        {**fractions({key: 1.0 for key in PUBLISHED["edgeOn"]}), galaxy_zoo.asked(q): asked}
        for q, asked in (("disk-edge-on", 0.4), ("disk-edge-on", 0.6))
    ]
    catalogue = catalogue_of(*rows)
    catalogue[galaxy_zoo.asked("smooth-or-featured")] = 1.0
    catalogue["wrong_size_warning"] = [0.0, 1.0]
    cut = galaxy_zoo.CLASSES["edgeOn"]
    chosen = {
        (asked, drop): decals_1.select(
            catalogue, cut, decals_1.Config(min_volunteers_asked=asked, drop_wrong_size=drop)
        ).tolist()
        for asked in (0.0, 0.5)
        for drop in (False, True)
    }
    assert chosen == {
        (0.0, False): [True, True],
        (0.0, True): [True, False],
        (0.5, False): [False, True],
        (0.5, True): [False, False],
    }


def test_no_question_shares_its_column_with_a_class():
    columns = [*galaxy_zoo.CLASSES, *map(galaxy_zoo.answer_column, galaxy_zoo.questions())]
    assert len(columns) == len(set(columns))


@pytest.mark.parametrize("ra, dec", [(0.0, 0.0), (0.0, 89.9), (123.4, 89.9), (359.9999, -60.0)])
def test_a_match_knows_the_wrap_at_ra_zero_and_the_narrowing_to_the_pole(ra, dec):
    step = 0.4 / 3600 / np.cos(np.radians(dec))  # 0.4 arcsec on the sky
    ra1 = np.array([ra + step / 2, ra + 20 * step]) % 360
    ra2 = np.array([ra - 20 * step, ra - step / 2]) % 360
    rows1, rows2, separations = cross_match(ra1, [dec] * 2, ra2, [dec] * 2, 1.0)
    assert rows1.tolist() == [0] and rows2.tolist() == [1]
    assert separations == pytest.approx([0.4], abs=1e-3)


def test_two_galaxies_never_share_an_image():
    ra = np.array([10.0, 10.0 + 0.3 / 3600])
    rows1, rows2, _ = cross_match(ra, [0, 0], [10.0 + 0.2 / 3600], [0], 1.0)
    assert (rows1.tolist(), rows2.tolist()) == ([1], [0])
    index = pd.DataFrame({"ra": [10.0 + 0.2 / 3600], "dec": [0.0]})
    dropped = pd.DataFrame({"ra": ra[:1], "dec": [0.0]})
    what, _ = decals_2_1.why_dropped(dropped, index, Run("nowhere"), 1.0)
    assert what["its image is nearer to another galaxy"] == 1 and sum(what.values()) == 1


def latents_of(run: Run, num_var: int = 3) -> pd.DataFrame:
    """Latents whose first value is the image's RA, in an order of their own."""
    names = run.train_txt.read_text().split()
    positions = [float(name.split("/")[-1].split("_")[0]) for name in names]
    table = pd.DataFrame({"path": names, "survey": "decals", "split": "train"})
    for i in range(num_var):
        table[f"mu_{i:02d}"] = np.float32(positions) if i == 0 else np.float32(i)
    table["flag_gap"] = False
    return table.sample(frac=1, random_state=0)


def test_the_three_stages_as_a_user_runs_them(copy_of_tiny_run, script):
    run = copy_of_tiny_run
    catalogue = pd.read_parquet(run.catalogue)
    catalogue["bar_strong_concentration"] = [[1.0] * 5] * len(catalogue)
    write_parquet(run.catalogue, catalogue)
    broken, gone = run.train_txt.read_text().split()[:2]
    for name in (broken, gone):
        (run.folder / name).unlink()
    (run.folder / broken).write_bytes(b"not a galaxy")
    assert script("make_datatxt.py", run).returncode == 0

    first = succeeded(script("analysis/decals_1.py", run))
    assert "labels: posteriors of a network" in first.stdout
    classes = pd.read_parquet(run.classes)
    assert classes.attrs["labels"].startswith("posteriors")
    for name, cut in galaxy_zoo.CLASSES.items():
        table = Table.read(run.class_table(name))
        assert table["ra"].unit == table["dec"].unit == "deg"
        assert set(table.colnames) == {*galaxy_zoo.IDENTITY, *cut.columns()}
        assert sorted(table["iauname"]) == sorted(catalogue["iauname"][cut.select(catalogue)])
        assert classes[name].sum() == len(table)
    for question, answers in galaxy_zoo.questions().items():
        assert set(classes[galaxy_zoo.answer_column(question)].dropna()) <= set(answers)

    second = succeeded(script("analysis/decals_2_1.py", run))
    assert "kept 46 of 48" in second.stdout
    assert "1: its image was refused" in second.stdout
    assert "refused as not an image: 1" in second.stdout
    assert "1: no image within 1 arcsec" in second.stdout
    matches = pd.read_parquet(run.matches)
    lines = run.train_txt.read_text().split()
    assert [lines[row] for row in matches["image_row"]] == matches["path"].tolist()
    assert matches["class_row"].is_unique and matches["image_row"].is_unique
    assert run.figure("separations.png").read_bytes().startswith(b"\x89PNG")

    write_parquet(run.latents(3), latents_of(run).iloc[1:])
    third = succeeded(script("analysis/decals_2_2.py", run, "--num-var", "3"))
    assert "kept 45 of 46" in third.stdout and "dropped 1: not in" in third.stdout
    table = pd.read_parquet(run.class_latents(3))
    assert table["mu_00"].to_numpy() == pytest.approx(table["ra"].to_numpy(), abs=1e-3)
    assert {"image_row", "path", "split", "separation", "flag_gap"} <= set(table)
    assert table.attrs["labels"].startswith("posteriors")

    again = script("analysis/decals_2_2.py", run, "--num-var", "3")
    assert "nothing to do" in again.stdout


def test_a_bad_catalogue_gets_one_clear_line(copy_of_tiny_run, script):
    run = copy_of_tiny_run
    column = "bar_strong_fraction"
    write_parquet(run.catalogue, pd.read_parquet(run.catalogue).drop(columns=column))
    line = says_one_line(script("analysis/decals_1.py", run))
    assert str(run.catalogue) in line and column in line
    run.catalogue.write_text("iauname,ra,dec\n")
    assert "no readable parquet" in says_one_line(script("analysis/decals_1.py", run))


def test_other_bad_catalogues_and_constants_are_refused(copy_of_tiny_run):
    run, column = copy_of_tiny_run, "bar_strong_fraction"
    catalogue = pd.read_parquet(run.catalogue)
    config = decals_1.Config(run=run.folder)
    for broken, words in (
        (catalogue.assign(**{column: "many"}), f"column {column} does not hold numbers"),
        (catalogue.iloc[:0], "no rows"),
        (catalogue.assign(**dict.fromkeys(COLUMNS, 0.0)), "no galaxy passes a cut"),
    ):
        write_parquet(run.catalogue, broken)
        with pytest.raises(Problem, match=words):
            decals_1.main(config)
    with pytest.raises(Problem, match="exclude each other"):
        decals_1.main(dataclasses.replace(config, answer=0.4))
    run.catalogue.unlink()
    with pytest.raises(Problem, match="is missing"):
        decals_1.main(config)


def test_another_sky_gets_one_clear_line(copy_of_tiny_run, script):
    run = copy_of_tiny_run
    catalogue = pd.read_parquet(run.catalogue)
    write_parquet(run.catalogue, catalogue.assign(dec=catalogue["dec"] + 0.001))
    decals_1.main(decals_1.Config(run=run.folder))
    assert "the nearest is 3.6 arcsec" in says_one_line(script("analysis/decals_2_1.py", run))
    decals_2_1.main(decals_2_1.Config(run=run.folder, radius=5.0))
    assert pd.read_parquet(run.matches)["separation"].to_numpy() == pytest.approx(3.6, abs=0.01)


def test_latents_that_do_not_fit_the_matches_are_refused(copy_of_tiny_run):
    run = copy_of_tiny_run
    decals_1.main(decals_1.Config(run=run.folder))
    decals_2_1.main(decals_2_1.Config(run=run.folder))
    latents = latents_of(run)
    for broken, words in (
        (
            pd.concat([latents, latents.iloc[:1]]),
            "latents_3.parquet has 1 rows with a duplicate path",
        ),
        (latents.drop(columns="mu_02"), "has no column mu_02"),
        (latents.assign(path=latents["path"] + "x"), "none of the 48 matched images"),
    ):
        write_parquet(run.latents(3), broken)
        with pytest.raises(Problem, match=words):
            decals_2_2.main(decals_2_2.Config(run=run.folder, num_var=3))


def test_labels_with_fractions_serve_as_the_catalogue_and_others_are_pointed_to_classify(
    copy_of_tiny_run,
):
    run = copy_of_tiny_run
    catalogue = pd.read_parquet(run.catalogue)
    decals_1.main(decals_1.Config(run=run.folder))
    expected = pd.read_parquet(run.classes)
    run.catalogue.rename(run.labels)
    run.classes.unlink()
    decals_1.main(decals_1.Config(run=run.folder))
    pd.testing.assert_frame_equal(pd.read_parquet(run.classes), expected)
    names = [f"{row}.fits" for row in range(len(catalogue))]  # a name is no answer to a question
    labels = catalogue[galaxy_zoo.IDENTITY].assign(path=names, file=names, label="spiral")
    write_parquet(run.labels, labels)
    with pytest.raises(Problem, match=r"is missing, and .*bring a Galaxy Zoo catalogue$"):
        decals_1.main(decals_1.Config(run=run.folder))
    labels.loc[0, "label"] = "smooth"
    write_parquet(run.labels, labels)
    with pytest.raises(
        Problem, match=r"is missing, and .*classify.py --run .* --label label$"
    ) as problem:
        decals_1.main(decals_1.Config(run=run.folder))
    assert "\n" not in str(problem.value)


def test_a_large_catalogue_is_cut_and_matched_within_its_memory(tmp_path):
    """A tenth of the real one; benchmarks/catalogue_scale.py measures all of it, and the time."""
    config = catalogue_scale.Config(folder=tmp_path / "run", rows=30_000, repeats=1)
    found = catalogue_scale.measure(config)
    memory = [peak for [(_, peak)] in found.values()]
    assert max(memory) < 2048
    run = Run(config.folder)
    catalogue = pd.read_parquet(run.catalogue, columns=["iauname"])
    classes, matches = pd.read_parquet(run.classes), pd.read_parquet(run.matches)
    assert len(classes) > 10_000 and len(matches) == len(classes)
    row = matches["path"].str.extract(r"(\d+).fits")[0].astype(int)  # an image's file is its row
    assert (catalogue["iauname"].to_numpy()[row] == matches["iauname"].to_numpy()).all()
