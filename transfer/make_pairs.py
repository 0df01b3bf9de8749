"""Pair the cutouts of the same galaxies in two surveys, and audit each pair.

The two lists of cutouts are matched on the sky by the positions in their headers, each the other's
nearest. Every file of the second survey is opened: its release must be that survey's (a "north"
cutout that the service cut from the southern layer is refused), the two centres must agree (frames
cut about slightly different positions are moved by whole pixels, farther ones are refused), and
both frames must be free of defects to be used for adaptation and comparison. The split is that of
the first survey's image, so that a galaxy is on one side in both.

Reads:  train.txt (the first survey), images/bassmzls/ (the second)
Writes: transfer/pairs.parquet (a row a pair), transfer/pairs_refused.csv (path, reason),
        figures/pairs_separations.png, figures/pairs.png

Example: python transfer/make_pairs.py --recentre 1 --largest 16
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.cutouts import ENDINGS
from VAE_model.figures import (
    INDIGO,
    ROSE,
    log_scale,
    new_figure,
    save_figure,
    show_image,
    thumbnail,
)
from VAE_model.packed import Packed
from VAE_model.pair_audit import (
    Verdict,
    check,
    defects_of,
    match,
    measured_offsets,
    reasons_of,
)
from VAE_model.pairs import View, views
from VAE_model.pipeline import parallel
from VAE_model.pipeline.files import atomic, list_files, write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.surveys import SURVEYS, label_of


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    survey: str = "decals"
    """The first survey: that of the images in train.txt that the model was trained on."""
    other: str = "bassmzls"
    """The second survey: the folder of its cutouts under images/."""
    radius: float = 15.0
    """Cutouts whose centres are farther apart than this (arcsec) show different galaxies."""
    recentre: float = 1.0
    """Centres farther apart than this (pixels) are made to agree, by moving the second image."""
    largest: float = 16.0
    """Centres farther apart than this (pixels) are refused: too much of the frame is missing."""
    shown: int = 8
    """Pairs in the picture."""
    workers: int = 0
    """Processes that open images; 0: one a core."""


def draw_separations(pairs: pd.DataFrame, refused: NDArray, config: Config, path: Path) -> None:
    """Separation of the headers' centres, and what is left between the centres of the light."""
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
    left.set(xlabel="distance of the frames' centres,\nby their headers (pixels)", ylabel="pairs")
    log_scale(left.yaxis, linear_to=1)
    left.legend()
    offset = pairs["offset_pixels"]
    right.hist(np.minimum(offset, 6), np.linspace(0, 6, 49), color=INDIGO)
    right.set(xlabel="distance of the centres of light, after moving\n(pixels; last bin: and more)",
              ylabel="pairs")  # fmt: skip
    middle = offset.median()
    right.axvline(middle, color=ROSE, label=f"median {middle:.2f} pixels")
    right.legend()
    save_figure(figure, path)


def draw_pairs(first: View, second: View, pairs: pd.DataFrame, number: int, path: Path) -> None:
    """Usable pairs in colour: the first survey above, the second below."""
    usable = np.flatnonzero(pairs["usable"])
    chosen = usable[np.linspace(0, len(usable) - 1, min(number, len(usable))).astype(int)]
    columns = max(len(chosen), 3)
    figure = new_figure(1.5 * columns, 3.6, layout="constrained")
    for row, view in zip(figure.subplots(2, columns, squeeze=False), (first, second), strict=True):
        for axes in row[len(chosen) :]:
            axes.axis("off")
        for axes, i in zip(row, chosen, strict=False):
            display = bool(view.packed.index["display"].iloc[view.rows[i]])
            image = np.array(view.packed.images[view.rows[i]])
            show_image(axes, thumbnail(image, 160, crop=128, display=display))
            if view is first:
                name = pairs["iauname"].iloc[i].replace("+", "\n+").replace("-", "\n-")
                axes.set_title(name, fontsize=8, fontweight="normal", loc="center")
        if len(chosen):
            row[0].set_ylabel(label_of(view.survey))
    save_figure(figure, path)


def main(config: Config) -> None:
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
    if config.survey not in SURVEYS and first.empty:  # a survey of one's own has no VERSION we know
        first = packed.index[np.isfinite(packed.index["ra"])]
    shown = run.show(run.images(config.other))
    paths = list_files(run.images(config.other), ENDINGS)
    if first.empty or not paths:
        where = run.show(run.train_txt) if first.empty else shown
        what = config.survey if first.empty else config.other
        raise Problem(f"{where} has no image of {what} with a position: there is nothing to pair")
    jobs = [(path, config.other) for path in paths]
    verdicts = list(parallel.each(check, jobs, config.workers, "auditing images"))
    matched = match(first, verdicts, config.radius, config.recentre)
    reasons = reasons_of(verdicts, matched, config.radius, config.largest)
    names = [path.relative_to(run.folder).as_posix() for path in paths]
    refused = [(name, reason) for name, reason in zip(names, reasons, strict=True) if reason]
    with (
        atomic(run.pairs_refused) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        csv.writer(stream).writerows([("path", "reason"), *refused])
    print(f"  {len(first):,} images of {config.survey}, {len(paths):,} of {config.other}")
    counts = Counter(reason.split(":")[0] for _, reason in refused)
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
    pairs = table_of_pairs(first, verdicts, names, kept, config)
    sides = views(run, pairs, config.workers)
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
    first: pd.DataFrame,
    verdicts: list[Verdict],
    names: list[str],
    kept: pd.DataFrame,
    config: Config,
) -> pd.DataFrame:
    """A row a pair, of what the headers say; ordered by the first survey's list."""
    here = first.iloc[kept["row"]].reset_index(drop=True)
    there = [verdicts[row] for row in kept["other_row"]]
    return pd.DataFrame(
        {
            "pair": np.arange(len(kept)), "iauname": here["iauname"], "ra": here["ra"],
            "dec": here["dec"], "split": here["split"],
            "survey": config.survey, "release": here["release"], "path": here["path"],
            "other_survey": config.other, "other_release": [v.release for v in there],
            "other_path": [names[row] for row in kept["other_row"]],
            "other_ra": [v.ra for v in there], "other_dec": [v.dec for v in there],
            "separation": kept["separation"], "separation_pixels": kept["separation_pixels"],
            "shift_x": kept["shift_x"], "shift_y": kept["shift_y"],
        }
    )  # fmt: skip


if __name__ == "__main__":
    start(main, Config, __doc__)
