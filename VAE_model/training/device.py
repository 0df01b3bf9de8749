"""Where and how precisely to compute."""

import contextlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from VAE_model.training import distributed

Precision = Literal["auto", "float32", "bf16"]


def choose_device(name: str = "auto") -> torch.device:
    """`auto`: the GPU when there is one, else the CPU; of several processes each has its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and distributed.processes() > 1:
        name = f"cuda:{torch.cuda.current_device()}"
    return torch.device(name)


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """The function compiled for a GPU, where torch's compiler has its back end (triton); else as
    it is: on a CPU the compiler needs a C++ toolchain that few of our users have."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return function
    return torch.compile(function)


def computes_in(
    device: torch.device, precision: Precision, network: nn.Module | None = None
) -> torch.dtype:
    """bfloat16 or float32: what `precision` comes to.

    `auto` is bf16 on a GPU that has it, and on a CPU with the instructions for it (AMX, or AVX-512
    BF16) for a network that gains from them, as its FAST_IN_BF16 says: measured, not guessed, see
    docs/BENCHMARKS.md. It follows from processor and network alone, so that a run repeats.
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported()
        else:
            fast = getattr(network, "FAST_IN_BF16", False) and _cpu_has_bf16()
        precision = "bf16" if fast else "float32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def part_of_a_batch(network: Any, device: torch.device, precision: Precision, whole: int) -> int:
    """Images that are computed at a time: on a CPU as many as the network asks for, else all of
    the batch, `whole`."""
    if device.type != "cpu" or not hasattr(network, "part"):
        return max(1, whole)
    return network.part(computes_in(device, precision, network))


def _cpu_has_bf16() -> bool:
    # torch has no public name for them
    tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, test, bool)() for test in tests)


def autocast(
    device: torch.device, precision: Precision, network: nn.Module | None = None
) -> contextlib.AbstractContextManager:
    """Mixed precision where `computes_in` says bf16."""
    if computes_in(device, precision, network) == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
