"""Judge what a reader makes of a broken file: accepted if it is valid, else refused in one line.

A file counts as a fault where the reader ends in anything but a reason in one line, accepts what
is not valid, takes more than SECONDS, or asks for more than MEMORY; or where it takes the whole
process along. All files derive from valid ones by the accidents of mutations.py.
"""

import contextlib
import faulthandler
import gc
import io
import json
import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from readers import READERS, Reader

_STARVED = ("memoryerror", "unable to allocate", "out of memory", "malloc of")
_LONG = 30  # seconds after which a reader that hangs in compiled code is ended
SECONDS = 5.0  # longest time for one file
MEMORY = 1024  # most memory for one file, MiB above what the process had before


@dataclass(frozen=True)
class Outcome:
    """The outcome of one file: `accepted`, `refused` or a fault, with the reason, and its cost."""

    what: str
    reason: str
    seconds: float
    memory: float


def _resident(key: str) -> float:
    """MiB of this process by /proc: VmRSS is now, VmHWM the most since the last reset."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(key))
    return int(line.split()[1]) / 1024


def judge(reader: Reader, content: bytes, most: float = MEMORY) -> Outcome:
    """Give one content to a reader, and return what came of it; most: MiB that it may take."""
    reader.target.write_bytes(content)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before, began = _resident("VmRSS"), time.monotonic()
    faulthandler.dump_traceback_later(_LONG, exit=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            wrong = reader.read()
        what, reason = ("wrongly accepted", wrong) if wrong else ("accepted", "")
    except reader.refusals as refusal:
        what, reason = "refused", str(refusal)
        if not reason or "\n" in reason:
            what = "no reason in one line"
    except Exception as error:
        what, reason = "traceback", f"{type(error).__name__}: {error}"[:200]
    faulthandler.cancel_dump_traceback_later()
    seconds, memory = time.monotonic() - began, _resident("VmHWM") - before
    if seconds > SECONDS:
        what = "slow"
    if memory > most or any(word in reason.lower() for word in _STARVED):
        what = "memory"
    return Outcome(what, reason, seconds, max(0.0, memory))


def work(seed: int, name: str, folder: Path, first: int, count: int, log: Path) -> None:
    """Judge the files from `first` on, a JSON line each, so that what kills us is known."""
    reader = READERS[name](folder)
    if wrong := judge(reader, reader.sources[0]):
        assert wrong.what == "accepted", f"{name}: the valid file is {wrong}"
    limit = int(_resident("VmData") + MEMORY) * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with open(log, "a", buffering=1) as lines:
        for number in range(first, count):
            rng = np.random.default_rng([seed, list(READERS).index(name), number])
            content = reader.broken(rng, number)
            lines.write(json.dumps({"number": number}) + "\n")
            outcome = judge(reader, content)
            lines.write(json.dumps(vars(outcome)) + "\n")
            if outcome.memory > MEMORY / 10:
                gc.collect()  # what an error's traceback still holds is not the next file's


def fuzz(seed: int, name: str, count: int) -> list[Outcome]:
    """The outcomes of `count` files; a reader that dies is started again behind the file."""
    context, outcomes = multiprocessing.get_context("spawn"), []
    while len(outcomes) < count:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log.jsonl"
            arguments = (seed, name, Path(folder), len(outcomes), count, log)
            process = context.Process(target=work, args=arguments)
            process.start()
            process.join()
            lines = (
                [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            )
        assert lines, f"the reader {name} does not read its valid file"
        outcomes += [Outcome(**line) for line in lines if "what" in line]
        if process.exitcode:
            outcomes.append(Outcome("died", f"exit code {process.exitcode}", 0.0, 0.0))
    return outcomes
