"""Result tables: one class for Markdown, HTML and pandas, one function for CSV.

A result is a record: a dict by column, whose values are numbers, text or an `Estimate`.
"""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.pipeline.files import atomic

_TEXTS = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))


def prose(name: str, **values: object) -> str:
    """Return a text of texts.toml, filled with `values`; empty where the entry has none."""
    return _TEXTS[name].get("text", "").format(**values)


@dataclass(frozen=True)
class Note:
    """A cell with small print below its value; url: the value is a link to it."""

    value: object
    note: object = ""
    url: str = ""


def signed(estimate: Estimate | None) -> Note | None:
    """Return a cell for a difference: its value and limits with their signs."""
    known = estimate and estimate.value == estimate.value  # not NaN
    return Note(*f"{estimate:+.3f}".split(" ", 1)) if known else None


@dataclass(frozen=True)
class Table:
    """A table of cells: text, numbers, an Estimate, a Note, or None for what is not known.

    head: the headings; rows: the cells of each row; caption: a text above; total: the last row is a
    sum.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    total: bool = False

    @classmethod
    def of(
        cls,
        records: Iterable[Mapping[str, Any]],
        headings: Mapping[str, str],
        caption: str = "",
        total: bool = False,
    ) -> "Table":
        """Return a table of the columns that `headings` names, a row for each record."""
        rows = [[record.get(name) for name in headings] for record in records]
        return cls(list(headings.values()), rows, caption, total)

    @classmethod
    def named(
        cls, name: str, rows: Iterable[Any], total: bool = False, **values: object
    ) -> "Table":
        """Return a table with the headings and the caption of texts.toml, filled with `values`.

        rows: lists of cells, or records of which the columns in texts.toml are taken.
        """
        entry = _TEXTS[name]
        if columns := entry.get("columns"):
            rows = [[record.get(column) for column in columns] for record in rows]
        head = columns.values() if columns else entry["head"]
        head = [heading.format(**values) for heading in head]
        return cls(head, list(rows), prose(name, **values), total)

    @property
    def cells(self) -> list[list[Note]]:
        """The cells as text, value and small print."""
        return [[as_note(cell) for cell in row] for row in self.rows]

    @property
    def numeric(self) -> list[bool]:
        """The columns that hold nothing but numbers, which stand at the right."""
        columns = list(zip(*self.cells, strict=True)) or [()] * len(self.head)
        return [
            bool(column) and all(_is_numeric(str(cell.value)) for cell in column)
            for column in columns
        ]

    def markdown(self) -> str:
        """Return the table as Markdown, without its caption."""
        lines = [list(self.head), ["---"] * len(self.head), *map(_line, self.cells)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def frame(self) -> pd.DataFrame:
        """Return the table as text, with its first column as the index."""
        rows = [_line(row) for row in self.cells]
        return pd.DataFrame(rows, columns=list(self.head)).set_index(self.head[0])


def as_note(cell: object) -> Note:
    """Return a cell as text, its value apart from its small print."""
    if isinstance(cell, Note):
        return Note(number(cell.value), number(cell.note), cell.url)
    if isinstance(cell, Estimate):
        return Note(*str(cell).split(" ", 1)) if cell.value == cell.value else Note("–")
    return Note(number(cell))


def number(value: object) -> str:
    """Return a value as people read it: four significant digits, thousands apart, – for none."""
    if value is None or value != value:  # NaN differs from itself
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, Real) or not math.isfinite(value):
        return str(value)
    value = value if isinstance(value, int) else float(value)
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def percent(share: float) -> str:
    """Return a share as a percentage without decimals."""
    return f"{100 * share:.0f}\u00a0%"


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records as CSV: an Estimate `x` becomes the columns x, x_low and x_high."""
    with atomic(path) as temporary:
        pd.DataFrame([_flat(record) for record in records]).to_csv(temporary, index=False)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Estimate):
            flat |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            flat[name] = value
    return flat


def _line(row: Sequence[Note]) -> list[str]:
    notes = (f"({cell.note})" if str(cell.note)[:1] not in ("", "[") else cell.note for cell in row)
    words = (f"{cell.value} {note}" for cell, note in zip(row, notes, strict=True))
    return [" ".join(word.replace("|", "\\|").split()) for word in words]


def _is_numeric(cell: str) -> bool:
    return bool(cell) and ":" not in cell and (cell == "–" or cell.lstrip("+-−")[:1].isdigit())
