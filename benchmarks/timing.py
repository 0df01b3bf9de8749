"""Rates of two programs measured in turns: medians and ranges."""

import statistics
import time
from collections.abc import Callable

import torch


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a function takes, the device's work included."""
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


def spread(values: list[float], digits: int = 1) -> str:
    """Format as: median (lowest to highest)."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"
