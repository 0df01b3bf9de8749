"""The highest rates of the machine, and the least work of a network.

The roofline model (Williams, Waterman & Patterson 2009, CACM 52, 65): a computation takes at least
the longer of operations / peak rate and bytes / bandwidth.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from timing import in_turns, spread
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from VAE_model.pipeline.parallel import cores
from VAE_model.training.device import autocast, choose_device


@dataclass(frozen=True)
class Work:
    """Work per image: flops (multiply-adds count twice), and bytes that the operations read and
    write, each operand counted once per operation.
    """

    flops: float
    bytes: float


def ceilings() -> dict[str, list[float]]:
    """Measure rates per second: matrix product, convolution (FLOP), memory, page cache (bytes)."""
    device, rates = choose_device(), {}
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        one = torch.randn(2048, 2048, device=device).to(dtype)
        rates[f"matrix product, {name}"] = in_turns(2 * 2048**3, 5, it=lambda a=one: a @ a)["it"]
        image = torch.randn(8, 64, 64, 64, device=device).to(dtype)
        image = image.contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(64, 64, 3, 3, device=device).to(dtype)
        rates[f"convolution 64 to 64, {name}"] = in_turns(
            2 * 8 * 64 * 64 * 64 * 64 * 9, 5,
            it=lambda i=image, k=kernel: torch.nn.functional.conv2d(i, k, None, 1, 1),
        )["it"]  # fmt: skip
    source = torch.ones(2**28 // 4, device=device)
    target = torch.empty_like(source)
    rates["memory, copying"] = in_turns(2 * 2**28, 5, it=lambda: target.copy_(source))["it"]
    with tempfile.TemporaryFile() as file, ThreadPoolExecutor(cores()) as readers:
        file.write(bytes(2**28))
        buffers = [bytearray(2**28 // cores()) for _ in range(cores())]

        def read(part: int) -> None:
            os.preadv(file.fileno(), [buffers[part]], part * len(buffers[part]))

        rates["page cache, reading"] = in_turns(
            2**28, 5, it=lambda: list(readers.map(read, range(cores())))
        )["it"]
    return rates


def table(rates: dict[str, list[float]]) -> list[str]:
    units = {name: "GB/s" if name.startswith(("memory", "page")) else "GFLOP/s" for name in rates}
    return ["| ceiling | unit | measured |", "|---|---|---|"] + [
        f"| {name} | {units[name]} | {spread([r / 1e9 for r in found], 1)} |"
        for name, found in rates.items()
    ]


def work(network: nn.Module, inputs: torch.Tensor, training: bool) -> Work:
    """Count the work for one image of `inputs` (N, ...): a training step, or encode and decode."""
    with _Traffic() as traffic, FlopCounterMode(display=False) as counter:
        with torch.set_grad_enabled(training), autocast(inputs.device, "auto", network):
            decoded = network.decode(network.encode(inputs)[0])
        if training:
            decoded.sum().backward()
    network.zero_grad()
    return Work(counter.get_total_flops() / len(inputs), traffic.bytes / len(inputs))


def share(rate: float, cost: Work, rates: dict[str, list[float]], dtype: torch.dtype) -> str:
    """Return a table line: images per second as shares of the ceilings."""
    name = f"convolution 64 to 64, {str(dtype).removeprefix('torch.')}"
    compute = rate * cost.flops / max(rates[name])
    memory = rate * cost.bytes / max(rates["memory, copying"])
    return (
        f"{cost.flops / 1e9:.2f} GFLOP and {cost.bytes / 1e6:.0f} MB per image | {compute:.0%} | "
        f"{memory:.0%} | {max(compute, memory):.0%} |"
    )


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
