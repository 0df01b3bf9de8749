"""The second survey as a run's report shows it: the pairs, the adaptations, before and after."""

from typing import Any

from VAE_model.comparison_report import (
    agreement_rows,
    mcnemar_rows,
    published_rows,
    surveys_of,
    transfer_rows,
)
from VAE_model.pages.material import Material
from VAE_model.pages.page import Html, details, element, join, percent, table
from VAE_model.pages.run_tables import by_reason
from VAE_model.transfer.adaptation import BEFORE, RECOMMENDED

_AGREEMENT = (
    "The same galaxies seen by both surveys. Distance: of a galaxy's two views, in scatters of the "
    "latents from galaxy to galaxy; recall at 1: how often a galaxy's nearest neighbour in the "
    "other survey is itself; AUC: how well a classifier tells the survey, 0.5 is not at all."
)
_WITHIN = (
    "Accuracy in per cent within each survey, as Xu et al. 2023 report it, but on galaxies that "
    "nothing was fitted on."
)


def pairs(material: Material) -> list[Html]:
    run = material.run
    found = material.parquet(run.pairs, ["split", "usable", "defect", "shift_x", "shift_y"])
    if found is None:
        return []
    moved = (found[["shift_x", "shift_y"]] != 0).any(axis=1)
    rows = [
        (split, int(of.sum()), int((of & found["usable"]).sum()), int((of & moved).sum()))
        for split in ("train", "validation", "test")
        for of in [found["split"] == split]
    ]
    rows.append(("all", len(found), int(found["usable"].sum()), int(moved.sum())))
    head = ["split", "pairs", "without a defect", "moved onto one centre"]
    return [table(head, rows, total=True), *by_reason(material.csv(run.pairs_refused))]


def adaptation(material: Material) -> list[Html]:
    """The best epoch of each method that trained."""
    numbers: dict[str, Any] = next(
        (r["numbers"] for r in material.records.values() if r["script"] == "transfer/adapt.py"), {}
    )
    rows = [
        (
            method, best["epoch"], f"{best['validation_reconstruction']:,.0f}",
            f"{best['validation_pair'] ** 0.5:.3f}", f"{best['validation_mmd']:.4f}",
            f"{best['validation_keep'] ** 0.5:.3f}", f"{best['stiffness']:,.0f}",
        )
        for method, best in numbers.get("best", {}).items()
    ]  # fmt: skip
    head = ["method", "best epoch", "−log p(x|z), nats", "views apart (scatters)", "MMD",
            "first survey moved by (scatters)", "stiffness, nats"]  # fmt: skip
    words = (
        "On validation pairs. Methods that compute a map have no epochs. Scatter: of a latent from "
        "galaxy to galaxy; MMD: the discrepancy of the two surveys' latents; stiffness: how much "
        "the images resist a latent that moves, the unit of the methods' weights."
    )
    return [table(head, rows, words)] if rows else []


def comparison(material: Material) -> list[Html]:
    content = material.json(material.run.comparison())
    if not content:
        return []
    verdict = content["verdicts"][0]
    parts = [element("p", f"{verdict[0].upper()}{verdict[1:]}.", class_="notice")]
    n = content["pairs"]
    words = (
        f"{n['test']:,} test pairs, which no adaptation and no forest has seen. Balanced accuracy, "
        f"mean of {len(content['mean_of'])} questions, forest of the first survey → asked about "
        "the second; 95 % intervals of resampled test galaxies; old forest: fitted before "
        "adaptation."
    )
    if content["mean_of"]:
        parts.append(_compact(*transfer_rows(content), words))
    parts.append(_compact(*agreement_rows(content), _AGREEMENT))
    if not content["mean_of"]:
        return parts
    for method in content["methods"]:
        if method != BEFORE:
            each = _compact(*mcnemar_rows(content, method))
            within = table(*published_rows(content, method), _WITHIN)
            parts.append(details(f"Each question, before and after: {method}", each, within))
    return parts


def _compact(head: list[str], rows: list[list[str]], words: str = "") -> Html:
    """A table whose intervals stand small under their values."""
    cells = [
        [join([value, element("small", "[" + rest[0])]) if rest else value
         for value, *rest in (cell.split(" [", 1) for cell in row)]
        for row in rows
    ]  # fmt: skip
    return table(head, cells, words)


def headline(material: Material) -> list[tuple[str, str, str]]:
    """What a forest keeps in the second survey, whether the surveys can be told apart, and whether
    a galaxy is found again."""
    content = material.json(material.run.comparison())
    if not content:
        return []
    before, after = (content["methods"].get(name) for name in (BEFORE, RECOMMENDED))
    if before is None or after is None:
        return []
    first, second = surveys_of(content)
    found = []
    if content["mean_of"]:
        scores = [of["transfer"]["mean"]["first to second"] for of in (before, after)]
        change = after["transfer"]["change"]["first to second"]
        note = (
            f"balanced accuracy, before {scores[0]['value']:.3f}; paired change "
            f"{change['value']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"
        )
        found.append((f"{first} forest on {second}", f"{scores[1]['value']:.3f}", note))
    apart = [of["agreement"]["auc"]["value"] for of in (before, after)]
    note = f"AUC of a classifier, before {apart[0]:.3f}; 0.5: not at all"
    found.append(("Surveys told apart", f"{apart[1]:.3f}", note))
    again = [of["agreement"]["recall_at_1"]["value"] for of in (before, after)]
    note = f"test galaxies that are their own nearest neighbour, before {percent(again[0])}"
    found.append(("Found again in the other survey", percent(again[1]), note))
    return found
