"""Features of other programs in place of the latents.

A table with a name or a position of each galaxy and numeric columns (of Zoobot, AION, Hyrax,
statmorph) becomes result/latents_<key>.parquet, where the key is the name of the table. It has the
columns of the table of latents, with the features as mu_00, mu_01 and so on, so that the scripts of
the analysis work on it, and write files with the key in their names.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.packed import Packed
from VAE_model.data.sky import cross_match, nearest_position
from VAE_model.extraction.latent_table import in_scatters
from VAE_model.imports.matching import rows_of_files
from VAE_model.pipeline.command_line import Stop, given
from VAE_model.pipeline.files import parquet_columns, read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Stage
from VAE_model.tables.columns import as_numbers, is_text, name_key
from VAE_model.tables.joins import join_rows
from VAE_model.tables.labels import split_source
from VAE_model.tables.reading import FILE_NAMES, read_table

FEATURES = "features"  # key of table and columns in the metadata
RADIUS = 1.0  # arcsec between an image and its row, where positions are compared
SCRIPT = ROOT / "data" / "import_features.py"

_IDENTITY = ["iauname", "ra", "dec", "path", "survey", "split"]
_NORMAL = 1.4826  # standard deviation of a Gaussian over its median absolute deviation
_MARKERS = (-99, -999, -9999)  # numbers that many catalogues have where they have no value
# Columns that are no features unless they are named, by the words of their names joined by _.
_NOT_FEATURES = {
    "position": r"(^|_)(ra|dec|glon|glat|lon|lat|healpix)(_|$)|^[xy](_(image|world|centroid))?$",
    "error": r"(^|_)(err|error|errors|unc|uncertainty|ivar)(_|$)|^e_",
    "flag": r"(^|_)(flag|flags|mask|warning)(_|$)",
    "identity": r"(^|_)(id|ids|split|fold)(_|$)|(obj|target|source|galaxy)id$"
    r"|^(index|row|number|unnamed_0)$",
}
_SHOWN = 12  # columns that a line names at most


@dataclass(frozen=True)
class Space:
    """The numbers that an analysis works on: latents of a run, or features of another program.

    key: in the names of files: the number of latents, or the name of the table of features.
    """

    run: Run
    key: int | str

    @property
    def foreign(self) -> bool:
        """True for features of another program."""
        return isinstance(self.key, str)

    @property
    def dimension(self) -> int:
        """The number of latents or features."""
        if not isinstance(self.key, str):
            return self.key
        return sum(name.startswith("mu_") for name in parquet_columns(self.run.latents(self.key)))

    @property
    def words(self) -> str:
        """The numbers in words: 40 latent variables, 20 features of statmorph."""
        what = f"features of {self.key}" if self.foreign else "latent variables"
        return f"{self.dimension} {what}"

    @property
    def name(self) -> str:
        """Its name in a title."""
        return f"feature space of {self.key}" if self.foreign else "latent space"

    @property
    def unit(self) -> str:
        """The unit of the distances of `scaled`, in the plural."""
        return "robust standard deviations" if self.foreign else "scatters between exposures"

    def scaled(self, table: pd.DataFrame, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values (N, dimension) in the unit of distances.

        Latents are in units of the scatter between two exposures of one galaxy. Of features, which
        are not measured on a second exposure, a distance is the root mean square over the features,
        each in units of its robust standard deviation.
        """
        if self.foreign:
            return values / np.float32(np.sqrt(values.shape[1]))
        return in_scatters(table, values)


@dataclass(frozen=True)
class Chosen:
    """The constants of data/import_features.py that determine its result."""

    features: str
    columns: tuple[str, ...]


def space_of(run: Run, num_var: int, features: Path | None, columns: Sequence[str]) -> Space:
    """Return what a script works on: latents, or, where `features` is a table, its features.

    The features are imported first where they are missing or stale. Raises Problem where the table
    cannot be used.
    """
    if features is None:
        if columns:
            raise Problem("--columns names columns of a table: name the table with --features")
        return Space(run, num_var)
    if not given.dry_run:
        with suppress(Stop):  # --accept ends the import only
            import_features(run, features, columns)
    return Space(run, key_of(features))


def key_of(features: Path) -> str:
    """Return the part of file names that stands for a table: letters, digits and hyphens.

    A name of digits alone would be a number of latents, and gets letters before it.
    """
    stem = re.sub(r"[^A-Za-z0-9]+", "-", features.name.split(".")[0]).strip("-")
    return f"features-{stem}" if not stem or stem.isdigit() else stem


