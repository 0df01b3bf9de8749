"""Parquet files whose rows hold images: Multimodal Universe, Hugging Face.

Multimodal Universe (arXiv:2412.02527): a column `image` with, for each band, `flux` (an Array2D; or
`array`), `band` ('des-g', 'HSC-G') and `scale` (arcsec per pixel), as a struct of lists or a list
of structs. Row 0 is the south, as in the coadds that they are cut from; north is up and east is
left. ivar, mask and psf_fwhm are not used. Hugging Face's Image: a struct of `bytes` (a JPEG or PNG
file) and `path`. The extension types Array2D to Array5D of `datasets` are nested lists to readers
without that package; Arrow's fixed_shape_tensor is read too.

Row groups are the units of work, a few rows in memory at a time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from VAE_model.data.fits_frames import BadCutout, Reading
from VAE_model.imports.image_cells import PIXELS, content_of, is_list
from VAE_model.imports.importing import Job, Outcome, import_image
from VAE_model.pipeline.files import utf8
from VAE_model.pipeline.problem import Problem
from VAE_model.tables.columns import as_text, is_nested, name_key
from VAE_model.tables.reading import FILE_NAMES, read_table

ENDINGS = (".parquet", ".pq")
_NAMES = ("image", "img", "picture", "cutout", "rgb", "flux", "array")  # the likeliest first
_ROWS = 8  # in memory at a time
_BUFFER = 2**20  # bytes that are read ahead
_COPY = "data_thumbnail.parquet"  # in a HATS catalogue: the first rows again


@dataclass(frozen=True)
class ImageTable:
    """A parquet file with a column of images.

    names: of the rows, as if they were files; labels: the other columns, a row per image; unit: of
    the pixels by the file, "" without; arrays: the images are arrays, not encoded pictures.
    """

    path: Path
    column: str
    arrays: bool
    unit: str
    names: list[str]
    labels: pd.DataFrame


@dataclass(frozen=True)
class RowGroup:
    """Images of one row group, in order."""

    table: Path
    column: str
    number: int
    unit: str
    jobs: list[Job]


def open_image_table(path: Path, name: str) -> ImageTable | None:
    """Return the table, without its images; None where no column holds images.

    name: of the file in its folder. Raises Problem where it is unreadable or several columns may be
    meant.
    """
    if not path.name.lower().endswith(ENDINGS) or path.name == _COPY:
        return None
    try:
        schema, count = pq.read_schema(utf8(path)), pq.read_metadata(utf8(path)).num_rows
    except (OSError, ValueError) as error:
        raise Problem(f"{path} is no readable parquet table ({error}): save it again") from None
    column = _image_column(schema, path)
    if column is None or not count:
        return None
    others = [one.name for one in schema if not is_nested(one.type)]
    labels = pd.DataFrame(index=range(count))
    if others:
        labels = read_table(path, optional=[*others, "ra", "dec"])
    for one, words in _class_names(schema).items():
        if one in labels:
            labels[one] = labels[one].map(dict(enumerate(words)))
    field = schema.field(column)
    names = [f"{name}/{one}" for one in _row_names(path, field, labels)]
    return ImageTable(path, column, _is_array(field.type), _unit(field), names, labels)


def open_tables(
    folder: Path, files: Sequence[str], reading: Reading, table: Path | None
) -> dict[str, ImageTable]:
    """Return those of the files in a folder that are tables of images, by their names.

    reading: options of the user; table: a table of labels. Raises Problem where the unit of arrays
    is unknown, or there is a table of labels as well.
    """
    opened = {
        file: one
        for file in files
        if (table is None or not (folder / file).samefile(table))
        and (one := open_image_table(folder / file, file))
    }
    for file, one in opened.items():
        if table is not None:
            raise Problem(
                f"{file} holds images and their table: add the columns of {table} to it, and "
                "import without --table"
            )
        if one.arrays and not (one.unit or reading.unit or reading.zero_point is not None):
            raise Problem(
                f"{file} states no unit of its images: give --unit nanomaggy (Legacy Surveys), "
                "--zero-point 27 (HSC) or the unit of their survey; --unit display for no flux"
            )
    return opened


def groups_of(tables: Mapping[str, ImageTable], jobs: Sequence[Job]) -> list[RowGroup]:
    """Return the jobs of several tables, in their order, by row groups."""
    groups, first = [], 0
    for table in tables.values():
        groups += row_groups(table, jobs[first : first + len(table.names)])
        first += len(table.names)
    return groups


def row_groups(table: ImageTable, jobs: Sequence[Job]) -> list[RowGroup]:
    """Return the jobs of a table, one per row, by the row groups of its file."""
    groups, first, metadata = [], 0, pq.read_metadata(utf8(table.path))
    for number in range(metadata.num_row_groups):
        last = first + metadata.row_group(number).num_rows
        own = list(jobs[first:last])
        groups.append(RowGroup(table.path, table.column, number, table.unit, own))
        first = last
    return groups


def import_group(group: RowGroup) -> list[Outcome]:
    """Import the images of a row group."""
    outcomes = []
    with pq.ParquetFile(utf8(group.table), pre_buffer=False, buffer_size=_BUFFER) as file:
        batches = file.iter_batches(_ROWS, row_groups=[group.number], columns=[group.column])
        cells = (cell for batch in batches for cell in batch.column(0))
        for job, cell in zip(group.jobs, cells, strict=True):
            try:
                content = content_of(cell, job, group.unit)
            except BadCutout as refusal:
                outcomes.append(Outcome(reason=str(refusal)))
            else:
                outcomes.append(import_image(replace(job, content=content)))
    return outcomes


def _image_column(schema: pa.Schema, path: Path) -> str | None:
    """Return the column of images: arrays before pictures, then by its name."""
    arrays = [
        one.name
        for one in schema
        if _is_array(one.type) and (_is_struct(one.type) or name_key(one.name) in _NAMES)
    ]
    pictures = [one.name for one in schema if _is_picture(one)]
    for found in (arrays, pictures):
        named = sorted(
            (one for one in found if name_key(one) in _NAMES),
            key=lambda one: _NAMES.index(name_key(one)),
        )
        if len(found) > 1 and not named:
            raise Problem(
                f"{path} has several columns of images ({', '.join(found)}): rename one to image"
            )
        if found:
            return (named or found)[0]
    return None


def _is_picture(field: pa.Field) -> bool:
    kind = field.type
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return binary and name_key(field.name) in _NAMES


def _is_array(kind: pa.DataType) -> bool:
    """Return True for a struct of flux (of several bands), a list of such, or planes of numbers."""
    if pa.types.is_struct(kind):
        return any(
            kind.get_field_index(name) >= 0 and _depth(kind.field(name).type) >= 2
            for name in PIXELS
        )
    if is_list(kind) and pa.types.is_struct(kind.value_type):
        return _is_array(kind.value_type)
    return _depth(kind) in (2, 3)


def _is_struct(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind.value_type if is_list(kind) else kind)


def _depth(kind: pa.DataType) -> int:
    """Return the number of axes of arrays of numbers; 0 for other types."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return len(kind.shape)
    if isinstance(kind, pa.BaseExtensionType):
        return _depth(kind.storage_type)
    if is_list(kind):
        inner = _depth(kind.value_type)
        number = pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
        return inner + 1 if inner or number else 0
    return 0


