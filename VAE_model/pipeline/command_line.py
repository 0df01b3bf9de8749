"""The command line of a script: its constants as options, `--dry-run`, exit codes."""

import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from VAE_model.pipeline.problem import Problem
from VAE_model.training import distributed


@dataclasses.dataclass
class Given:
    """Options of the command line beside the constants of the script."""

    script: bool = False  # a script runs as a process of its own, not from a notebook or a test
    dry_run: bool = False
    accept: bool = False
    again: bool = False


given = Given()

_CLOSED = (
    "what reads this script's output has closed it (head, a pager), and the script ended with it: "
    "the same command resumes from here"
)


class Stop(Exception):
    """The script has done all that the command line asked for."""


def start(
    main: Callable[[Any], None], config: type, doc: str | None, several: bool = False
) -> None:
    """Run a script: parse the command line into its Config and call `main`.

    several: the script can be one of several processes (torchrun).
    Exit codes: 0 done; 1 a Problem or an error of the file system, in one line on stderr;
    2 a wrong command line (tyro); 130 interrupted; 141 nobody reads its output any more.
    """
    _mend_streams()
    flat: Any = tyro.conf.OmitArgPrefixes  # --seed, not --config.seed

    def switch(name: str, words: str) -> tuple[str, Any, Any]:
        return name, Annotated[bool, tyro.conf.arg(help=words)], dataclasses.field(default=False)

    arguments: Any = dataclasses.make_dataclass(
        "Arguments",
        [
            ("config", flat[config], dataclasses.field(default_factory=config)),
            switch("dry_run", "Print what would be read and written, and stop."),
            switch("accept", "Keep outputs that were made before the code changed."),
            switch("again", "Make the outputs again, even if nothing has changed."),
        ],
    )
    description = (doc or "").replace("\nWrites:", "\n\nWrites:")  # else one paragraph in --help
    parsed = tyro.cli(arguments, description=description, prog=sys.argv[0])
    given.script, given.dry_run = True, parsed.dry_run
    given.accept, given.again = parsed.accept, parsed.again
    try:
        if distributed.world_size() > 1 and not several:
            raise Problem(f"{sys.argv[0]} is a job for one process: start it with python")
        distributed.start()
        with contextlib.suppress(Stop):
            main(parsed.config)
        distributed.stop()
    except Problem as problem:
        sys.exit(f"error: {problem}")
    except RuntimeError as error:
        if distributed.world_size() == 1 or not distributed.is_loss_of_process(error):
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
        print("interrupted: the same command resumes from here", file=sys.stderr)
        sys.exit(130)


def _mend_streams() -> None:
    """Open the null device in place of each stream that was closed (`<&-`, a daemon).

    Else a file that is opened later would take its number, and be written into. A terminal that
    cannot show a letter shows its code.
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