def import_features(run: Run, features: Path, columns: Sequence[str]) -> None:
    """Write the features of a table as a table of latents, and as one of the classes' latents.

    Raises Problem if no row belongs to an image, several rows to one, or no column is a feature.
    """
    path, key = features.absolute(), key_of(features)
    classed = run.classes.exists() or (run.catalogue.exists() and not run.labels.exists())
    outputs = [run.latents(key), *([run.class_latents(key)] if classed else [])]
    inputs = [run.train_txt, path, *split_source(run)]
    inputs += [run.classes, run.matches] if classed else []
    stage = Stage(str(SCRIPT), run, Chosen(run.show(path), tuple(columns)), inputs, outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    packed = Packed.of(run)
    read = read_table(path)
    names = choose_columns(read, columns, path)
    rows = match_rows(read, packed.index, path)
    values = np.stack([as_numbers(read[name]).to_numpy(float) for name in names], axis=1)
    values = np.where(np.isfinite(values), values, np.nan)[rows]
    own, names, values = complete(names, values, packed.index["split"].to_numpy(), rows >= 0, path)
    index, around, flags = (
        part.iloc[own].reset_index(drop=True)
        for part in (packed.index[_IDENTITY], packed.surroundings, packed.flags)
    )
    means = pd.DataFrame(values, columns=[f"mu_{number:02d}" for number in range(len(names))])
    # There is no reconstruction, and so no residual.
    table = pd.concat([index, means, around, flags], axis=1).assign(residual=np.nan)
    table.attrs[FEATURES] = {"table": run.show(path), "columns": names}
    write_parquet(run.latents(key), table)
    if classed:
        write_parquet(run.class_latents(key), of_classes(run, table))
    stage.finish(images=len(table), features=len(names))


def choose_columns(table: pd.DataFrame, wanted: Sequence[str], path: Path) -> list[str]:
    """Return the columns of a table that are features, and print them and those left out.

    wanted: names, or patterns with * and ?; none: all columns of numbers whose names do not say
    that they are an identity, a position, an error or a flag. Raises Problem where a name or
    pattern has no column, a named column holds no numbers, or none is left.
    """
    numeric = [name for name in table if not is_text(table[name]) and table[name].dtype != bool]
    left: dict[str, list[str]] = {}
    if wanted:
        found: list[str] = []
        for one in wanted:
            fitting = [one] if one in table else [n for n in table if fnmatchcase(n, one)]
            if not fitting:
                raise Problem(f"{path} has no column {one}: it has {_listed(list(table))}")
            if one in table and is_text(table[one]):
                raise Problem(f"{path}: {one} holds {table[one].dropna().iloc[:1].tolist()}, and a "
                              "feature is a number: leave it out of --columns")  # fmt: skip
            found += [name for name in fitting if not is_text(table[name])]
            left.setdefault("text", []).extend(n for n in fitting if is_text(table[n]))
        names = list(dict.fromkeys(found))
    else:
        reasons = {name: _why_no_feature(name) for name in numeric}
        names = [name for name in numeric if not reasons[name]]
        left["text or logical"] = [name for name in table if name not in numeric]
        for name, reason in reasons.items():
            if reason:
                left.setdefault(reason, []).append(name)
    if not names:
        raise Problem(
            f"{path} has no column of numbers that may be a feature (it has "
            f"{_listed(list(table))}): name some with --columns; a column of lists has to become "
            "one column per number first (docs/FEATURES.md)"
        )
    print(f"  {path.name}: {len(names):,} columns are the features: {_listed(names)}")
    for reason, of in left.items():
        if of:
            print(f"  {path.name}: left out ({reason}): {_listed(of)}")
    for name in names:
        marked = [m for m in _MARKERS if (table[name] == m).sum() > 1]
        if marked:
            print(f"  {path.name}: {name} is {marked[0]} in {(table[name] == marked[0]).sum():,} "
                  "rows: if that means missing, empty these cells")  # fmt: skip
    return names


def _why_no_feature(name: str) -> str:
    """Return why a column with this name is no feature unless it is named; empty if it may be."""
    if name_key(name) in FILE_NAMES:
        return "identity"
    words = "_".join(w for w in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name) if w).casefold()
    found = (why for why, pattern in _NOT_FEATURES.items() if re.search(pattern, words))
    return next(found, "")


