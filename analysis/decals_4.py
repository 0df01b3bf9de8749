"""Find the outliers, and tell the rare galaxy from the bad frame.

Every galaxy gets four scores: its Mahalanobis distance in the latent space from all galaxies and
from its own class, its isolation-forest score, and what the latents miss of it. Their percentile
ranks are averaged and ranked: `rank`. Neighbours are hidden from the latents, so what lies around
the galaxy has a rank of its own, `frame_rank`: images with a defect flag first, then by how uneven
the sky is beside the galaxy's light (haloes and spikes of stars, glare, crowding).

An image with a defect flag is `broken`; of the others, those with a sky far more uneven than is
usual are `suspect`, and of the rest those of highest `rank` are `rare`. The script is silent about
what is rare: look at the gallery.

Reads:  result/latents_40.parquet, train.txt (its packed images); where they are there:
        result/class_latents_40.parquet (the classes), truth.parquet (of a simulated sky)
Writes: result/outliers_40.parquet: iauname, ra, dec, path, survey, split, distance,
        class_distance, isolation, residual, combined, rank, unevenness, frame_rank, kind, flag_*;
        result/outliers_40.json (how many of the injected defects were found),
        figures/outliers_40.png, figures/outliers_40.html

Example: python analysis/decals_4.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from VAE_model import outliers
from VAE_model.defects import FLAGS
from VAE_model.figures import contact_sheet, jpeg_uri, new_figure, save_figure, thumbnail
from VAE_model.files import parquet_columns, read_parquet, write_json, write_parquet
from VAE_model.galaxy_zoo import CLASSES
from VAE_model.latents import read_means
from VAE_model.packed import Packed
from VAE_model.pages.gallery import Card, Kind, write_gallery
from VAE_model.paths import Run
from VAE_model.plotting import Figure
from VAE_model.sky import sexagesimal, viewer_url
from VAE_model.stage import Problem, Stage, start
from VAE_model.surveys import DECALS, SURVEYS

SCORES = {  # column: its name on a card
    "distance": "distance",
    "class_distance": "in its class",
    "isolation": "isolation",
    "residual": "error",
}
KINDS = (
    Kind("rare", "rare", "a galaxy unlike the others, in a frame like the others", "#44AA99"),
    Kind("suspect", "suspect", "the sky beside the galaxy is more uneven than is usual", "#DDCC77"),
    Kind("broken", "broken", "has a defect flag", "#CC6677"),
)
COLUMNS, ROWS = 8, 2  # of thumbnails of each kind in the figure
ORDER = {"rare": "rank", "suspect": "frame_rank", "broken": "frame_rank"}  # a kind: what ranks it
FEWEST = 10  # training galaxies, below which nothing can be called unusual


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    rare_share: float = 0.02
    """Share of the images that count as highest ranked."""
    suspect: float = 3.0
    """Robust sigmas above the median of the logarithm of the unevenness: a suspect frame."""
    trees: int = 200
    """Of the isolation forest."""
    cards: int = 60
    """Cards of each kind in the gallery, at most."""
    picture: int = 224
    """Side of a picture in the gallery, pixels."""


def score(
    table: pd.DataFrame, latents: NDArray[np.float32], members: NDArray[np.bool_], config: Config
) -> pd.DataFrame:
    """The table of outliers: identity, scores, rank, kind, flags, a row an image."""
    train = (table["split"] == "train").to_numpy()
    result = table[["iauname", "ra", "dec", "path", "survey", "split"]].copy()
    result["distance"] = outliers.mahalanobis(latents, train)
    result["class_distance"] = outliers.class_distance(latents, members, train)
    result["isolation"] = outliers.isolation(latents, train, config.trees)
    result["residual"] = table["residual"]
    result["combined"] = outliers.combined(*(result[name] for name in SCORES))
    result["rank"] = outliers.rank(result["combined"])
    flags = table[list(FLAGS)].astype(bool)
    broken = flags.any(axis=1)
    result["unevenness"] = table["unevenness"]
    uneven = np.nan_to_num(outliers.percentile(table["unevenness"]))
    result["frame_rank"] = outliers.rank(uneven + broken)
    most = max(1, round(config.rare_share * len(table)))
    suspect = outliers.stands_out(table["unevenness"], config.suspect)
    rare = result["rank"] <= most
    result["kind"] = np.select([broken, suspect, rare], ["broken", "suspect", "rare"], "ordinary")
    return pd.concat([result, flags], axis=1)


def members_of_classes(run: Run, config: Config, paths: pd.Series) -> NDArray[np.bool_]:
    """Which image is in which class, (N, C); without columns where the classes are unknown."""
    source = run.class_latents(config.num_var)
    if not source.exists():
        print(f"  {run.show(source)} is missing: without distances from the own class "
              f"(to have them run {run.made_by(source)})")  # fmt: skip
        return np.zeros((len(paths), 0), bool)
    labels, _ = read_means(run, source, config.num_var, tuple(CLASSES))
    names = [name for name in CLASSES if name in labels]
    rows = pd.Index(labels["path"]).get_indexer(paths)
    members = labels[names].to_numpy(bool)[rows] & (rows >= 0)[:, None]
    used = members.sum(axis=0) >= outliers.SMALLEST_CLASS
    print(f"  {int(members.any(axis=1).sum()):,} of {len(paths):,} images are in a class; "
          f"{used.sum()} of {len(names)} classes have members enough for a distance")  # fmt: skip
    return members


def recovery(table: pd.DataFrame, run: Run) -> dict[str, Any]:
    """How many of the injected defects stand among as many top-ranked images, or are flagged."""
    known = parquet_columns(run.truth)
    surveys = [s for s in SURVEYS if f"defect_{s}" in known or s == DECALS.name]
    truth = read_parquet(run.truth, ["iauname", *(f"defect_{name}" for name in surveys)])
    rows = pd.Index(truth["iauname"]).get_indexer(table["iauname"])
    survey = np.maximum(pd.Index(surveys).get_indexer(table["survey"]), 0)
    defects = truth.drop(columns="iauname").fillna("").to_numpy(str)
    defect = np.where(rows >= 0, defects[rows, survey], "")
    flagged = (table["kind"] == "broken").to_numpy()
    injected = defect != ""
    top = table["rank"].to_numpy() <= injected.sum()

    def found(which: NDArray[np.bool_]) -> dict[str, object]:
        n, hits = int(which.sum()), int((which & (top | flagged)).sum())
        interval = binomtest(hits, n).proportion_ci(method="wilson") if n else (0.0, 1.0)
        return {
            "n": n,
            "top_ranked": int((which & top).sum()),
            "flagged": int((which & flagged).sum()),
            "either": hits,
            "share": hits / n if n else None,
            "interval_95": [round(limit, 4) for limit in interval],
        }

    clean = ~injected & (rows >= 0)
    refused = truth.loc[~truth["iauname"].isin(table["iauname"]), "defect_decals"].fillna("")
    return {
        "images": len(table),
        "injected": found(injected),
        "by_kind": {name: found(defect == name) for name in sorted(set(defect[injected]))},
        "not_in_train_txt": {k: int(n) for k, n in refused[refused != ""].value_counts().items()},
        "clean": {"n": int(clean.sum()), "flagged": int((clean & flagged).sum())},
    }


def top(table: pd.DataFrame, kind: str, most: int) -> pd.DataFrame:
    """The highest ranked of a kind."""
    return table[table["kind"] == kind].nsmallest(most, ORDER[kind])


def varied(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """The highest ranked of the broken, every flag in turn."""
    broken = top(table, "broken", len(table))
    turn = broken.groupby(broken[list(FLAGS)].to_numpy().argmax(axis=1)).cumcount()
    return broken.iloc[np.lexsort((broken["frame_rank"], turn))].head(most)


def words(row: pd.Series) -> tuple[str, ...]:
    """The flags of an image as people read them."""
    return tuple(flag.removeprefix("flag_").replace("_", " ") for flag in FLAGS if row[flag])


def picture(packed: Packed, path: str, size: int) -> NDArray[np.uint8]:
    row = packed.index.index[packed.index["path"] == path][0]
    return thumbnail(np.array(packed.images[row]), size, display=packed.index["display"][row])


def sheet(table: pd.DataFrame, packed: Packed) -> Figure:
    """Contact sheet: the highest ranked of each kind that there is."""
    chosen = {kind: top(table, kind.name, COLUMNS * ROWS) for kind in KINDS[:-1]}
    chosen[KINDS[-1]] = varied(table, COLUMNS * ROWS)
    chosen = {kind: rows for kind, rows in chosen.items() if len(rows)}
    lines = [-(-len(rows) // COLUMNS) for rows in chosen.values()]
    figure = new_figure(17, 2.65 * sum(lines), layout="constrained")
    parts = figure.subfigures(len(chosen), 1, hspace=0.02, squeeze=False, height_ratios=lines)
    for part, (kind, rows) in zip(parts.ravel(), chosen.items(), strict=True):
        count = int((table["kind"] == kind.name).sum())
        of = f"{len(rows)} of {count:,}" if count > len(rows) else f"{count:,}"
        part.suptitle(f"{kind.label.capitalize()}: {kind.meaning} ({of})", fontsize=15,
                      fontweight="bold", x=0.005, ha="left", color="#222222")  # fmt: skip
        titles = [
            f"{row['iauname']}\n" + (", ".join(words(row)) or f"rank {row[ORDER[kind.name]]:,}")
            for _, row in rows.iterrows()
        ]
        images = [picture(packed, path, 256) for path in rows["path"]]
        contact_sheet(part, images, titles, COLUMNS, kind.colour)
    return figure


def cards(table: pd.DataFrame, packed: Packed, config: Config) -> list[Card]:
    """The gallery's cards, by rank."""
    shares = {name: outliers.percentile(table[name]) for name in SCORES}
    chosen = pd.concat([top(table, kind.name, config.cards) for kind in KINDS])
    made = []
    for number, row in chosen.sort_values("rank").iterrows():
        known = np.isfinite([row["ra"], row["dec"]]).all()
        facts = {"rank": f"{row['rank']:,}", "of frames": f"{row['frame_rank']:,}"}
        for name, label in SCORES.items():
            if np.isfinite(row[name]):
                facts[label] = f"{100 * shares[name][number]:.1f} %"
        made.append(
            Card(
                kind=row["kind"],
                title=row["iauname"],
                picture=jpeg_uri(picture(packed, row["path"], config.picture)),
                link=viewer_url(row["ra"], row["dec"], row["survey"]) if known else "",
                lines=(sexagesimal(row["ra"], row["dec"]) if known else "no position",
                       f"{row['survey']}, {row['split']}"),
                facts=facts,
                tags=words(row) or (row["kind"],),
            )
        )  # fmt: skip
    return made


