"""Reading and writing files. A file is complete or absent: it is written beside, then renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from VAE_model.pipeline.problem import Problem
from VAE_model.tables.columns import is_nested, plain_names, plain_table

_SMALL = 2**29  # bytes in memory that any table may take
_MOST_PACKED = 50  # largest compression ratio of larger tables; votes have 2 to 5


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` if the block succeeds.

    The temporary name keeps the suffix of the target (writers such as matplotlib choose the format
    by it) and begins with a dot, so that no stage takes it for an input.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files of `atomic` that killed processes left in `folder`."""
    for path in folder.glob(".partial-*"):
        owner = path.name.split("-")[1]
        if owner.isdigit() and not is_alive(int(owner)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Return True if there is a process of this number, of any user."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a value as JSON; types that JSON lacks become text."""
    write_text(path, json.dumps(content, indent=1, default=str) + "\n")


def utf8(path: str | Path) -> str:
    """Return a path as text that pyarrow accepts, also if Python takes file names for ASCII."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index, with checksums."""
    with atomic(path) as temporary:
        content = pa.Table.from_pandas(table, preserve_index=False)
        pq.write_table(content, utf8(temporary), write_page_checksum=True)


def read_parquet(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Return a parquet table, or the given columns of it, in plain types (see columns.py).

    columns: names; None: all columns that have one value per cell. Raises Problem if the file is no
    parquet table, or a column is missing or has more than one value per cell.
    """
    path = Path(path)
    try:
        with pq.ParquetFile(utf8(path), page_checksum_verification=True) as file:
            schema = file.schema_arrow
            pairs = plain_names(schema)
            present = {name for name, _ in pairs}
            lacking = [name for name in columns or [] if name not in present]
            if lacking:
                raise Problem(
                    f"{path} has no column {', '.join(lacking)}: "
                    f"it needs {len(columns or [])} columns by name, and has {len(present)}"
                )
            _check_promises(path, columns)
            nested = {field.name for field in schema if is_nested(field.type)}
            wanted = [pair for pair in pairs if columns is None or pair[0] in columns]
            if columns and (lists := [name for name, stored in wanted if stored in nested]):
                raise Problem(f"{path}: a cell of {lists[0]} holds more than one value")
            stored = [stored for _, stored in wanted if stored and stored not in nested]
            table = plain_table(file.read(stored), path)[0]
        return table if columns is None else table[columns]
    except Problem:
        raise
    except FileNotFoundError:
        raise Problem(f"{path} is missing") from None
    except Exception as error:  # on damaged bytes the decoders raise nearly any exception
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Problem(f"{path} is no readable parquet table ({reason}): {_remedy(path)}") from None


def parquet_columns(path: str | Path) -> list[str]:
    """Return the names of the columns that `read_parquet` takes. Raises Problem as it does."""
    read_parquet(path, [])  # raises Problem if the file is no table
    schema = pq.read_schema(utf8(path))
    nested = {field.name for field in schema if is_nested(field.type)}
    return list(dict.fromkeys(name for name, file in plain_names(schema) if file not in nested))


def _remedy(path: str | Path) -> str:
    from VAE_model.pipeline.provenance import remedy  # which reads side-cars by this module

    return remedy(Path(path))


def _check_promises(path: Path, columns: list[str] | None) -> None:
    """Raise Problem if a small file declares a very large table, before memory is allocated.

    RLE and zstd can encode 10^9 equal rows in a few kilobytes.
    """
    promised = pq.read_metadata(utf8(path))
    size, width = path.stat().st_size, len(columns) if columns else promised.num_columns
    cells = 8 * promised.num_rows * width
    chunks = (promised.row_group(i).total_byte_size for i in range(promised.num_row_groups))
    if max(cells, sum(chunks)) > max(_SMALL, _MOST_PACKED * size):
        raise Problem(
            f"{path} promises {promised.num_rows:,} rows in {size:,} bytes, more than it can "
            f"hold: {_remedy(path)}"
        )


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises Problem if there is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Problem(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise Problem(
            f"{path} is no readable JSON ({type(error).__name__}): {_remedy(path)}"
        ) from None
    if not isinstance(content, dict):
        raise Problem(f"{path} holds no JSON object: {_remedy(path)}")
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; of a folder, of its files' names, sizes and times."""
    path = Path(path)
    if path.is_dir():
        listing = hashlib.sha256()
        for file in list_files(path):
            stat = file.stat()
            line = f"{file.relative_to(path)}\t{stat.st_size}\t{stat.st_mtime_ns}\n"
            listing.update(line.encode("utf-8", "surrogateescape"))
        return listing.hexdigest()
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(folder: Path, endings: tuple[str, ...] = ()) -> list[Path]:
    """Return all files below `folder`, sorted, without hidden ones; `endings` in lower case."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and (not endings or name.lower().endswith(endings)):
                found.append(Path(parent) / name)
    return found


def count_rows(path: Path) -> int | None:
    """Return the rows of a table, lines of a text or files in a folder; None for other files."""
    path = Path(path)
    if path.is_dir():
        return len(list_files(path))
    if path.suffix == ".parquet":
        try:
            return int(pq.read_metadata(utf8(path)).num_rows)
        except (OSError, ValueError):
            return None  # the stage that reads it reports the error
    if path.suffix in (".txt", ".csv", ".jsonl"):
        with open(path, "rb") as stream:
            return sum(1 for _ in stream) - (path.suffix == ".csv")  # its header
    return None
