"""Features of another program take the place of the latents, and the latents' results stay."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import load_script, run_script, says_one_line, succeeded
from latents_of_tiny_run import DEFECTS, NUM_VAR, with_latents

from VAE_model import neighbours, read_latents
from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.evaluation.classification import set_question
from VAE_model.evaluation.rival_scores import (
    THEIRS,
    Rivals,
    mean_of_classes,
    of_neighbours,
    of_outliers,
    of_retrieval,
)
from VAE_model.extraction.features import (
    Space,
    choose_columns,
    complete,
    import_features,
    key_of,
    match_rows,
    space_of,
)
from VAE_model.pipeline.files import sha256
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.report.run_outputs import RunOutputs

SMALL = ("--min-test", "5", "--min-answer", "2", "--trees", "20", "--n-bootstrap", "20")
MORPHOLOGY = "analysis/measure_morphology.py"
SCRIPTS = {
    "analysis/similar.py": ("--sample", "4", "--count", "3"),
    "analysis/decals_3.py": (),
    "analysis/map.py": (),
    "analysis/decals_4.py": (),
    "analysis/classify.py": (*SMALL, "--seeds", "0"),
    "analysis/score_features.py": ("--num-var", str(NUM_VAR), *SMALL, "--forests", "1"),
}


@pytest.fixture(scope="module")
def run(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny run with latents, and classes that are matched to its images."""
    made = with_latents(tiny_run, tmp_path_factory.mktemp("features") / "run")
    for name in ("analysis/decals_1.py", "analysis/decals_2_1.py"):
        stage = load_script(name)
        stage.main(stage.Config(run=made.folder))
    return made


@pytest.fixture(scope="module")
def own(run: Run) -> Path:
    """A table with the latents of the run, each scaled and shifted, in another order.

    Its last two galaxies of the train split are left out, and one more lacks a value.
    """
    table, latents = read_latents(run, NUM_VAR)
    features = pd.DataFrame(latents.astype(float), columns=[f"feat_{i}" for i in range(NUM_VAR)])
    features = features * np.arange(1, NUM_VAR + 1) + 7
    made = pd.concat([table[["iauname"]], features], axis=1).assign(other=1.5, feat_words="a")
    train = np.flatnonzero(table["split"] == "train")
    made.loc[train[-3], "feat_1"] = np.nan
    path = run.folder.parent / "own table.csv"
    made.drop(index=train[-2:]).sample(frac=1, random_state=1).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def outputs(run: Run, own: Path) -> dict[str, str]:
    """The lines that each script prints as a user runs it with the features."""
    (run.folder / "before.json").write_text(json.dumps(hashes(run)))
    words = ("--features", str(own), "--columns", "feat_*")
    return {
        script: succeeded(run_script(script, run, *words, *more)).stdout
        for script, more in SCRIPTS.items()
    }


def hashes(run: Run) -> dict[str, str]:
    paths = [*run.result("").glob("*"), *run.figure("").glob("*")]
    return {str(path): sha256(path) for path in paths}


def index_of(count: int) -> pd.DataFrame:
    """The images of a run as match_rows reads them, a degree apart."""
    return pd.DataFrame(
        {
            "path": [f"images/decals/g{i}.fits" for i in range(count)],
            "iauname": [f"J{i}" for i in range(count)],
            "ra": np.arange(count, dtype=float), "dec": 1.0,
        }
    )  # fmt: skip


# ---- the table


def test_rows_are_found_by_name_or_position_in_any_order(capsys):
    index, path = index_of(4), Path("t.csv")
    rows = [2, -1, 0, 1]  # of images 0 to 3
    for table in (
        pd.DataFrame({"file": ["g2", "g3.fits", "g0.fits"]}),
        pd.DataFrame({"path": ["images/decals/g2.fits", "decals/g3.fits", "g0.fits"]}),
        pd.DataFrame({"iauname": ["J2", "J3", "J0"]}),
        pd.DataFrame({"id": ["7", "8", "9"], "ra": [2.0, 3 + 0.5 / 3600, 0.0], "dec": [1.0] * 3}),
    ):
        assert match_rows(table, index, path).tolist() == rows
        printed = capsys.readouterr().out
        assert "kept 3 of 4" in printed and "dropped 1: not in t.csv; 0 rows" in printed
    assert "no name is that of an image; positions are compared" in printed
    far = pd.DataFrame({"ra": [0.0, 1 + 1.5 / 3600], "dec": [1.0, 1.0]})
    assert match_rows(far, index, path).tolist() == [0, -1, -1, -1]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"file": ["g1", "g1.fits"]}, "rows 2 and 1 of the table name it: one row per image"),
        ({"iauname": ["J1", "J2", "J1"]}, r"duplicate iauname \(first: J1\): leave one row"),
        ({"ra": [1.0, 1.0], "dec": [1.0, 1.0]}, r"several rows at 1.00000 \+1.00000"),
        ({"ra": [1.01], "dec": [1.0]}, "within 1 arcsec of an image .the nearest is 35.99 arcsec"),
        ({"iauname": ["J9"]}, "no row of t.csv matches an image"),
        ({"gini": [0.5]}, "neither names nor positions: add a column iauname"),
    ],
)
def test_ambiguous_rows_and_other_galaxies_are_refused(table: dict, words: str):
    with pytest.raises(Problem, match=words):
        match_rows(pd.DataFrame(table), index_of(4), Path("t.csv"))


