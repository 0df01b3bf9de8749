"""The parts of benchmarks/gpu.py: each is a function that yields rows of the tables."""

import contextlib
import gc
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import ceilings
import numpy as np
import torch
import workload
from budget import Budget
from timing import in_turns, spread, timed
from torch.profiler import ProfilerActivity, profile
from workload import Sides

from VAE_model import pretrained
from VAE_model.data.packed import Packed
from VAE_model.models import build
from VAE_model.pipeline.parallel import cores, each
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.script_server import ScriptServer
from VAE_model.pipeline.stages import pipeline
from VAE_model.preparation.prepared_inputs import PreparedInputs
from VAE_model.preparation.stretch import Stretch
from VAE_model.training.device import compute_dtype
from VAE_model.training.image_task import ImageTask
from VAE_model.training.loop import Trainer
from VAE_model.training.model_file import TrainedVAE

sys.path.insert(0, str(ROOT))
from data.simulate import Config as SkyConfig
from data.simulate import simulate


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements."""

    images: int = 512
    """Files that are written and packed."""
    trained: int = 2048
    """Images of an epoch, for which the files are repeated; a multiple of the batch size, so that
    the compiler sees one shape."""
    extracted: int = 1024
    """Images of an extraction."""
    batch_size: int = 128
    """Images per step; of the default network galaxies, in two exposures each."""
    repeats: int = 5
    """Turns of each comparison."""
    workers: int | None = None
    """Processes of the reference's loader; None: one per core."""
    operations: ceilings.Size = ceilings.GPU
    """Sizes of the operations whose rates are the ceilings."""
    processes: tuple[int, ...] = (1, 4, 16)
    """Numbers of processes that simulate and pack."""
    drawn: int = 32
    """Galaxies for each of them; the start of the processes counts."""
    galaxies: int = 2000
    """Galaxies of the demo, as `make run` has."""
    stages: int = 100
    """Stages of the demo that are run, at most."""


QUICK = Sizes(
    images=8, trained=2, extracted=2, batch_size=2, repeats=1, workers=0,
    operations=ceilings.Size(matrix=64, images=1, side=16, copied=2**20), processes=(1,), drawn=1,
    galaxies=2, stages=1,
)  # fmt: skip

Row = tuple[str, ...]
Measured = Iterator[tuple[str, Row]]  # the heading of a table in TABLES, and a row of it

RATES, SHARES, CEILINGS = "Images per second", "Shares of the ceilings", "Ceilings"
SETUP, PROCESSES, STAGES = "Before the first step", "Processes", "Stages of the demo"
PROFILE, MEMORY = "Profile of training from the packed file", "Peak memory"
TABLES: dict[str, Row] = {
    RATES: ("what", "reference loop", "ours", "ratio", "ours, not compiled"),
    SHARES: ("ours", "work", "of the matrix ceiling", "of the convolution ceiling",
             "of the memory ceiling", "of copying to the device", "roofline"),
    CEILINGS: ("ceiling", "unit", "measured"),
    SETUP: ("what", "seconds"),
    PROFILE: ("network", "operation", "share of the device's time", "calls per step",
              "ms per step"),
    MEMORY: ("ours, from the packed file", "on the device, MiB"),
    PROCESSES: ("processes", "simulation, galaxies/s", "packing, images/s", "times one process"),
    STAGES: ("stage", "seconds"),
}  # fmt: skip
NETWORKS = {"published": "published network", "residual": "default network"}
PLACES = {True: "in memory", False: "packed file"}  # where the images are, by `resident`
_TOP = 8  # rows of the profile
_WORDS = 60  # letters of an operation's name
# Estimates, s, of the longer stages and of the others
_STAGE_SECONDS = {"simulate": 20, "train": 20, "dimension": 20, "adapt": 15, "compare": 15}
_OTHER_STAGE = 5


