"""The frame that every script of the pipeline has in common.

A stage reads files that earlier stages wrote and writes its own. The frame gives it the command
line (the dataclass `Config` at the top of the script, by tyro), `--dry-run`, the check that its
inputs are there and not stale, the check whether there is anything to do, and beside each output
a small JSON side-car: the config, the inputs' hashes and row counts, versions, seconds.

    def main(config: Config) -> None:
        run = Run(config.run)
        stage = Stage(__file__, run, config, inputs=[run.catalogue], outputs=[run.classes])
        if stage.nothing_to_do():
            return
        ...
        stage.finish()

    if __name__ == "__main__":
        start(main, Config, __doc__)
"""

import dataclasses
import importlib.metadata
import io
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro

from VAE_model import __version__, distributed
from VAE_model.files import count_rows, read_json, sha256, sweep, write_json
from VAE_model.occupied import occupy, sign
from VAE_model.paths import ROOT, Run
from VAE_model.problem import Problem

__all__ = ["Problem", "Stage", "read_sidecar", "sidecar", "start"]

# Constants that say where and how fast, not what: a change of them leaves outputs valid.
_NOT_THE_RESULT = {"run", "workers", "device"}
_PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "sep", "pandas", "scikit-learn", "astropy", "pyarrow",
)  # fmt: skip

_MANY = 6  # inputs that are named in the line that begins a stage
_LARGE = 2**26  # bytes from which on a file's size and time say whether it has changed

_CLOSED = (
    "what reads this script's output has closed it (head, a pager), and the script ended with it: "
    "the same command goes on from here"
)
_BEGUN = "begun"  # in a side-car: work on its output has begun, and not ended yet

_dry_run = False
_started = False  # by the command line, as a process of its own


