"""The report's chapters on the second survey: pairs, adaptation, before and after."""

from typing import Any

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.report.page import Block, Details, Paragraph
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.report.run_tables import by_reason
from VAE_model.report.tables import Table, percent
from VAE_model.report.transfer import (
    CARRIED,
    agreement_table,
    mcnemar_table,
    published_table,
    surveys_of,
    transfer_table,
)
from VAE_model.transfer.adaptation import BEFORE, RECOMMENDED

Content = dict[str, Any]


def pair_blocks(outputs: RunOutputs) -> list[Block]:
    """Return the number of pairs in each split, and the refused images by reason."""
    run = outputs.run
    found = outputs.parquet(run.pairs, ["split", "usable", "defect", "shift_x", "shift_y"])
    if found is None:
        return []
    moved = found.assign(moved=(found[["shift_x", "shift_y"]] != 0).any(axis=1))
    groups = {split: moved[moved["split"] == split] for split in ("train", "validation", "test")}
    rows = [
        (split, len(of), int(of["usable"].sum()), int(of["moved"].sum()))
        for split, of in {**groups, "all": moved}.items()
    ]
    head = ["split", "pairs", "without a defect", "moved onto one centre"]
    return [Table(head, rows, total=True), *by_reason(outputs.csv(run.pairs_refused))]


def adaptation_blocks(outputs: RunOutputs) -> list[Block]:
    """Return the best epoch of each method that trains."""
    numbers: Content = next(
        (r["numbers"] for r in outputs.records.values() if r["script"] == "transfer/adapt.py"), {}
    )
    rows = [
        (
            method, best["epoch"], f"{best['validation_reconstruction']:,.0f}",
            f"{best['validation_pair'] ** 0.5:.3f}", f"{best['validation_mmd']:.4f}",
            f"{best['validation_keep'] ** 0.5:.3f}", f"{best['stiffness']:,.0f}",
        )
        for method, best in numbers.get("best", {}).items()
    ]  # fmt: skip
    head = ["method", "best epoch", "−log p(x|z), nats", "latents of a pair apart", "MMD",
            "first survey moved by", "stiffness, nats"]  # fmt: skip
    caption = (
        "On validation pairs, distances in standard deviations of the latents. Methods that "
        "compute a map have no epochs. MMD: maximum mean discrepancy between the two surveys' "
        "latents; stiffness: curvature of the reconstruction loss in the latents, the unit of the "
        "methods' weights."
    )
    return [Table(head, rows, caption)] if rows else []


def comparison_blocks(outputs: RunOutputs) -> list[Block]:
    """Return the comparison of the methods."""
    content = outputs.json(outputs.run.comparison())
    if not content:
        return []
    verdict = content["verdicts"][0]
    parts: list[Block] = [Paragraph(f"{verdict[0].upper()}{verdict[1:]}.")]
    if not content["mean_of"]:
        return [*parts, agreement_table(content)]
    parts += [transfer_table(content), agreement_table(content)]
    for method in content["methods"]:
        if method != BEFORE:
            tables = [mcnemar_table(content, method), published_table(content, method)]
            parts.append(Details(f"Each question, before and after: {method}", tables))
    return parts


def headline(outputs: RunOutputs) -> list[tuple[str, object, str]]:
    """Return the forest's score in the second survey, the AUC of the surveys, and the recall."""
    content = outputs.json(outputs.run.comparison())
    before, after = (content.get("methods", {}).get(name) for name in (BEFORE, RECOMMENDED))
    if before is None or after is None:
        return []
    first, second = surveys_of(content)
    found: list[tuple[str, object, str]] = []
    if content["mean_of"]:
        was, now = (of["transfer"]["mean"][CARRIED]["value"] for of in (before, after))
        change = Estimate.read(after["transfer"]["change"][CARRIED])
        note = f"balanced accuracy, before {was:.3f}; paired change {change:+.3f}"
        found.append((f"{first} forest on {second}", f"{now:.3f}", note))
    was, now = (of["agreement"]["auc"]["value"] for of in (before, after))
    note = f"AUC of a classifier, before {was:.3f}; 0.5 is chance"
    found.append(("Surveys told apart", f"{now:.3f}", note))
    was, now = (of["agreement"]["recall_at_1"]["value"] for of in (before, after))
    note = f"test galaxies that are their own nearest neighbour, before {percent(was)}"
    return [*found, ("Found again in the other survey", percent(now), note)]