@dataclass
class Bench:
    """Objects that the parts share.

    limits: the ceilings, once measured; compiles: False after the compiler has failed.
    """

    sizes: Sizes
    device: torch.device
    folder: Path
    budget: Budget
    limits: ceilings.Rates = field(default_factory=dict)
    compiles: bool = True
    trainers: dict[str, Trainer] = field(default_factory=dict)

    @cached_property
    def run(self) -> Run:
        """The images."""
        return workload.make_run(self.folder / "images", self.sizes.images)

    @cached_property
    def packed(self) -> Packed:
        """The packed copy of the images."""
        return Packed.of(self.run)

    def trainer(self, network: str) -> Trainer:
        """Return the trainer of a network, the same each time: it is compiled once."""
        if network not in self.trainers:
            sizes, folder = self.sizes, self.folder / network
            found = workload.trainer(self.packed, folder, self.device, 0, sizes.batch_size, network)
            found.task.train_rows = np.resize(found.task.train_rows, sizes.trained)
            found.task.initialise()
            self.trainers[network] = found
        return self.trainers[network]

    def model(self, network: str) -> TrainedVAE:
        """Return a network for extraction; only the default network has trained weights."""
        if network == pretrained.NETWORK:
            return pretrained.load(device=self.device.type, precision="auto")
        vae = build(network, 40).to(self.device).to(memory_format=torch.channels_last).eval()
        return TrainedVAE(vae, Stretch("linear"), {"network": network}, self.device, "auto")

    def rows(self) -> np.ndarray:
        """Return the rows that are extracted."""
        return np.resize(np.arange(len(self.packed.images)), self.sizes.extracted)

    def compiler(self, wanted: bool = True) -> contextlib.AbstractContextManager:
        """Return a context in which compiled functions are compiled, or run as they are."""
        compiles = wanted and self.compiles
        return torch.compiler.set_stance("default" if compiles else "force_eager")

    def release(self) -> None:
        """Free the device's memory that nothing needs any more."""
        if self.device.type == "cuda":
            gc.collect()  # which takes a second
            torch.cuda.empty_cache()


def measure_ceilings(bench: Bench) -> Measured:
    """Measure the highest rates of the device."""
    sizes = bench.sizes
    bench.limits = ceilings.ceilings(bench.device, sizes.operations, sizes.repeats)
    yield from ((CEILINGS, row) for row in ceilings.rows(bench.limits))


def make_images(bench: Bench) -> Measured:
    """Write the images and pack them."""
    for words, make in (("writing", lambda: bench.run), ("packing", lambda: bench.packed)):
        yield SETUP, (f"{words} {bench.sizes.images:,} images", f"{timed(make):.1f}")


def compare_training(bench: Bench, network: str) -> Measured:
    """Compare an epoch of training, with the batches on the device and from the packed file."""
    made = timed(lambda: bench.trainer(network))
    yield SETUP, (f"preparing the training of the {NETWORKS[network]}", f"{made:.1f}")
    trainer = bench.trainer(network)
    task = trainer.task
    assert isinstance(task, ImageTask)
    inputs = next(task.inputs.batches(task.train_rows[:4], 4))[1]
    for resident in PLACES:
        sides = workload.training(bench.run, bench.packed, trainer, resident, bench.sizes.workers)
        what = f"training, {NETWORKS[network]}, {PLACES[resident]}"
        work = partial(ceilings.work, task.network, inputs, True)
        copied = 0 if resident else workload.copied_bytes(task.network, True)
        yield from compare(bench, what, sides, task.network, work, copied)


def compare_extraction(bench: Bench, network: str) -> Measured:
    """Compare extraction, with the batches on the device and from the packed file."""
    model, rows = bench.model(network), bench.rows()
    prepared = PreparedInputs(bench.packed, model.network, model.stretch, model.device)
    inputs = next(prepared.batches(rows[:4], 4))[1]
    for resident in PLACES:
        sides = workload.extraction(
            bench.run, bench.packed, model, rows, bench.sizes.batch_size, resident=resident,
            workers=bench.sizes.workers,
        )  # fmt: skip
        what = f"extraction, {NETWORKS[network]}, {PLACES[resident]}"
        work = partial(ceilings.work, model.network, inputs, False)
        copied = 0 if resident else workload.copied_bytes(model.network, False)
        yield from compare(bench, what, sides, model.network, work, copied, compiled=False)


