"""Training, reading, extraction and analysis against the reference loop, side by side in one run.

Every comparison takes turns, `repeats` times, and gives medians and the range; the ceilings of the
machine are measured in the same run. Nothing else should run meanwhile. On a machine with a GPU
training and extraction run on it, from the packed file and from memory.

Writes: docs/BENCHMARKS.md, with --write; else prints it

Example: python benchmarks/speed.py --write
"""

import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import reference
import torch

from VAE_model import neighbours, outliers
from VAE_model.batches import batches, shuffled
from VAE_model.cutout_writer import write_cutout
from VAE_model.device import choose_device, computes_in
from VAE_model.encoding import encode
from VAE_model.files import write_parquet, write_text
from VAE_model.packed import Packed
from VAE_model.parallel import cores
from VAE_model.paths import ROOT, Run
from VAE_model.sky import cross_match
from VAE_model.stage import start
from VAE_model.trained import TrainedVAE
from VAE_model.training import Files, Recipe, Trainer

sys.path.insert(0, str(ROOT / "analysis"))
from extract_latents import find_defects


@dataclass(frozen=True)
class Config:
    images: int = 1000
    """Files, of which each comparison reads as many as its part below says."""
    trained: int = 192
    """Images a pass of the training comparison."""
    extracted: int = 256
    """Images of the extraction comparison."""
    batch: int = 32
    """Images in a step."""
    repeats: int = 5
    """Turns of each comparison."""
    lines: int = 0
    """Lines of the long train.txt whose training's memory is compared with that of `images`;
    0: no such comparison (100,000 take 40 GB and some twenty minutes)."""
    latents: int = 1_000_000
    """Latents in the analysis."""
    write: bool = False
    """Into docs/BENCHMARKS.md."""


def timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def in_turns(count: int, repeats: int, **sides: Callable[[], object]) -> dict[str, list[float]]:
    """Rates a second of each side, taken in turns after a first pass that does not count."""
    for side in sides.values():
        side()
    rates = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            rates[name].append(count / timed(side))
    return rates


def spread(values: list[float], digits: int = 1) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def row(what: str, unit: str, rates: dict[str, list[float]]) -> str:
    """A line of the table: the ratios are of the same turn."""
    ratios = [o / r for o, r in zip(rates["ours"], rates["reference"], strict=True)]
    return f"| {what} | {unit} | {spread(rates['reference'])} | {spread(rates['ours'])} | " + (
        f"{spread(ratios, 2)} |"
    )


def make_run(folder: Path, count: int) -> Run:
    """Noise and a blob, in the format of the survey: what a pixel holds changes no rate."""
    run, rng = Run(folder), np.random.default_rng(0)
    y, x = np.mgrid[:256, :256] - 127.5
    blob = np.exp(-np.hypot(x, y) / 12).astype(np.float32)
    for number in range(count):
        ra, dec = round(number * 0.31 % 360, 4), round(-5 + number * 0.37 % 30, 4)
        sky = rng.normal(size=(3, 256, 256)) * np.array([0.0031, 0.0044, 0.0117])[:, None, None]
        flux = (sky + rng.uniform(0.1, 2) * blob).astype(np.float32)
        write_cutout(run.images() / f"{ra:.4f}_{dec:.4f}.fits", flux, ra, dec, "DR9-south")
    names = sorted(path.name for path in run.images().glob("*.fits"))
    write_text(run.train_txt, "".join(f"images/decals/{name}\n" for name in names))
    return run


def recipe(config: Config, precision: str = "auto", epochs: int = 1, **more: object) -> Recipe:
    return Recipe(
        network="published", num_var=40, stretch="linear", loss="published", kl_weight=1.0,
        epochs=epochs, batch=config.batch, learning_rate=1e-3, schedule="constant", clip=1e4,
        seed=0, precision=precision, **more,
    )  # fmt: skip


def trainer(packed: Packed, folder: Path, how: Recipe) -> Trainer:
    files = Files(folder / "best.pt", folder / "last.pt", folder / "log.jsonl")
    shutil.rmtree(folder, ignore_errors=True)
    return Trainer(packed, "benchmark", how, files, choose_device())


