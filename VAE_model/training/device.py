"""The device and the precision of computations."""

import contextlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from VAE_model.models import VAE
from VAE_model.training import distributed

Precision = Literal["auto", "float32", "bf16"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; `auto`: the GPU if there is one, else the CPU.

    Under torchrun each process has its own GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and distributed.world_size() > 1:
        name = f"cuda:{torch.cuda.current_device()}"
    return torch.device(name)


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Compile a function for a GPU if triton is installed, else return it unchanged.

    On a CPU the compiler needs a C++ toolchain, which few users have.
    """
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return function
    return torch.compile(function)


def compute_dtype(
    device: torch.device, precision: Precision, network: nn.Module | None = None
) -> torch.dtype:
    """Return the type, bfloat16 or float32, that `precision` means on a device.

    `auto` is bf16 on a GPU that has it, and on a CPU with the instructions for it (AMX or AVX-512
    BF16) for a network with FAST_IN_BF16 (measured: docs/BENCHMARKS.md). It depends only on
    processor and network, so that a run can be repeated.
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported()
        else:
            fast = getattr(network, "FAST_IN_BF16", False) and _cpu_has_bf16()
        precision = "bf16" if fast else "float32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def autocast(
    device: torch.device, precision: Precision, network: nn.Module | None = None
) -> contextlib.AbstractContextManager:
    """Return a context of mixed precision if `compute_dtype` is bfloat16, else one of float32."""
    if compute_dtype(device, precision, network) == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def microbatch_size(
    network: VAE, device: torch.device, precision: Precision, batch_size: int
) -> int:
    """Return the number of images computed at a time: on a CPU the network's, else the batch's."""
    size = None
    if device.type == "cpu":
        size = network.microbatch_size(compute_dtype(device, precision, network))
    return max(1, size or batch_size)


def _cpu_has_bf16() -> bool:
    # torch has no public name for these instructions
    tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, test, bool)() for test in tests)
