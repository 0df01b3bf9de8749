"""The chapters of the report that show what a stage left in the run.

Each function returns the blocks of one chapter, and none where there is nothing to show.
"""

import io
from typing import Any

import pandas as pd

from VAE_model.data import galaxy_zoo
from VAE_model.data.sky import sexagesimal, viewer_url
from VAE_model.preparation.defects import FLAGS
from VAE_model.report.figures import new_figure
from VAE_model.report.page import Block, Details, Paragraph, Picture, facts
from VAE_model.report.plotting import MaxNLocator
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.report.tables import Note, Table, percent, prose

FEW_IMAGES, FEW_STEPS, FEW_TESTED = 500, 100, 50  # below which a result means little
_SHOWN = 12  # rows of a long list
_LONGEST = 200  # rows of a table that may be long


def sky(outputs: RunOutputs) -> list[Block]:
    """Return the number of images in each folder, and the injected defects of a simulated sky."""
    folders = [path for path in outputs.records if path.parent.name == "images" and path.is_dir()]
    rows = [(f"images/{path.name}", outputs.records[path]["output"]["rows"]) for path in folders]
    parts: list[Block] = [Table(["folder", "images"], rows)] if rows else []
    for path in folders:
        refused = outputs.csv(outputs.run.import_refused(path.name))
        if refused is not None:
            parts += by_reason(refused.rename(columns={"file": "path"}))
    truth = outputs.parquet(outputs.run.truth)
    if truth is None or (kinds := truth.filter(regex="^defect_")).empty:
        return parts
    counts = kinds.replace("", None).apply(pd.Series.value_counts).fillna(0).astype(int)
    defects = [[str(kind).replace("_", " "), *of] for kind, of in counts.sort_index().iterrows()]
    head = ["injected defect", *(name.removeprefix("defect_") for name in counts)]
    return [*parts, Table(head, [*defects, ["all", *counts.sum()]], total=True)]


def refusals(outputs: RunOutputs) -> list[Block]:
    """Return the numbers of good and refused images, and the refused ones by reason."""
    numbers = outputs.numbers(outputs.run.train_txt)
    good, refused = numbers.get("good"), numbers.get("refused")
    rows = [(f"good, survey {name}", n) for name, n in numbers.get("surveys", {}).items()]
    every = None if good is None or refused is None else good + refused
    table = Table(["images", "number"], [*rows, ("refused", refused), ("all", every)], total=True)
    return [table, *by_reason(outputs.csv(outputs.run.rejected))]


def by_reason(refused: pd.DataFrame | None) -> list[Table]:
    """Return a list of refused files (path, reason: `kind: detail`) as a table, a row per kind."""
    if refused is None or refused.empty:
        return []
    reason = refused["reason"].astype(str).str.split(":", n=1).str[0]
    rows = [
        (kind, len(group), Note(group["reason"].iloc[0], group["path"].iloc[0]))
        for kind, group in sorted(refused.groupby(reason), key=lambda g: -len(g[1]))
    ]
    return [Table.named("refused", rows)]


