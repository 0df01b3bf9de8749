"""Training, reading, extraction and analysis against the reference loop, in turns in one run.

Every comparison has `repeats` turns and gives medians and ranges; the ceilings of the machine are
measured in the same run. Nothing else should run meanwhile. On a machine with a GPU training and
extraction run on it.

Writes: docs/BENCHMARKS.md, with --write; else prints it

Example: python benchmarks/speed.py --write
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import ceilings
import numpy as np
import reference
import torch
import workload
from ceilings import machine
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from timing import in_turns, spread, timed, watch, write_below_the_line
from workload import Rates, Sides, make_run

from VAE_model.data.packed import Packed
from VAE_model.data.sky import cross_match
from VAE_model.evaluation import outliers, similarity
from VAE_model.models import build
from VAE_model.pipeline.files import write_text
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import start
from VAE_model.report.tables import Table
from VAE_model.training.device import Precision, choose_device, compute_dtype
from VAE_model.training.loader import batches, shuffled
from VAE_model.training.loop import Trainer
from VAE_model.training.model_file import TrainedVAE


@dataclass(frozen=True)
class Config:
    """Constants of the benchmark."""

    images: int = 1000
    """Files that are written and read."""
    trained: int = 192
    """Images per epoch of the training comparison."""
    extracted: int = 256
    """Images of the extraction comparison."""
    batch_size: int = 32
    """Images per step."""
    repeats: int = 5
    """Turns of each comparison."""
    lines: int = 0
    """Lines of a long train.txt, the same files repeated: the memory of training on it is compared
    with that on `images`; 0: no such comparison (100,000 take some twenty minutes)."""
    latents: int = 1_000_000
    """Galaxies in the analysis."""
    write: bool = False
    """Write docs/BENCHMARKS.md."""


Compared = dict[str, Rates]  # by what was done


def rate_table(compared: Compared) -> str:
    """Return the rates as Markdown; a ratio is that of two rates of one turn."""
    rows = [workload.rate_row(what, rates) for what, rates in compared.items()]
    return Table(["what", "unit", "reference loop", "ours", "ratio"], rows).markdown()


def roofline(compared: Compared, limits: ceilings.Rates) -> str:
    """Return training and extraction as shares of the machine's highest rates, as Markdown."""
    device, rows = choose_device(), []
    network = build("published", 40).to(device).to(memory_format=torch.channels_last)
    dtype, inputs = compute_dtype(device, "auto", network), torch.zeros(4, 3, 256, 256).to(device)
    for what, rates in compared.items():
        rate = workload.middle(rates)
        if what.startswith("reading"):
            share = rate * inputs[0].nbytes / max(limits[ceilings.CACHE])
            rows.append((what, f"{inputs[0].nbytes / 1e6:.2f} MB per image", "–",
                         f"{share:.0%} (page cache)", f"{share:.0%}"))  # fmt: skip
            continue
        work = ceilings.work(network, inputs, what.startswith("training"))
        found = ceilings.shares(rate, work, limits, dtype)
        rows.append((what, str(work), f"{found.convolution:.0%}", f"{found.memory:.0%}",
                     f"{found.roofline:.0%}"))  # fmt: skip
    head = ["ours", "work", "of the convolution ceiling", "of the memory ceiling", "roofline"]
    return Table(head, rows).markdown()


def compare(sides: Sides, config: Config) -> Rates:
    """Return the rates of both sides, in turns."""
    return in_turns(
        sides.count, config.repeats, reference=sides.reference, ours=sides.ours
    )  # fmt: skip


def trainer(
    packed: Packed, folder: Path, config: Config, precision: Precision = "auto", epochs: int = 1
) -> Trainer:
    """Return a trainer of the published network."""
    return workload.trainer(
        packed, folder, choose_device(), config.trained, config.batch_size,
        precision=precision, epochs=epochs,
    )  # fmt: skip


