"""Find the outliers, and separate rare galaxies from bad images.

Every galaxy gets four scores: its Mahalanobis distance in the latent space from all galaxies and
from its own class, its isolation-forest score, and the residual of its reconstruction. Their
percentile ranks are averaged and ranked: `rank`. Contaminants are masked before the latents are
measured, so the surroundings of the galaxy have a rank of their own, `image_rank`: images with a
defect flag first, then by the unevenness of the background (haloes and spikes of stars, glare,
crowding): the rms of the background from place to place over the galaxy's own light.

An image with a defect flag is `broken`; of the others, those with an unusually uneven background
are `suspect`, and of the rest those of highest `rank` are `rare`. Look at the gallery to see what
is rare about them, and mark them there: the page learns from the marks and ranks its cards again.
With the file of marks that it saves (`--marks`), this script ranks all images by the same model.

With `features`, the features of a table take the place of the latents; the ranks then lack the
residual, since there is no reconstruction.

Reads:  result/latents_40.parquet, or the table `features`; train.txt (its packed images); where
        they are there: result/class_latents_40.parquet (the classes), truth.parquet (of a simulated
        sky), `marks`
Writes: result/outliers_40.parquet: iauname, ra, dec, path, survey, split, distance,
        class_distance, isolation, residual, combined, rank, background_rms_over_flux, image_rank,
        kind, flag_*, with marks also mark, mark_score (log-odds of the mark `target`), mark_error
        (its standard deviation), mark_rank; result/outliers_40.json (the number of injected
        defects that were found), figures/outliers_40.png, figures/outliers_40.html

Example: python analysis/decals_4.py --marks marks_demo.csv
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from VAE_model.data.galaxy_zoo import CLASSES
from VAE_model.data.packed import Packed
from VAE_model.data.sky import sexagesimal, viewer_url
from VAE_model.evaluation import outliers
from VAE_model.evaluation.injected import injected_defects
from VAE_model.evaluation.marks import (
    BACKGROUND,
    COLUMNS,
    MARKS,
    MIN_TRAINING,
    Features,
    learn,
    read_marks,
)
from VAE_model.extraction.features import Space, space_of
from VAE_model.extraction.latent_table import read_means
from VAE_model.pipeline import files
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.defects import FLAGS
from VAE_model.report import figures
from VAE_model.report.gallery import Card, Kind, gallery_page
from VAE_model.report.marking import marking_content
from VAE_model.report.plotting import Figure
from VAE_model.report.tables import prose
from VAE_model.tables.joins import join_rows

SCORES = {  # column: its label on a card
    "distance": "distance", "class_distance": "in its class", "isolation": "isolation",
    "residual": "residual",
}  # fmt: skip
KINDS = (
    Kind("rare", "rare", "an unusual galaxy in an ordinary image", "#44AA99"),
    Kind("suspect", "suspect", "the sky beside the galaxy is unusually uneven", "#DDCC77"),
    Kind("broken", "broken", "has a defect flag", "#CC6677"),
    Kind("ordinary", "ordinary", "none of these, of highest rank", "#8A8C91"),
)
ACROSS, DOWN = 8, 2  # of thumbnails of each kind in the figure
ORDER = {"suspect": "image_rank", "broken": "image_rank"}  # rank of these kinds
MARK_RANK = "mark_rank"


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    features: Path | None = None
    """A table of features to work on in place of the latents (docs/FEATURES.md)."""
    columns: tuple[str, ...] = ()
    """Its columns that are features, by names or patterns; none: all that may be."""
    rare_share: float = 0.02
    """Share of the images that count as highest ranked."""
    suspect: float = 3.0
    """Threshold of suspect images: robust standard deviations of the logarithm of the background's
    rms over flux above its median."""
    trees: int = 200
    """Trees of the isolation forest."""
    cards: int = 60
    """Cards of each kind in the gallery, at most."""
    picture: int = 224
    """Side of a picture in the gallery, pixels."""
    marks: Path | None = None
    """File of marks that the gallery or the map has saved: the images are ranked by it."""
    target: str = MARKS[0]
    """The mark that images are ranked by."""


def score(
    table: pd.DataFrame, latents: NDArray[np.float32], members: NDArray[np.bool_], config: Config
) -> pd.DataFrame:
    """Return the table of outliers: identity, scores, ranks, kind, flags, a row per image."""
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
    result[BACKGROUND] = table[BACKGROUND]
    uneven = np.nan_to_num(outliers.percentile(result[BACKGROUND]))
    result["image_rank"] = outliers.rank(uneven + broken)
    suspect = outliers.stands_out(result[BACKGROUND], config.suspect)
    rare = result["rank"] <= max(1, round(config.rare_share * len(table)))
    result["kind"] = np.select([broken, suspect, rare], ["broken", "suspect", "rare"], "ordinary")
    return pd.concat([result, flags], axis=1)


def members_of_classes(run: Run, space: Space, paths: pd.Series) -> NDArray[np.bool_]:
    """Return the classes of each image, (N, C); no columns where the classes are unknown."""
    source = run.class_latents(space.key)
    if not source.exists():
        if run.catalogue.exists():
            print(f"  {run.show(source)} is missing: no distances within classes "
                  f"(to have them run {run.made_by(source)})")  # fmt: skip
        return np.zeros((len(paths), 0), bool)
    labels, _ = read_means(run, source, space.dimension, tuple(CLASSES))
    names = [name for name in CLASSES if name in labels]
    names_of = f"images of {run.show(run.latents(space.key))}", run.show(source)
    rows = join_rows(paths, labels["path"], names_of, mend=f"run {run.made_by(source)}")
    members = labels[names].to_numpy(bool)[rows] & (rows >= 0)[:, None]
    used = members.sum(axis=0) >= outliers.SMALLEST_CLASS
    print(f"  {int(members.any(axis=1).sum()):,} of {len(paths):,} images are in a class; "
          f"{used.sum()} of {len(names)} classes have enough members for a distance")  # fmt: skip
    return members


def recovery(table: pd.DataFrame, run: Run) -> dict[str, Any]:
    """Return the numbers of injected defects that are flagged or among as many top-ranked ones."""
    defect, known = injected_defects(run, table)
    flagged = (table["kind"] == "broken").to_numpy()
    injected = defect != ""
    top = table["rank"].to_numpy() <= injected.sum()

    def found(which: NDArray[np.bool_]) -> dict[str, object]:
        n, hits = int(which.sum()), int((which & (top | flagged)).sum())
        interval = binomtest(hits, n).proportion_ci(method="wilson") if n else (0.0, 1.0)
        return {
            "n": n, "top_ranked": int((which & top).sum()),
            "flagged": int((which & flagged).sum()), "either": hits,
            "share": hits / n if n else None,
            "interval_95": [round(limit, 4) for limit in interval],
        }  # fmt: skip

    clean = ~injected & known
    truth = read_parquet(run.truth, ["iauname", "defect_decals"])
    refused = truth.loc[~truth["iauname"].isin(table["iauname"]), "defect_decals"].fillna("")
    return {
        "images": len(table),
        "injected": found(injected),
        "by_kind": {name: found(defect == name) for name in sorted(set(defect[injected]))},
        "not_in_train_txt": {k: int(n) for k, n in refused[refused != ""].value_counts().items()},
        "clean": {"n": int(clean.sum()), "flagged": int((clean & flagged).sum())},
    }


def by_marks(features: Features, marks: pd.Series, target: str) -> pd.DataFrame:
    """Return the columns mark, mark_score, mark_error and mark_rank of all images.

    marks: of each image, "" for none. Raises Problem where no mark is the target.
    """
    given = marks.to_numpy(object)
    if target not in given:
        there = ", ".join(sorted(set(given) - {""}))
        raise Problem(f"no image is marked {target!r}: choose --target from {there}")
    rows = np.flatnonzero(given != "")
    found = learn(features, rows, given[rows] == target)
    columns = {"mark": marks, "mark_score": found.score, "mark_error": np.sqrt(found.variance)}
    return pd.DataFrame({**columns, MARK_RANK: outliers.rank(found.score)})


def order_of(kind: str, table: pd.DataFrame) -> str:
    """Return the column that images of a kind are ordered by."""
    return MARK_RANK if MARK_RANK in table else ORDER.get(kind, "rank")


def top(table: pd.DataFrame, kind: str, most: int) -> pd.DataFrame:
    """Return the highest ranked images of a kind, `most` at most.

    Without marks, each flag of broken images has its turn.
    """
    own = table[table["kind"] == kind].sort_values(order_of(kind, table))
    if MARK_RANK in table:
        return own.head(most)
    turn = own.groupby(own[list(FLAGS)].to_numpy().argmax(axis=1)).cumcount()
    return own.iloc[np.argsort(turn, kind="stable")].head(most)


def words(row: pd.Series) -> tuple[str, ...]:
    """Return the flags of an image in words."""
    return tuple(flag.removeprefix("flag_").replace("_", " ") for flag in FLAGS if row[flag])


def sheet(table: pd.DataFrame, packed: Packed, place: NDArray[np.int64]) -> Figure:
    """Return a contact sheet of the highest ranked images of each kind.

    place: of each image among the packed ones, (N,).
    """
    chosen = {kind: top(table, kind.name, ACROSS * DOWN) for kind in KINDS[:-1]}
    chosen = {kind: rows for kind, rows in chosen.items() if len(rows)}
    heights = [0.4 + 2.6 * -(-len(rows) // ACROSS) for rows in chosen.values()]  # titles and images
    figure = figures.new_figure(17, sum(heights), layout="constrained")
    parts = figure.subfigures(len(chosen), 1, hspace=0.02, squeeze=False, height_ratios=heights)
    for part, (kind, rows) in zip(parts.ravel(), chosen.items(), strict=True):
        count = int((table["kind"] == kind.name).sum())
        of = f"{len(rows)} of {count:,}" if count > len(rows) else f"{count:,}"
        part.suptitle(f"{kind.label.capitalize()}: {kind.meaning} ({of})", fontsize=15,
                      fontweight="bold", x=0.005, ha="left", color="#222222")  # fmt: skip
        titles = [
            f"{row['iauname']}\n"
            + (", ".join(words(row)) or f"rank {row[order_of(kind.name, table)]:,}")
            for _, row in rows.iterrows()
        ]
        images = [figures.packed_thumbnail(packed, place[row], 256) for row in rows.index]
        figures.contact_sheet(part, images, titles, ACROSS, kind.colour)
    return figure


def cards(
    table: pd.DataFrame, packed: Packed, place: NDArray[np.int64], config: Config
) -> tuple[list[Card], pd.Index]:
    """Return the cards of the gallery, by rank, and the rows of their images."""
    shares = {name: outliers.percentile(table[name]) for name in SCORES}
    chosen = pd.concat([top(table, kind.name, config.cards) for kind in KINDS])
    chosen, made = chosen.sort_values(order_of("rare", table)), []
    for number, row in chosen.iterrows():
        known = np.isfinite([row["ra"], row["dec"]]).all()
        image = figures.packed_thumbnail(packed, place[number], config.picture)
        facts = {"rank": f"{row['rank']:,}", "of images": f"{row['image_rank']:,}"}
        for name, label in SCORES.items():
            if np.isfinite(row[name]):
                facts[label] = f"{100 * shares[name][number]:.1f} %"
        made.append(
            Card(
                kind=row["kind"],
                title=row["iauname"],
                picture=figures.jpeg(image),
                link=viewer_url(row["ra"], row["dec"], row["survey"]) if known else "",
                lines=(sexagesimal(row["ra"], row["dec"]) if known else "no position",
                       f"{row['survey']}, {row['split']}"),
                facts=facts,
                tags=words(row) or (row["kind"],),
                path=row["path"],
                ra=round(row["ra"], 6) if known else None,
                dec=round(row["dec"], 6) if known else None,
            )
        )  # fmt: skip
    return made, chosen.index


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    space = space_of(run, config.num_var, config.features, config.columns)
    number = space.key
    source, classes = run.latents(number), run.class_latents(number)
    numbers, drawing = run.result(f"outliers_{number}.json"), run.figure(f"outliers_{number}.png")
    inputs = [source, run.train_txt, *(path for path in (classes, run.truth) if path.exists())]
    inputs += [config.marks.absolute()] if config.marks else []
    outputs = [run.outliers(number), numbers, drawing, run.outliers_page(number)]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    table, latents = read_means(run, source, space.dimension, ("logvar_",), ("survey", *COLUMNS))
    if (training := int((table["split"] == "train").sum())) < MIN_TRAINING:
        what = f"has {training} training galaxies, and {MIN_TRAINING} are needed: add images"
        raise Problem(f"{run.show(source)} {what}")
    packed = Packed.of(run)
    if not space.foreign and not table["path"].equals(packed.index["path"]):
        again = f"run {run.remade_by(source)}"
        raise Problem(f"{run.show(source)} is not of the images in train.txt: {again}")
    place = pd.Index(packed.index["path"]).get_indexer(table["path"])
    members = members_of_classes(run, space, table["path"])
    result = score(table, latents, members, config)
    features = Features.of(table, latents)
    marks = read_marks(config.marks, table) if config.marks else None
    if marks is not None:
        result = pd.concat([result, by_marks(features, marks["mark"], config.target)], axis=1)
    found = recovery(result, run) if run.truth.exists() else {}
    kinds = result["kind"].tolist()
    counts = {kind: kinds.count(kind) for kind in ("broken", "suspect", "rare", "ordinary")}
    flags = {flag: int(result[flag].sum()) for flag in FLAGS}
    print("  " + ", ".join(f"{kind} {count:,}" for kind, count in counts.items()))
    if found:
        of = found["injected"]
        print(
            f"  of {of['n']} injected defects {of['top_ranked']} are among the {of['n']} "
            f"top-ranked, {of['flagged']} are flagged, {of['either']} one or both; "
            f"of {found['clean']['n']:,} clean images {found['clean']['flagged']} are flagged"
        )
    figures.save_figure(sheet(result, packed, place), drawing, dpi=110)
    values = {"images": len(table), "space": space.words, "cards": config.cards, **counts}
    ranks = prose("ranks_of_features" if space.foreign else "ranks")
    lead = [prose("outliers_page", share=config.rare_share, **values), ranks]
    title = "Outliers: rare galaxies and bad images"
    shown, rows = cards(result, packed, place, config)
    marking = marking_content(run, table, features, rows, marks)
    page = gallery_page(title, lead, KINDS, shown, marking)
    files.write_text(run.outliers_page(number), page)
    files.write_json(numbers, {"kinds": counts, "flags": flags, "recovery": found})
    files.write_parquet(run.outliers(number), result)
    stage.finish(**counts, flags=flags, recovery=found)


if __name__ == "__main__":
    start(main, Config, __doc__)
