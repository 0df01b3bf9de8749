"""The galaxies on a map of the latent space: their table, their colours, the scale of their images.

A map is coloured by a class, by a label or by a number. Labels and numbers are columns of the table
that came with imported images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from VAE_model.data.cutouts import PIXEL_SCALE, SIZE
from VAE_model.data.galaxy_zoo import answer_column, questions
from VAE_model.pipeline.files import parquet_columns, read_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.report.figures import (
    CLASS_STYLES,
    CYAN,
    GREEN,
    INDIGO,
    NO_CLASS,
    ROSE,
    SAND,
    TEAL,
    WINE,
)
from VAE_model.report.figures import ClassStyle as Answer
from VAE_model.report.plotting import matplotlib, to_hex
from VAE_model.surveys import UNKNOWN, label_of
from VAE_model.tables.columns import as_text, is_text, typed
from VAE_model.tables.joins import join_rows
from VAE_model.tables.labels import MOST_ANSWERS, columns_of

CROP = 140  # pixels that a thumbnail shows, 37 arcsec of a survey's images
MARKERS = "os^D"
_COLOURS = (INDIGO, ROSE, GREEN, SAND, CYAN, WINE, TEAL, "#999933", "#AA4499", "#111111")
# Colour and marker of each answer: different for up to 20 of them.
LOOKS = tuple(
    (_COLOURS[i % len(_COLOURS)], MARKERS[(i + i // len(_COLOURS)) % 4])
    for i in range(2 * len(_COLOURS))
)
BINS = 6  # of a number, at most
_LIGHTEST = 0.9  # of viridis: its yellow end cannot be seen on white


@dataclass(frozen=True)
class Scheme:
    """One way to colour the map: answers, and the code of each galaxy's answer, (N,).

    values: of a number whose answers are bins, as text; empty: the answer itself is the value.
    """

    title: str
    answers: list[Answer]
    codes: NDArray[np.int64]
    values: tuple[str, ...] = ()

    def of(self, rows: NDArray[np.int64]) -> "Scheme":
        """Return the colours of some of the galaxies."""
        values = tuple(self.values[row] for row in rows) if self.values else ()
        return replace(self, codes=self.codes[rows], values=values)

    def labels(self) -> list[str]:
        """Return the label of each galaxy's answer."""
        return [self.answers[code].label for code in self.codes]


def map_source(run: Run, key: int | str) -> Path:
    """Return the table of the galaxies on the map.

    They are those with a class where the run has classes, else all images. key: the number of
    latents, or the name of a table of features.
    """
    classed = run.class_latents(key)
    return classed if classed.exists() or run.catalogue.exists() else run.latents(key)


def map_inputs(run: Run, key: int | str) -> list[Path]:
    """Return what the stages of the map read."""
    source, more = map_source(run, key), (run.latents(key), run.labels)
    return [source, run.train_txt, *(path for path in more if path.exists() and path != source)]


def schemes(
    run: Run, table: pd.DataFrame, surveys: Sequence[str], colour: Sequence[str]
) -> list[Scheme]:
    """Return the ways to colour galaxies.

    They are the named columns of labels.parquet, the class, the answers to each question, every
    label and number of labels.parquet if none is named, and the survey.
    table: path, and class and the columns of answers if they are known; surveys: (N,).
    Raises Problem where a named column is missing or has no answers.
    """
    found = label_schemes(run, table["path"], colour) if colour else []
    if "class" in table:
        found.append(class_scheme(table["class"]))
    for question, answers in questions().items():
        if answer_column(question) in table:
            looks = [Answer(name, *look) for name, look in zip(answers, LOOKS, strict=False)]
            found.append(_scheme(question, table[answer_column(question)], list(answers), looks))
    if not colour and run.labels.exists():
        found += label_schemes(run, table["path"])
    return [*found, survey_scheme(surveys, table["path"])]


def class_scheme(classes: ArrayLike) -> Scheme:
    """Return the colours of the classes, (N,)."""
    styles = {name: style for name, style in CLASS_STYLES.items() if not style.none}
    none = CLASS_STYLES[NO_CLASS].label
    return _scheme("class", classes, list(styles), list(styles.values()), none)


def survey_scheme(surveys: Sequence[str], paths: Sequence[str]) -> Scheme:
    """Return the colours of the surveys, (N,); of unknown ones, of the names of the imports."""
    labels = survey_labels(surveys, paths)
    names = sorted(set(labels))
    looks = [Answer(name, *LOOKS[i % len(LOOKS)]) for i, name in enumerate(names)]
    return _scheme("survey" if UNKNOWN not in surveys else "images", labels, names, looks)