def compare_training(run: Run, packed: Packed, config: Config) -> tuple[Compared, str]:
    """Return rates of training, and a table row of the losses in float32 and in bf16."""
    ours = trainer(packed, run.folder / "ours", config)
    ours.task.initialise()
    rates = compare(workload.training(run, packed, ours), config)
    float32, bf16 = (
        trainer(packed, run.folder / kind, config, kind, epochs=3).run()["validation_loss"]
        for kind in get_args(Precision)[1:]
    )
    return {"training, published network, 256x256": rates}, (
        f"| validation loss after 3 epochs, float32 and bf16 | nats | {float32:.2f} | {bf16:.2f} | "
        f"{bf16 / float32 - 1:+.3%} |"
    )


def compare_reading(run: Run, packed: Packed, config: Config) -> Compared:
    """Return rates of reading."""
    rows, cpu = np.arange(len(packed.images)), torch.device("cpu")
    paths = [str(run.folder / path) for path in packed.index["path"]]
    images = reference.loader(paths, config.batch_size)
    return {"reading a shuffled epoch, page cache warm": in_turns(
        len(rows), config.repeats,
        reference=lambda: [flux.shape for flux, in images],
        ours=lambda: [
            flux.shape for _, flux in batches(packed.images, shuffled(rows, 0, 1), 32, cpu)
        ],
    )}  # fmt: skip


def compare_extraction(run: Run, packed: Packed, config: Config) -> Compared:
    """Return rates of extraction from images to a written table: latents, error and SSIM."""
    rows = np.arange(min(config.extracted, len(packed.images)))
    model = TrainedVAE.load(run.folder / "bf16" / "best.safetensors", 40, precision="auto")
    return {
        f"extraction end to end, {words}": compare(
            workload.extraction(
                run, packed, model, rows, 64, with_ssim, reference_batch=config.batch_size
            ),
            config,
        )
        for with_ssim, words in ((True, "with SSIM"), (False, "reference without SSIM"))
    }


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


def memory(run: Run, count: int) -> list[str]:
    """Return table rows with the peak memory of training on the files, and on `count` links."""
    rows, names = [], sorted(run.images().glob("*.fits"))
    long = Run(run.folder / "long")
    long.images().mkdir(parents=True)
    for lines in (len(names), count):  # the second finds the first one's pixels packed
        paths = [long.images() / f"{number // len(names):03d}_{names[number % len(names)].name}"
                 for number in range(lines)]  # fmt: skip
        for number, path in enumerate(paths):
            if not path.exists():
                os.link(names[number % len(names)], path)
        write_text(long.train_txt, "".join(f"images/decals/{path.name}\n" for path in paths))
        _, peak = watch(
            "Galaxy_VAE_n.py", "--run", long.folder, "--network", "published", "--epochs", 1
        )
        rows.append(f"| one epoch of training, {lines:,} lines | {peak:.0f} MiB |")
    return rows


def main(config: Config) -> None:
    """Run all comparisons, print the tables, and write them if wanted."""
    with tempfile.TemporaryDirectory(prefix="galaxy_vae_speed_") as folder:
        run = make_run(Path(folder), config.images)
        seconds = timed(lambda: Packed.of(run))
        packed = Packed.of(run)
        compared, losses = compare_training(run, packed, config)
        compared |= compare_reading(run, packed, config)
        compared |= compare_extraction(run, packed, config)
        used = memory(run, config.lines) if config.lines else []
    device = choose_device()
    size = ceilings.GPU if device.type == "cuda" else ceilings.CPU
    limits = ceilings.ceilings(device, size)
    text = "\n".join([
        f"{machine()}. {config.repeats} turns; median (range).", "", rate_table(compared), losses,
        "",
        f"Packing {config.images:,} images once, defects and the start of the processes included: "
        f"{config.images / seconds:.0f} images/s.", "",
        "| analysis | seconds |", "|---|---|", *analysis(config), "",
        ceilings.table(limits), "", roofline(compared, limits), "",
        *(["| peak memory | |", "|---|---|", *used, ""] if used else []),
    ])  # fmt: skip
    print(text)
    if config.write:
        write_below_the_line(ROOT / "docs" / "BENCHMARKS.md", text)


if __name__ == "__main__":
    start(main, Config, __doc__)
