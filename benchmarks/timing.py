"""Rates, times and memory of programs, as medians and ranges."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from VAE_model.pipeline.files import write_text
from VAE_model.pipeline.run import ROOT

# The peak memory of a process is at least that of its parent, so a small one starts the program.
_WATCH = """
import os, subprocess, sys, time
began = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
print(time.monotonic() - began, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def watch(*arguments: object) -> tuple[float, float]:
    """Run a script in a process of its own; return seconds and peak memory (MiB)."""
    command = [sys.executable, "-c", _WATCH, sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak / (2**20 if sys.platform == "darwin" else 2**10)


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a function takes, including the work of the device."""
    if not torch.cuda.is_initialized():  # nothing runs on a GPU
        began = time.perf_counter()
        function()
        return time.perf_counter() - began
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before.record()
    function()
    torch.cuda.synchronize()  # all streams
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1e3


def in_turns(
    count: int, repeats: int, *, warm: bool = False, **sides: Callable[[], object]
) -> dict[str, list[float]]:
    """Return rates per second of each side, in turns, after a first pass that is not counted.

    warm: the first pass has been made.
    """
    for side in () if warm else sides.values():
        side()
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            rates[name].append(count / timed(side))
    return rates


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Format as: median (lowest to highest)."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def write_between(page: Path, name: str, text: str) -> None:
    """Replace what a page in docs/ has between the marks <!-- name --> and <!-- end of name -->."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, rest = page.read_text(encoding="utf-8").split(begin)
    write_text(page, f"{head}{begin}{text}\n{end}{rest.split(end)[1]}")


def write_below_the_line(page: Path, text: str) -> None:
    """Replace the measured part of a page in docs/."""
    head = page.read_text(encoding="utf-8").split("<!-- measured -->")[0]
    write_text(page, f"{head}<!-- measured -->\n\n{text}")
