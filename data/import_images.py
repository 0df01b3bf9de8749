"""Import your own images: any folder of FITS, JPEG or PNG files becomes cutouts for the pipeline.

FITS frames are converted to nanomaggies (BUNIT and the header's zero point, docs/DATA.md) and keep
their WCS. JPEG, PNG, TIFF, WebP, GIF and BMP are images for display: red, green, blue become bands
z, r, g from 0 to 1, marked BUNIT = 'display', so that no later stage treats them as calibrated
flux. A row of a parquet file with a column of images, as Multimodal Universe and Hugging Face write
them, is an image with its labels (docs/FORMATS.md). Images of 32 pixels and more are reduced or
enlarged to 256; flux is conserved. Nothing is ever mirrored or transposed. The columns of a table
are kept, matched by file name or iauname; a table with columns g, r, z that name files joins one
file per band.

Reads:  any folder with its subfolders; a table (CSV, FITS, parquet, VOTable: docs/DATA.md)
        with a column file, path, name or iauname, and perhaps ra, dec and labels
Writes: images/<name>/ (3x256x256 FITS), images/<name>.refused.csv (file, reason), labels.parquet
        (path, iauname, ra, dec, pixel_scale (arcsec, of the cutout), enlarged (pixels of the
        cutout per original pixel), the table's other columns; of all imports of the run)

Example: python data/import_images.py --folder ~/galaxies --table ~/galaxies.csv --run data/own
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy.io import fits

from VAE_model.data.fits_frames import Reading
from VAE_model.data.flux_units import UnknownUnit, conversion
from VAE_model.data.sky import iauname
from VAE_model.imports.band_files import band_columns, match, names_of_rows
from VAE_model.imports.image_tables import groups_of, import_group, open_tables
from VAE_model.imports.importing import ENDINGS, Job, Outcome, import_image, target_names
from VAE_model.imports.matching import Rows, rows_of_files
from VAE_model.imports.remarks import report
from VAE_model.pipeline import parallel
from VAE_model.pipeline.files import list_files, read_parquet, write_parquet
from VAE_model.pipeline.origin import OWN, check_origin
from VAE_model.pipeline.provenance import whole_sidecar
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.tables.columns import as_text
from VAE_model.tables.reading import read_table
from VAE_model.tables.text import write_csv


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/own")
    """Folder of the run."""
    folder: Path = Path("data/originals")
    """Folder of your images, searched with its subfolders."""
    name: str = "imported"
    """Images are written to images/<name>/ under the run: one name per imported folder."""
    table: Path | None = None
    """Positions and labels of the images, if there are any."""
    mode: Literal["resample", "crop", "scale"] = "resample"
    """resample: the whole frame (its central square) to 256 pixels; crop: the central 256 pixels
    as they are; scale: to 0.262 arcsec per pixel, then the central 256 (FITS with a WCS only)."""
    bands: str = ""
    """Planes of FITS files that become g, r and z, by name or by number from 0: gri, 210; two (01):
    the first, the mean of both, the second; one: the same three times. None: the bands g, r, z."""
    unit: str = ""
    """Unit of FITS images in place of BUNIT: maggy, uJy, MJy/sr, counts; display: no flux, each
    plane scaled from its sky less 3 sigma (0) to its brightest thousandth (1)."""
    zero_point: float | None = None
    """AB magnitude of 1 in FITS images, in place of the header's."""
    workers: int = 0
    """Processes that convert images; 0: one a core."""


def reading_of(config: Config) -> Reading:
    """Return what the user says of the files."""
    return Reading(re.sub(r"[\s,]", "", config.bands), config.unit, config.zero_point)


def plan(
    images: list[str],
    planes: list[dict[str, str]] | None,
    rows: Rows,
    config: Config,
    table: pd.DataFrame | None,
) -> list[Job]:
    """Return one job per image.

    images: their paths in the folder; planes: for each image, the file of each band.
    """
    folder, target = ROOT / config.folder, Run(config.run).images(config.name)
    jobs = []
    for number, (file, name) in enumerate(zip(images, target_names(images), strict=True)):
        row, ra, dec = rows[number], float("nan"), float("nan")
        if table is not None and "ra" in table and isinstance(row, int):
            ra, dec = float(table["ra"].iat[row]), float(table["dec"].iat[row])
        apart = planes[number].items() if planes else ()
        files = tuple((band, folder / path) for band, path in apart)
        source = files[0][1] if files else folder / file
        refused = row if isinstance(row, str) else ""
        jobs.append(
            Job(source, target / name, config.mode, ra, dec, reading_of(config), files, refused)
        )
    return jobs


def check_config(config: Config, run: Run) -> None:
    """Raise Problem if the constants are invalid."""
    folder, target = ROOT / config.folder, run.images(config.name)
    if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*", config.name):
        raise Problem(f"--name {config.name!r} is no folder's name: use letters, digits, . _ + -")
    if not re.fullmatch(r"(?:[A-Za-z0-9][\s,]*){0,3}", config.bands):
        raise Problem(f"--bands {config.bands!r}: give one, two or three letters or digits, as gri")
    try:
        zero_point = 25.0 if config.zero_point is None else config.zero_point
        conversion(fits.Header(), fits.Header(), lambda: 1.0, config.unit, zero_point)
    except UnknownUnit:
        raise Problem(
            f"--unit {config.unit!r} is no flux density: give maggy, uJy, MJy/sr, counts, display"
        ) from None
    if not folder.is_dir():
        raise Problem(f"{run.show(folder)} is no folder: say with --folder where the images are")
    if target.resolve().is_relative_to(folder.resolve()):
        raise Problem(
            f"{run.show(folder)} holds the run itself: put the originals in a folder of their own"
        )


