"""The tables of a report: what each stage left in a run, as people want to read it.

Each function turns the material of one stage into tables, and gives none where there is nothing.
"""

import io
import math
from collections import Counter
from typing import Any

import pandas as pd

from VAE_model import galaxy_zoo
from VAE_model.defects import FLAGS
from VAE_model.figures import new_figure
from VAE_model.pages.material import Material
from VAE_model.pages.page import Html, details, element, facts, join, percent, picture, table
from VAE_model.plotting import MaxNLocator
from VAE_model.sky import sexagesimal, viewer_url

_SHOWN = 12  # rows of a long list
_LONGEST = 200  # rows of a table that is not known to be short


def sky(material: Material) -> list[Html]:
    folders = [path for path in material.records if path.parent.name == "images" and path.is_dir()]
    rows = [(f"images/{path.name}", material.records[path]["output"]["rows"]) for path in folders]
    parts = [table(["folder", "images"], rows)] if rows else []
    truth = material.parquet(material.run.truth)
    if truth is None:
        return parts
    surveys = [name for name in truth if name.startswith("defect_")]
    counts = {name: Counter(kind for kind in truth[name].dropna() if kind) for name in surveys}
    kinds = sorted(set().union(*counts.values()))
    defects = [[kind.replace("_", " "), *(counts[s][kind] for s in surveys)] for kind in kinds]
    defects.append(["all", *(sum(counts[s].values()) for s in surveys)])
    head = ["defect put in on purpose", *(s.removeprefix("defect_") for s in surveys)]
    return [*parts, table(head, defects, total=True)] if surveys else parts


def refusals(material: Material) -> list[Html]:
    run, parts = material.run, []
    numbers = material.numbers(run.train_txt)
    surveys = [
        (f"good, survey {name}", count) for name, count in numbers.get("surveys", {}).items()
    ]
    good, refused = numbers.get("good"), numbers.get("refused")
    everything = None if good is None or refused is None else good + refused
    sums = [("refused", refused), ("all", everything)]
    parts.append(table(["images", "number"], [*surveys, *sums], total=True))
    return parts + by_reason(material.csv(run.rejected))


def by_reason(refused: pd.DataFrame | None) -> list[Html]:
    """A list of refused files (path, reason: `kind: detail`) as a table, a row a kind."""
    if refused is None or refused.empty:
        return []
    reason = refused["reason"].astype(str).str.split(":", n=1).str[0]
    rows = [
        (kind, len(group), join([group["reason"].iloc[0], element("small", group["path"].iloc[0])]))
        for kind, group in sorted(refused.groupby(reason), key=lambda g: -len(g[1]))
    ]
    return [table(["reason of refusal", "files", "for example"], rows)]


def training(material: Material) -> list[Html]:
    run, n = material.run, material.num_var
    rows, history = [], material.history(run.model_log(n))
    logs = [path for path in material.records if path.name.endswith("_log.jsonl")]
    for log in logs:
        epochs = material.history(log)
        best = min(epochs, key=lambda line: line["validation_loss"])
        terms = [best[f"validation_{term}"] for term in ("loss", "reconstruction", "kl")]
        name = log.name.removesuffix("_log.jsonl")
        seconds = sum(line["seconds"] for line in epochs)
        rows.append((name, f"{best['epoch']} of {len(epochs)}", *terms, best["active"], seconds))
    head = ["model", "best epoch", "−ELBO", "reconstruction", "KL", "active latents", "seconds"]
    words = "On validation images after the best epoch, in nats an image."
    parts = [table(head, rows, words)] if rows else []
    if not history:
        return parts
    names = [name for name, value in history[0].items() if not isinstance(value, list)]
    lines = [[line.get(name) for name in names] for line in history]
    head = [name.replace("_", " ") for name in names]
    return [*parts, learning_curve(history), details("Every epoch", table(head, lines))]


