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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import ceilings
import numpy as np
import pandas as pd
import reference
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from timing import in_turns, spread, timed

from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.packed import Packed
from VAE_model.data.sky import cross_match
from VAE_model.evaluation import outliers, similarity
from VAE_model.extraction.extract import extract
from VAE_model.models import build
from VAE_model.pipeline.files import write_parquet, write_text
from VAE_model.pipeline.parallel import cores
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import start
from VAE_model.training.device import Precision, choose_device, compute_dtype
from VAE_model.training.loader import batches, shuffled
from VAE_model.training.loop import Files, ImageTask, Settings, Trainer
from VAE_model.training.model_file import TrainedVAE


@dataclass(frozen=True)
class Config:
    images: int = 1000
    """Files, of which each comparison reads as many as its part below says."""
    trained: int = 192
    """Images a pass of the training comparison."""
    extracted: int = 256
    """Images of the extraction comparison."""
    batch_size: int = 32
    """Images per step."""
    repeats: int = 5
    """Turns of each comparison."""
    lines: int = 0
    """Lines of the long train.txt, the same files repeated, whose training's memory is compared
    with that of `images`; 0: no such comparison (100,000 take some twenty minutes)."""
    latents: int = 1_000_000
    """Latents in the analysis."""
    write: bool = False
    """Into docs/BENCHMARKS.md."""


Compared = list[tuple[str, dict[str, list[float]]]]  # what, and images a second of either side


def row(what: str, rates: dict[str, list[float]]) -> str:
    """Return a table line; a ratio is of two rates of one turn."""
    ratios = [o / r for o, r in zip(rates["ours"], rates["reference"], strict=True)]
    return f"| {what} | images/s | {spread(rates['reference'])} | {spread(rates['ours'])} | " + (
        f"{spread(ratios, 2)} |"
    )


def roofline(compared: Compared, limits: dict[str, list[float]]) -> list[str]:
    """Return training and extraction as shares of the machine's highest rates."""
    device = choose_device()
    network = build("published", 40).to(device).to(memory_format=torch.channels_last)
    dtype, inputs = compute_dtype(device, "auto", network), torch.zeros(4, 3, 256, 256).to(device)
    lines = ["| ours | work | of the convolution ceiling | of the memory ceiling | roofline |",
             "|---|---|---|---|---|"]  # fmt: skip
    rates = {what: statistics.median(found["ours"]) for what, found in compared}
    for what, rate in rates.items():
        if what.startswith("reading"):
            share = rate * inputs[0].nbytes / max(limits["page cache, reading"])
            lines.append(f"| {what} | {inputs[0].nbytes / 1e6:.2f} MB an image | – | "
                         f"{share:.0%} (page cache) | {share:.0%} |")  # fmt: skip
        else:
            cost = ceilings.work(network, inputs, what.startswith("training"))
            lines.append(f"| {what} | {ceilings.share(rate, cost, limits, dtype)}")
    return lines


def make_run(folder: Path, count: int) -> Run:
    """Write images of noise and a blob in the survey's format: rates do not depend on pixels."""
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