def check_targets(jobs: list[Job]) -> None:
    """Raise Problem if a file that no import wrote lies where an image is to be written."""
    for target in (job.target for job in jobs if job.target.exists()):
        with open(target, "rb") as stream:
            if b"IMPMODE" not in stream.read(2880):
                raise Problem(
                    f"{target} was not made by an import: choose another --name, so that it is "
                    "not lost"
                )


def say_replaced(run: Run, config: Config) -> None:
    """Print what this import replaces: images of the same name from other originals."""
    before = whole_sidecar(run.images(config.name)).get("config", {})
    others = {
        option: before[option]
        for option in ("folder", "table")
        if before
        and before.get(option) != (str(value) if (value := getattr(config, option)) else None)
    }
    if others:
        was = ", ".join(f"--{option} {value}" for option, value in others.items())
        print(
            f"  replaces the images and labels of {run.show(run.images(config.name))}, which were "
            f"imported with {was} (another --name keeps both)"
        )


def label_table(
    run: Run, jobs: list[Job], outcomes: list[Outcome], rows: Rows, table: pd.DataFrame | None
) -> pd.DataFrame:
    """Return one row per imported image.

    Columns: path, iauname, ra, dec, pixel_scale, enlarged, and the other columns of the table; a
    table column with one of these names gets the suffix _of_table.
    """
    good = [i for i, outcome in enumerate(outcomes) if not outcome.reason]
    found_rows = []
    for i in good:
        path, one = jobs[i].target.relative_to(run.folder), outcomes[i]
        name = iauname(one.ra, one.dec) if np.isfinite(one.ra) else path.stem
        found_rows.append((path.as_posix(), name, one.ra, one.dec, one.pixel_scale, one.enlarged))
    columns = ["path", "iauname", "ra", "dec", "pixel_scale", "enlarged"]
    labels = pd.DataFrame(found_rows, columns=columns)
    if table is None:
        return labels
    # Integers stay integers where rows are missing: as floats, long identifiers lose digits.
    whole = {name: "Int64" for name in table.select_dtypes("integer")}
    found = [row if isinstance(row, int) else -1 for row in (rows[i] for i in good)]
    taken = table.astype(whole).reindex(found).reset_index(drop=True)
    taken = taken.rename(columns={c: f"{c}_of_table" for c in ("pixel_scale", "enlarged")})
    if "iauname" in taken:
        labels["iauname"] = taken["iauname"].fillna(labels["iauname"])
    return labels.join(taken.drop(columns=labels.columns, errors="ignore"))


def merge_labels(run: Run, labels: pd.DataFrame, name: str) -> None:
    """Write labels.parquet with the rows of the other imports of the run.

    Images that an earlier import wrote from originals that no longer exist are deleted.
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
        except pa.ArrowException:  # two tables use one name for columns of different type
            labels[column] = labels[column].map(as_text)
    write_parquet(run.labels, labels)


def main(config: Config) -> None:
    """Import the images and write their labels and the refused files."""
    run = Run(config.run)
    check_config(config, run)
    check_origin(run, OWN)
    folder, target = ROOT / config.folder, run.images(config.name)
    table_path = ROOT / config.table if config.table else None
    outputs = [target, run.import_refused(config.name)]
    # Several imports of a run share labels.parquet, which is an output of the last one.
    last = whole_sidecar(run.labels).get("config", {}).get("name", config.name)
    outputs += [run.labels] if last == config.name or not run.labels.exists() else []
    stage = Stage(__file__, run, config, [folder, *filter(None, [table_path])], outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    say_replaced(run, config)
    table = read_table(table_path) if table_path else None
    files = [path.relative_to(folder).as_posix() for path in list_files(folder)]
    images = [file for file in files if file.lower().endswith(ENDINGS)]
    tables = open_tables(folder, files, reading_of(config), table_path)
    if not images and not tables:
        raise Problem(f"{run.show(folder)} holds no image: FITS, JPEG and PNG are taken")
    unused: list[str] = []
    planes: list[dict[str, str]] | None = None
    rows: Rows = [None] * len(images)
    if table is not None and (columns := band_columns(table)):
        matched, unused = match(images, table, columns)
        planes = [{} if isinstance(row, str) else row for row in matched]
        rows = [row if isinstance(row, str) else at for at, row in enumerate(matched)]
        images = names_of_rows(table, columns)
    elif table is not None:
        rows = rows_of_files(images, table, table_path.name if table_path else "")
    single = len(images)
    if tables:
        table = pd.concat([one.labels for one in tables.values()], ignore_index=True)
        images += [name for one in tables.values() for name in one.names]
        rows += range(len(table))
    jobs = plan(images, planes, rows, config, table)
    check_targets(jobs)
    target.mkdir(exist_ok=True)
    outcomes = list(parallel.each(import_image, jobs[:single], config.workers, "importing images"))
    groups = groups_of(tables, jobs[single:])
    for done in parallel.each(import_group, groups, config.workers, "importing row groups", few=2):
        outcomes += done
    refused = [(file, o.reason) for file, o in zip(images, outcomes, strict=True) if o.reason]
    refused += [
        (file, "not an image: the name does not end like one's")
        for file in files
        if not file.lower().endswith(ENDINGS)
        and file not in tables
        and not (table_path and (folder / file).samefile(table_path))
    ]
    refused += [(file, "no row: the table names it as the file of no band") for file in unused]
    write_csv(run.import_refused(config.name), [("file", "reason"), *refused])
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
