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
    began = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def in_turns(count: int, repeats: int, **sides: Callable[[], object]) -> dict[str, list[float]]:
    """Return rates per second of each side, in turns, after a first pass that is not counted."""
    for side in sides.values():
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


def write_below_the_line(page: Path, text: str) -> None:
    """Replace the measured part of a page in docs/."""
    head = page.read_text(encoding="utf-8").split("<!-- measured -->")[0]
    write_text(page, f"{head}<!-- measured -->\n\n{text}")