def trainer(
    packed: Packed, folder: Path, config: Config, precision: Precision = "auto", epochs: int = 1
) -> Trainer:
    """Return a trainer of the published network with the published loss."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = Settings(
        network="published", contaminants="kept", num_var=40, stretch="linear", loss="published",
        kl_weight=1.0, epochs=epochs, batch_size=config.batch_size, learning_rate=1e-3,
        schedule="constant", max_grad_norm=1e4, seed=0, precision=precision,
        train_images=config.trained,
    )  # fmt: skip
    task = ImageTask(packed, "benchmark", settings, choose_device())
    return Trainer(task, Files.of(folder / "best.safetensors"))


def compare_training(run: Run, packed: Packed, config: Config) -> tuple[Compared, str]:
    device = choose_device()
    ours = trainer(packed, run.folder / "ours", config)
    ours.task.initialise()
    rows = ours.task.train_rows
    paths = [str(run.folder / packed.index["path"][row]) for row in rows]
    network = reference.Network(40).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    images = reference.loader(paths, config.batch_size)
    rates = in_turns(
        len(rows), config.repeats,
        reference=lambda: reference.epoch(network, optimizer, images),
        ours=lambda: ours.train_epoch(0),
    )  # fmt: skip
    losses = {}
    for precision in get_args(Precision)[1:]:
        best = trainer(packed, run.folder / precision, config, precision, epochs=3).run()
        losses[precision] = best["validation_loss"]
    off = losses["bf16"] / losses["float32"] - 1
    return [("training, published network, 256x256", rates)], (
        f"| validation loss after 3 epochs, float32 and bf16 | nats | {losses['float32']:.2f} | "
        f"{losses['bf16']:.2f} | {off:+.3%} |"
    )


def compare_reading(run: Run, packed: Packed, config: Config) -> Compared:
    rows = np.arange(len(packed.images))
    paths = [str(run.folder / path) for path in packed.index["path"]]
    images, cpu = reference.loader(paths, config.batch_size), torch.device("cpu")
    rates = in_turns(
        len(rows), config.repeats,
        reference=lambda: [flux.shape for flux in images],
        ours=lambda: [
            flux.shape for _, flux in batches(packed.images, shuffled(rows, 0, 1), 32, cpu)
        ],
    )  # fmt: skip
    return [("reading a shuffled epoch, page cache warm", rates)]


def compare_extraction(run: Run, packed: Packed, config: Config) -> Compared:
    """Compare extraction from images to a written table: latents, error and SSIM, and in ours the
    defect flags, which are in the packed copy.
    """
    rows = np.arange(min(config.extracted, len(packed.images)))
    model = TrainedVAE.load(run.folder / "bf16" / "best.safetensors", 40, precision="auto")
    network = reference.Network(40).to(model.device).eval()
    paths = [str(run.folder / packed.index["path"][row]) for row in rows]

    def ours() -> None:
        latents = extract(packed, model, 64, rows)
        flags = packed.flags.iloc[rows].reset_index(drop=True)
        write_parquet(run.folder / "ours.parquet", pd.concat([latents, flags], axis=1))

    def theirs(similarity: bool) -> None:
        images = reference.loader(paths, config.batch_size, shuffle=False)
        table = np.concatenate(list(reference.extract(network, images, similarity)))
        write_parquet(run.folder / "theirs.parquet", pd.DataFrame(table).add_prefix("column_"))

    lines = []
    for with_ssim, words in ((True, "with SSIM"), (False, "reference without SSIM")):
        rates = in_turns(
            len(rows), config.repeats, reference=lambda s=with_ssim: theirs(s), ours=ours
        )
        lines.append((f"extraction end to end, {words}", rates))
    return lines


def analysis(config: Config) -> list[str]:
    """Time the analysis, without a reference."""
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(config.latents, 40)).astype(np.float32)
    train, members = np.arange(len(latents)) % 10 < 7, np.arange(len(latents)) % 8
    classes = members[:, None] == np.arange(8)

    def ranking() -> None:
        distance = outliers.mahalanobis(latents, train)
        own = outliers.class_distance(latents, classes, train)
        alone = outliers.isolation(latents, train)
        outliers.rank(outliers.combined(distance, own, alone, distance))

    def projection() -> None:
        """Project as analysis/decals_3.py: components of all, a map of a sample."""
        PCA(4, random_state=0).fit_transform(latents)
        sample = rng.choice(len(latents), min(5000, len(latents)), replace=False)
        TSNE(init="pca", random_state=0, n_jobs=-1).fit_transform(latents[sample])

    def match(count: int) -> Callable[[], object]:
        ra, dec = rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-0.3, 0.5, count)))
        return lambda: cross_match(ra, dec, ra + 1e-5, dec, 1.0)

    lines = []
    for what, repeats, function in (
        (f"outlier ranking of {len(latents):,} x 40 latents, 8 classes", 1, ranking),
        (f"1,000 exact neighbour queries (10 each) among {len(latents):,} x 40", 3,
         lambda: similarity.nearest(latents, latents[:1000], 11)),
        (f"projection of {len(latents):,} x 40: four components, t-SNE of 5,000", 1, projection),
        ("cross-match 314,000 x 314,000", 3, match(314_000)),
        ("cross-match 10,000,000 x 10,000,000", 1, match(10_000_000)),
    ):  # fmt: skip
        seconds = [timed(function) for _ in range(repeats)]
        lines.append(f"| {what} | {spread(seconds, 2)} |")
    return lines


def memory(run: Run, config: Config) -> list[str]:
    """Measure the peak memory (MiB) of training on a short and on a long train.txt."""
    code = (  # VmHWM, as ru_maxrss begins with the peak of the process that started this one
        "import re, runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('peak', int(re.search(r'VmHWM:\\s+(\\d+)',"
        " open('/proc/self/status').read())[1]) // 1024)"
    )
    lines, names = [], sorted(run.images().glob("*.fits"))
    long = Run(run.folder / "long")
    long.images().mkdir(parents=True)
    for count in (len(names), config.lines):  # the second finds the first one's pixels packed
        paths = [f"{number // len(names):03d}_{names[number % len(names)].name}"
                 for number in range(count)]  # fmt: skip
        for number, path in enumerate(paths):
            if not (long.images() / path).exists():
                os.link(names[number % len(names)], long.images() / path)
        write_text(long.train_txt, "".join(f"images/decals/{path}\n" for path in paths))
        command = [
            sys.executable, "-c", code, str(ROOT / "Galaxy_VAE_n.py"), "--run", str(long.folder),
            "--network", "published", "--epochs", "1",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak = next(line for line in done.stdout.splitlines() if line.startswith("peak"))
        lines.append(f"| one epoch of training, {count:,} lines | {peak.split()[1]} MiB |")
        shutil.rmtree(long.folder / "model")
    return lines


def machine() -> str:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    dtype = compute_dtype(torch.device("cpu"), "auto", build("published", 1))
    has = "with" if dtype == torch.bfloat16 else "without"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{model}, {cores()} cores {has} bf16, {ram:.0f} GiB, {gpu}; torch {torch.__version__}"


def main(config: Config) -> None:
    folder = Path(tempfile.mkdtemp(prefix="galaxy_vae_speed_"))
    try:
        run = make_run(folder, config.images)
        seconds = timed(lambda: Packed.of(run))
        packed = Packed.of(run)
        compared, losses = compare_training(run, packed, config)
        compared += compare_reading(run, packed, config)
        compared += compare_extraction(run, packed, config)
        used = memory(run, config) if config.lines else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    limits = ceilings.ceilings()
    text = "\n".join([
        f"{machine()}. {config.repeats} turns; median (range).", "",
        "| what | unit | reference loop | ours | ratio |", "|---|---|---|---|---|",
        *(row(*one) for one in compared), losses, "",
        f"Packing {config.images:,} images once, defects and the start of the processes included: "
        f"{config.images / seconds:.0f} images/s.", "",
        "| analysis | seconds |", "|---|---|", *analysis(config), "",
        *ceilings.table(limits), "", *roofline(compared, limits), "",
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