def test_columns_that_are_no_features_are_left_out_and_named(capsys):
    table = pd.DataFrame(
        {
            "iauname": ["a", "b", "c"], "ra": 1.0, "dec": 1.0, "x": 1.0, "e_gini": 1.0,
            "gini": [0.4, -99, -99], "gini_err": 1.0, "flag_sersic": 0, "TARGETID": 1, "id_str": 1,
            "sersic_index": 2.0, "m20": 1.0, "rhalf_ellip": 1.0, "petroRad": 2.0, "kind": "spiral",
            "barred": [True, False, True],
        }
    )  # fmt: skip
    path = Path("t.csv")
    expected = ["gini", "sersic_index", "m20", "rhalf_ellip", "petroRad"]
    assert choose_columns(table, [], path) == expected
    printed = capsys.readouterr().out
    for line in (
        "(text or logical): iauname, kind, barred", "(position): ra, dec, x",
        "(error): e_gini, gini_err", "(flag): flag_sersic", "(identity): TARGETID, id_str",
        "gini is -99 in 2 rows",
    ):  # fmt: skip
        assert line in printed
    assert choose_columns(table, ["m20", "gini*", "m20"], path) == ["m20", "gini", "gini_err"]
    assert choose_columns(table, ["barred", "*i*d*"], path)[0] == "barred"
    for wanted, words in (
        (["gini", "size_*"], "has no column size_*: it has iauname"),
        (["kind"], "kind holds .'spiral'., and a feature is a number"),
    ):
        with pytest.raises(Problem, match=words.replace("_*", r"_\*")):
            choose_columns(table, wanted, path)
    with pytest.raises(Problem, match="no column of numbers that may be a feature"):
        choose_columns(table[["iauname", "ra", "dec"]], [], path)


def test_features_are_scaled_on_the_train_split_and_rows_with_gaps_left_out(capsys):
    values = np.array([[1, 5, 0], [2, 5, 0], [3, 5, 9], [np.nan, 5, 0], [80, 6, 0], [5, 5, 0]])
    split = np.array(["train", "train", "train", "train", "test", "test"])
    matched = np.array([True, True, True, True, True, False])
    own, names, scaled = complete(["a", "b", "c"], values, split, matched, Path("t.csv"))
    assert own.tolist() == [0, 1, 2, 4] and names == ["a", "c"]
    assert scaled[:, 0] == pytest.approx((np.array([1, 2, 3, 80]) - 2) / 1.4826)
    assert scaled[:, 1] == pytest.approx(np.array([0, 0, 9, 0]) / np.std([0, 0, 9]))
    printed = capsys.readouterr().out
    assert "missing values: a 1; left out: the 1 of 5 images" in printed
    assert "constant in the train split): b" in printed
    values[1:, 0] = np.nan
    with pytest.raises(Problem, match=r"1 images of the train split have all .*for instance a"):
        complete(["a", "b", "c"], values, split, matched, Path("t.csv"))


def test_the_name_of_a_table_is_never_a_number_of_latents():
    names = {"a/statmorph.parquet": "statmorph", "40.csv": "features-40", "zoobot_640.v2.fits":
             "zoobot-640", "é.csv": "features-", "map_40": "map-40"}  # fmt: skip
    assert {name: key_of(Path(name)) for name in names} == names


def test_what_cannot_be_done_with_a_table_is_one_line(run: Run, own: Path, tmp_path: Path):
    with pytest.raises(Problem, match="--columns names columns of a table"):
        space_of(run, 40, None, ["gini"])
    other = tmp_path / "elsewhere.csv"
    pd.DataFrame({"ra": [1.0], "dec": [80.0], "gini": [0.5]}).to_csv(other)
    with pytest.raises(Problem, match=r"no row of .*elsewhere.csv lies within 1 arcsec"):
        import_features(run, other, [])
    with pytest.raises(Problem, match=r"latents_statmorph.parquet is missing: run python data/"):
        read_latents(run, "statmorph")
    new, picture = own.with_name("new.csv"), tmp_path / "a.jpg"
    new.write_bytes(own.read_bytes())
    picture.touch()
    words = "--features", str(new), "--columns", "feat_*"
    line = says_one_line(run_script("analysis/similar.py", run, *words, "--query", str(picture)))
    assert "is no image of the run: its features are not in the table" in line
    line = says_one_line(run_script("analysis/map.py", run, *words))
    assert f"decals_3.py --run {run.folder} --features {new} --columns 'feat_*'" in line


