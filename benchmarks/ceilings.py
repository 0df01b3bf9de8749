"""The highest rates of the machine, and the least work of a network.

The roofline model (Williams, Waterman & Patterson 2009, CACM 52, 65): a computation takes at least
the longer of operations / peak rate and bytes / bandwidth.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from timing import in_turns, spread
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from VAE_model.pipeline.parallel import cores
from VAE_model.report.tables import Table
from VAE_model.training.device import autocast, choose_device

Rates = dict[str, list[float]]  # per second, by what was measured
MEMORY, CACHE = "memory, copying", "page cache, reading"
SIZE = 2**28  # bytes that are copied and read


def convolution(dtype: torch.dtype) -> str:
    """Return the name of the ceiling of convolutions."""
    return f"convolution 64 to 64, {str(dtype).removeprefix('torch.')}"


def ceilings() -> Rates:
    """Measure rates per second: matrix product, convolution (FLOP), memory, page cache (bytes)."""
    device, rates = choose_device(), {}
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        one = torch.randn(2048, 2048, device=device).to(dtype)
        rates[f"matrix product, {name}"] = in_turns(2 * 2048**3, 5, it=lambda a=one: a @ a)["it"]
        layer = nn.Conv2d(64, 64, 3, 1, 1, bias=False, device=device, dtype=dtype)
        image = torch.randn(8, 64, 64, 64, device=device).to(dtype)
        image = image.contiguous(memory_format=torch.channels_last)
        flops = 2 * 8 * 64 * 64 * 64 * 64 * 9
        rates[convolution(dtype)] = in_turns(flops, 5, it=lambda c=layer, i=image: c(i))["it"]
    source = torch.ones(SIZE // 4, device=device)
    target = torch.empty_like(source)
    rates[MEMORY] = in_turns(2 * SIZE, 5, it=lambda: target.copy_(source))["it"]
    with tempfile.TemporaryFile() as file, ThreadPoolExecutor(cores()) as readers:
        file.write(bytes(SIZE))
        part = SIZE // cores()
        buffers = [bytearray(part) for _ in range(cores())]

        def read(number: int) -> None:
            """Read one part of the file."""
            os.preadv(file.fileno(), [buffers[number]], number * part)

        rates[CACHE] = in_turns(SIZE, 5, it=lambda: list(readers.map(read, range(cores()))))["it"]
    return rates


def table(rates: Rates) -> str:
    """Return the ceilings as Markdown."""
    rows = [
        (name, "GB/s" if name in (MEMORY, CACHE) else "GFLOP/s", spread([r / 1e9 for r in found]))
        for name, found in rates.items()
    ]
    return Table(["ceiling", "unit", "measured"], rows).markdown()


def work(network: nn.Module, inputs: torch.Tensor, training: bool) -> tuple[float, float]:
    """Count the work for one image of `inputs` (N, ...): a training step, or encode and decode.

    Returns the operations (multiply-adds count twice), and the bytes that they read and write, each
    operand counted once per operation.
    """
    with _Traffic() as traffic, FlopCounterMode(display=False) as counter:
        with torch.set_grad_enabled(training), autocast(inputs.device, "auto", network):
            decoded = network.decode(network.encode(inputs)[0])
        if training:
            decoded.sum().backward()
    network.zero_grad()
    return counter.get_total_flops() / len(inputs), traffic.bytes / len(inputs)


class _Traffic(TorchDispatchMode):
    """A sum of the bytes of all operands and results of operations that touch memory."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [t for t in tree_leaves((args, kwargs, result)) if torch.is_tensor(t)]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors)
        return result