def compare_training(run: Run, packed: Packed, config: Config) -> list[str]:
    device = choose_device()
    ours = trainer(packed, run.folder / "ours", recipe(config, train_images=config.trained))
    ours.initialise()
    count = len(ours.rows)
    paths = [str(run.folder / packed.index["path"][row]) for row in ours.rows]
    network = reference.Network(40).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    images = reference.loader(paths, config.batch)
    rates = in_turns(
        count, config.repeats,
        reference=lambda: reference.epoch(network, optimizer, images),
        ours=lambda: ours._train_epoch(0),
    )  # fmt: skip
    losses = {}
    for precision in ("float32", "bf16"):
        how = recipe(config, precision, 3, train_images=config.trained)
        losses[precision] = trainer(packed, run.folder / precision, how).run()["validation_loss"]
    off = losses["bf16"] / losses["float32"] - 1
    return [
        row("training, published network, 256x256", "images/s", rates),
        f"| validation loss after 3 epochs, float32 and bf16 | nats | {losses['float32']:.2f} | "
        f"{losses['bf16']:.2f} | {off:+.3%} |",
    ]


def compare_reading(run: Run, packed: Packed, config: Config) -> list[str]:
    rows = np.arange(len(packed.images))
    paths = [str(run.folder / path) for path in packed.index["path"]]
    images, cpu = reference.loader(paths, config.batch), torch.device("cpu")
    rates = in_turns(
        len(rows), config.repeats,
        reference=lambda: [flux.shape for flux, _ in images],
        ours=lambda: [
            flux.shape for _, flux in batches(packed.images, shuffled(rows, 0, 1), 32, cpu)
        ],
    )  # fmt: skip
    return [row("reading a shuffled epoch, page cache warm", "images/s", rates)]


def compare_extraction(run: Run, packed: Packed, config: Config) -> list[str]:
    """From images to a written table: latents, error, SSIM, flags."""
    rows = np.arange(min(config.extracted, len(packed.images)))
    model = TrainedVAE.load(run.folder / "bf16" / "best.pt", 40, precision="auto")
    network = reference.Network(40).to(model.device).eval()
    paths = [str(run.folder / packed.index["path"][row]) for row in rows]

    def ours() -> None:
        latents = encode(packed, model, 64, rows)
        flags = find_defects(packed, run, rows, 0)
        write_parquet(run.folder / "ours.parquet", pd.concat([latents, flags], axis=1))

    def theirs(similarity: bool) -> None:
        images = reference.loader(paths, config.batch, shuffle=False, flags=True)
        table = np.concatenate(list(reference.extract(network, images, similarity)))
        write_parquet(run.folder / "theirs.parquet", pd.DataFrame(table).add_prefix("column_"))

    lines = []
    for similarity, words in ((True, "to the same table"), (False, "its SSIM left out")):
        rates = in_turns(
            len(rows), config.repeats, reference=lambda s=similarity: theirs(s), ours=ours
        )
        lines.append(row(f"extraction end to end, {words}", "images/s", rates))
    return lines


def analysis(config: Config) -> list[str]:
    """Seconds of ours alone."""
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(config.latents, 40)).astype(np.float32)
    train, members = np.arange(len(latents)) % 10 < 7, np.arange(len(latents)) % 8
    classes = members[:, None] == np.arange(8)

    def ranking() -> None:
        distance = outliers.mahalanobis(latents, train)
        own = outliers.class_distance(latents, classes, train)
        alone = outliers.isolation(latents, train)
        outliers.rank(outliers.combined(distance, own, alone, distance))

    def match(count: int) -> Callable[[], object]:
        ra, dec = rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-0.3, 0.5, count)))
        return lambda: cross_match(ra, dec, ra + 1e-5, dec, 1.0)

    lines = []
    for what, repeats, function in (
        (f"outlier ranking of {len(latents):,} x 40 latents, 8 classes", 1, ranking),
        (f"1,000 exact neighbour queries (10 each) among {len(latents):,} x 40", 3,
         lambda: neighbours.nearest(latents, latents[:1000], 11)),
        ("cross-match 314,000 x 314,000", 3, match(314_000)),
        ("cross-match 10,000,000 x 10,000,000", 1, match(10_000_000)),
    ):  # fmt: skip
        seconds = [timed(function) for _ in range(repeats)]
        lines.append(f"| {what} | {spread(seconds, 2)} |")
    return lines