def warnings(outputs: RunOutputs) -> list[str]:
    """Return what makes the results of a run doubtful: too few images, or too short a training."""
    splits, found = outputs.splits(), []
    epochs = len(outputs.history(outputs.run.model_log(outputs.num_var)))
    config = outputs.records.get(outputs.run.model(outputs.num_var), {}).get("config", {})
    if (count := splits.get("train", 0)) and epochs and config:
        steps = epochs * -(-count // config["batch_size"])
        if count < FEW_IMAGES or steps < FEW_STEPS:
            found.append(prose("few_images", count=count, steps=steps))
    if splits and (tested := splits.get("test", 0)) < FEW_TESTED:
        found.append(prose("few_tested", count=tested))
    return found


def training(outputs: RunOutputs) -> list[Block]:
    """Return the best epoch of each model, the learning curve, and every epoch."""
    rows = []
    for log in (path for path in outputs.records if path.name.endswith("_log.jsonl")):
        epochs = outputs.history(log)
        best = min(epochs, key=lambda line: line["validation_loss"])
        terms = [best[f"validation_{term}"] for term in ("loss", "kl")]
        seconds = sum(line["seconds"] for line in epochs)
        rows.append((log.name.removesuffix("_log.jsonl"), f"{best['epoch']} of {len(epochs)}",
                     *terms, best["active"], seconds))  # fmt: skip
    parts: list[Block] = [Table.named("training", rows)] if rows else []
    history = outputs.history(outputs.run.model_log(outputs.num_var))
    if not history:
        return parts
    headings = {name: name.replace("_", " ") for name, value in history[0].items()
                if not isinstance(value, list)}  # fmt: skip
    every = Details("Every epoch", [Table.of(history, headings)])
    return [*parts, learning_curve(history), every]


def learning_curve(history: list[dict[str, Any]]) -> Picture:
    """Return the loss against the epoch, on training and on validation images."""
    figure = new_figure(8, 3.2)
    axes = figure.subplots()
    epochs = [line["epoch"] for line in history]
    training_loss = [line["train_loss"] for line in history]
    validation_loss = [line["validation_loss"] for line in history]
    axes.plot(epochs, training_loss, "o-", markersize=3, label="training images")
    axes.plot(epochs, validation_loss, "o-", markersize=3, label="validation images")
    axes.set(xlabel="epoch", ylabel="loss (nats per image)")
    # The mean of the first epoch begins with an untrained network and would hide the rest.
    shown = validation_loss + training_loss[1:]
    margin = 0.08 * (max(shown) - min(shown)) or 1.0
    axes.set_ylim(min(shown) - margin, max(shown) + margin)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    alt = "loss against epoch for training and validation images"
    return Picture(stream, prose("learning_curve"), alt)


def latents(outputs: RunOutputs) -> list[Block]:
    """Return the quality of the reconstructions, and the number of flagged images."""
    found = outputs.parquet(outputs.run.latents(outputs.num_var))
    if found is None:
        return []
    rows = [
        (*names, len(of), f"{of['reduced_chi2'].median():.2f}", f"{of['ssim'].median():.3f}")
        for names, of in found.groupby(["split", "survey"])
    ]
    flags = [name for name in found if name.startswith("flag_")]
    flagged = [(FLAGS.get(name, name), int(found[name].sum())) for name in flags]
    flagged.append(("any of them", int(found[flags].any(axis=1).sum())))
    return [Table.named("reconstruction", rows), Table(["flagged", "images"], flagged, total=True)]


def classes(outputs: RunOutputs) -> list[Block]:
    """Return the number of galaxies in each class, and with each answer."""
    found = outputs.parquet(outputs.run.classes)
    if found is None:
        return []
    names = [name for name in galaxy_zoo.CLASSES if name in found]
    members = found[names].astype(int)
    rows = [
        (a, of[a], ", ".join(f"{b} {n:,}" for b, n in of.items() if n and b != a) or "none")
        for a, of in (members.T @ members).to_dict().items()
    ]
    numbers = outputs.numbers(outputs.run.classes)
    questions = [
        (question, sum(counts.values()), ", ".join(f"{a} {n:,}" for a, n in counts.items()))
        for question, counts in numbers.get("answers", {}).items()
    ]
    return [
        Paragraph(f"Labels: {numbers.get('labels', 'unknown')}."),
        Table(["class", "galaxies", "also in"], rows),
        Table(["question", "galaxies", "answers"], questions),
    ]


def matches(outputs: RunOutputs) -> list[Block]:
    """Return the numbers of matched and unmatched galaxies, and the separations."""
    found = outputs.parquet(outputs.run.matches)
    if found is None:
        return []
    numbers = outputs.numbers(outputs.run.matches)
    rows = [("kept: matched to an image", len(found))]
    rows += [(f"dropped: {reason}", n) for reason, n in numbers.get("dropped", {}).items()]
    parts: list[Block] = [Table(["galaxies of the classes", "number"], rows)]
    if refused := list(numbers.get("refused", {}).items()):
        parts.append(Table(["refused image, by the reason", "galaxies"], refused))
    levels = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "largest": 1.0}
    apart = found["separation"].quantile(list(levels.values()))
    row = ["separation, arcsec", *(f"{value:.3f}" for value in apart)]
    return [*parts, Table(["", *levels], [row])]


