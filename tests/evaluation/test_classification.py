"""Scores with known values, and the stage that asks the seven questions."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import load_script, says_one_line
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from VAE_model.data import galaxy_zoo
from VAE_model.evaluation import calibration, classification
from VAE_model.evaluation.bootstrap import Estimate, bootstrap, weighted_auc, weighted_median
from VAE_model.evaluation.classification import Scores
from VAE_model.evaluation.pca import pixel_components, pooled_pixels
from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.tables.labels import given_split


def galaxies(count: int, answers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, labels (text) and split of galaxies, answers in equal shares."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(count) % answers)
    split = np.where(np.arange(count) % 3 == 0, "test", "train")
    return codes, np.array(list("abcdef"), object)[codes], split


def asked_of(truth: np.ndarray, classes: int, rows: np.ndarray | None = None):
    """A question whose test galaxies (their rows) have these true codes."""
    rows = np.arange(len(truth)) if rows is None else rows
    nobody, names = np.empty(0, int), tuple("abcdef"[:classes])
    return classification.Question("q", names, nobody, rows, nobody, truth, {}, {}, "")


def estimate(truth, predicted, classes, metric=classification.balanced_accuracy, **constants):
    """The score of one list of answers with its interval."""
    scores = Scores.of([asked_of(truth, classes)], {"": [predicted]}, metric, **constants)
    return scores.estimate("")


def test_a_perfect_feature_scores_one_and_a_random_one_chance():
    codes, labels, split = galaxies(600, 3)
    question = classification.set_question("q", "abc", labels, split)
    rng = np.random.default_rng(1)
    features = {"perfect": codes[:, None] * 1.0, "random": rng.normal(size=(600, 4))}
    estimates = {}
    for name, x in features.items():
        said = classification.answer(question, x, seeds=(0, 1), trees=50)
        estimates[name] = estimate(question.test_codes, said, 3)
    assert estimates["perfect"] == Estimate(1.0, 1.0, 1.0)
    assert estimates["random"].low < 1 / 3 < estimates["random"].high


def test_the_forest_never_sees_the_test_galaxies():
    _, labels, split = galaxies(300, 2)
    question = classification.set_question("q", "ab", labels, split)
    assert not set(question.train) & set(question.test)
    row_numbers = np.arange(300.0)[:, None]  # known by heart they give the label, else nothing
    said = classification.answer(question, row_numbers, seeds=(0,), trees=50)
    assert np.mean(said == question.test_codes) < 0.75


def test_the_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    confusion = classification.confusion_matrix(truth, said, 3)
    assert confusion.sum() == 200 and confusion[1, 2] == np.sum((truth == 1) & (said == 2))
    assert classification.balanced_accuracy(confusion) == pytest.approx(
        balanced_accuracy_score(truth, said)
    )
    assert classification.macro_f1(confusion) == pytest.approx(
        f1_score(truth, said, average="macro")
    )
    assert classification.accuracy(confusion) == pytest.approx(np.mean(truth == said))


def test_the_majority_answer_has_a_balanced_accuracy_of_one_over_k():
    truth = np.array([0] * 80 + [1] * 15 + [2] * 5)
    confusion = classification.confusion_matrix(truth, np.zeros_like(truth), 3)
    assert classification.balanced_accuracy(confusion) == pytest.approx(1 / 3)
    assert classification.accuracy(confusion) == pytest.approx(0.8)


def test_the_bootstrap_interval_of_a_share_is_the_binomial_one():
    truth = np.zeros(400, int)
    said = (np.arange(400) >= 300).astype(int)  # 75 % right
    found = estimate(truth, said, 2, classification.accuracy, n_bootstrap=4000)
    sigma = np.sqrt(0.75 * 0.25 / 400)
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - 1.96 * sigma, abs=0.004)
    assert found.high == pytest.approx(0.75 + 1.96 * sigma, abs=0.004)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng, covered = np.random.default_rng(3), 0
    for trial in range(300):
        truth = rng.integers(0, 2, 150)
        said = np.where(rng.random(150) < 0.8, truth, 1 - truth)
        found = estimate(truth, said, 2, n_bootstrap=400, seed=trial)
        covered += found.low <= 0.8 <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def brute_force(scores: Scores, count: int, draws: int) -> np.ndarray:
    """The mean difference of balanced accuracy, drawing galaxies one by one."""
    rng, drawn = np.random.default_rng(5), []
    for _ in range(draws):
        chosen = rng.integers(0, count, count)
        times = np.bincount(chosen, minlength=count)
        difference = 0.0
        for number, question in enumerate(scores.questions):
            repeat = np.repeat(np.arange(len(question.test)), times[question.test])
            matrices = [
                classification.confusion_matrix(
                    question.test_codes[repeat], scores.answers[key][number][repeat],
                    len(question.answers),
                )
                for key in ("before", "after")
            ]  # fmt: skip
            before, after = map(classification.balanced_accuracy, matrices)
            difference += float(after - before) / len(scores.questions)
        drawn.append(difference)
    return np.array(drawn)


def test_questions_that_share_galaxies_are_resampled_together():
    rng = np.random.default_rng(4)
    questions, answers = [], {"before": [], "after": []}
    for classes, members in ((2, np.arange(80)), (3, np.arange(40, 120))):
        truth = rng.integers(0, classes, len(members))
        for key, p in (("before", 0.4), ("after", 0.7)):
            guess = rng.integers(0, classes, len(members))
            answers[key].append(np.where(rng.random(len(members)) < p, truth, guess))
        questions.append(asked_of(truth, classes, members))
    scores = Scores.of(questions, answers, n_bootstrap=4000)
    found = scores.difference("after", "before")
    slow = brute_force(scores, 120, 2000)
    assert found.low == pytest.approx(np.percentile(slow, 2.5), abs=0.015)
    assert found.high == pytest.approx(np.percentile(slow, 97.5), abs=0.015)


def test_pairing_narrows_the_interval_and_equal_answers_differ_by_nothing():
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 300)
    before = np.where(rng.random(300) < 0.7, truth, 1 - truth)
    after = before.copy()
    after[:20] = truth[:20]
    answers = {"before": [before], "after": [after], "same": [before]}
    scores = Scores.of([asked_of(truth, 2)], answers)
    difference, alone = scores.difference("after", "before"), scores.estimate("before")
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)
    assert not difference.crosses_zero
    same = scores.difference("same", "before")
    assert same == Estimate(0.0, 0.0, 0.0) and same.crosses_zero


def test_mcnemar_is_the_exact_binomial_test():
    before = np.array([True] * 50 + [True] * 2 + [False] * 10 + [False] * 5)
    after = np.array([True] * 50 + [False] * 2 + [True] * 10 + [False] * 5)
    gained, lost, p = classification.mcnemar(before, after)
    assert (gained, lost) == (10, 2)
    assert p == pytest.approx(2 * (1 + 12 + 66) / 2**12)  # both tails of B(12, 1/2) at 2
    assert classification.mcnemar(before, before) == (0, 0, 1.0)


def test_rare_answers_and_small_questions_are_listed_without_a_score():
    labels = np.array(["a"] * 90 + ["b"] * 90 + ["c"] * 4 + [None] * 6, object)
    split = np.array(["train", "train", "test"] * 63 + ["test"], object)
    question = classification.set_question("q", "abc", labels, split)
    assert question.answers == ("a", "b") and not question.too_few
    assert question.n_train["c"] + question.n_test["c"] == 4
    assert (
        "fewer than 100"
        in classification.set_question("q", "abc", labels, split, min_test=100).too_few
    )
    nobody = classification.set_question("q", "xyz", labels, split)
    assert "fewer than 2 answers" in nobody.too_few and np.isnan(nobody.majority)


def test_components_are_those_of_the_fitted_images_whatever_the_order():
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.01, (30, 3, 16, 16)).astype(np.float32)
    images += rng.normal(0, 0.1, (30, 1, 1, 1)) * np.linspace(0, 1, 16, dtype=np.float32)
    fit, rows = np.arange(20), np.array([25, 3, 29, 0, 3])
    found = pixel_components(images, fit, rows, 2, side=8)
    pixels = pooled_pixels(images, np.arange(30), 8)
    centred = pixels - pixels[:20].mean(axis=0)
    axes = np.linalg.svd(centred[:20], full_matrices=False)[2][:2]
    expected = centred[rows] @ axes.T
    assert np.abs(found) == pytest.approx(np.abs(expected), rel=1e-2, abs=1e-2)
    assert found[1] == pytest.approx(found[4])


classify = load_script("analysis/classify.py")
QUICK = {
    "num_var": 3, "trees": 20, "seeds": (0, 1), "n_bootstrap": 200, "min_test": 5, "min_answer": 1,
    "pca_side": 16,
}  # fmt: skip


def options(**constants: object) -> list[str]:
    """Constants as a user gives them on the command line."""
    words = []
    for name, value in constants.items():
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


@pytest.fixture
def labelled_run(copy_of_tiny_run) -> Run:
    """A tiny run as far as class_latents_3.parquet, with latents that know the roundness."""
    run = copy_of_tiny_run
    catalogue = pd.read_parquet(run.catalogue)
    names = run.train_txt.read_text().split()
    ra = [float(name.split("/")[-1].split("_")[0]) for name in names]
    votes = catalogue.set_index(catalogue["ra"].round(4)).loc[np.round(ra, 4)]
    identity = votes[["iauname", "ra", "dec"]].reset_index(drop=True)
    latents = identity.assign(path=names, survey="decals")
    side = np.where(np.arange(len(names)) % 3 == 0, "test", "train")
    side = side.astype(object)
    side[1] = "validation"
    kind = votes[galaxy_zoo.fraction("how-rounded", "round")].to_numpy() > 0.5
    given = {"path": names, "shape": np.where(kind, "round", "other"), "split": side}
    write_parquet(run.labels, pd.DataFrame(given))
    latents["split"] = side
    for i, answer in enumerate(("round", "in-between", "cigar-shaped")):
        column = galaxy_zoo.fraction("how-rounded", answer)
        latents[f"mu_{i:02d}"] = votes[column].to_numpy(np.float32)
    latents["flag_gap"] = np.arange(len(names)) == 0
    write_parquet(run.latents(3), latents)
    for name, constants in (("1", {}), ("2_1", {}), ("2_2", {"num_var": 3})):
        stage = load_script(f"analysis/decals_{name}.py")
        stage.main(stage.Config(run=run.folder, **constants))
    return run


def test_the_stage_as_a_user_runs_it(labelled_run, script):
    run = labelled_run
    done = script("analysis/classify.py", run, *options(**QUICK))
    assert done.returncode == 0, done.stderr
    content = json.loads(run.classification(3).read_text())
    questions = {entry["question"]: entry for entry in content["questions"]}
    assert list(questions) == list(galaxy_zoo.questions())
    roundness = questions["how round"]
    assert roundness["latents"]["balanced_accuracy"]["value"] == 1.0
    assert np.trace(roundness["latents"]["confusion"]) == sum(roundness["n_test"].values())
    assert set(content["mean_of"]) == {n for n, q in questions.items() if "latents" in q}
    means = [
        questions[name]["latents"]["balanced_accuracy"]["value"] for name in content["mean_of"]
    ]
    assert content["mean"]["latents"]["value"] == pytest.approx(np.mean(means))
    text = run.classification(3, "md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(questions) + 1 and len({row.count("|") for row in rows}) == 1
    assert re.search(r"\| how round .*1\.000 \[1\.000, 1\.000\]", text)
    table = pd.read_csv(run.classification(3, "csv"))
    assert table["latents"].iloc[0] == 1.0
    trusted = content["calibration"]
    assert list(trusted) == ["all", *(name for name in content["mean_of"])]
    assert trusted["all"]["balanced weights"]["n"] == sum(
        of["balanced weights"]["n"] for name, of in trusted.items() if name != "all"
    )
    for name in ("classification_3.png", "confusion_3.png", "reliability_3.png"):
        assert run.figure(name).read_bytes().startswith(b"\x89PNG")
    crossing = [q["difference"]["balanced_accuracy"] for q in questions.values() if "latents" in q]
    said = [q["verdict"] for q in questions.values() if "latents" in q]
    for difference, words in zip(crossing, said, strict=True):
        assert ("crosses zero" in words) == (difference["low"] <= 0 <= difference["high"])
    assert "nothing to do" in script("analysis/classify.py", run, *options(**QUICK)).stdout


def test_flagged_images_stay_unless_asked_and_small_questions_get_no_score(labelled_run, capsys):
    run = labelled_run
    config = classify.Config(run=run.folder, **QUICK)
    classify.main(dataclasses.replace(config, drop_flagged=True))
    assert "dropped 1 of 48 galaxies" in capsys.readouterr().out
    classify.main(dataclasses.replace(config, min_test=40))
    content = json.loads(run.classification(3).read_text())
    assert "dropped" not in capsys.readouterr().out
    assert content["mean"] is None
    assert all("fewer than 40" in entry["no_score_because"] for entry in content["questions"])


def test_bad_input_gets_one_clear_line(labelled_run, script):
    run = labelled_run
    config = classify.Config(run=run.folder, **QUICK)
    with pytest.raises(Problem, match="do not divide"):
        classify.main(dataclasses.replace(config, pca_side=7))
    table = pd.read_parquet(run.class_latents(3))
    for broken, words in (
        (table.assign(path=table["path"] + "x"), "which is not in .*latents_3.parquet"),
        (table.assign(mu_01=np.nan), "not finite"),
        (table.drop(columns="bar"), "class_latents_3.parquet has no column bar"),
    ):
        write_parquet(run.class_latents(3), broken)
        with pytest.raises(Problem, match=words):
            classify.main(config)
    says_one_line(script("analysis/classify.py", run, *options(**QUICK)))


def test_the_columns_of_a_table_are_questions_too(labelled_run, script):
    run = labelled_run
    run.class_latents(3).unlink()  # no catalogue, no class, no match
    labels = pd.read_parquet(run.labels).iloc[::-1]  # joined by the path, not by the order
    labels["ring"] = np.where(np.arange(len(labels)) % 2, 1.0, 0.0)
    labels.loc[labels.index[:8], "ring"] = np.nan
    write_parquet(run.labels, labels)
    done = script("analysis/classify.py", run, *options(**QUICK, label=("shape", "ring")))
    assert done.returncode == 0, done.stderr
    content = json.loads(run.classification(3).read_text())
    shape, ring = content["questions"]
    assert (shape["question"], shape["answers"]) == ("shape", ["other", "round"])
    assert shape["latents"]["balanced_accuracy"]["value"] == 1.0
    assert sum(shape["n_test"].values()) == (labels["split"] == "test").sum()
    assert ring["answers"] == ["0", "1"]
    counted = sum(ring["n_train"].values()) + sum(ring["n_test"].values())
    assert counted == (labels["ring"].notna() & (labels["split"] != "validation")).sum()
    assert "labels.parquet" in content["labels"] and content["mean_of"] == ["shape", "ring"]
    assert "nothing to do" in script(
        "analysis/classify.py", run, *options(**QUICK, label=("shape", "ring"))
    ).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("colour", None, "has no label 'colour': it has shape"),
        ("split", None, "has no label 'split'"),
        ("one", "spiral", "one has only the value 'spiral' among the 48 images"),
        ("none", None, "none has no value among the 48 images"),
        ("many", np.arange(48) / 7, "many has 48 different values"),
    ],
)
def test_a_column_that_asks_no_question_is_refused_in_one_line(labelled_run, column, values, words):
    run = labelled_run
    if values is not None or column == "none":
        labels = pd.read_parquet(run.labels)
        write_parquet(run.labels, labels.assign(**{column: values}))
    with pytest.raises(Problem, match=words) as problem:
        classify.main(classify.Config(run=run.folder, **QUICK, label=(column,)))
    assert "\n" not in str(problem.value)


def test_a_label_of_too_few_images_gets_no_score_and_needs_no_components(labelled_run):
    run = labelled_run
    labels = pd.read_parquet(run.labels)
    write_parquet(run.labels, labels.assign(rare=np.where(np.arange(48) < 2, "a", None)))
    with pytest.raises(Problem, match="rare has only the value 'a'"):
        classify.main(classify.Config(run=run.folder, **QUICK, label=("rare",)))
    write_parquet(run.labels, labels.assign(rare=["a", "b"] + [None] * 46))
    classify.main(classify.Config(run=run.folder, **QUICK, label=("rare",)))
    content = json.loads(run.classification(3).read_text())
    assert "fewer than 2 answers" in content["questions"][0]["no_score_because"]
    assert content["mean"] is None


def test_labels_and_features_that_do_not_belong_together_are_refused(labelled_run, script):
    run = labelled_run
    labels = pd.read_parquet(run.labels)
    config = classify.Config(run=run.folder, **QUICK, label=("shape",))
    write_parquet(run.labels, labels.assign(split=labels["split"].to_numpy()[::-1]))
    with pytest.raises(Problem, match="another split than"):
        classify.main(config)
    moved = labels.assign(path="elsewhere/" + labels["path"])
    write_parquet(run.labels, moved)
    with pytest.raises(
        Problem, match=r"no row of .*labels.parquet matches an image: it names elsewhere/"
    ):
        given_split(run, labels["path"].tolist())
    write_parquet(run.labels, labels.assign(split="fold 1"))
    with pytest.raises(Problem, match="is 'fold 1', not train, validation, test"):
        classify.main(config)
    write_parquet(run.labels, pd.concat([labels, labels.iloc[:1]]))
    with pytest.raises(Problem, match="has two rows for images/decals/"):
        classify.main(config)
    for path in (run.class_latents(3), run.classes, run.labels):
        path.unlink()
    write_parquet(run.labels, labels)
    line = says_one_line(script("analysis/classify.py", run, *options(**QUICK)))
    assert "--label" in line and line.endswith("has shape)")


def test_nasty_labels_stay_text_and_in_the_run(labelled_run, script):
    run, nasty = labelled_run, ("$\\frac{$ ../../x", "<b>|`id`\n&")
    labels = pd.read_parquet(run.labels)
    labels["a/../$x$"] = np.where(np.arange(len(labels)) % 2, *nasty)
    write_parquet(run.labels, labels)
    done = script("analysis/classify.py", run, *options(**QUICK, label=("a/../$x$",)))
    assert done.returncode == 0, done.stderr
    assert run.classification(3, "md").read_text().count("\\frac") >= 1
    assert not list(run.folder.parent.rglob("x*"))


def forecast(said: np.ndarray, right: np.ndarray) -> calibration.Forecast:
    return calibration.Forecast(np.arange(len(said)), said, right, np.zeros(len(said)))


def test_probabilities_that_are_right_have_the_error_of_luck_and_bold_ones_more():
    rng = np.random.default_rng(0)
    said = rng.uniform(0.5, 1, 2000)
    right = rng.random(2000) < said
    honest = calibration.as_values(forecast(said, right))
    assert honest["calibration_error"] < honest["if_calibrated"]["high"] < 0.05
    assert all(line["low"] <= line["accuracy"] <= line["high"] for line in honest["bins"])
    assert sum(line["n"] for line in honest["bins"]) == 2000
    bold = calibration.as_values(forecast(np.minimum(said + 0.1, 1), right))
    assert bold["calibration_error"] == pytest.approx(0.09, abs=0.02)
    assert bold["calibration_error"] > bold["if_calibrated"]["high"]
    assert calibration.calibration_error(np.full(10, 0.8), np.arange(10) < 8) == pytest.approx(0)


def test_a_balanced_probability_is_brought_to_the_shares_by_the_rule_of_bayes():
    found = calibration.correct_for_shares(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([0.2, 0.8]))
    assert found == pytest.approx(np.array([[0.2, 0.8], [0.18 / 0.26, 0.08 / 0.26]]))


def test_the_brier_score_of_the_base_rate_is_that_of_the_shares():
    truth = np.array([0] * 30 + [1] * 70)
    made = calibration.Forecast.of(np.arange(100), np.tile([0.3, 0.7], (100, 1)), truth)
    assert made.brier.mean() == pytest.approx(2 * 0.3 * 0.7)
    assert made.confidence == pytest.approx(np.full(100, 0.7)) and made.correct.mean() == 0.7


def test_a_bootstrap_in_blocks_is_that_of_one_block(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap(lambda w: w @ values / w.sum(axis=1), 50, 200)
    monkeypatch.setattr("VAE_model.evaluation.bootstrap._BLOCK", 50 * 7)
    blocks = bootstrap(lambda w: w @ values / w.sum(axis=1), 50, 200)
    assert blocks == pytest.approx(whole, rel=1e-12)
    assert len(whole) == 201 and whole[0] == pytest.approx(values.mean())
    assert whole[1:].std() == pytest.approx(values.std() / 50**0.5, rel=0.2)


@pytest.mark.parametrize("count", [7, 8])
def test_weighted_measures_are_those_of_the_repeated_values(count):
    rng = np.random.default_rng(count)
    values, positive = rng.integers(0, 4, count).astype(float), np.arange(count) % 2 == 0
    weights = rng.multinomial(count, np.full(count, 1 / count), 30).astype(float) + 0
    repeated = [np.repeat(np.arange(count), w.astype(int)) for w in weights]
    expected = [np.median(values[rows]) for rows in repeated]
    assert weighted_median(values, weights).tolist() == expected
    weights += 1  # both classes in every resample
    repeated = [np.repeat(np.arange(count), w.astype(int)) for w in weights]
    expected = [roc_auc_score(positive[rows], values[rows]) for rows in repeated]
    assert weighted_auc(values, positive, weights) == pytest.approx(expected)
