"""Thousands of broken files for every reader: each is accepted if it is valid, else refused.

A file counts as a fault where the reader ends in anything but a reason in one line, accepts what
is not valid, takes more than `seconds`, or asks for more than `memory`; or where it takes the whole
process along. All files derive from valid ones by the accidents of mutations.py.

Reads:  nothing
Writes: nothing but its own folder of temporary files; prints the counts, ends with 1 on a fault

Example: python benchmarks/faults/fuzz_readers.py --files 5600 --seed 0
"""

import contextlib
import faulthandler
import gc
import io
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from readers import READERS, Reader

from VAE_model.pipeline.command_line import start
from VAE_model.pipeline.problem import Problem

_STARVED = ("memoryerror", "unable to allocate", "out of memory", "malloc of")
_LONG = 30  # seconds after which a reader that hangs in compiled code is ended


@dataclass(frozen=True)
class Config:
    files: int = 5600
    """Broken files, shared out evenly among the readers."""
    seed: int = 0
    """Decides every mutation."""
    readers: tuple[str, ...] = tuple(READERS)
    """Which readers."""
    seconds: float = 5.0
    """Longest time for one file."""
    memory: int = 1024
    """Most memory for one file, MiB above what the process had before."""
    show: int = 3
    """Faults of a reader that are shown in full."""


@dataclass(frozen=True)
class Outcome:
    """What one file led to: `accepted`, `refused` or a fault, with the reason, and its cost."""

    what: str
    reason: str
    seconds: float
    memory: float


def _resident(key: str) -> float:
    """MiB of this process by /proc: VmRSS is now, VmHWM the most since the last reset."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(key))
    return int(line.split()[1]) / 1024


def judge(reader: Reader, content: bytes, config: Config) -> Outcome:
    """Give one content to a reader, and say what came of it."""
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
    if seconds > config.seconds:
        what = "slow"
    if memory > config.memory or any(word in reason.lower() for word in _STARVED):
        what = "memory"
    return Outcome(what, reason, seconds, max(0.0, memory))


def work(config: Config, name: str, folder: Path, first: int, count: int, log: Path) -> None:
    """Judge the files from `first` on, a JSON line each, so that what kills us is known."""
    reader = READERS[name](folder)
    if wrong := judge(reader, reader.sources[0], config):
        assert wrong.what == "accepted", f"{name}: the valid file is {wrong}"
    limit = int(_resident("VmData") + config.memory) * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with open(log, "a", buffering=1) as lines:
        for number in range(first, count):
            rng = np.random.default_rng([config.seed, list(READERS).index(name), number])
            content = reader.broken(rng, number)
            lines.write(json.dumps({"number": number}) + "\n")
            outcome = judge(reader, content, config)
            lines.write(json.dumps(vars(outcome)) + "\n")
            if outcome.memory > config.memory / 10:
                gc.collect()  # what an error's traceback still holds is not the next file's


def fuzz(config: Config, name: str, count: int) -> list[Outcome]:
    """The outcomes of `count` files; a reader that dies is started again behind the file."""
    context, outcomes = multiprocessing.get_context("spawn"), []
    while len(outcomes) < count:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log.jsonl"
            arguments = (config, name, Path(folder), len(outcomes), count, log)
            process = context.Process(target=work, args=arguments)
            process.start()
            process.join()
            lines = (
                [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            )
        if not lines:
            raise Problem(f"the reader {name} does not read its valid file")
        outcomes += [Outcome(**line) for line in lines if "what" in line]
        if process.exitcode:
            outcomes.append(Outcome("died", f"exit code {process.exitcode}", 0.0, 0.0))
    return outcomes


def main(config: Config) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    count, faults = -(-config.files // len(config.readers)), 0
    total: Counter[str] = Counter()
    for name in config.readers:
        outcomes = fuzz(config, name, count)
        counts = Counter(outcome.what for outcome in outcomes)
        bad = [i for i, o in enumerate(outcomes) if o.what not in ("accepted", "refused")]
        kinds = len({o.reason.split(":")[0] for o in outcomes if o.what == "refused"})
        slowest, most = max(o.seconds for o in outcomes), max(o.memory for o in outcomes)
        print(
            f"  {name:<12} {dict(counts)}; {kinds} kinds of reason; slowest {slowest:.2f} s, "
            f"most memory {most:.0f} MiB",
            flush=True,
        )
        for number in bad[: config.show]:
            print(f"    file {number}: {outcomes[number].what}: {outcomes[number].reason}")
        total += counts
        faults += len(bad)
    print(f"  {sum(total.values()):,} files: {dict(total)}")
    if faults:
        raise Problem(f"{faults} faults: mend the readers")


if __name__ == "__main__":
    start(main, Config, __doc__)
