"""The command line of a script: its constants as options, `--dry-run`, exit codes."""

import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import tyro

from VAE_model.pipeline.problem import Problem
from VAE_model.training import distributed


@dataclasses.dataclass
class Options:
    """Options of the command line beside the constants of the script."""

    dry_run: bool = False
    """Print what would be read and written, and stop."""
    accept: bool = False
    """Keep outputs that were made before the code changed."""
    again: bool = False
    """Make the outputs again, even if nothing has changed."""


class Given(Options):
    """The options of this process."""

    script = False  # the process runs a script, not a notebook or a test


given = Given()

_CLOSED = "the reader of the output (head, a pager) has ended: the same command resumes from here"


class Stop(Exception):
    """The script has done everything that the command line asked for."""


def start(
    main: Callable[[Any], None], config: type, doc: str | None, several: bool = False
) -> None:
    """Run a script: parse the command line into its Config and call `main`.

    several: the script can be one of several processes (torchrun).
    Exit codes: 0 success; 1 a Problem or an error of the file system, in one line on stderr;
    2 a wrong command line (tyro); 130 interrupted; 141 the reader of the output has ended.
    """
    _mend_streams()
    flat: Any = tyro.conf.OmitArgPrefixes  # --seed, not --config.seed
    constants = ("config", flat[config], dataclasses.field(default_factory=config))
    arguments: Any = dataclasses.make_dataclass("Arguments", [constants], bases=(Options,))
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
        distributed.end()
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
    """Replace each closed stream (`<&-`, a daemon) by the null device.

    Otherwise a file that is opened later would get its number, and prints would go into the file.
    A terminal that cannot show a letter shows its code.
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