def _unit(field: pa.Field) -> str:
    """Return the unit in the metadata of a column of images, or of its pixels; "" without."""
    kind = field.type.value_type if is_list(field.type) else field.type
    inside = list(kind.fields) if pa.types.is_struct(kind) else []
    inside = [one for one in inside if one.name in PIXELS]
    for one in (field, *inside):
        for key in (b"unit", b"units"):
            if said := (one.metadata or {}).get(key):
                return said.decode("utf-8", "replace").strip()
    return ""


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of the classes of each ClassLabel, from the metadata of `datasets`."""
    try:
        said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = said.get("info", {}).get("features", {})
        return {
            name: list(feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        print(f"  the file's notes on its labels cannot be read ({type(error).__name__})")
        return {}


def _row_names(path: Path, field: pa.Field, labels: pd.DataFrame) -> list[str]:
    """Return the name of each row: object_id or another identity, else the image's path or row."""
    keys = {name_key(name): name for name in reversed(list(labels))}
    own = next((keys[name] for name in ("objectid", *FILE_NAMES) if name in keys), None)
    values: Sequence[object] = [None] * len(labels)
    if own:
        values = labels[own].tolist()
    elif pa.types.is_struct(field.type) and field.type.get_field_index("path") >= 0:
        with pq.ParquetFile(utf8(path)) as file:
            read = file.read([f"{field.name}.path"])
        values = [(cell or {}).get("path") for cell in read.column(0).to_pylist()]
    return [
        (as_text(value) or f"{path.stem}_{row:07d}").replace("/", "_")
        for row, value in enumerate(values)
    ]
