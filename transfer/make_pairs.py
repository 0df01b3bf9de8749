"""Pair the cutouts of the same galaxies in two surveys, and audit each pair.

The two lists of cutouts are matched on the sky by the positions in their headers: the cutouts of a
pair are each other's nearest neighbours. Every file of the second survey is opened: its release
must be that survey's (a "north" cutout that the service cut from the southern layer is refused),
the two centres must agree (an image with a slightly different centre is moved by whole pixels, one
farther away is refused), and only pairs without defects are used for adaptation and comparison. The
split is that of the first survey's image, so that a galaxy is in the same split in both.

Reads:  train.txt (the first survey), images/bassmzls/ (the second)
Writes: transfer/pairs.parquet (one row per pair), transfer/pairs_refused.csv (path, reason),
        figures/pairs_separations.png, figures/pairs.png

Example: python transfer/make_pairs.py --recentre 1 --largest 16
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.cutouts import ENDINGS
from VAE_model.data.packed import Packed
from VAE_model.pipeline import parallel
from VAE_model.pipeline.files import atomic, list_files, write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report import figures
from VAE_model.report.figures import INDIGO, ROSE, new_figure, save_figure
from VAE_model.surveys import SURVEYS, label_of
from VAE_model.transfer.audit import HEADER, check, defects_of, match, measured_offsets, reasons_of
from VAE_model.transfer.pairs import SurveyImages, images_in_both


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    survey: str = "decals"
    """The first survey: that of the images in train.txt that the model was trained on."""
    other: str = "bassmzls"
    """The second survey: the folder of its cutouts under images/."""
    radius: float = 15.0
    """Largest distance of the centres of a pair (arcsec)."""
    recentre: float = 1.0
    """Distance of the centres (pixels) above which the second image is moved."""
    largest: float = 16.0
    """Distance of the centres (pixels) above which a pair is refused: too much is missing."""
    shown: int = 8
    """Pairs in the figure."""
    workers: int = 0
    """Processes that open images; 0: one per core."""


def draw_separations(pairs: pd.DataFrame, refused: NDArray, config: Config, path: Path) -> None:
    """Draw the separation of the headers' centres, and that of the centres of light."""
    figure = new_figure(9, 3.6, layout="constrained")
    left, right = figure.subplots(1, 2)
    kept = pairs["separation_pixels"]
    width = config.largest / 32  # a limit lies between two bins
    edges = np.arange(0, max(kept.max(), refused.max(initial=0), config.largest) + 1, width)
    left.hist([kept, refused], edges, stacked=True, color=[INDIGO, ROSE],
              label=[f"paired ({len(kept):,})", f"refused ({len(refused):,})"])  # fmt: skip
    for limit, words in ((config.recentre, "moved beyond"), (config.largest, "refused beyond")):
        left.axvline(limit, color="#555555", linewidth=1, linestyle="--")
        left.annotate(words, (limit, 0.97), (3, 0), ("data", "axes fraction"), "offset points",
                      rotation=90, va="top", ha="left", fontsize=9, color="#555555")  # fmt: skip
    left.set(xlabel="distance of the images' centres,\nby their headers (pixels)", ylabel="pairs")
    figures.log_scale(left.yaxis, linear_to=1)
    left.legend()
    offset = pairs["offset_pixels"]
    right.hist(np.minimum(offset, 6), np.linspace(0, 6, 49), color=INDIGO)
    right.set(xlabel="distance of the centres of light, after moving\n(pixels; last bin: and more)",
              ylabel="pairs")  # fmt: skip
    middle = offset.median()
    right.axvline(middle, color=ROSE, label=f"median {middle:.2f} pixels")
    right.legend()
    save_figure(figure, path)


def draw_pairs(
    first: SurveyImages, second: SurveyImages, pairs: pd.DataFrame, number: int, path: Path
) -> None:
    """Draw usable pairs in colour: the first survey above, the second below."""
    usable = np.flatnonzero(pairs["usable"])
    chosen = usable[np.linspace(0, len(usable) - 1, min(number, len(usable))).astype(int)]
    columns = max(len(chosen), 3)
    figure = new_figure(1.5 * columns, 3.6, layout="constrained")
    for row, side in zip(figure.subplots(2, columns, squeeze=False), (first, second), strict=True):
        for axes in row[len(chosen) :]:
            axes.axis("off")
        for axes, i in zip(row, chosen, strict=False):
            figures.show_image(
                axes, figures.packed_thumbnail(side.packed, side.rows[i], 160, crop=128)
            )
            if side is first:
                name = pairs["iauname"].iloc[i].replace("+", "\n+").replace("-", "\n-")
                axes.set_title(name, fontsize=8, fontweight="normal", loc="center")
        if len(chosen):
            row[0].set_ylabel(label_of(side.survey))
    save_figure(figure, path)


