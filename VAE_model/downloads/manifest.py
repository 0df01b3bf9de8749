"""The outcome of each request: a journal line at once, a row of manifest.parquet at the end.

The journal is append-only, so a kill costs at most its last line; the next run first merges it into
the table. One row per cutout; the newest outcome counts.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from VAE_model.downloads.cutout_service import Job
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.run import Run

GOOD = "good"  # the file is there and was checked
MISSING = "missing"  # the service has no such cutout or a wrong one: not requested again
FAILED = "failed"  # no response after all tries: the next run retries
REFUSED = "refused"  # no cutout after all tries; to be decided (verdicts.py), not in the table

COLUMNS = {
    "name": "str", "ra": "float64", "dec": "float64", "survey": "str", "path": "str",
    "url": "str", "status": "str", "reason": "str", "bytes": "int64", "sha256": "str",
    "tries": "int64", "time": "str",
}  # fmt: skip

_AT_ONCE = 20_000  # lines of the journal


@dataclass(frozen=True)
class Outcome:
    """The outcome of a request.

    status: GOOD, MISSING (the layer was cut but shows no galaxy there), FAILED or REFUSED; reason;
    size and sha256 of the file; tries: number of requests, 0 if the file already existed; began:
    when the last of them was sent (seconds, monotonic).
    """

    job: Job
    status: str
    reason: str = ""
    size: int = 0
    sha256: str = ""
    tries: int = 0
    began: float = 0.0


class Journal:
    """An append-only file of rows, written by several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(path, "ab", buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()
        if self._stream.tell():  # a killed process may have left an incomplete line
            self._stream.write(b"\n")

    def add(self, outcome: Outcome) -> None:
        """Append one row; it is in the file system when the method returns."""
        job, time = outcome.job, datetime.now(UTC).isoformat(timespec="seconds")
        row = dict(zip(COLUMNS, (
            job.name, job.ra, job.dec, job.survey, job.path, job.url, outcome.status,
            outcome.reason, outcome.size, outcome.sha256, outcome.tries, time,
        ), strict=True))  # fmt: skip
        with self._lock:
            self._stream.write(json.dumps(row).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def fold(run: Run) -> pd.DataFrame:
    """Merge the journal, if it exists, into manifest.parquet; return the manifest.

    Rows are sorted by survey and path. Incomplete lines, left by a kill, are skipped.
    """
    table = read_manifest(run)
    if not run.journal.exists():
        return table
    parts = [table, *_tables(run.journal)]
    table = pd.concat([part for part in parts if len(part)] or [table], ignore_index=True)
    table = table.drop_duplicates("path", keep="last").sort_values(["survey", "path"])
    table = table.reset_index(drop=True)
    write_parquet(run.manifest, table)
    run.journal.unlink()
    return table


def read_manifest(run: Run) -> pd.DataFrame:
    """Return manifest.parquet, or an empty table if it is missing."""
    if run.manifest.exists():
        return read_parquet(run.manifest, list(COLUMNS))
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})


def _tables(journal: Path) -> Iterator[pd.DataFrame]:
    rows: list[dict[str, Any]] = []
    with open(journal, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                content = json.loads(line)
            except ValueError:
                continue
            if isinstance(content, dict) and content.keys() == COLUMNS.keys():
                rows.append(content)
            if len(rows) == _AT_ONCE:
                yield pd.DataFrame(rows).astype(COLUMNS)
                rows = []
    yield pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
