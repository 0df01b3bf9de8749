"""Side-cars: the JSON beside an output that records its origin, and the rule of staleness.

An output is up to date if its inputs have the recorded hashes, and if the constants that determine
the result and the code (code_version.py) are the same. That holds for each input too, back to the
images of the run.
"""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from VAE_model import __version__
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import read_json, sha256, write_json
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stages import command

_PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "sep", "pandas", "scikit-learn", "astropy", "pyarrow",
)  # fmt: skip
_LARGE = 2**26  # bytes above which a file of the same size and time counts as unchanged
_BEGUN = "begun"  # key of a side-car whose output a run has begun to replace


def sidecar(path: Path) -> Path:
    """Return the path of the JSON beside an output: train.txt -> train.txt.json."""
    return path.with_name(path.name + ".json")


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return the side-car of an output, or an empty dictionary.

    Raises Problem if the side-car is damaged.
    """
    beside = sidecar(path)
    if not beside.exists():
        return {}
    record = read_json(beside)
    inputs = record.get("inputs")
    entries = [*(inputs.values() if isinstance(inputs, dict) else [None]), record.get("output")]
    whole = all(isinstance(e, dict) and isinstance(e.get("sha256"), str) for e in entries)
    if not (whole and isinstance(record.get("config"), dict) and record.get("script")):
        raise Problem(f"{beside} is damaged: delete it")
    return record


def whole_sidecar(path: Path) -> dict[str, Any]:
    """Return the side-car of an output; empty if there is none or it is damaged."""
    try:
        return read_sidecar(path)
    except Problem:
        return {}


def identify(path: Path, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the hash of a file, and of a large one its size and time too.

    before: an earlier result; if size and time are unchanged its hash is returned, because it takes
    seconds to read gigabytes.
    """
    stat = path.stat()
    if path.is_dir() or stat.st_size < _LARGE:
        return {"sha256": sha256(path)}
    record = {"bytes": stat.st_size, "modified": stat.st_mtime_ns}
    same = before and "sha256" in before and record.items() <= before.items()
    return record | {"sha256": before["sha256"] if before and same else sha256(path)}


def has_changed(path: Path, entry: dict[str, Any]) -> bool:
    """Return True if a file is not the one that a side-car's entry identifies."""
    return identify(path, entry)["sha256"] != entry["sha256"]


def mark_begun(path: Path) -> None:
    """Record in the side-car of an output that a run is about to replace it."""
    if record := whole_sidecar(path):
        write_json(sidecar(path), {**record, _BEGUN: True})


def is_unfinished(path: Path) -> bool:
    """Return True if an interrupted run has replaced the file."""
    record = whole_sidecar(path)
    return bool(record.get(_BEGUN)) and has_changed(path, record["output"])


def code_of(script: str) -> str:
    """Return the version of the code of a script, given as in a side-car."""
    return code_version(ROOT / script)


def why_stale(path: Path, run: Run, known: dict[Path, str]) -> str:
    """Return what is stale, why, and the command to run, or an empty string.

    Checks the file's inputs and theirs, back to the images, which make_datatxt.py checks. known:
    collects the hashes that are computed.
    """
    try:
        record = read_sidecar(path)
    except Problem as problem:
        return f"{problem} and run {run.made_by(path)}"
    again = f"run {command(record['script'], run.folder)}" if record else ""
    if "code" in record and record["code"] != code_of(record["script"]):
        changed = f"the code of {record['script']} has changed since"
        return f"{run.show(path)} is stale ({changed}): {again}; with --accept it keeps the file"
    for name, entry in record.get("inputs", {}).items():
        source = run.folder / name
        if not source.is_file():
            continue
        is_new = source not in known
        if is_new:
            known[source] = identify(source, entry)["sha256"]
        if known[source] != entry["sha256"]:
            return f"{run.show(path)} is stale ({name} has changed since): {again}"
        if is_new and (reason := why_stale(source, run, known)):
            return reason
    return ""


def versions() -> dict[str, str]:
    """Return the versions of this package, of Python and of the packages that affect results."""
    found = {"Galaxy_VAE": __version__, "python": platform.python_version()}
    return found | {package: importlib.metadata.version(package) for package in _PACKAGES}