def main(config: Config) -> None:
    """Match, audit and draw the pairs."""
    run = Run(config.run)
    outputs = [run.pairs, run.pairs_refused, run.figure("pairs_separations.png"),
               run.figure("pairs.png")]  # fmt: skip
    inputs = [run.train_txt, run.images(config.other)]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if config.survey == config.other:
        raise Problem(f"survey and other are both {config.survey}: a pair needs two surveys")
    if stage.is_up_to_date():
        return
    stage.begin()
    packed = Packed.of(run, config.workers)
    first = packed.index[packed.index["survey"] == config.survey]
    first = first[np.isfinite(first["ra"])]
    if config.survey not in SURVEYS and first.empty:  # a survey without a known VERSION
        first = packed.index[np.isfinite(packed.index["ra"])]
    shown = run.show(run.images(config.other))
    paths = list_files(run.images(config.other), ENDINGS)
    if first.empty or not paths:
        where = run.show(run.train_txt) if first.empty else shown
        what = config.survey if first.empty else config.other
        raise Problem(f"{where} has no image of {what} with a position: there is nothing to pair")
    jobs = [(path, config.other) for path in paths]
    found = list(parallel.each(check, jobs, config.workers, "auditing images"))
    others = pd.DataFrame(found, columns=list(HEADER))
    others["path"] = [path.relative_to(run.folder).as_posix() for path in paths]
    matched = match(first, others, config.radius, config.recentre)
    reasons = reasons_of(others, matched, config.radius, config.largest)
    refused = others[["path"]].assign(reason=reasons)[lambda table: table["reason"] != ""]
    with atomic(run.pairs_refused) as temporary:
        refused.to_csv(temporary, index=False, errors="backslashreplace")
    print(f"  {len(first):,} images of {config.survey}, {len(paths):,} of {config.other}")
    counts = Counter(reason.split(":")[0] for reason in refused["reason"])
    for reason, count in counts.most_common():
        print(f"  refused {count:,}: {reason}")
    far = matched["separation_pixels"] > config.largest
    kept = matched[~far].reset_index(drop=True)
    if kept.empty:
        why = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
        raise Problem(
            f"no galaxy of {run.show(run.train_txt)} is in {shown} too ({why}): "
            f"see {run.show(run.pairs_refused)}"
        )
    pairs = table_of_pairs(first, others, kept, config)
    sides = images_in_both(run, pairs, config.workers)
    pairs["defect"] = defects_of(*sides)
    pairs["usable"] = pairs["defect"] == ""
    pairs["offset_pixels"] = measured_offsets(*sides)
    write_parquet(run.pairs, pairs)
    draw_separations(pairs, matched.loc[far, "separation_pixels"].to_numpy(), config, outputs[2])
    draw_pairs(*sides, pairs, config.shown, outputs[3])
    moved = int((pairs[["shift_x", "shift_y"]] != 0).any(axis=1).sum())
    split = pairs.loc[pairs["usable"], "split"].value_counts().to_dict()
    defective = int((~pairs["usable"]).sum())
    print(
        f"  {len(pairs):,} pairs, {moved:,} of them moved onto one centre; {defective:,} with a "
        f"defect, left out of adaptation and comparison; usable: {split}"
    )
    stage.finish(
        pairs=len(pairs), moved=moved, with_a_defect=defective, usable=split,
        refused=dict(counts), median_offset_pixels=float(pairs["offset_pixels"].median()),
    )  # fmt: skip


def table_of_pairs(
    first: pd.DataFrame, others: pd.DataFrame, kept: pd.DataFrame, config: Config
) -> pd.DataFrame:
    """Return a row per pair, from the headers, in the order of the first survey's list."""
    here = first.iloc[kept["row"]][["iauname", "ra", "dec", "split", "release", "path"]]
    there = others.iloc[kept["other_row"]][["release", "path", "ra", "dec"]].add_prefix("other_")
    parts = [here, there, kept.drop(columns=["row", "other_row"])]
    table = pd.concat([part.reset_index(drop=True) for part in parts], axis=1)
    table = table.assign(survey=config.survey, other_survey=config.other)
    table.insert(0, "pair", np.arange(len(table)))
    return table


if __name__ == "__main__":
    start(main, Config, __doc__)