def match_rows(table: pd.DataFrame, index: pd.DataFrame, path: Path) -> NDArray[np.int64]:
    """Return the row of each image (N,) in a table, -1 for none, and print what was kept.

    By the name of the image's file, else by its iauname, else by its position within RADIUS, where
    the nearest counts. table: as `read_table` returns it; index: path, iauname, ra, dec of the
    images. Raises Problem where no row belongs to an image, or which one does is ambiguous.
    """
    files, named = index["path"].astype(str).tolist(), index["iauname"].astype(str)
    shown, images = path.name, "images of train.txt"
    places = {"ra", "dec"} <= set(table)
    names = [name for name in table if name_key(name) in FILE_NAMES]
    why = f"{path} has neither names nor positions"
    if names:
        try:
            found = rows_of_files(files, table[names], str(path))
        except Problem as problem:
            why = str(problem)
        else:
            if said := [(f, row) for f, row in zip(files, found, strict=True)
                        if isinstance(row, str)]:  # fmt: skip
                raise Problem(f"{path}: {said[0][0]}: {said[0][1]}: one row per image is needed, "
                              "by its path where names are the same")  # fmt: skip
            rows = np.array([-1 if row is None else int(row) for row in found])
            return _told(rows, len(table), f"file name ({', '.join(names)})", images, shown)
    for name in names:
        texts = table[name].astype(str)
        known = np.flatnonzero(texts.isin(named))
        if len(known):
            if len(twice := named[named.duplicated() & named.isin(texts)]):
                raise Problem(f"{path}: {twice.iloc[0]} is the name of several images: name the "
                              "files in a column path")  # fmt: skip
            mend = "leave one row of each galaxy"
            rows = join_rows(named, texts.iloc[known], ("train.txt", shown), name, mend=mend)
            return np.where(rows >= 0, known[rows], -1)
    if not places:
        raise Problem(why if names else f"{why}: add a column iauname, path, or ra and dec")
    if names:
        print(f"  {shown}: no name is that of an image; positions are compared")
    image, row, _ = cross_match(index["ra"], index["dec"], table["ra"], table["dec"], RADIUS)
    if not len(image):
        apart = nearest_position(index["ra"], index["dec"], table["ra"], table["dec"])[0]
        raise Problem(
            f"no row of {path} lies within {RADIUS:g} arcsec of an image (the nearest is "
            f"{apart.min():.4g} arcsec away): take a table of the same galaxies, or add a column "
            "iauname"
        )
    sky = table[["ra", "dec"]]
    if (twice := sky.duplicated(keep=False).to_numpy()[row]).any():
        again = sky.iloc[row[twice][0]]
        raise Problem(f"{path} has several rows at {again['ra']:.5f} {again['dec']:+.5f}: leave "
                      "one row of each galaxy")  # fmt: skip
    rows = np.full(len(index), -1)
    rows[image] = row
    return _told(rows, len(table), f"position within {RADIUS:g} arcsec", images, shown)


def _told(
    rows: NDArray[np.int64], count: int, how: str, images: str, shown: str
) -> NDArray[np.int64]:
    """Print how many images have a row and how many rows have no image; return the rows."""
    kept = int((rows >= 0).sum())
    print(
        f"  join on {how}: kept {kept:,} of {len(rows):,} {images}; dropped "
        f"{len(rows) - kept:,}: not in {shown}; {count - kept:,} rows of {shown} not used"
    )
    return rows


def complete(
    names: Sequence[str],
    values: NDArray[np.float64],
    split: NDArray,
    matched: NDArray[np.bool_],
    path: Path,
) -> tuple[NDArray[np.int64], list[str], NDArray[np.float32]]:
    """Return the images that have all features, the features that vary, and their scaled values.

    values: (N, d), NaN where missing; split, matched: of each image, (N,). Each feature has its
    median subtracted, and is divided by its robust standard deviation (1.4826 times the median
    absolute deviation; where that is 0 the standard deviation), of the images of the train split.
    One that is constant there is left out. Raises Problem where nothing remains.
    """
    missing = np.isnan(values) & matched[:, None]
    whole = matched & ~missing.any(axis=1)
    if missing.any():
        of = [f"{n} {c:,}" for n, c in zip(names, missing.sum(axis=0), strict=True) if c]
        print(f"  missing values: {_listed(of)}; left out: the {int((matched & ~whole).sum()):,} "
              f"of {int(matched.sum()):,} images with one")  # fmt: skip
    train = whole & (split == "train")
    if train.sum() < 2:
        worst = names[int(missing.sum(axis=0).argmax())]
        remedy = f", for instance {worst}" if missing.any() else ""
        raise Problem(
            f"{path}: {int(train.sum())} images of the train split have all features: add rows, or "
            f"leave out columns with missing values{remedy}"
        )
    centre = np.median(values[train], axis=0)
    width = _NORMAL * np.median(np.abs(values[train] - centre), axis=0)
    width = np.where(width > 0, width, values[train].std(axis=0))
    varying = width > 1e-12 * np.abs(centre)
    if not varying.all():
        constant = [name for name, varies in zip(names, varying, strict=True) if not varies]
        print(f"  left out (constant in the train split): {_listed(constant)}")
    if not varying.any():
        raise Problem(f"{path}: every feature is constant in the train split: choose others")
    print(f"  scaled by median and robust standard deviation of {int(train.sum()):,} train images")
    own = np.flatnonzero(whole)
    scaled = (values[own][:, varying] - centre[varying]) / width[varying]
    kept = [name for name, varies in zip(names, varying, strict=True) if varies]
    return own, kept, scaled.astype(np.float32)


def of_classes(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of classes.parquet whose images have features, joined with them.

    The columns are those that analysis/decals_2_2.py writes for the latents.
    """
    classes, matches = read_parquet(run.classes), read_parquet(run.matches)
    names = run.show(run.matches), "the features"
    again = f"run {run.remade_by(run.matches)}"
    rows = join_rows(matches["path"], table["path"], names, mend=again)
    found = rows >= 0
    galaxies = classes.iloc[matches["class_row"].to_numpy()[found]].reset_index(drop=True)
    place = matches.loc[found, ["image_row", "path", "separation"]].reset_index(drop=True)
    others = table.filter(regex="^(survey$|split$|mu_|flag_)")
    joined = pd.concat([galaxies, place, others.iloc[rows[found]].reset_index(drop=True)], axis=1)
    joined.attrs["labels"] = classes.attrs.get("labels", "")
    return joined


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more
