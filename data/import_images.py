"""Bring your own images: any folder of FITS, JPEG or PNG becomes cutouts that the pipeline takes.

FITS frames keep their flux (nanomaggies are flux per pixel: a resampled image has the same sum)
and their WCS. JPEG and PNG are images for display: red, green, blue become bands z, r, g from 0
to 1, marked BUNIT = 'display', so that no later stage takes them for calibrated flux. Nothing is
ever mirrored or transposed. A table's columns travel along, matched by file name or iauname.

Reads:  any folder with all that is below it; a table (CSV, FITS, parquet, VOTable) with a column
        file, path, name or iauname, and perhaps ra, dec (degrees) and labels
Writes: images/<name>/ (3x256x256 FITS), images/<name>.refused.csv (file, reason), labels.parquet
        (path, iauname, ra, dec and the table's other columns; of all imports of the run)

Example: python data/import_images.py --folder ~/galaxies --table ~/galaxies.csv --run data/own
"""

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from VAE_model.imports import tables
from VAE_model.imports.importing import ENDINGS, Job, Outcome, import_image, target_names
from VAE_model.pipeline import parallel
from VAE_model.pipeline.files import atomic, list_files, read_parquet, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.sky import iauname


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/own")
    """Folder of the run."""
    folder: Path = Path("data/originals")
    """Images of your own, with all that is below it."""
    name: str = "imported"
    """The images lie in images/<name>/ under the run: a name for each folder you import."""
    table: Path | None = None
    """Positions and labels of the images, if there are any."""
    mode: Literal["resample", "crop", "scale"] = "resample"
    """resample: the whole frame (its central square) to 256 pixels; crop: the central 256 pixels
    as they are; scale: to 0.262 arcsec a pixel, then the central 256 (FITS with a WCS only)."""
    workers: int = 0
    """Processes that convert images; 0: one a core."""


Rows = list[int | str | None]  # of each image: its row in the table, or why none, or no table


def plan(files: list[str], rows: Rows, config: Config, table: pd.DataFrame | None) -> list[Job]:
    """A job an image; `files` are their paths in the folder."""
    folder, target = ROOT / config.folder, Run(config.run).images(config.name)
    positions = np.empty((0, 2))
    if placed := table is not None and "ra" in table:
        positions = table[["ra", "dec"]].to_numpy(float)
    nowhere = (float("nan"), float("nan"))
    jobs = []
    for file, name, row in zip(files, target_names(files), rows, strict=True):
        ra, dec = positions[row] if placed and isinstance(row, int) else nowhere
        jobs.append(Job(folder / file, target / name, config.mode, float(ra), float(dec)))
    return jobs


def check_config(config: Config, run: Run) -> None:
    """Raise Problem where the constants cannot work together."""
    folder, target = ROOT / config.folder, run.images(config.name)
    if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*", config.name):
        raise Problem(f"--name {config.name!r} is no folder's name: use letters, digits, . _ + -")
    if not folder.is_dir():
        raise Problem(f"{run.show(folder)} is no folder: say with --folder where the images are")
    if target.resolve().is_relative_to(folder.resolve()):
        raise Problem(
            f"{run.show(folder)} holds the run itself: put the originals in a folder of their own"
        )


def check_targets(jobs: list[Job]) -> None:
    """Raise Problem where an image that no import made lies where one is to be written."""
    for job in jobs:
        if job.target.exists():
            with open(job.target, "rb") as stream:
                if b"IMPMODE" not in stream.read(2880):
                    raise Problem(
                        f"{job.target} was not made by an import: choose another --name, "
                        "so that it is not lost"
                    )


def label_table(
    run: Run, jobs: list[Job], outcomes: list[Outcome], rows: Rows, table: pd.DataFrame | None
) -> pd.DataFrame:
    """A row an imported image: path, iauname, ra, dec and the other columns of the table."""
    good = [i for i, outcome in enumerate(outcomes) if not outcome.reason]
    paths = [jobs[i].target.relative_to(run.folder) for i in good]
    positions = [(outcomes[i].ra, outcomes[i].dec) for i in good]
    labels = pd.DataFrame(positions, columns=["ra", "dec"])
    labels.insert(0, "path", [path.as_posix() for path in paths])
    names = [
        iauname(ra, dec) if np.isfinite(ra) else path.stem
        for path, (ra, dec) in zip(paths, positions, strict=True)
    ]
    labels.insert(1, "iauname", names)
    if table is None:
        return labels
    taken = table.reindex([rows[i] if rows[i] is not None else -1 for i in good])
    taken = taken.reset_index(drop=True)
    if "iauname" in taken:
        labels["iauname"] = taken["iauname"].fillna(labels["iauname"])
    return labels.join(taken.drop(columns=labels.columns, errors="ignore"))