def learning_curve(history: list[dict[str, Any]]) -> Html:
    """The loss against the epoch, on the images that are learned from and on those that are not."""
    figure = new_figure(8, 3.2)
    axes = figure.subplots()
    epochs = [line["epoch"] for line in history]
    learned = [line["train_reconstruction"] + line["train_kl"] for line in history]
    axes.plot(epochs, learned, "o-", markersize=3, label="training images")
    judged = [line["validation_loss"] for line in history]
    axes.plot(epochs, judged, "o-", markersize=3, label="validation images")
    axes.set(xlabel="epoch", ylabel="−ELBO (nats an image)")
    # The first epoch begins with a network that knows nothing: its mean would hide the rest.
    seen = judged + learned[1:]
    margin = 0.08 * (max(seen) - min(seen)) or 1.0
    axes.set_ylim(min(seen) - margin, max(seen) + margin)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    words = (
        "How the network learned. Where the two part, it begins to know its training images by "
        "heart; the model of the best validation epoch is the one that is kept."
    )
    return picture(stream, words, "loss against epoch for training and validation images")


def latents(material: Material) -> list[Html]:
    found = material.parquet(material.run.latents(material.num_var))
    if found is None:
        return []
    rows = [
        (split, survey, len(group), f"{group['mse'].median():.2f}", f"{group['ssim'].median():.3f}")
        for (split, survey), group in found.groupby(["split", "survey"])
    ]
    head = ["split", "survey", "images", "median squared error", "median SSIM"]
    words = (
        "Of the central 34 arcsec. Squared error in units of the sky's variance: 1 is noise alone."
    )
    flags = [name for name in found if name.startswith("flag_")]
    defects = [
        (FLAGS.get(name, name.removeprefix("flag_")), int(found[name].sum())) for name in flags
    ]
    defects.append(("any of them", int(found[flags].any(axis=1).sum())))
    return [table(head, rows, words), table(["flagged", "images"], defects, total=True)]


def classes(material: Material) -> list[Html]:
    found = material.parquet(material.run.classes)
    if found is None:
        return []
    names = [name for name in galaxy_zoo.CLASSES if name in found]
    both = {a: {b: int((found[a] & found[b]).sum()) for b in names} for a in names}
    overlaps = [
        ", ".join(f"{b} {n:,}" for b, n in both[a].items() if n and b != a) or "none" for a in names
    ]
    rows = [(a, both[a][a], also) for a, also in zip(names, overlaps, strict=True)]
    numbers = material.numbers(material.run.classes)
    questions = [
        (question, sum(counts.values()), ", ".join(f"{a} {n:,}" for a, n in counts.items()))
        for question, counts in numbers.get("answers", {}).items()
    ]
    return [
        element("p", f"Labels: {numbers.get('labels', 'unknown')}.", class_="notice"),
        table(["class", "galaxies", "also in"], rows),
        table(["question", "galaxies", "answers"], questions),
    ]


def matches(material: Material) -> list[Html]:
    found = material.parquet(material.run.matches)
    if found is None:
        return []
    numbers = material.numbers(material.run.matches)
    dropped, refused = numbers.get("dropped", {}), numbers.get("refused", {})
    rows = [("kept: matched to an image", len(found))]
    rows += [(f"dropped: {reason}", count) for reason, count in dropped.items()]
    parts = [table(["galaxies of the classes", "number"], rows)]
    if refused:
        parts.append(table(["refused image, by the reason", "galaxies"], refused.items()))
    levels = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "largest": 1.0}
    apart = found["separation"].quantile(list(levels.values()))
    row = ["separation, arcsec", *(f"{value:.3f}" for value in apart)]
    return [*parts, table(["", *levels], [row])]