def outliers(outputs: RunOutputs) -> list[Block]:
    """Return the number of outliers of each kind, the recovered defects, and the rarest."""
    run, n = outputs.run, outputs.num_var
    found = outputs.parquet(run.outliers(n))
    if found is None:
        return []
    content = outputs.json(run.result(f"outliers_{n}.json"))
    parts: list[Block] = [Table(["kind", "images"], list(content.get("kinds", {}).items()))]
    parts += recovered(content.get("recovery", {}))
    rare = found[found["kind"] == "rare"].nsmallest(_SHOWN, "rank")
    rows = []
    for row in rare.itertuples():
        known = pd.notna(row.ra) and pd.notna(row.dec)
        name = Note(row.iauname, url=viewer_url(row.ra, row.dec, row.survey) if known else "")
        place = sexagesimal(row.ra, row.dec) if known else ""
        rows.append((row.rank, name, place, row.survey, row.split, row.distance, row.residual))
    return [*parts, Table.named("rare", rows, count=len(rows))] if rows else parts


def recovered(recovery: dict[str, Any]) -> list[Block]:
    """Return the number of injected defects that were found, by kind."""
    if not recovery:
        return []
    rows = []
    for kind, line in {**recovery["by_kind"], "all": recovery["injected"]}.items():
        interval = " to ".join(map(percent, line["interval_95"]))
        counts = [line[name] for name in ("n", "top_ranked", "flagged", "either")]
        share = percent(line["share"]) if line["n"] else None
        rows.append((kind.replace("_", " "), *counts, share, interval))
    clean = recovery["clean"]
    numbers = {
        "injected": recovery["injected"]["n"], "clean": clean["n"], "flagged": clean["flagged"],
        "refused": sum(recovery["not_in_train_txt"].values()),
    }  # fmt: skip
    return [Table.named("recovered", rows, total=True, **numbers)]


def anything(outputs: RunOutputs, script: str) -> list[Block]:
    """Return the numbers and the short tables of a stage that has no chapter of its own."""
    parts: list[Block] = []
    seen: list[dict[str, Any]] = []
    for path, record in outputs.records.items():
        if record["script"] != script:
            continue
        if (numbers := record.get("numbers")) and numbers not in seen:
            parts += facts(numbers)
            seen.append(numbers)
        if path.suffix == ".csv" and (found := outputs.csv(path)) is not None:
            parts.append(Table(list(found), found.head(_LONGEST).to_numpy().tolist()))
    return parts


def latent_map(outputs: RunOutputs) -> list[Block]:
    """Return a link to the interactive map, where it exists."""
    path = outputs.run.map_page(outputs.num_var)
    if path not in outputs.records:
        return []
    link = ("Open the interactive map", path.relative_to(outputs.run.folder).as_posix())
    by = "your columns" if outputs.own_images else "class or answer"
    return [Paragraph(f": point, zoom, search, and colour by {by}.", link=link)]


def traversal(outputs: RunOutputs) -> list[Block]:
    """Return the effect of the strongest latents on measured quantities, from end to end."""
    found = outputs.parquet(outputs.run.traversal(outputs.num_var))
    if found is None or found["mag_r"].isna().all():  # 8-bit images have no magnitudes
        return []
    rows = []
    for latent, group in found.groupby("latent", sort=False):
        ends = group.sort_values("step").iloc[[0, -1]]
        changes = [
            " → ".join("no light" if pd.isna(v) else f"{v:.2f}" for v in ends[name])
            for name in ("mag_r", "colour", "half_light")
        ]
        rows.append((str(latent), f"{group['kl'].iloc[0]:.2f}", *changes))
    low, high = (f"{end:+g}".replace("-", "−") for end in found["step"].agg(["min", "max"]))
    return [Table.named("traversal", rows, low=low, high=high)]
