"""Claims about the protocol of real galaxies: its scores, its splits, and the command itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ENVIRONMENT, draw_galaxy
from PIL import Image
from scipy.stats import spearmanr

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.pipeline.run import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import experts, real, real_page, real_sets

REAL = Path(os.environ.get("GALAXY_VAE_REAL") or ROOT.parent / "shared" / "real")
RIVALS = ("pixels", "default", "untrained", "resnet")
IMAGES = 80  # of each set, more than principal components


def attribute(values: list[float], low: list[float], high: list[float]) -> experts.Attribute:
    rows = np.arange(len(values))
    each = (np.array(of, float) for of in (values, low, high))
    return experts.Attribute("Bar_Length", 0.25, *each, train=rows, test=rows)


def test_correlation_is_that_of_scipy_with_ties_and_repeated_galaxies():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 200) / 4, rng.standard_normal(200)
    second += first
    weights = np.concatenate([np.ones((1, 200)), rng.multinomial(200, np.full(200, 1 / 200), 3)])
    found = experts.weighted_spearman(first, second, weights.astype(float))
    expected = [
        spearmanr(*(np.repeat(of, weight.astype(int)) for of in (first, second))).statistic
        for weight in weights
    ]
    assert found == pytest.approx(expected)


def test_constant_prediction_has_no_correlation():
    one = np.ones(5)
    assert experts.weighted_spearman(one, np.arange(5.0), np.ones((1, 5))) == [0]


def test_prediction_is_within_limits_on_the_experts_scale():
    """Limits are often equal to the value: a prediction within half a step agrees with it."""
    asked = attribute([0.5] * 5, [0.5, 0.5, 0.25, 0.25, 0.5], [0.5, 0.5, 0.75, 0.75, 0.75])
    predicted = np.array([0.6, 0.65, 0.15, 0.10, 0.87])
    assert experts.within_limits(asked, predicted).tolist() == [True, False, True, False, True]
    assert experts.within_limits(asked, asked.median).all()


def test_undetermined_attributes_are_left_out_and_the_stage_of_minus_one_stays():
    names = (experts.STAGE, *experts.ATTRIBUTES)
    table = pd.DataFrame(
        {f"{name}{end}": [-1.0, 0.5, 0.0] for name in names for end in ("", "_inf", "_sup")}
    )
    stage, *others = experts.read_attributes(table, np.array([True, True, False]))
    assert stage.test.tolist() == [0, 1] and stage.step == 1
    assert len(others) == 16
    assert all(one.test.tolist() == [1] and one.train.tolist() == [2] for one in others)


def test_scores_of_a_perfect_and_of_a_useless_prediction():
    rng = np.random.default_rng(0)
    values = (rng.integers(0, 5, 300) / 4).tolist()
    asked = attribute(values, values, values)
    perfect, useless = (
        experts.draws_of([asked], [of], 200) for of in (np.array(values), rng.random(300))
    )
    assert (perfect["spearman"] == pytest.approx(1)) and (perfect["within"] == 1).all()
    of = Estimate.of(useless["spearman"][:, 0])
    assert of.crosses_zero
    assert of.high - of.low == pytest.approx(2 * 1.96 / np.sqrt(299), rel=0.2)


def test_forest_and_ridge_find_a_linear_value():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 6))
    value = np.clip(np.round(2 + features[:, 0] + features[:, 1]) / 4, 0, 1)
    train, test = np.arange(300), np.arange(300, 400)
    asked = experts.Attribute("Inclination", 0.25, value, value, value, train, test)
    found = experts.regress(asked, features, 0, 100)
    for predicted in found.values():
        assert spearmanr(predicted, value[test]).statistic > 0.85


def test_an_image_of_several_surveys_or_questions_is_on_one_side():
    smooth = "Is the galaxy simply smooth and rounded, with no sign of a disk?"
    centre = "Is the galaxy in the centre of the image simply smooth and rounded, or ...?"
    bar = "Is there any sign of a bar feature through the centre of the galaxy?"
    rows = pd.DataFrame(
        [
            ("both.jpg", "gama", bar, "Bar"),
            ("both.jpg", "decals", bar, "Bar"),
            ("both.jpg", "gama", smooth, "Features or disk"),
            ("sdss.jpg", "sloan", smooth, "Star or artifact"),
            ("gama.jpg", "gama", centre, "Features"),
            ("ukidss.jpg", "ukidss", "Is there anything odd?", "Yes"),
        ],
        columns=["file", "survey", "question", "answer"],
    )
    table = real_sets.examples_table(rows).set_index("file")
    assert table["split"].to_dict() == {
        "both.jpg": "train", "sdss.jpg": "train", "gama.jpg": "test", "ukidss.jpg": "test",
    }  # fmt: skip
    assert table["smooth"].dropna().to_dict() == {"both.jpg": "featured", "gama.jpg": "featured"}
    assert table["bar"].dropna().to_dict() == {"both.jpg": "bar"}
    rows.loc[0, "answer"] = "No bar"
    with pytest.raises(ValueError):
        real_sets.examples_table(rows)


def test_slow_rivals_come_last_one_seed_after_the_other():
    config = real.Config(sets=("a", "b"), rivals=("resnet", "pixels"), seeds=(0, 1))
    assert list(real.todo(config)) == [
        *(("a", "pixels", 0), ("a", "pixels", 1), ("b", "pixels", 0), ("b", "pixels", 1)),
        *(("a", "resnet", 0), ("b", "resnet", 0), ("a", "resnet", 1), ("b", "resnet", 1)),
    ]


# ---- the command


def run_real(folder: Path, source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/protocol/real.py"), "--real", str(source),
         "--folder", str(folder / "runs"), "--results", str(folder / "results"), "--seeds", "0",
         "--min-test", "4", "--trees", "20", "--n-bootstrap", "50", "--quick", *arguments],
        capture_output=True, text=True, timeout=1200, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def drawn_rings(folder: Path) -> None:
    """Draw a set like gzdecals_ring, of two kinds of galaxies that are easy to tell apart."""
    rng, images = np.random.default_rng(0), folder / "gzdecals_ring" / "images"
    images.mkdir(parents=True)
    rows = []
    for number in range(64):
        kind = ("round", "edge-on")[number % 2]
        flux = np.clip(draw_galaxy(kind, rng.uniform(0, np.pi), rng)[::-1] * 400 + 12, 0, 255)
        name = f"g{number:02d}.png"
        Image.fromarray(flux.astype(np.uint8).transpose(1, 2, 0)).save(images / name)
        rows.append((name, number % 2, "test" if number % 4 > 1 and number < 40 else "train"))
    table = pd.DataFrame(rows, columns=["file", "ring", "split"])
    table.to_csv(images.parent / "labels.csv", index=False)


def test_command_goes_from_images_to_a_table_and_resumes(tmp_path, monkeypatch):
    drawn_rings(tmp_path / "real")
    ring = ("--sets", "gzdecals_ring", "--rivals", "pixels", "default")
    done = run_real(tmp_path, tmp_path / "real", *ring)
    assert "| **default network** | forest |" in done.stdout
    results = tmp_path / "results" / "gzdecals_ring"
    kept, about = (
        json.loads((results / name).read_text()) for name in ("default_0.json", "set.json")
    )
    said, truth = kept["heads"]["forest"]["ring"], about["questions"]["ring"]["truth"]
    assert len(truth) == 20
    assert np.mean([one == other for one, other in zip(said, truth, strict=True)]) > 0.9

    pixels = results / "pixels_0.json"
    path, other = results / "default_0.json", {**kept, "code": "of another version"}
    path.write_text(json.dumps(other))
    pixels.write_text(json.dumps({**json.loads(pixels.read_text()), "minutes": 12.3}))
    config = real.Config(
        results=results.parent, seeds=(0,), trees=20, n_bootstrap=50, quick=True,
        sets=("gzdecals_ring",), rivals=("pixels", "default"),
    )  # fmt: skip
    given = results.parent, (0,), 50
    page = real_page.page(*given)
    assert "1 seed)† |" in page and "measured by another version" in page and "| 12.3 |" in page

    opened = real_sets.open_set(tmp_path / "real", tmp_path / "runs", "gzdecals_ring", 4)
    monkeypatch.setattr(real, "open_set", lambda *_: opened)
    measured = []
    monkeypatch.setattr(real, "measure", lambda of, rival, *_: measured.append(rival) or kept)
    monkeypatch.setattr(real.given, "accept", True)
    real.measure_all(config)
    assert not measured and "†" not in real_page.page(*given)
    path.write_text(json.dumps(other))
    monkeypatch.setattr(real.given, "accept", False)
    real.measure_all(config)
    assert measured == ["default"] and "†" not in real_page.page(*given)


def few_of(name: str, folder: Path) -> None:
    """Copy some images of a real set, and their rows."""
    table = pd.read_csv(REAL / name / "labels.csv")
    files = np.random.default_rng(0).permutation(table["file"].unique())
    if name == "gz_examples":  # those of the four questions first
        wordings = "|".join(wording for wording, _ in real_sets.EXAMPLE_QUESTIONS.values())
        asked = set(table.loc[table["question"].str.contains(wordings), "file"])
        files = np.array(sorted(files, key=lambda file: file not in asked))
    files = files[: 2 * IMAGES if name == "gz_examples" else IMAGES]
    (folder / name / "images").mkdir(parents=True)
    for file in files:
        shutil.copy(REAL / name / "images" / file, folder / name / "images" / file)
    few = table[table["file"].isin(files)]
    if "ring" in few:  # so few have too small a test split by position
        few = few.assign(split=np.where(np.arange(len(few)) % 3, "train", "test"))
    few.to_csv(folder / name / "labels.csv", index=False)


@pytest.mark.long
@pytest.mark.skipif(
    not (REAL / "efigi").is_dir(),
    reason="real sets are absent: set GALAXY_VAE_REAL to the folder that holds efigi/",
)
def test_every_real_set_gets_its_rows(tmp_path):
    for name in real.SETS:
        few_of(name, tmp_path / "real")
    done = run_real(tmp_path, tmp_path / "real", "--rivals", *RIVALS)
    heads = {
        path.parent.name: set(json.loads(path.read_text()).get("heads", ()))
        for path in (tmp_path / "results").glob("*/default_0.json")
    }
    two = {"forest", "logistic"}
    assert heads == {
        "gz2_spiral": two, "gzdecals_ring": two, "gz_examples": two,
        "efigi": {"forest", "linear"}, "gz2_defect": set(),
    }  # fmt: skip
    first, *details = done.stdout[done.stdout.index("| numbers |") :].split("\n## ")
    assert [line.split("|")[1].strip() for line in first.splitlines()[2:6]] == [
        "**default network**", "default network, untrained", "PCA-40 of the pixels",
        "ResNet-18, supervised",
    ]  # fmt: skip
    assert "Trained minus untrained: gz2_spiral, forest" in first
    assert [part.split("\n")[0] for part in details] == list(real.SETS)
    assert "| Bar Length |" in details[1] and "| distance in the latents |" in details[4]
