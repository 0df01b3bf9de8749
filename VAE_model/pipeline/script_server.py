"""Run scripts in processes forked from one that has the package loaded.

To import torch, scikit-learn and the rest takes some four seconds of each script. The server does
it once, and forks for every script, which then runs as `python <script>` does: as __main__, with
its own arguments. The server computes nothing.

with ScriptServer() as server:
    code = server.run(["make_datatxt.py", "--run", "data/demo"])
"""

import atexit
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import torch

import VAE_model
from VAE_model.pipeline.run import ROOT

_CAN_FORK = sys.platform == "linux"  # libraries of macOS do not survive a fork


class ScriptServer:
    """Runs scripts; elsewhere than on Linux each by a new interpreter.

    environment: of the scripts; None: that of this process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self.server: subprocess.Popen[str] | None = None
        self.codes: IO[str]

    def __enter__(self) -> "ScriptServer":
        return self

    def __exit__(self, *error: object) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()
            self.codes.close()

    def run(
        self, command: Sequence[str], out: Path | None = None, err: Path | None = None,
        timeout: int = 0,
    ) -> int:  # fmt: skip
        """Run a script with its arguments in the folder of the project, and return its exit code.

        out, err: files for its output; None: where this process writes. timeout: seconds after
        which it is killed; 0: none.
        """
        if not _CAN_FORK:
            return self._run_anew(command, out, err, timeout)
        server = self.server or self._begin()
        files = [str(path) if path else None for path in (out, err)]
        request = {"command": list(command), "files": files, "timeout": timeout}
        sys.stdout.flush()
        print(json.dumps(request), file=server.stdin, flush=True)
        return int(self.codes.readline() or -signal.SIGKILL)  # no line: the server was killed

    def _begin(self) -> "subprocess.Popen[str]":
        read, write = os.pipe()
        self.server = subprocess.Popen(
            [sys.executable, "-m", "VAE_model.pipeline.script_server", str(write)],
            cwd=ROOT, env=self.environment, stdin=subprocess.PIPE, pass_fds=[write], text=True,
        )  # fmt: skip
        os.close(write)
        self.codes = os.fdopen(read)
        return self.server

    def _run_anew(
        self, command: Sequence[str], out: Path | None, err: Path | None, timeout: int
    ) -> int:
        files = [open(path, "wb") if path else None for path in (out, err)]  # noqa: SIM115
        try:
            return subprocess.run(
                [sys.executable, *command], cwd=ROOT, env=self.environment, stdout=files[0],
                stderr=files[1], timeout=timeout or None, check=False,
            ).returncode  # fmt: skip
        finally:
            for file in files:
                if file is not None:
                    file.close()


def serve(answers: int) -> None:
    """Answer each request, a line of JSON on standard input, by the exit code of its script.

    answers: file descriptor to which the codes are written.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the script handles Ctrl-C
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process cannot use the threads that OpenMP has started
    for module in pkgutil.walk_packages(VAE_model.__path__, "VAE_model."):
        importlib.import_module(module.name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.close(answers)
            torch.set_num_threads(threads)
            os._exit(_run_here(**json.loads(line)))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(answers, f"{code}\n".encode())


def _run_here(command: list[str], files: list[str | None], timeout: int) -> int:
    """Run a script in this process, and return its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(timeout)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(files, start=1):
        if path:
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv, sys.path[0] = command, str(Path(command[0]).resolve().parent)
    code = _code_of(command[0])
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def _code_of(script: str) -> int:
    module = ModuleType("__main__")
    module.__file__ = script
    # the second name is that of multiprocessing for what its processes know as __main__
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    try:
        code = compile(Path(script).read_bytes(), script, "exec")
        exec(code, module.__dict__)  # noqa: S102 - as the interpreter runs a script
    except SystemExit as ended:
        end: Any = ended.code
        if isinstance(end, str):
            print(end, file=sys.stderr)
        return end if isinstance(end, int) else int(end is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(int(sys.argv[1]))