def compare(
    bench: Bench, what: str, sides: Sides, network: torch.nn.Module,
    work: Callable[[], ceilings.Work], copied: int, compiled: bool = True,
) -> Measured:  # fmt: skip
    """Time both sides in turns; one that fails does not keep the others from being timed.

    copied: bytes of an image that ours copies to the device; compiled: ours has a compiled part.
    """

    def ours(with_compiler: bool) -> None:
        with bench.compiler(with_compiler):
            sides.ours()

    passes: dict[str, Callable[[], object]] = {
        "reference": sides.reference, "ours": partial(ours, True)
    }  # fmt: skip
    if compiled:
        passes["eager"] = partial(ours, False)
    cells, warm = dict.fromkeys((*passes, "ratio", "eager"), "–"), dict[str, float]()
    for side, function in passes.items():  # the first pass: it compiles, starts workers, reads
        try:
            warm[side] = timed(function)
        except Exception as error:
            cells[side] = failure(error)
            if side == "ours" and compiled and not isinstance(error, torch.OutOfMemoryError):
                bench.compiles = False
        if cells[side] != "–":  # here, as the error holds what it was raised in
            bench.release()
    if "ours" in warm:
        yield SETUP, (f"first pass: {what}", f"{warm['ours']:.1f}")
    rates = in_turns(
        sides.count, bench.sizes.repeats, warm=True, **{side: passes[side] for side in warm}
    )
    for side in rates.keys() - {"reference"}:
        rates[side] = [sides.factor * rate for rate in rates[side]]
    cells |= {side: spread(found) for side, found in rates.items()}
    if {"reference", "ours"} <= rates.keys():
        cells["ratio"] = spread(workload.ratios(rates), 2)
    yield RATES, (what, *(cells[side] for side in ("reference", "ours", "ratio", "eager")))
    if "ours" in rates and bench.limits:
        dtype = compute_dtype(bench.device, "auto", network)
        yield SHARES, share_row(what, workload.middle(rates), work(), bench.limits, dtype, copied)


def share_row(
    what: str, rate: float, work: ceilings.Work, limits: ceilings.Rates, dtype: torch.dtype,
    copied: int,
) -> Row:  # fmt: skip
    """Return a row of SHARES; rate: images per second; copied: bytes of an image."""
    found = ceilings.shares(rate, work, limits, dtype)
    link = "–"
    if copied and ceilings.TO_DEVICE in limits:
        link = f"{rate * copied / max(limits[ceilings.TO_DEVICE]):.0%}"
    shares = (f"{share:.0%}" for share in found)
    return (what, str(work), *shares, link, f"{found.roofline:.0%}")


def profile_training(bench: Bench, network: str) -> Measured:
    """Profile an epoch from the packed file, and return the operations that take longest."""
    trainer, on_gpu = bench.trainer(network), bench.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    epoch = partial(trainer.train_epoch, 0)
    with bench.compiler():
        epoch()
        with profile(activities=activities) as found:
            wall = timed(epoch)
    steps = len(trainer.task.train_rows) / bench.sizes.batch_size
    rows, busy = [], 0.0
    for event in found.key_averages():
        own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        is_kernel = event.device_type == torch.autograd.DeviceType.CUDA
        if is_kernel == on_gpu and not getattr(event, "is_user_annotation", False):
            busy += own
            rows.append((own, event.count, event.key))
    for own, count, key in sorted(rows, reverse=True)[:_TOP]:
        name = key if len(key) <= _WORDS else f"{key[:_WORDS]}..."
        share = own / max(busy, 1e-9)
        yield PROFILE, (
            NETWORKS[network], name, f"{share:.0%}", f"{count / steps:,.1f}",
            f"{own / 1e3 / steps:.3f}",
        )  # fmt: skip
    if not rows:
        raise RuntimeError("the profiler has recorded no operation on the device")
    every = sum(count for _, count, _ in rows)
    yield PROFILE, (
        NETWORKS[network], f"all; {busy / 1e6 / wall:.0%} of the epoch's time", "100%",
        f"{every / steps:,.1f}", f"{busy / 1e3 / steps:.3f}",
    )  # fmt: skip