def ceilings() -> list[str]:
    """What the machine can do: matrix product and convolution, memory, page cache."""
    device, lines = choose_device(), []
    for dtype in (torch.float32, torch.bfloat16):
        one = torch.randn(2048, 2048, device=device).to(dtype)
        rate = in_turns(2 * 2048**3, 5, it=lambda one=one: one @ one)["it"]
        lines.append(
            f"| matrix product, {dtype} | GFLOP/s | {spread([r / 1e9 for r in rate], 0)} |"
        )
        image = torch.randn(8, 64, 64, 64, device=device).to(dtype)
        image = image.contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(64, 64, 3, 3, device=device).to(dtype)
        work = 2 * 8 * 64 * 64 * 64 * 64 * 9
        rate = in_turns(
            work, 5, it=lambda i=image, k=kernel: torch.nn.functional.conv2d(i, k, None, 1, 1)
        )["it"]
        lines.append(f"| convolution 64 to 64, {dtype} | GFLOP/s | "
                     f"{spread([r / 1e9 for r in rate], 0)} |")  # fmt: skip
    source = torch.ones(2**28 // 4, device=device)
    target = torch.empty_like(source)
    rate = in_turns(2 * 2**28, 5, it=lambda: target.copy_(source))["it"]
    lines.append(f"| memory, copying | GB/s | {spread([r / 1e9 for r in rate])} |")
    with tempfile.TemporaryFile() as file:
        file.write(bytes(2**28))
        buffer = bytearray(2**28)
        rate = in_turns(2**28, 5, it=lambda: os.preadv(file.fileno(), [buffer], 0))["it"]
    lines.append(f"| page cache, reading | GB/s | {spread([r / 1e9 for r in rate])} |")
    return lines


def memory(run: Run, config: Config) -> list[str]:
    """Peak resident memory (MiB) of training scripts on a short and on a long train.txt."""
    code = (
        "import resource, runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    lines, names = [], sorted(run.images().glob("*.fits"))
    for count in (len(names), config.lines):
        long = Run(run.folder / f"lines_{count}")
        long.images().mkdir(parents=True)
        paths = [f"{number // len(names):03d}_{names[number % len(names)].name}"
                 for number in range(count)]  # fmt: skip
        for number, path in enumerate(paths):
            os.link(names[number % len(names)], long.images() / path)
        write_text(long.train_txt, "".join(f"images/decals/{path}\n" for path in paths))
        command = [
            sys.executable, "-c", code, str(ROOT / "Galaxy_VAE_n.py"), "--run", str(long.folder),
            "--network", "published", "--epochs", "1", "--pixels", "float16",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak = next(line for line in done.stdout.splitlines() if line.startswith("peak"))
        lines.append(f"| one epoch of training, {count:,} lines | {peak.split()[1]} MiB |")
        shutil.rmtree(long.folder)
    return lines


def machine() -> str:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    network = torch.nn.Module()
    network.FAST_IN_BF16 = True
    bf16 = computes_in(torch.device("cpu"), "auto", network) == torch.bfloat16
    has = "with" if bf16 else "without"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{model}, {cores()} cores {has} bf16, {ram:.0f} GiB, {gpu}; torch {torch.__version__}"


def main(config: Config) -> None:
    folder = Path(tempfile.mkdtemp(prefix="galaxy_vae_speed_"))
    try:
        run = make_run(folder, config.images)
        packed = Packed.of(run)
        compared = [*compare_training(run, packed, config), *compare_reading(run, packed, config),
                    *compare_extraction(run, packed, config)]  # fmt: skip
        used = memory(run, config) if config.lines else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = "\n".join([
        f"{machine()}. {config.repeats} turns; median (range).", "",
        "| what | unit | reference loop | ours | ratio |", "|---|---|---|---|---|", *compared, "",
        "| analysis | seconds |", "|---|---|", *analysis(config), "",
        "| ceiling | unit | measured |", "|---|---|---|", *ceilings(), "",
        *(["| peak memory | |", "|---|---|", *used, ""] if used else []),
    ])  # fmt: skip
    print(text)
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    if config.write:
        target = ROOT / "docs" / "BENCHMARKS.md"
        before = target.read_text(encoding="utf-8").split("<!-- measured -->")
        write_text(target, f"{before[0]}<!-- measured -->\n\n{text}")


if __name__ == "__main__":
    start(main, Config, __doc__)
