"""The outputs that a run has so far, with the side-car of each."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from VAE_model.data.splits import SHARES
from VAE_model.pipeline.files import read_json, read_parquet
from VAE_model.pipeline.provenance import is_unfinished, read_sidecar, why_stale
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stages import number_of

_FOLDERS = (".", "images", "model/**", "result", "figures", "transfer")


@dataclass(frozen=True)
class RunOutputs:
    """The outputs of a run. records: the side-car of each, by its path, oldest first."""

    run: Run
    num_var: int
    records: dict[Path, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, num_var: int) -> "RunOutputs":
        """Find every output of every stage; without the report, features, and unfinished files."""
        sidecars = (path for name in _FOLDERS for path in run.folder.glob(f"{name}/*.json"))
        outputs = sorted(path.with_suffix("") for path in sidecars)
        whole = [p for p in outputs if p.exists() and p != run.report and not is_unfinished(p)]
        found = {path: read_sidecar(path) for path in whole}
        found = {path: record for path, record in found.items() if not _of_features(record)}
        order = sorted(found, key=lambda path: (str(found[path].get("finished")), path))
        return cls(run, num_var, {path: found[path] for path in order})

    @property
    def own_images(self) -> bool:
        """True for imported images without a catalogue: the page is about these images only."""
        run = self.run
        return run.labels.exists() and not (run.truth.exists() or run.catalogue.exists())

    def without_stale(self) -> tuple["RunOutputs", list[str]]:
        """Return the outputs without the stale ones of another number of latents.

        Also returns a line for each that is left out.
        """
        known: dict[Path, str] = {}
        kept, left = {}, []
        for path, record in self.records.items():
            number = number_of(path.name)
            other = number and number != str(self.num_var) and path.is_file()
            if other and (reason := why_stale(path, self.run, known)):
                left.append(f"left out: {reason}")
            else:
                kept[path] = record
        return RunOutputs(self.run, self.num_var, kept), left

    def numbers(self, path: Path) -> dict[str, Any]:
        """Return the numbers that the stage that wrote `path` recorded."""
        return self.records.get(path, {}).get("numbers", {})

    def splits(self) -> dict[str, int]:
        """Return the number of images in each split."""
        table = self.parquet(self.run.latents(self.num_var), ["split"])
        if table is None:
            table = self.parquet(self.run.packed / "index.parquet", ["split"])
        counts = {} if table is None else table["split"].value_counts().to_dict()
        return {split: counts[split] for split in SHARES if split in counts}

    def history(self, log: Path) -> list[dict[str, Any]]:
        """Return the epochs of a training, from its JSON lines; none where there is no log."""
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [json.loads(line) for line in lines]

    def json(self, path: Path) -> dict[str, Any]:
        """Return a JSON result; empty where it is missing."""
        return read_json(path) if path.exists() else {}

    def parquet(self, path: Path, columns: list[str] | None = None) -> pd.DataFrame | None:
        """Return a table, or None where it is missing."""
        return read_parquet(path, columns) if path.exists() else None

    def csv(self, path: Path) -> pd.DataFrame | None:
        """Return a table as text, or None where it is missing."""
        return pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else None


def _of_features(record: dict[str, Any]) -> bool:
    """Return True for an output that another program's features were the input of (--features)."""
    config = record.get("config", {})
    return bool(config.get("features")) and "columns" in config
