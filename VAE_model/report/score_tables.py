"""The scores of a run as its report shows them: the forest beside PCA, and each dimension."""

from typing import Any

from VAE_model.report.page import Html, details, element, facts, join, table
from VAE_model.report.run_outputs import Material

_MEAN = ("before", "after", "difference")  # PCA, latents, and the one minus the other
_MEASURES = {  # of a dimension: their names in the table
    "num_var": "latents",
    "validation_loss": "−ELBO",
    "active": "active latents",
    "mse": "squared error",
    "ssim": "SSIM",
    "forest": "forest, balanced accuracy",
}


def classification(material: Material) -> list[Html]:
    content = material.json(material.run.classification(material.num_var))
    questions = {q["question"]: q for q in content.get("questions", [])}
    rows: list[tuple[object, ...]] = []
    for name, q in questions.items():
        tested = sum(q["n_test"].values())
        if "latents" not in q:
            rows.append((name, tested, "–", "–", "–", "–", q["no_score_because"]))
            continue
        scores = [q[of]["balanced_accuracy"] for of in ("pca", "latents", "difference")]
        shown = [in_two_lines(score, sign=i == 2) for i, score in enumerate(scores)]
        accuracy = element("small", f"accuracy {q['majority']:.3f}")
        majority = join([f"{1 / len(q['answers']):.3f}", accuracy])
        p = q["mcnemar"]["p"]
        p = element("small", f"p = {p:.2g}" if p >= 0.001 else "p < 0.001")
        rows.append((name, tested, majority, *shown, join([_verdict(q), p])))
    mean = content.get("mean")
    if mean:
        shown = [in_two_lines(mean[of], sign=of == "difference") for of in _MEAN]
        name = f"mean of {len(content['mean_of'])}"
        rows.append((name, "–", "–", *shown, _verdict(mean)))
    if not rows:
        return []
    n = content.get("dimension", material.num_var)
    head = ["question", "test galaxies", "majority", f"PCA-{n}", f"latents-{n}", "latents − PCA",
            "verdict"]  # fmt: skip
    words = (
        "Balanced accuracy on test galaxies, with 95 % intervals of resampled test galaxies. "
        "Majority: always the commonest answer; small, how often that is right. The difference is "
        "paired on the same galaxies; undecided: its interval crosses zero. p: McNemar's test of "
        "how many galaxies are answered rightly; common answers rule it, so it need not agree."
    )
    labels = element("p", f"Labels: {content.get('labels', 'unknown')}.", class_="notice")
    everything = details("Every number of each question", *facts(questions))
    asked = table(head, rows, words, total=bool(mean))
    return [labels, asked, *reliability(content), everything]


def reliability(content: dict[str, Any]) -> list[Html]:
    """Of the forest's probabilities; none where a run has none yet."""
    found = content.get("reliability", {})
    kinds = {
        "as grown": "as grown",
        "at the train shares": "train shares",
        "base rate": "base rate",
    }
    rows: list[tuple[object, ...]] = []
    for name, of in found.items():
        cells: list[object] = []
        for kind in kinds:
            luck = element("small", f"by luck {of[kind]['by_luck']['high']:.3f}")
            cells.append(join([f"{of[kind]['calibration_error']:.3f}", luck]))
        cells += [in_two_lines(of[kind]["brier"]) for kind in kinds]
        rows.append((name, of["as grown"]["n"], *cells))
    if not rows:
        return []
    means = [of.get("mean_error") for of in found.get("all", {}).values()]
    if means:
        shown = (f"{mean:.3f}" for mean in means)
        rows.append((f"mean of {len(rows) - 1}", "–", *shown, "–", "–", "–"))
    head = ["question", "test galaxies", *(f"error, {kind}" for kind in kinds.values()),
            *(f"Brier, {kind}" for kind in kinds.values())]  # fmt: skip
    words = (
        "Do the forest's probabilities mean what they say? Error: the calibration error, the gap "
        "between the probability of its answer and how often that is right, in ten bins; by luck: "
        "below which probabilities that are exactly right stay in 95 % of draws. Brier: squared "
        "distance from the truth, 0 to 2, less is better, with 95 % intervals. As grown: with "
        "balanced class weights; train shares: brought to the training galaxies' shares of the "
        "answers; base rate: these shares alone, calibrated and telling nothing. In all together "
        "errors of opposite sign cancel."
    )
    return [table(head, rows, words, total=bool(means))]


def _verdict(of: dict[str, Any]) -> str:
    return str(of.get("verdict", "")).split(":")[0]


def estimate(of: dict[str, float], sign: bool = False) -> str:
    """A value and its 95 % interval: 0.712 [0.650, 0.770]."""
    value, low, high = (f"{of[key]:{'+' if sign else ''}.3f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]".replace("-", "−")


def headline(content: dict[str, Any], num_var: int) -> list[tuple[str, str, str]]:
    """The forest on the latents beside PCA and the majority, mean over the scored questions."""
    mean = content.get("mean")
    if not mean:
        return []
    scored = [q for q in content["questions"] if q["question"] in content["mean_of"]]
    tested = sorted(sum(q["n_test"][a] for a in q["answers"]) for q in scored)
    chance = sum(1 / len(q["answers"]) for q in scored) / len(scored)
    what = f"mean of {len(scored)} questions with {tested[0]:,} to {tested[-1]:,} test galaxies"
    rows = {
        f"Forest on {num_var} latents": (mean["after"], f"balanced accuracy, {what}"),
        f"Forest on PCA-{num_var}": (mean["before"], "balanced accuracy, the same galaxies"),
        "Latents minus PCA": (mean["difference"], "paired on the same galaxies"),
    }
    found = []
    for name, (of, note) in rows.items():
        value, interval = estimate(of, sign=of is mean["difference"]).split(" ", 1)
        if of is mean["difference"] and of["low"] <= 0 <= of["high"]:
            note += "; it crosses zero: no difference shown"
        found.append((name, value, f"95 % interval {interval}, {note}"))
    return [
        *found,
        ("Guessing", f"{chance:.3f}", "balanced accuracy of always giving the commonest answer"),
    ]


def dimensions(material: Material) -> list[Html]:
    content = material.json(material.run.dimensions())
    rows = content.get("dimensions", [])
    if not rows:
        return []
    names = [name for name in _MEASURES if name in rows[0]]
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    found = table([_MEASURES[name] for name in names], cells, "On validation images.")
    knee = content.get("knee") or {}
    words = f"Knee: {knee.get('num_var')} latent variables, by the {knee.get('of')}."
    return [found, element("p", words, class_="notice")] if "num_var" in knee else [found]


def _cell(value: object) -> object:
    if isinstance(value, dict) and {"value", "low", "high"} <= set(value):
        return in_two_lines(value, sign=False)
    return value


def in_two_lines(of: dict[str, float], sign: bool = False) -> Html:
    """A value, and below it in small its 95 % interval."""
    value, interval = estimate(of, sign).split(" ", 1)
    return join([value, element("small", interval)])
