"""One run of one script: check whether its outputs are up to date, begin, finish.

def main(config: Config) -> None:
    run = Run(config.run)
    stage = Stage(__file__, run, config, inputs=[run.catalogue], outputs=[run.classes])
    if stage.is_up_to_date():
        return
    stage.begin()
    ...
    stage.finish()

if __name__ == "__main__":
    start(main, Config, __doc__)
"""

import dataclasses
import json
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from VAE_model.pipeline.command_line import Stop, given, start
from VAE_model.pipeline.files import count_rows, sweep, write_json
from VAE_model.pipeline.lock import hold
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.provenance import (
    NOT_THE_RESULT,
    code_of,
    has_changed,
    identify,
    is_unfinished,
    mark_begun,
    read_sidecar,
    sidecar,
    versions,
    whole_sidecar,
    why_stale,
)
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.training import distributed

__all__ = ["Problem", "Stage", "start"]  # what a script needs beside its Run

_MANY = 6  # inputs that the first line of a stage names


class Stage:
    """One run of one script on one run folder.

    inputs, outputs: files (or folders of images) under the run; alone: no other script may use the
    run meanwhile.
    """

    def __init__(
        self, script: str, run: Run, config: Any, inputs: Iterable[Path], outputs: Iterable[Path],
        alone: bool = True,
    ) -> None:  # fmt: skip
        self.script = _name_of(Path(script).resolve())
        self.run, self.config = run, config
        self.inputs, self.outputs, self.alone = [*inputs], [*outputs], alone
        self.began = time.monotonic()
        self.identities: dict[str, dict[str, Any]] = {}  # of the inputs

    @property
    def dry_run(self) -> bool:
        """True if the command line has `--dry-run`."""
        return given.dry_run

    @property
    def again(self) -> bool:
        """True if the command line asked for `--again`."""
        return given.again

    @property
    def code(self) -> str:
        """The version of the script's code."""
        return code_of(self.script)

    def is_up_to_date(self, unfinished: bool = False) -> bool:
        """Return True, and print it, if the outputs were made from these inputs by this code.

        unfinished: the outputs are incomplete, and another run may complete them.
        Raises Problem if an input is missing or stale, with the command that makes it.
        """
        if given.dry_run:
            return False
        self._check_inputs()
        before = whole_sidecar(self.outputs[0]).get("inputs", {}) if self.outputs else {}
        for path in self.inputs:
            name = self._name(path)
            self.identities[name] = identify(path, before.get(name))
        same = not unfinished and all(self._is_as_recorded(path) for path in self.outputs)
        same = same and not given.again
        if same and all(self._has_this_code(path) for path in self.outputs):
            why = "input, constants and code are unchanged"
            distributed.say(f"{self.script}: nothing to do, {why} ({self._shown_outputs()})")
            return True
        if given.accept and not same:
            raise Problem(f"nothing to accept: more than the code of {self.script} has changed")
        return False

    def begin(self) -> None:
        """Lock the run, prepare its folders, and print the inputs.

        With --dry-run only print the plan, with --accept only update the side-cars; then raise
        Stop. Raises Problem if another script uses the run, or its folder is not writable.
        """
        if given.dry_run:
            self._print_plan()
            raise Stop
        distributed.barrier()  # no process writes before all have checked the outputs
        self.run.folder.mkdir(parents=True, exist_ok=True)
        if self.alone and given.script and not distributed.rank():
            hold(self.run.folder, self.run.show(self.run.folder), self.script)
        if given.accept:
            self._accept()
            raise Stop
        self._prepare_folders()
        if not distributed.rank():
            for path in self.outputs:
                mark_begun(path)
        distributed.say(f"{self.script}: {self._described_inputs()}")

    def finish(self, **numbers: Any) -> None:
        """Write the side-cars, from rank 0 when all processes are done.

        numbers: results to store in the side-cars.
        """
        distributed.barrier()
        if distributed.rank():
            return
        seconds = round(time.monotonic() - self.began, 1)
        record = {
            "script": self.script,
            "code": self.code,
            "config": self._config(),
            "seed": getattr(self.config, "seed", None),  # null: nothing is random
            "inputs": {
                self._name(path): {**self.identities[self._name(path)], "rows": count_rows(path)}
                for path in self.inputs
            },
            "numbers": numbers,
            "versions": versions(),
            "seconds": seconds,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        for path in self.outputs:
            if not path.exists():
                raise Problem(f"{self.run.show(path)} was not written by {self.script}")
            output = {**identify(path), "rows": count_rows(path)}
            write_json(sidecar(path), record | {"output": output})
        print(f"{self.script}: wrote {self._shown_outputs()} in {seconds:.1f} s", flush=True)

    def _config(self) -> dict[str, Any]:
        """Return the constants as plain JSON values, without the folder of the run."""
        values = {k: v for k, v in dataclasses.asdict(self.config).items() if k != "run"}
        return json.loads(json.dumps(values, default=str))

    def _name(self, path: Path) -> str:
        inside = path.is_relative_to(self.run.folder)
        return str(path.relative_to(self.run.folder)) if inside else self.run.show(path)

    def _shown_outputs(self) -> str:
        return ", ".join(self.run.show(path) for path in self.outputs)

    def _check_inputs(self) -> None:
        known: dict[Path, str] = {}
        for path in self.inputs:
            wrong = ""
            if not path.exists():
                wrong = "is missing"
            elif not path.is_dir() and path.stat().st_size == 0:
                wrong = "is empty"
            elif not path.is_dir() and is_unfinished(path):  # images come and go
                wrong = "is of an interrupted run"
            if wrong:
                maker = self.run.made_by(path)
                remedy = f"run {maker}" if maker else "check the path"
                raise Problem(f"{self.run.show(path)} {wrong}: {remedy}")
            inside = path.is_relative_to(self.run.folder)
            if inside and (reason := why_stale(path, self.run, known)):
                raise Problem(reason)

    def _is_as_recorded(self, path: Path) -> bool:
        """Return True if an output was made from these inputs with these constants."""
        try:
            record = read_sidecar(path)
        except Problem as problem:
            print(f"{problem}: {self.run.show(path)} is made again")
            return False
        if not path.exists() or not record or is_unfinished(path):
            return False
        now, before = (
            {name: value for name, value in config.items() if name not in NOT_THE_RESULT}
            for config in (self._config(), record["config"])
        )
        hashes, recorded = (
            {name: entry["sha256"] for name, entry in inputs.items()}
            for inputs in (self.identities, record["inputs"])
        )
        emptied = path.is_file() and not path.stat().st_size
        if before != now or hashes != recorded or emptied:
            return False
        if has_changed(path, record["output"]):
            print(f"{self.run.show(path)} was edited after it was made; it is kept")
        return True

    def _has_this_code(self, path: Path) -> bool:
        same = whole_sidecar(path).get("code") == self.code
        if not same:
            print(f"the code of {self.script} has changed since {self.run.show(path)} was made")
        return same

    def _accept(self) -> None:
        """Record that the outputs were made by the present code, from rank 0."""
        for path in () if distributed.rank() else self.outputs:
            write_json(sidecar(path), {**read_sidecar(path), "code": self.code})
        print(f"{self.script}: accepted as if made by this code: {self._shown_outputs()}")

    def _prepare_folders(self) -> None:
        """Make the folders of the outputs, and remove incomplete files of killed runs there."""
        folders = {self.run.folder, *(path.parent for path in self.outputs)}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for folder in {*folders, self.run.packed}:
            sweep(folder)
            if folder.exists() and not os.access(folder, os.W_OK):
                shown = self.run.show(folder)
                raise Problem(f"{shown} is not writable: choose another folder with --run")

    def _described_inputs(self) -> str:
        parts = []
        for path in self.inputs:
            rows = count_rows(path)
            parts.append(self._name(path) + (f" ({rows:,})" if rows is not None else ""))
        if len(parts) > _MANY:
            parts = [*parts[:_MANY], f"and {len(parts) - _MANY} more"]
        return "reads " + ", ".join(parts) if parts else "reads no file"

    def _print_plan(self) -> None:
        print(f"{self.script} --dry-run: nothing is read or written")
        print("config:")
        for field in dataclasses.fields(self.config):
            print(f"  {field.name} = {getattr(self.config, field.name)}")
        print("inputs:")
        for path in self.inputs:
            rows = count_rows(path) if path.exists() else None
            found = "present" if path.exists() else "MISSING"
            print(f"  {self.run.show(path)}: {found if rows is None else f'{rows} rows or files'}")
        print("outputs:")
        for path in self.outputs:
            print(f"  {self.run.show(path)}{' (exists)' if path.exists() else ''}")


def _name_of(script: Path) -> str:
    """Return a script as a person types it: analysis/decals_1.py."""
    roots = [ROOT, *(folder for folder in script.parents if (folder / "make_datatxt.py").exists())]
    inside = (script.relative_to(root) for root in roots if script.is_relative_to(root))
    return next(inside, Path(script.name)).as_posix()