def merge_labels(run: Run, labels: pd.DataFrame, name: str) -> None:
    """Write labels.parquet with what other imports of the run brought.

    Images that this import made before, of originals that have gone, go too.
    """
    if run.labels.exists():
        before = read_parquet(run.labels)
        ours = before["path"].str.startswith(f"images/{name}/")
        gone = set(before["path"][ours]) - set(labels["path"])
        for path in list_files(run.images(name)):
            if path.relative_to(run.folder).as_posix() in gone:
                path.unlink()
        labels = pd.concat([before[~ours], labels], ignore_index=True)
    for column in labels:
        try:
            pa.array(labels[column], from_pandas=True)
        except pa.ArrowException:  # two tables mean different things by one name
            labels[column] = labels[column].map(str, na_action="ignore")
    write_parquet(run.labels, labels)


def write_refused(path: Path, refused: list[tuple[str, str]]) -> None:
    with (
        atomic(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        csv.writer(stream).writerows([("file", "reason"), *refused])


def report(
    outcomes: list[Outcome],
    refused: list[tuple[str, str]],
    rows: Rows,
    table: pd.DataFrame | None,
) -> None:
    """Print what became of the images, and what the match with the table kept and dropped."""
    good = [outcome for outcome in outcomes if not outcome.reason]
    print(f"  imported {len(good):,} of {len(outcomes):,} images")
    for reason, count in Counter(reason.split(":")[0] for _, reason in refused).most_common():
        print(f"  refused {count:,}: {reason}")
    if table is not None:
        matched = sum(isinstance(row, int) for row in rows)
        print(
            f"  table: {matched:,} rows have an image, {len(table) - matched:,} have none; "
            f"{rows.count(None):,} images have no row"
        )
    remarks = {
        "have no position": sum(np.isnan(outcome.ra) for outcome in good),
        "are not square: the central square was taken": sum(outcome.cut for outcome in good),
        "are mirrored on the sky by their WCS, and stay so": sum(o.mirrored for o in good),
    }
    for remark, count in remarks.items():
        if count:
            print(f"  {count:,} {remark}")


def main(config: Config) -> None:
    run = Run(config.run)
    check_config(config, run)
    folder, target = ROOT / config.folder, run.images(config.name)
    table_path = ROOT / config.table if config.table else None
    outputs = [target, run.import_refused(config.name)]
    # Several imports of a run share labels.parquet: it is this one's output where it is missing.
    outputs += [] if run.labels.exists() else [run.labels]
    stage = Stage(__file__, run, config, [folder, *filter(None, [table_path])], outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    table = tables.read_table(table_path) if table_path else None
    files = [path.relative_to(folder).as_posix() for path in list_files(folder)]
    images = [file for file in files if file.lower().endswith(ENDINGS)]
    if not images:
        raise Problem(f"{run.show(folder)} holds no image: FITS, JPEG and PNG are taken")
    rows: Rows = [None] * len(images)
    if table is not None:
        rows = tables.rows_of_files(images, table)
    jobs = plan(images, rows, config, table)
    check_targets(jobs)
    target.mkdir(exist_ok=True)
    clear = [job for job, row in zip(jobs, rows, strict=True) if not isinstance(row, str)]
    done = iter(list(parallel.each(import_image, clear, config.workers, "importing images")))
    outcomes = [Outcome(reason=row) if isinstance(row, str) else next(done) for row in rows]
    refused = [(file, o.reason) for file, o in zip(images, outcomes, strict=True) if o.reason]
    refused += [
        (file, "not an image: the name does not end like one's")
        for file in files
        if not file.lower().endswith(ENDINGS)
        and not (table_path and (folder / file).samefile(table_path))
    ]
    write_refused(run.import_refused(config.name), refused)
    report(outcomes, refused, rows, table)
    labels = label_table(run, jobs, outcomes, rows, table)
    if not len(labels):
        raise Problem(
            f"none of {len(images)} images could be imported: "
            f"see {run.show(run.import_refused(config.name))}"
        )
    merge_labels(run, labels, config.name)
    stage.finish(imported=len(labels), refused=len(refused))


if __name__ == "__main__":
    start(main, Config, __doc__)