def main(config: Config) -> None:
    run, number = Run(config.run), config.num_var
    source, classes = run.latents(number), run.class_latents(number)
    numbers, drawing = run.result(f"outliers_{number}.json"), run.figure(f"outliers_{number}.png")
    inputs = [source, run.train_txt, *(path for path in (classes, run.truth) if path.exists())]
    outputs = [run.outliers(number), numbers, drawing, run.outliers_page(number)]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.nothing_to_do():
        return
    needed = ("survey", "residual", "unevenness", *FLAGS)
    table, latents = read_means(run, source, number, needed)
    lacking = [name for name in needed if name not in table]
    again = f"delete it and run {run.made_by(source)} --num-var {number}"
    if lacking:
        raise Problem(f"{run.show(source)} has no column {', '.join(lacking)}: {again}")
    if (training := int((table["split"] == "train").sum())) < FEWEST:
        raise Problem(
            f"{run.show(source)} has {training} training galaxies, and {FEWEST} are needed to say "
            "what is usual: add images"
        )
    packed = Packed.of(run)
    if not table["path"].equals(packed.index["path"]):
        raise Problem(f"{run.show(source)} is not of the images in train.txt: {again}")
    members = members_of_classes(run, config, table["path"])
    result = score(table, latents, members, config)
    found = recovery(result, run) if run.truth.exists() else {}
    kinds = ("broken", "suspect", "rare", "ordinary")
    counts = {kind: int((result["kind"] == kind).sum()) for kind in kinds}
    flags = {flag: int(result[flag].sum()) for flag in FLAGS}
    print("  " + ", ".join(f"{kind} {count:,}" for kind, count in counts.items()))
    if found:
        of = found["injected"]
        print(
            f"  of {of['n']} injected defects {of['top_ranked']} are among the {of['n']} "
            f"top-ranked, {of['flagged']} are flagged, {of['either']} one or both; "
            f"of {found['clean']['n']:,} clean images {found['clean']['flagged']} are flagged"
        )
    save_figure(sheet(result, packed), drawing, dpi=110)
    lead = [
        f"{len(table):,} images by {number} latent variables. {counts['broken']:,} are broken: "
        f"they have a defect flag. {counts['suspect']:,} are suspect: the sky beside the galaxy is "
        "far more uneven than is usual, as by the halo or the spikes of a star, a glare, or a "
        f"crowd. {counts['rare']:,} are rare: neither, but among the {config.rare_share:.1%} "
        f"galaxies ranked highest. Here are the first {config.cards} of each kind.",
        "The rank of a galaxy is that of the mean of four percentiles, each the share of images "
        "that score lower: distance in the latent space from all galaxies, from those of its "
        "class, how isolated it is there, and what the latents miss of it. The rank of a frame "
        "is by its flags, then by the scatter of the sky over the galaxy's light. A picture leads "
        "to the survey's own viewer.",
    ]
    write_gallery(
        run.outliers_page(number),
        "Outliers: rare galaxies and bad frames",
        lead,
        KINDS,
        cards(result, packed, config),
    )
    write_json(numbers, {"kinds": counts, "flags": flags, "recovery": found})
    write_parquet(run.outliers(number), result)
    stage.finish(**counts, flags=flags, recovery=found)


if __name__ == "__main__":
    start(main, Config, __doc__)