def survey_labels(surveys: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Return the label of the survey of each image, or the folder of its import if unknown."""
    return [
        PurePosixPath(path).parent.name or UNKNOWN if survey == UNKNOWN else label_of(survey)
        for survey, path in zip(surveys, paths, strict=True)
    ]


def label_schemes(run: Run, paths: Sequence[str], named: Sequence[str] = ()) -> list[Scheme]:
    """Return the colours by columns of labels.parquet, for images by their paths.

    named: the columns; none: all labels, which have 2 to MOST_ANSWERS values, and all numbers.
    """
    shown, there = run.show(run.labels), columns_of(run)
    present = parquet_columns(run.labels) if run.labels.exists() else []
    for name in named:
        if name not in present:
            instead = f"it has {', '.join(there)}" if there else "there is no table of labels"
            raise Problem(f"{shown} has no column {name!r} to colour by: {instead}")
    columns = list(named or there)
    if not columns:
        return []
    table = read_parquet(run.labels, ["path", *(c for c in columns if c != "path")])
    mend = f"run {run.remade_by(run.labels)}"
    rows = join_rows(paths, table["path"], ("galaxies of the map", shown), mend=mend)
    table = table.reindex(np.where(rows < 0, len(table), rows))
    found = []
    for name in columns:
        scheme, values = _scheme_of(name, table[name], bool(named))
        if scheme:
            found.append(scheme)
        elif named:
            raise Problem(
                f"{shown}: {name} has {values:,} different values among the {len(table):,} "
                f"galaxies: a number, or text with 2 to {MOST_ANSWERS} values, makes colours"
            )
    return found


def _scheme_of(name: str, column: pd.Series, named: bool) -> tuple[Scheme | None, int]:
    """Return the colours by a column, None where it makes none, and its number of values."""
    values = typed(column) if is_text(column) else column
    numeric = not is_text(values) and values.dtype != bool
    if numeric:
        values = values.astype(float).where(lambda v: np.isfinite(v))
        distinct = values.nunique()
        if distinct >= 2 and (named or distinct > MOST_ANSWERS):
            return binned(name, values.to_numpy()), distinct
    texts = (as_text(value) for value in sorted(values.dropna().unique()))
    answers = list(dict.fromkeys(text for text in texts if text))
    if not 2 <= len(answers) <= MOST_ANSWERS:
        return None, len(answers)
    looks = [Answer(answer, *look) for answer, look in zip(answers, LOOKS, strict=False)]
    if numeric:
        looks = [
            replace(look, colour=c) for look, c in zip(looks, _viridis(len(looks)), strict=True)
        ]
    return _scheme(name, values.map(as_text), answers, looks), len(answers)


def binned(title: str, values: NDArray[np.float64]) -> Scheme:
    """Return the colours of a number, (N,), NaN where unknown, in bins of about equal counts.

    A bin is labelled by its smallest and largest value, with three significant digits, or more
    where these are the same.
    """
    known = np.isfinite(values)
    distinct, place, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    above, below = np.cumsum(counts), [0]  # values up to each one, and below each bin
    cuts: list[int] = []
    for left in range(BINS, 1, -1):
        wanted = below[-1] + (len(place) - below[-1]) / left
        rest = np.arange(cuts[-1] if cuts else 0, len(distinct) - 1)
        if len(rest):
            cuts.append(int(rest[np.abs(above[rest] - wanted).argmin()]) + 1)
            below.append(above[cuts[-1] - 1])
    ends = list(zip(distinct[[0, *cuts]], distinct[[*(cut - 1 for cut in cuts), -1]], strict=True))
    whole = bool((distinct == np.floor(distinct)).all())
    for digits in range(15 if whole else 3, 18):
        labels = [" to ".join(dict.fromkeys(_number(v, digits) for v in pair)) for pair in ends]
        if len(set(labels)) == len(labels) and all(
            ("to" in label) == (low < high) for label, (low, high) in zip(labels, ends, strict=True)
        ):
            break
    codes = np.full(len(values), len(labels))
    codes[known] = np.searchsorted(cuts, place, side="right")
    colours = _viridis(len(labels))
    answers = [Answer(label, c, "o") for label, c in zip(labels, colours, strict=True)]
    shown = tuple(_number(value, 6) for value in values)
    return Scheme(title, [*answers, _NONE], codes, shown)


def _number(value: float, digits: int) -> str:
    """Return a number with this many significant digits, without zeros at its end."""
    return f"{float(f'{value:.{digits}g}') + 0.0:.15g}"


def _viridis(count: int) -> list[str]:
    places = np.linspace(0, _LIGHTEST, count)
    return [to_hex(colour) for colour in matplotlib.colormaps["viridis"](places)]


_NONE = replace(CLASS_STYLES[NO_CLASS], label="no answer")


def _scheme(
    title: str, values: ArrayLike, names: list[str], looks: list[Answer], none: str = _NONE.label
) -> Scheme:
    """Return colours by the names in `values`, (N,); other values come last, as `none`."""
    codes = pd.Index(names).get_indexer(np.asarray(values, object))
    return Scheme(
        title, [*looks, replace(_NONE, label=none)], np.where(codes < 0, len(names), codes)
    )


def crop_of(run: Run, paths: Sequence[str], crop: int) -> int:
    """Return the side of the central part of images that thumbnails show, pixels.

    crop: the user's choice; 0: CROP, or all of an image where a scale is unknown.
    """
    return min(crop or (CROP if np.isfinite(_scales(run, paths)).all() else SIZE), SIZE)


def shown_side(run: Run, paths: Sequence[str], crop: int) -> str:
    """Return the side of the central `crop` pixels of images in words.

    It is '37 arcsec', or '140 of 256 pixels' where their scales are unknown or differ.
    """
    scales = _scales(run, paths)
    if np.isfinite(scales).all() and np.ptp(scales) < 0.02 * scales.min():
        return f"{crop * np.median(scales):.0f} arcsec"
    return f"{crop} of {SIZE} pixels"


def _scales(run: Run, paths: Sequence[str]) -> NDArray[np.float64]:
    """Return the scale of each image, arcsec per pixel, (N,); NaN where unknown."""
    scales = np.full(len(paths), PIXEL_SCALE)
    if run.labels.exists() and "pixel_scale" in parquet_columns(run.labels):
        table = read_parquet(run.labels, ["path", "pixel_scale"]).drop_duplicates("path")
        rows = pd.Index(table["path"]).get_indexer(np.asarray(paths, object))
        scales[rows >= 0] = table["pixel_scale"].to_numpy(float)[rows[rows >= 0]]
    return scales