def outliers(material: Material) -> list[Html]:
    run, n = material.run, material.num_var
    found = material.parquet(run.outliers(n))
    if found is None:
        return []
    content = material.json(run.result(f"outliers_{n}.json"))
    kinds = table(["kind", "images"], content.get("kinds", {}).items())
    parts = [kinds, *recovered(content.get("recovery", {}))]
    rows = []
    for row in found[found["kind"] == "rare"].nsmallest(_SHOWN, "rank").itertuples():
        name, place = row.iauname, ""
        if math.isfinite(row.ra) and math.isfinite(row.dec):
            name = element("a", name, href=viewer_url(row.ra, row.dec, row.survey))
            place = sexagesimal(row.ra, row.dec)
        rows.append((row.rank, name, place, row.survey, row.split, row.distance, row.residual))
    head = ["rank", "galaxy", "position", "survey", "split", "distance", "residual"]
    words = (
        f"The first {len(rows)} of the rare; a name leads to the survey's own viewer. Distance: in "
        "the latent space, from all galaxies; residual: mean square of what the latents miss of "
        "the galaxy, in the units of what the network reconstructs."
    )
    return [*parts, table(head, rows, words)] if rows else parts


def recovered(recovery: dict[str, Any]) -> list[Html]:
    """Which of the defects that were put in on purpose have been found, and how."""
    if not recovery:
        return []
    lines = {**recovery["by_kind"], "all": recovery["injected"]}
    rows = []
    for kind, line in lines.items():
        low, high = line["interval_95"]
        interval = f"{percent(low)} to {percent(high)}"
        counts = [line[name] for name in ("n", "top_ranked", "flagged", "either")]
        share = percent(line["share"]) if line["n"] else "–"
        rows.append((kind.replace("_", " "), *counts, share, interval))
    head = ["injected defect", "images", "top-ranked", "flagged", "found", "share", "95 % interval"]
    clean, refused = recovery["clean"], sum(recovery["not_in_train_txt"].values())
    words = (
        f"Top-ranked: among the {recovery['injected']['n']:,} most unusual images; found: that, or "
        f"flagged. Of {clean['n']:,} clean images {clean['flagged']:,} are flagged. {refused:,} "
        "more frames with a defect were refused before, or their galaxy is not in this survey."
    )
    return [table(head, rows, words, total=True)]


def anything(material: Material, script: str) -> list[Html]:
    """The numbers and the short tables of a stage that nobody has foreseen."""
    parts, seen = [], []
    for path, record in material.records.items():
        if record["script"] != script:
            continue
        if (numbers := record.get("numbers")) and numbers not in seen:
            parts += facts(numbers)
            seen.append(numbers)
        if path.suffix == ".csv" and (found := material.csv(path)) is not None:
            parts.append(table(list(found), found.head(_LONGEST).itertuples(index=False)))
    return parts


def latent_map(material: Material) -> list[Html]:
    """The way to the interactive map, where it is there."""
    path = material.run.map_page(material.num_var)
    if path not in material.records:
        return []
    link = element("a", "Walk in it", href=path.relative_to(material.run.folder).as_posix())
    words = ": point at a galaxy to see it, zoom in until points are images, search, colour."
    return [element("p", link, words, class_="notice")]


def traversal(material: Material) -> list[Html]:
    """What each of the strongest latents does to the measured numbers, from end to end."""
    found = material.parquet(material.run.traversal(material.num_var))
    if found is None:
        return []
    rows = []
    for latent, group in found.groupby("latent", sort=False):
        ends = group.sort_values("step").iloc[[0, -1]]
        changes = [
            " → ".join("no light" if v != v else f"{v:.2f}" for v in (a, b))
            for a, b in (ends[name] for name in ("mag_r", "colour", "half_light"))
        ]
        rows.append((str(latent), f"{group['kl'].iloc[0]:.2f}", *changes))
    low, high = found["step"].min(), found["step"].max()
    words = f"Measured on the decoded image, from {low:+g} to {high:+g} scatters of the latent."
    head = ["latent", "KL, nats", "r, mag", "g−r, mag", "half-light radius, arcsec"]
    return [table(head, rows, words.replace("-", "−"))]