def measure_memory(bench: Bench) -> Measured:
    """Measure the peak of the device's memory in one pass of ours, and of this process."""
    on_gpu = bench.device.type == "cuda"
    for network, name in NETWORKS.items():
        trainer, model, rows = bench.trainer(network), bench.model(network), bench.rows()
        sides = workload.extraction(bench.run, bench.packed, model, rows, bench.sizes.batch_size)
        for words, function in (
            ("training", partial(trainer.train_epoch, 0)), ("extraction", sides.ours)
        ):  # fmt: skip
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            with bench.compiler():
                function()
            peak = f"{torch.cuda.max_memory_allocated() / 2**20:,.0f}" if on_gpu else "–"
            yield MEMORY, (f"{words}, {name}", peak)
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    yield MEMORY, ("this process, all parts so far", f"{host:,.0f} (of the host)")


def measure_processes(bench: Bench) -> Measured:
    """Time simulation and packing by several processes, each with the same number of galaxies."""
    most = max(number for number in bench.sizes.processes if number <= max(1, cores()))
    began = timed(lambda: list(each(abs, range(most), most, few=0)))
    yield SETUP, (f"start of {most} processes", f"{began:.1f}")
    one: tuple[float, ...] = ()
    for number in bench.sizes.processes:
        if number > cores():
            yield PROCESSES, left_out(PROCESSES, str(number), f"left out: {cores()} cores here")
            continue
        run = Run(bench.folder / f"processes_{number}")
        run.images().mkdir(parents=True)
        sky = SkyConfig(
            galaxies=number * bench.sizes.drawn, overlap=0, surveys=("decals",), workers=number
        )
        drawing = timed(partial(simulate, sky, run))
        workload.list_images(run)
        packing = timed(partial(Packed.of, run, number))
        rates = sky.galaxies / drawing, sky.galaxies / packing
        one = one or rates
        gains = " and ".join(f"{rate / first:.1f}" for rate, first in zip(rates, one, strict=True))
        yield PROCESSES, (str(number), *(f"{rate:,.1f}" for rate in rates), gains)
        shutil.rmtree(run.folder)


def run_demo(bench: Bench) -> Measured:
    """Time every stage of `make run`, each until the budget ends."""
    folder, sizes = bench.folder / "demo", bench.sizes
    # a compiler cache of its own, empty as on a new machine
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(bench.folder / "compiled")}
    if bench.device.type == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    bench.trainers.clear()
    bench.release()
    empty, out, err = (bench.folder / name for name in ("empty.py", "demo.out", "demo.err"))
    empty.touch()
    total, entries = 0.0, pipeline()
    with ScriptServer(environment) as server:
        began = timed(lambda: server.run([str(empty)]))
        yield STAGES, ("start of Python with all packages, once", f"{began:.1f}")
        for entry in entries[: sizes.stages]:
            estimate = _STAGE_SECONDS.get(entry.target, _OTHER_STAGE)
            if refusal := bench.budget.refusal(estimate):
                yield STAGES, (entry.script, refusal)
                continue
            command = [entry.script, "--run", str(folder)]
            if entry.target == "simulate":
                overlap = sizes.galaxies * 3 // 4
                command += ["--galaxies", str(sizes.galaxies), "--overlap", str(overlap)]
            timeout = max(1, int(bench.budget.left()) - 1)
            began = time.monotonic()
            code = server.run(command, out, err, timeout)
            seconds = time.monotonic() - began
            total += seconds
            yield STAGES, (entry.script, f"{seconds:.1f}" if not code else ended(code, err))
    if rest := len(entries[sizes.stages :]):
        yield STAGES, (f"{rest} further stages", "left out: sizes are small")
    yield STAGES, ("all stages that were run", f"{total:.1f}")


def ended(code: int, err: Path) -> str:
    """Return how a stage ended that did not succeed, by the end of its error output."""
    if code == -signal.SIGALRM:
        return "stopped: the budget is used up"
    lines = err.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
    return failure(RuntimeError(lines[-1] if lines else f"exit code {code}"))


def failure(error: Exception) -> str:
    """Return an error as a part of one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"failed: {type(error).__name__}: {lines[0][:120]}"


def left_out(table: str, name: str, reason: str) -> Row:
    """Return a row of a table without numbers."""
    return (name, reason, *("–" for _ in TABLES[table][2:]))
