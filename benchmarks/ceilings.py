"""The highest rates of the machine, the least work of a network, and shares of these rates.

The roofline model (Williams, Waterman & Patterson 2009, CACM 52, 65): a computation takes at least
the longer of operations / peak rate and bytes / bandwidth.
"""

import os
import platform
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timing import in_turns, spread
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from VAE_model.models import build
from VAE_model.pipeline.parallel import cores
from VAE_model.report.tables import Table
from VAE_model.training.device import autocast, compute_dtype

Rates = dict[str, list[float]]  # per second, by what was measured
MEMORY, CACHE = "memory, copying", "page cache, reading"
TO_DEVICE = "from pinned memory to the device"
_BYTES = (MEMORY, CACHE, TO_DEVICE)


@dataclass(frozen=True)
class Size:
    """Sizes of what is computed, so large that its start takes no noticeable share of the time.

    matrix: rows; images, side: of the convolution, pixels; copied: bytes; calls: in one timing.
    """

    matrix: int = 2048
    images: int = 8
    side: int = 64
    copied: int = 2**28
    calls: int = 1


CPU, GPU = Size(), Size(matrix=8192, images=64, side=128, calls=10)


class Work(NamedTuple):
    """The least work for one image: operations (multiply-adds count twice), and bytes."""

    flops: float
    traffic: float

    def __str__(self) -> str:
        return f"{self.flops / 1e9:.2f} GFLOP and {self.traffic / 1e6:.0f} MB per image"


class Shares(NamedTuple):
    """The needs of a rate, as shares of the best measurements of the ceilings."""

    matrix: float
    convolution: float
    memory: float

    @property
    def roofline(self) -> float:
        """The larger of the shares of convolution and memory."""
        return max(self.convolution, self.memory)


def matrix(dtype: torch.dtype) -> str:
    """Return the name of the ceiling of matrix products."""
    return f"matrix product, {str(dtype).removeprefix('torch.')}"


def convolution(dtype: torch.dtype) -> str:
    """Return the name of the ceiling of convolutions."""
    return f"convolution 64 to 64, {str(dtype).removeprefix('torch.')}"


def ceilings(device: torch.device, size: Size = CPU, repeats: int = 5) -> Rates:
    """Measure rates per second: matrix product, convolution (FLOP), memory, page cache (bytes)."""
    rates: Rates = {}

    def measure(name: str, count: int, function: Callable[[], object]) -> None:
        def calls() -> None:
            for _ in range(size.calls):
                function()

        rates[name] = in_turns(size.calls * count, repeats, it=calls)["it"]

    for dtype in (torch.float32, torch.bfloat16):
        one = torch.randn(size.matrix, size.matrix, device=device).to(dtype)
        measure(matrix(dtype), 2 * size.matrix**3, partial(torch.mm, one, one))
        layer = nn.Conv2d(64, 64, 3, 1, 1, bias=False, device=device, dtype=dtype)
        image = torch.randn(size.images, 64, size.side, size.side, device=device).to(dtype)
        image = image.contiguous(memory_format=torch.channels_last)
        flops = 2 * size.images * size.side**2 * 64 * 64 * 9
        measure(convolution(dtype), flops, partial(layer, image))
    source = torch.ones(size.copied // 4, device=device)
    target = torch.empty_like(source)
    measure(MEMORY, 2 * size.copied, lambda: target.copy_(source))
    if device.type == "cuda":
        pinned = torch.ones(size.copied // 4, pin_memory=True)
        measure(TO_DEVICE, size.copied, lambda: target.copy_(pinned, non_blocking=True))
    with tempfile.TemporaryFile() as file, ThreadPoolExecutor(cores()) as readers:
        file.write(bytes(size.copied))
        part = size.copied // cores()
        buffers = [bytearray(part) for _ in range(cores())]

        def read(number: int) -> None:
            """Read one part of the file."""
            os.preadv(file.fileno(), [buffers[number]], number * part)

        measure(CACHE, size.copied, lambda: list(readers.map(read, range(cores()))))
    return rates


def rows(rates: Rates) -> list[tuple[str, str, str]]:
    """Return a table row of each ceiling."""
    return [
        (name, "GB/s" if name in _BYTES else "GFLOP/s", spread([r / 1e9 for r in found]))
        for name, found in rates.items()
    ]


def table(rates: Rates) -> str:
    """Return the ceilings as Markdown."""
    return Table(["ceiling", "unit", "measured"], rows(rates)).markdown()


def shares(rate: float, work: Work, limits: Rates, dtype: torch.dtype) -> Shares:
    """Return the shares that `rate`, in images per second, has of the ceilings."""
    flops, traffic = rate * work.flops, rate * work.traffic
    ceiling = {name: max(found) for name, found in limits.items()}
    return Shares(
        flops / ceiling[matrix(dtype)], flops / ceiling[convolution(dtype)],
        traffic / ceiling[MEMORY],
    )  # fmt: skip


def machine() -> str:
    """Return the processor, the memory and the GPU in words."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    model = next(models, platform.processor() or platform.machine())
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    dtype = compute_dtype(torch.device("cpu"), "auto", build("published", 1))
    has = "with" if dtype == torch.bfloat16 else "without"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{model}, {cores()} cores {has} bf16, {ram:.0f} GiB, {gpu}; torch {torch.__version__}"


def work(network: nn.Module, inputs: torch.Tensor, training: bool) -> Work:
    """Count the work for one image of `inputs` (N, ...): a training step, or encode and decode.

    The bytes are those that the operations read and write, each operand counted once per operation.
    """
    with _Traffic() as traffic, FlopCounterMode(display=False) as counter:
        with torch.set_grad_enabled(training), autocast(inputs.device, "auto", network):
            decoded = network.decode(network.encode(inputs)[0])
        if training:
            decoded.sum().backward()
    network.zero_grad()
    return Work(counter.get_total_flops() / len(inputs), traffic.bytes / len(inputs))


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
