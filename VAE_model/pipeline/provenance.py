"""Side-cars: the JSON beside an output that records its origin, and the rule of staleness.

An output is up to date if its inputs have the recorded hashes, and if the constants that determine
the result and the code (code_version.py) are the same. That holds for each input too, back to the
images of the run.
"""

import dataclasses
import importlib.metadata
import platform
import runpy
from pathlib import Path
from typing import Any

from VAE_model import __version__
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import read_json, sha256, write_json
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stages import STAGES, command, made_by, makers, number_of, place

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
        raise Problem(f"{beside} is damaged")
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


# Constants that say where and how fast: outputs stay valid when they change.
NOT_THE_RESULT = {"run", "workers", "device"}
_SCRIPTS = {entry.script for entry in STAGES} | {
    "data/import_features.py", "analysis/measure_morphology.py", "analysis/score_features.py",
}  # fmt: skip
_FORMER = ("features", "mu_")  # a constant that analysis/classify.py had with another meaning


def command_for(path: Path, run: Run) -> str:
    """Return the command that makes `path`, an output of the run, or the model of another run.

    It has the constants that the side-car of the file, or of another output of the same script,
    records where they differ from the script's own. Empty for a file that no stage makes.
    """
    if not path.is_relative_to(run.folder):
        other = Run(path.parent.parent)
        return command_for(path, other) if path.parent.name == other.model(40).parent.name else ""
    own = whole_sidecar(path)
    if own and own["script"] in _SCRIPTS:
        return command(own["script"], run.folder, constants(own))
    name = path.relative_to(run.folder).as_posix()
    beside, scripts = [path], [entry.script for entry in makers(name)]
    for one in (one for entry in makers(name) for one in entry.writes):
        alike = place(one).replace("40", number_of(name) or "40")
        beside += sorted(p.with_suffix("") for p in run.folder.glob(f"{alike}.json"))
    for record in map(whole_sidecar, beside):
        if record and record["script"] in scripts:
            return command(record["script"], run.folder, constants(record))
    return made_by(name, run.folder)


def remedy(path: Path) -> str:
    """Return the advice for a damaged file: the command that made it, if a stage did."""
    if record := whole_sidecar(path):
        inside = path.parent.name in {"result", "transfer", "download"}
        run = Run(path.parent.parent if inside else path.parent)
        return f"run {command(record['script'], run.folder, [*constants(record), '--again'])}"
    return "make it again"


def constants(record: dict[str, Any]) -> list[str]:
    """Return the options that give a script the constants of a side-car."""
    script = ROOT / record["script"]
    if not script.is_file():
        return []
    usual = runpy.run_path(str(script))["Config"]()
    words: list[str] = []
    for field in dataclasses.fields(usual):
        before, value = getattr(usual, field.name), record["config"].get(field.name)
        option = "--" + field.name.replace("_", "-")
        same = list(map(str, before)) if isinstance(before, tuple) else str(before)
        if field.name not in record["config"] or field.name in NOT_THE_RESULT:
            continue
        if (field.name, value) == _FORMER:
            continue
        if isinstance(value, bool):
            words += [] if value == before else [option if value else f"--no-{option[2:]}"]
        elif isinstance(value, list):
            words += [option, *map(str, value)] if list(map(str, value)) != same else []
        elif str(value) != same:
            words += [option, str(value)]
    return words


def why_stale(path: Path, run: Run, known: dict[Path, str]) -> str:
    """Return what is stale, why, and the command to run, or an empty string.

    Checks the file's inputs and theirs, back to the images, which make_datatxt.py checks. A file of
    another run, such as its model, can be stale only there. known: collects the hashes that are
    computed.
    """
    try:
        record = read_sidecar(path)
    except Problem as problem:
        return f"{problem}: run {run.made_by(path)}"
    if "code" in record and record["code"] != code_of(record["script"]):
        changed = f"the code of {record['script']} has changed since"
        again = f"run {command_for(path, run)}; with --accept it keeps the file"
        return f"{run.show(path)} is stale ({changed}): {again}"
    for name, entry in record.get("inputs", {}).items():
        source = next((p for p in (run.folder / name, ROOT / name) if p.is_file()), None)
        if source is None:
            continue
        is_new = source not in known
        if is_new:
            known[source] = identify(source, entry)["sha256"]
        if known[source] != entry["sha256"]:
            again = f"run {command_for(path, run)}"
            return f"{run.show(path)} is stale ({name} has changed since): {again}"
        inside = source.is_relative_to(run.folder)
        if is_new and inside and (reason := why_stale(source, run, known)):
            return reason
    return ""


def versions() -> dict[str, str]:
    """Return the versions of this package, of Python and of the packages that affect results."""
    found = {"Galaxy_VAE": __version__, "python": platform.python_version()}
    return found | {package: importlib.metadata.version(package) for package in _PACKAGES}