# ---- the scripts


def test_the_scripts_work_on_features_and_leave_the_latents_alone(run: Run, outputs, capsys):
    before = json.loads((run.folder / "before.json").read_text())
    after = hashes(run)
    assert {path: after[path] for path in before} == before
    stem = "own-table"
    made = {Path(p).name for p in after.keys() - before.keys() if not p.endswith(".json")}
    assert all(stem in name for name in made)
    assert {
        f"similar_{stem}.parquet",
        f"map_{stem}.html",
        f"outliers_{stem}.html",
        f"classification_{stem}.md",
        f"pca_pairs_{stem}.png",
        f"score_{stem}.md",
    } <= made
    first, *others = outputs.values()
    assert "5 columns are the features" in first and "(text): feat_words" in first
    assert "kept 46 of 48 rows of train.txt" in first and "missing values: feat_1 1" in first
    assert all("data/import_features.py: nothing to do" in text for text in others)
    for page in (run.map_page(stem), run.outliers_page(stem)):
        text = page.read_text(encoding="utf-8")
        assert f"{NUM_VAR} features of {stem}" in text and "latent variables" not in text
    assert (
        f"| question | train galaxies | test galaxies | majority class | PCA-{NUM_VAR} "
        f"| {stem}-{NUM_VAR} |" in run.classification(stem, "md").read_text()
    )
    shown = RunOutputs.of(run, 40).records
    assert not [path for path in shown if stem in path.name]


def test_the_features_are_the_run_s_own_latents_up_to_scale(run: Run, outputs):
    stem = "own-table"
    table, latents = read_latents(run, NUM_VAR)
    ours = table.set_index("path")
    theirs, values = read_latents(run, stem)
    assert len(theirs) == 45 and values.shape == (45, NUM_VAR)
    plain = pd.DataFrame(latents, table["path"]).loc[theirs["path"]].to_numpy()
    train = plain[(theirs["split"] == "train").to_numpy()]
    centre = np.median(train, axis=0)
    scale = 1.4826 * np.median(np.abs(train - centre), axis=0)
    assert values == pytest.approx((plain - centre) / scale, rel=1e-4, abs=1e-4)
    assert theirs["flag_gap"].tolist() == ours["flag_gap"].loc[theirs["path"]].tolist()
    found = pd.read_parquet(run.similar(stem))
    apart = np.sqrt(np.square(values[:, None] - values).mean(axis=2))
    broken = theirs.filter(regex="^flag_").any(axis=1).to_numpy()
    apart[:, broken] = np.inf
    np.fill_diagonal(apart, np.inf)
    rows = pd.Index(theirs["path"]).get_indexer(found["path"])
    nearest = np.sort(apart, axis=1)[rows, found["order"] - 1]
    assert found["distance"].to_numpy() == pytest.approx(nearest, rel=1e-4)
    name = found["iauname"][0]
    near = neighbours(run, name, count=3, num_var=stem)
    assert near["iauname"].tolist() == found["similar_iauname"][:3].tolist()
    ranked = pd.read_parquet(run.outliers(stem))
    assert ranked["residual"].isna().all() and sorted(ranked["rank"]) == list(range(1, 46))
    assert set(ranked["kind"]) <= {"broken", "suspect", "rare", "ordinary"}


def test_the_latents_as_features_score_as_the_latents_do(run: Run, outputs):
    content = json.loads(run.result("score_own-table.json").read_text())
    assert content["images"] == 45 and content["lacking"] == 3
    records = content["records"]
    of = {name: [r for r in records if r["measure"].startswith(name)] for name in
          ("balanced", "macro", "same answer", "AUC", "precision")}  # fmt: skip
    assert all(of.values()) and sum(map(len, of.values())) == len(records)
    for record in of["balanced"] + of["macro"]:
        assert record["features"] == pytest.approx(record["latents"])
        assert set(record["minus_latents"].values()) == {0.0}
    assert {record["by"] for record in of["balanced"]} == {"forest", "logistic"}
    for record in of["AUC"] + of["precision"]:
        assert record["n"] == 45 and record["question"] == f"{len(DEFECTS)} injected defects"
    assert "retrieval: no score, no galaxy has two images" in outputs["analysis/score_features.py"]
    table = run.result("score_own-table.md").read_text()
    assert "| own-table-5 | latents-5 | PCA-5 | own-table − latents |" in table
    assert "45 images for all rivals; 3 others lack features" in table
    csv = pd.read_csv(run.result("score_own-table.csv"))
    assert len(csv) == len(records) and "minus_pca_low" in csv


