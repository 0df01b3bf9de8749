"""Speed on a GPU, in at most four minutes: training, extraction, processes, the demo, a profile.

Needs nothing but the project, an NVIDIA GPU, and 8 GB in the folder of temporary files (TMPDIR);
the images are made here. Each part has an estimated duration. A part that would pass the budget is
left out, and one that fails (out of memory, no compiler) is one line of its table: the others go
on.

Writes: docs/BENCHMARKS.md, with --write; else prints the tables

Example: python benchmarks/gpu.py --write
         python benchmarks/gpu.py --device cpu (without a GPU: tests every line, measures nothing)
"""

import contextlib
import io
import re
import shutil
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import ceilings
import gpu_parts
import torch
from budget import Budget, OutOfTime
from gpu_parts import NETWORKS, QUICK, TABLES, Bench, Measured, Row, Sizes, failure, left_out
from timing import write_between

from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start
from VAE_model.report.tables import Table

BUDGET = 240.0  # s
NOT_TESTED = "**Not tested on a GPU.** "  # above what a CPU measures


@dataclass(frozen=True)
class Config:
    """Constants of the benchmark."""

    device: Literal["cuda", "cpu"] = "cuda"
    """`cpu`: the same lines at small sizes; the numbers mean nothing."""
    quick: bool = False
    """Small sizes, as on a CPU."""
    budget: float = BUDGET
    """Seconds in all; what would take longer is left out."""
    parts: tuple[str, ...] = ()
    """Some of ceilings, images, training, extraction, profile, memory, processes, demo; empty:
    all."""
    write: bool = False
    """Write the page."""
    page: Path = Path("docs/BENCHMARKS.md")
    """The page, which has the marks of timing.write_between."""


@dataclass(frozen=True)
class Part:
    """A part of the benchmark; kind: its name in Config.parts; estimate: seconds on a GPU."""

    kind: str
    table: str
    estimate: float
    function: Callable[..., Measured]
    network: str = ""

    @property
    def name(self) -> str:
        """The name in the tables."""
        return f"{self.kind}, {NETWORKS[self.network]}" if self.network else self.kind

    def measure(self, bench: Bench) -> Measured:
        """Yield the rows of the tables."""
        return self.function(bench, *([self.network] if self.network else []))


PARTS = (  # seconds on a GPU are estimates, with the time of the compiler
    Part("ceilings", gpu_parts.CEILINGS, 8, gpu_parts.measure_ceilings),
    Part("images", gpu_parts.SETUP, 20, gpu_parts.make_images),
    Part("training", gpu_parts.RATES, 40, gpu_parts.compare_training, "published"),
    Part("training", gpu_parts.RATES, 60, gpu_parts.compare_training, "residual"),
    Part("extraction", gpu_parts.RATES, 10, gpu_parts.compare_extraction, "published"),
    Part("extraction", gpu_parts.RATES, 10, gpu_parts.compare_extraction, "residual"),
    Part("profile", gpu_parts.PROFILE, 5, gpu_parts.profile_training, "published"),
    Part("profile", gpu_parts.PROFILE, 5, gpu_parts.profile_training, "residual"),
    Part("memory", gpu_parts.MEMORY, 5, gpu_parts.measure_memory),
    Part("processes", gpu_parts.PROCESSES, 25, gpu_parts.measure_processes),
    Part("demo", gpu_parts.STAGES, 25, gpu_parts.run_demo),
)


def measure(bench: Bench, parts: Sequence[Part]) -> dict[str, list[Row]]:
    """Return the rows of each table; a part that is left out, fails or is stopped is one row."""
    tables: dict[str, list[Row]] = {name: [] for name in TABLES}
    for part in parts:
        began, reason = time.monotonic(), bench.budget.refusal(part.estimate)
        if not reason:
            try:
                with bench.budget.enforced(), contextlib.redirect_stderr(io.StringIO()):  # tqdm
                    for table, row in part.measure(bench):
                        tables[table].append(row)
                        print(f"  {' | '.join(row)}", flush=True)
            except OutOfTime as end:
                reason = str(end)
            except Exception as error:
                reason = failure(error)
                traceback.print_exc()
            bench.release()
        if reason:
            tables[part.table].append(left_out(part.table, part.name, reason))
        took = time.monotonic() - began
        print(f"{part.name}: {reason or f'{took:.1f} s'}", flush=True)
    return tables


def page(bench: Bench, tables: dict[str, list[Row]]) -> str:
    """Return the tables as Markdown, below a line that names the device and its software."""
    lines = [
        f"{NOT_TESTED if bench.device.type == 'cpu' else ''}{datetime.now(UTC):%d %B %Y}: "
        f"{ceilings.machine()}; {gpu_software(bench.device)}. "
        f"Turns: {bench.sizes.repeats}; median (range); batches of {bench.sizes.batch_size}. "
        f"{bench.budget.used():.0f} s in all, of a budget of {bench.budget.seconds:.0f} s."
    ]
    for name, rows in tables.items():
        if rows:
            lines += ["", f"**{name}**", "", Table(TABLES[name], rows).markdown()]
    return "\n".join(lines)


def gpu_software(device: torch.device) -> str:
    """Return the versions of driver and CUDA in words."""
    if device.type != "cuda":
        return "small sizes on the CPU, which say nothing about a GPU"
    driver = "unknown"
    if program := shutil.which("nvidia-smi"):
        words = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        if found := re.search(r"\d+(\.\d+)+", said):
            driver = found[0]
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return f"{memory:.0f} GiB on the device, driver {driver}, CUDA {torch.version.cuda}"


def device_of(name: str) -> torch.device:
    """Return the device. Raises Problem where there is no GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise Problem(
            "no CUDA device is found: this benchmark needs an NVIDIA GPU, its driver, and a torch "
            f"built for CUDA (here is torch {torch.__version__}, {built}); --device cpu runs the "
            "same lines at small sizes and says nothing about speed"
        )
    return torch.device(name)


def main(config: Config) -> None:
    """Measure the parts, print the tables, and write them if wanted."""
    device, budget = device_of(config.device), Budget(config.budget)
    kinds = list(dict.fromkeys(part.kind for part in PARTS))
    if wrong := [part for part in config.parts if part not in kinds]:
        raise Problem(f"there is no part {', '.join(wrong)}: choose among {', '.join(kinds)}")
    sizes = QUICK if config.quick or device.type == "cpu" else Sizes()
    with tempfile.TemporaryDirectory(prefix="galaxy_vae_gpu_") as folder:
        bench = Bench(sizes, device, Path(folder), budget)
        parts = [part for part in PARTS if not config.parts or part.kind in config.parts]
        text = page(bench, measure(bench, parts))
    print(f"\n{text}")
    if config.write:
        write_between(ROOT / config.page, "gpu", text)


if __name__ == "__main__":
    start(main, Config, __doc__)
