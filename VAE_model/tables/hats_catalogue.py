"""HATS catalogues, tables divided by position on the sky, written and matched by LSDB.

LSDB (Caplar et al. 2025, arXiv:2501.02103) is the extra `hats`. It reads a catalogue a partition at
a time, so that catalogues may be larger than memory.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table

from VAE_model.pipeline.problem import Problem

ROWS = 1_000_000  # of a partition that is written, at most as far as positions allow
DISTANCE = "separation"  # arcsec, the column of a match
_THEIRS = "_dist_arcsec"  # LSDB's name of it
_ROW = "_row_of_table"


def load_lsdb() -> ModuleType:
    """Return the package. Raises Problem where it is not installed."""
    try:
        import lsdb
    except ImportError as error:
        raise Problem(
            f"HATS catalogues need the package lsdb ({error}): pip install -e '.[hats]'"
        ) from None
    return lsdb


def write_hats(table: Table, folder: Path) -> int:
    """Write a table as a HATS catalogue, with units, UCDs and descriptions; return its rows.

    table: with ra and dec, degrees; rows without a position are left out. Raises Problem where the
    table has no positions, or the folder holds anything but a catalogue.
    """
    lsdb = load_lsdb()
    from hats.io.parquet_metadata import write_voparquet_in_common_metadata

    if not {"ra", "dec"} <= set(table.colnames):
        raise Problem("the table has no columns ra and dec, by which HATS divides it")
    if folder.exists() and not _is_catalogue(folder):
        raise Problem(f"{folder} is there and holds no HATS catalogue: choose another name")
    frame = table.to_pandas()
    placed = frame[np.isfinite(frame["ra"]) & np.isfinite(frame["dec"])]
    if not len(placed):
        raise Problem("no row of the table has a position, by which HATS divides it")
    if len(placed) < len(frame):
        print(f"  {len(frame) - len(placed):,} rows without a position are left out")
    catalogue = _catalogue(lsdb, placed, folder.name)
    catalogue.write_catalog(
        folder, catalog_name=folder.name, as_collection=False, overwrite=True, progress_bar=False
    )
    columns = {column.name: column for column in table.itercols()}
    with warnings.catch_warnings(action="ignore"):  # nanomaggy is no unit of the standard
        write_voparquet_in_common_metadata(
            folder,
            field_units={name: one.unit for name, one in columns.items() if one.unit},
            field_ucds={name: one.meta.get("ucd") for name, one in columns.items()},
            field_descriptions={name: one.description or "" for name, one in columns.items()},
        )
    return len(placed)


def cross_match(
    table: pd.DataFrame, folder: Path, radius: float, columns: Sequence[str], workers: int
) -> pd.DataFrame:
    """Return the nearest row of a HATS catalogue for each row of a table that has one.

    table: finite ra and dec, degrees, and the columns to keep; radius: arcsec; columns: of the
    catalogue, none: all, which get the suffix _catalogue where the table has the same name;
    workers: partitions of the catalogue in memory at a time. Partitions without a row of the table
    are not read. The separation is in the column DISTANCE, arcsec.
    Raises Problem where the folder is no catalogue, or a column is missing.

    LSDB divides the table with a margin, and finds the rows of the table near each row of the
    catalogue: the catalogue needs no margin of its own, and no match across borders is lost.
    """
    lsdb = load_lsdb()
    import dask

    if not _is_catalogue(folder):
        raise Problem(f"{folder} is no HATS catalogue: it has neither hats.properties nor "
                      "collection.properties")  # fmt: skip
    there = lsdb.open_catalog(folder)
    wanted = list(columns) or list(there.columns)
    if lacking := [name for name in wanted if name not in there.all_columns]:
        raise Problem(f"{folder} has no column {', '.join(lacking)}: it has "
                      f"{', '.join(there.all_columns)}")  # fmt: skip
    known = there.hc_structure.catalog_info
    wanted = list(dict.fromkeys([*wanted, known.ra_column, known.dec_column]))
    numbered = table.reset_index(drop=True).rename_axis(_ROW).reset_index()
    here = _catalogue(lsdb, numbered, "run", margin=radius)
    with dask.config.set(scheduler="threads", num_workers=workers):
        found = lsdb.open_catalog(folder, columns=wanted).crossmatch(
            here, radius_arcsec=radius, n_neighbors=_crowding(table, radius),
            suffixes=("_catalogue", ""), suffix_method="overlapping_columns", log_changes=False,
        ).compute()  # fmt: skip
    plain = pd.DataFrame(found).convert_dtypes(dtype_backend="numpy_nullable")
    nearest = plain.sort_values(_THEIRS).drop_duplicates(_ROW).sort_values(_ROW)
    nearest = nearest.rename(columns={_THEIRS: DISTANCE}).reset_index(drop=True)
    others = [name for name in nearest if name not in (*table, _ROW, DISTANCE)]
    return nearest[[*table, *others, DISTANCE]]


def _crowding(table: pd.DataFrame, radius: float) -> int:
    """Return how many rows of the table one position may have within the radius, at most."""
    places = SkyCoord(table["ra"].to_numpy(), table["dec"].to_numpy(), unit="deg")
    rows = places.search_around_sky(places, 2 * radius * units.arcsec)[0]
    return int(np.bincount(rows).max())


def _is_catalogue(folder: Path) -> bool:
    return any((folder / f"{name}.properties").is_file() for name in ("hats", "collection"))


def _catalogue(lsdb: ModuleType, table: pd.DataFrame, name: str, margin: float = 0.0) -> Any:
    return lsdb.from_dataframe(
        table, ra_column="ra", dec_column="dec", catalog_name=name, partition_rows=ROWS,
        margin_threshold=margin or None, should_generate_moc=False,
    )  # fmt: skip