def start(
    main: Callable[[Any], None], config: type, doc: str | None, several: bool = False
) -> None:
    """Run a script: parse the command line into its Config, call `main`, end with one line.

    several: the script knows what to do as one of several processes (torchrun).
    Exit codes: 0 done; 1 a Problem or an error of the file system, in one line on stderr;
    2 a wrong command line (tyro); 130 interrupted; 141 nobody reads its output any more.
    """
    global _dry_run, _started
    _mend_streams()
    flat: Any = tyro.conf.OmitArgPrefixes  # --seed, not --config.seed
    arguments: Any = dataclasses.make_dataclass(
        "Arguments",
        [
            ("config", flat[config], dataclasses.field(default_factory=config)),
            ("dry_run", bool, dataclasses.field(default=False)),
        ],
    )
    arguments.__doc__ = doc
    description = (doc or "").replace("\nWrites:", "\n\nWrites:")  # else one paragraph in --help
    given = tyro.cli(arguments, description=description, prog=sys.argv[0])
    _dry_run, _started = given.dry_run, True
    try:
        if distributed.processes() > 1 and not several:
            raise Problem(f"{sys.argv[0]} is a job for one process: start it with python")
        distributed.join()
        main(given.config)
        distributed.leave()
    except Problem as problem:
        sys.exit(f"error: {problem}")
    except RuntimeError as error:
        if distributed.processes() == 1 or not distributed.was_lost(error):
            raise
        sys.exit(f"error: {distributed.LOST}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains once more at its end
        print(f"error: {_CLOSED}", file=sys.stderr)
        sys.exit(141)
    except OSError as error:
        what = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {where}{what}")
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def _mend_streams() -> None:
    """Where a stream was closed (`<&-`, a daemon), nothing in its place: else a file that is opened
    later would take it, and be written into. A terminal that cannot show a letter shows its code.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def sidecar(path: Path) -> Path:
    """The JSON beside an output: train.txt -> train.txt.json."""
    return path.with_name(path.name + ".json")


def read_sidecar(path: Path) -> dict[str, Any]:
    """What the side-car of an output says; empty where it has none.

    Raises Problem where the side-car is damaged.
    """
    beside = sidecar(path)
    if not beside.exists():
        return {}
    record = read_json(beside)
    entries = [*_entries(record.get("inputs")), record.get("output")]
    whole = all(isinstance(e, dict) and isinstance(e.get("sha256"), str) for e in entries)
    if not (whole and isinstance(record.get("config"), dict) and record.get("script")):
        raise Problem(f"{beside} is damaged: delete it")
    return record


def _entries(inputs: Any) -> list[Any]:
    return list(inputs.values()) if isinstance(inputs, dict) else [inputs]


def _identify(path: Path, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """What tells a file from what it was: its hash, and of a large one its size and time too.

    Where these are still as in the record `before`, its hash is taken: reading gigabytes takes
    seconds, in every stage anew.
    """
    stat = path.stat()
    if path.is_dir() or stat.st_size < _LARGE:
        return {"sha256": sha256(path)}
    record = {"bytes": stat.st_size, "modified": stat.st_mtime_ns}
    if before and "sha256" in before and record.items() <= before.items():
        return record | {"sha256": before["sha256"]}
    return record | {"sha256": sha256(path)}


class Stage:
    """One run of one script on one run folder.

    inputs, outputs: files (or folders of images) under the run.
    """

    def __init__(
        self,
        script: str,
        run: Run,
        config: Any,
        inputs: Iterable[Path],
        outputs: Iterable[Path],
    ) -> None:
        self.script = _name_of(Path(script).resolve())
        self.run = run
        self.config = config
        self.inputs = [Path(path) for path in inputs]
        self.outputs = [Path(path) for path in outputs]
        self.began = time.monotonic()
        self.identities: dict[str, dict[str, Any]] = {}

    @property
    def dry_run(self) -> bool:
        """The command line asked for `--dry-run`."""
        return _dry_run

    def nothing_to_do(self, unfinished: bool = False) -> bool:
        """True, having said why, on a dry run and where the outputs are up to date.

        unfinished: the outputs have gaps that another run may close, so that up to date is not
        enough.
        Raises Problem where an input is missing or stale, naming the command that makes it,
        where another script is at work in the run, or its folder cannot be written to.
        """
        if _dry_run:
            self._print_plan()
            return True
        if self.run.folder.is_dir():
            self._occupy()
        self._check_inputs()
        known = self._inputs_before()
        named = {self._name(path): path for path in self.inputs}
        self.identities = {name: _identify(path, known.get(name)) for name, path in named.items()}
        fresh = not unfinished and self._outputs_are_fresh()
        distributed.wait()  # no process writes before all have looked
        if fresh:
            names = ", ".join(self.run.show(path) for path in self.outputs)
            print(f"{self.script}: nothing to do, input and constants are unchanged ({names})")
            return True
        self._check_writable()
        self._begin()
        print(f"{self.script}: {self._describe_inputs()}", flush=True)
        return False

    def finish(self, **numbers: Any) -> None:
        """Write the side-cars; `numbers` are what the stage wants remembered beside its outputs.
        Of several processes the first does, when all are done."""
        distributed.wait()
        if distributed.number():
            return
        seconds = round(time.monotonic() - self.began, 1)
        inputs = {
            self._name(path): {
                **(self.identities.get(self._name(path)) or _identify(path)),
                "rows": count_rows(path),
            }
            for path in self.inputs
        }
        for path in self.outputs:
            if not path.exists():
                raise Problem(f"{self.run.show(path)} was not written by {self.script}")
            write_json(
                sidecar(path),
                {
                    "script": self.script,
                    "config": self._config(),
                    "seed": getattr(self.config, "seed", None),  # null: nothing is drawn
                    "inputs": inputs,
                    "output": {**_identify(path), "rows": count_rows(path)},
                    "numbers": numbers,
                    "versions": versions(),
                    "seconds": seconds,
                    "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                },
            )
        names = ", ".join(self.run.show(path) for path in self.outputs)
        print(f"{self.script}: wrote {names} in {seconds:.1f} s", flush=True)

    def _config(self) -> dict[str, Any]:
        """The constants as plain JSON values, without the place of the run."""
        values = {
            field.name: getattr(self.config, field.name)
            for field in dataclasses.fields(self.config)
            if field.name != "run"
        }
        return json.loads(json.dumps(values, default=str))

    def _name(self, path: Path) -> str:
        inside = path.is_relative_to(self.run.folder)
        return str(path.relative_to(self.run.folder)) if inside else self.run.show(path)

    def _occupy(self) -> None:
        """Be alone in the run, as a script, of several processes by the first; a notebook or a test
        that calls `main` may share it."""
        if _started and not distributed.number():
            occupy(self.run.folder, self.run.show(self.run.folder))

    def _check_inputs(self) -> None:
        for path in self.inputs:
            command = self.run.made_by(path)
            if not path.exists():
                raise Problem(f"{self.run.show(path)} is missing: run {command}")
            if not path.is_dir() and path.stat().st_size == 0:
                raise Problem(f"{self.run.show(path)} is empty: delete it and run {command}")
            if not path.is_dir() and self._is_half_way(path):  # images come and go
                raise Problem(f"{self.run.show(path)} is of a run that did not end: run {command}")
            self._check_origin(path, set())

    def _check_origin(self, path: Path, seen: set[Path]) -> None:
        """Raise Problem where what a file was made from has changed since, or what that was made
        from, and so on back to the images (which come and go; make_datatxt.py looks after them).
        """
        try:
            record = read_sidecar(path)
        except Problem as problem:
            raise Problem(f"{problem} and run {self.run.made_by(path)}") from None
        for name, entry in record.get("inputs", {}).items():
            source = self.run.folder / name
            if not source.is_file() or source in seen:
                continue
            seen.add(source)
            if _identify(source, entry)["sha256"] != entry["sha256"]:
                raise Problem(
                    f"{self.run.show(path)} is stale ({name} has changed since): "
                    f"run {self.run.made_by(path)}"
                )
            self._check_origin(source, seen)

    def _begin(self) -> None:
        """Say in the side-cars of outputs that are to be replaced that they are at stake: what a
        run that does not end has written is not taken for what they describe."""
        if distributed.number():
            return
        for path in self.outputs:
            try:
                record = read_sidecar(path)
            except Problem:
                continue  # damaged: it speaks for nothing
            if record:
                write_json(sidecar(path), {**record, _BEGUN: True})

    @staticmethod
    def _is_half_way(path: Path) -> bool:
        """Whether a run that did not end has written the file: it is not what its side-car says."""
        try:
            record = read_sidecar(path)
        except Problem:
            return False
        if not record.get(_BEGUN):
            return False
        return _identify(path, record["output"])["sha256"] != record["output"]["sha256"]

    def _inputs_before(self) -> dict[str, Any]:
        """What the side-car of the first output says of the inputs; a damaged one says nothing."""
        try:
            return read_sidecar(self.outputs[0]).get("inputs", {}) if self.outputs else {}
        except Problem:
            return {}

    def _outputs_are_fresh(self) -> bool:
        relevant = {k: v for k, v in self._config().items() if k not in _NOT_THE_RESULT}
        now = {name: entry["sha256"] for name, entry in self.identities.items()}
        for path in self.outputs:
            try:
                record = read_sidecar(path)
            except Problem as problem:
                print(f"{problem}; until then {self.run.show(path)} is made anew")
                return False
            if not path.exists() or not record:
                return False
            before = {k: v for k, v in record["config"].items() if k not in _NOT_THE_RESULT}
            hashes = {name: entry["sha256"] for name, entry in record["inputs"].items()}
            if before != relevant or hashes != now or self._is_half_way(path):
                return False
            if _identify(path, record["output"])["sha256"] != record["output"]["sha256"]:
                print(f"{self.run.show(path)} was edited after it was made; it is left as it is")
        return True

    def _check_writable(self) -> None:
        folders = {self.run.folder, self.run.packed, *(path.parent for path in self.outputs)}
        for folder in folders:
            if folder != self.run.packed:
                folder.mkdir(parents=True, exist_ok=True)
        self._occupy()
        sign(self.run.folder, self.script)
        for folder in folders:
            sweep(folder)
            if folder.exists() and not os.access(folder, os.W_OK):
                raise Problem(
                    f"{self.run.show(folder)} is not writable: give yourself the right to write "
                    "there, or choose another folder with --run"
                )

    def _describe_inputs(self) -> str:
        parts = []
        for path in self.inputs:
            rows = count_rows(path)
            parts.append(self._name(path) + (f" ({rows:,})" if rows is not None else ""))
        if len(parts) > _MANY:
            parts = [*parts[:_MANY], f"and {len(parts) - _MANY} more"]
        return "reads " + ", ".join(parts) if parts else "starts from nothing"

    def _print_plan(self) -> None:
        print(f"{self.script} --dry-run: nothing is read or written")
        print("config:")
        for field in dataclasses.fields(self.config):
            print(f"  {field.name} = {getattr(self.config, field.name)}")
        print("inputs:")
        for path in self.inputs:
            count = f"{count_rows(path)} rows or files" if path.exists() else "MISSING"
            count = "present" if count.startswith("None") else count
            print(f"  {self.run.show(path)}: {count}")
        print("outputs:")
        for path in self.outputs:
            print(f"  {self.run.show(path)}{' (exists)' if path.exists() else ''}")


def _name_of(script: Path) -> str:
    """A script as a person types it: analysis/decals_1.py."""
    roots = [ROOT, *(folder for folder in script.parents if (folder / "make_datatxt.py").exists())]
    inside = (script.relative_to(root) for root in roots if script.is_relative_to(root))
    return next(inside, Path(script.name)).as_posix()


def versions() -> dict[str, str]:
    """Versions of this package, Python and the packages that decide a result."""
    found = {"Galaxy_VAE": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        found[package] = importlib.metadata.version(package)
    return found
