"""A process that has imported the package, and forks for each script that it is asked to run.

To import torch, scikit-learn and the package takes seconds, and the tests run hundreds of scripts.
A forked process runs its script as `python <script>` does: as __main__, with arguments, folder and
environment of its own.
"""

import atexit
import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import VAE_model


class Warm:
    """The process, which starts when it is first needed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.process: subprocess.Popen[str] | None = None

    def run(
        self, command: Sequence[str], folder: Path, timeout: int = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a script with its arguments; as subprocess.run, output captured as text."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True, env=self.environment,
            )  # fmt: skip
        out, err = folder / "stdout", folder / "stderr"
        asked = {
            "command": list(command), "cwd": os.getcwd(), "timeout": timeout,
            "out": str(out), "err": str(err),
        }  # fmt: skip
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(
            [sys.executable, *command], code, out.read_text(), err.read_text()
        )

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def serve() -> None:
    """Answer each request, a line of JSON on standard input, by the exit code of its script."""
    for module in pkgutil.walk_packages(VAE_model.__path__, "VAE_model."):
        importlib.import_module(module.name)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            os._exit(run_here(asked))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)


def run_here(asked: dict) -> int:
    """Run the script in this process and return its exit code."""
    signal.alarm(asked["timeout"])
    for number, (path, flags) in enumerate((
        (os.devnull, os.O_RDONLY),
        (asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (asked["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    )):
        os.dup2(os.open(path, flags), number)
    os.chdir(asked["cwd"])
    script = asked["command"][0]
    sys.argv, sys.path[0] = asked["command"], str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve()