def test_a_table_that_changes_is_imported_again(run: Run, own: Path, outputs, capsys):
    table = pd.read_csv(own)
    copy = own.with_name("again.csv")
    for scale, done in ((1.0, "wrote"), (1.0, "nothing to do"), (-1.0, "wrote")):
        table.assign(feat_0=scale * table["feat_0"]).to_csv(copy, index=False)
        assert space_of(run, 40, copy, ["feat_?"]) == Space(run, "again")
        assert f"data/import_features.py: {done}" in capsys.readouterr().out
    assert Space(run, "again").words == f"{NUM_VAR} features of again"


def test_the_page_has_the_commands_of_the_scripts():
    page = (ROOT / "docs" / "FEATURES.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python (\S+)( --features \S+)?$", page, re.MULTILINE)
    table = " --features data/demo/result/statmorph.parquet"
    assert dict(commands) == {script: table for script in SCRIPTS} | {MORPHOLOGY: ""}


def test_an_interrupted_measurement_resumes(run: Run, monkeypatch, capsys):
    stage, seen = load_script(MORPHOLOGY), []

    def measured(folder: Path, row: int) -> list[float]:
        assert folder == run.folder
        if row == 25 and 25 not in seen:
            seen.append(row)
            raise KeyboardInterrupt
        seen.append(row)
        return [row, -99.0, *np.full(len(stage.PARAMETERS) - 2, 0.5)]

    monkeypatch.setattr(stage, "measure", measured)
    monkeypatch.setattr(stage, "check_installed", lambda: None)
    monkeypatch.setattr(stage, "PART", 20)
    config = stage.Config(run=run.folder)
    with pytest.raises(KeyboardInterrupt):
        stage.main(config)
    stage.main(config)
    assert seen == [*range(26), *range(20, 48)]
    table = pd.read_parquet(run.result("statmorph.parquet"))
    assert table["path"].tolist() == read_latents(run, NUM_VAR)[0]["path"].tolist()
    assert table["gini"].tolist() == list(range(48)) and table["m20"].isna().all()
    assert "48 of them lack a parameter: m20 48" in capsys.readouterr().out
    assert not list(run.result("").glob(".statmorph*"))


# ---- the scores


def rivals_of(table: pd.DataFrame, good: np.ndarray, bad: np.ndarray) -> Rivals:
    numbers = {THEIRS: good, "latents": bad, "pca": bad}
    return Rivals(table, numbers, numbers, n_bootstrap=50)


def test_scores_of_perfect_and_random_features():
    rng = np.random.default_rng(0)
    count = 120
    kind = np.arange(count) % 2
    split = np.where(np.arange(count) < 80, "train", "test")
    pairs = np.arange(count) // 4  # of four images, two share a position
    table = pd.DataFrame({"split": split, "ra": 10.0 + np.arange(count) // 2 * 0.1, "dec": 0.0})
    random = rng.normal(size=(count, 3)).astype(np.float32)
    perfect = 0.01 * random + np.stack([5 * kind, 0 * kind, 0 * kind], axis=1)
    rivals = rivals_of(table, perfect.astype(np.float32), random)
    question = set_question("kind", ["0", "1"], kind.astype(str), split, min_test=5)
    (record,) = of_neighbours(rivals, [question], 5)
    assert record["features"] == Estimate(1, 1, 1) and record["n"] == 40
    assert 0.3 < record["latents"].value < 0.7 and record["minus_latents"].low > 0
    bad = np.arange(count) % 17 == 3
    far = random + 20 * bad[:, None].astype(np.float32)
    area, precision = of_outliers(rivals_of(table, far, random), bad)
    assert area["features"] == Estimate(1, 1, 1) and precision["features"].value == 1
    assert area["latents"].value < 0.9 and precision["chance"] == pytest.approx(bad.mean())
    assert of_outliers(rivals, np.zeros(count, bool)) == []
    same = np.repeat(random[::2], 2, axis=0) + 1e-3 * random
    (recall,) = of_retrieval(rivals_of(table, same, random), 1.0)
    assert recall["features"] == Estimate(1, 1, 1) and recall["n"] == 60 == 2 * len(set(pairs))
    assert recall["latents"].value < 0.2 and recall["chance"] == pytest.approx(1 / 119)
    assert of_retrieval(rivals_of(table.assign(ra=np.arange(count)), same, random), 1.0) == []


def test_every_class_counts_the_same():
    weights = np.array([[1, 1, 1, 1], [0, 0, 0, 2], [2, 0, 1, 1]])
    found = mean_of_classes(weights, np.array([1, 0, 0, 1.0]), np.array([0, 0, 0, 2]))
    assert found == pytest.approx([(1 / 3 + 1) / 2, 1, (2 / 3 + 1) / 2])
