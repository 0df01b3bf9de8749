"""The work that the benchmarks time: training and extraction, by us and by the reference.

speed.py and gpu.py run the same work; they differ in sizes and in what they report.
"""

import shutil
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import reference
import torch
from numpy.typing import NDArray
from timing import spread
from torch import Tensor

from VAE_model import models
from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.packed import Packed
from VAE_model.data.row_file import GroupedRows, RowFile
from VAE_model.extraction import extract as extraction_module
from VAE_model.pipeline.files import write_parquet, write_text
from VAE_model.pipeline.run import Run
from VAE_model.preparation import prepared_inputs
from VAE_model.preparation.pose import Pose
from VAE_model.training import exposure_task, loader
from VAE_model.training.device import Precision
from VAE_model.training.exposure_task import task_of
from VAE_model.training.image_task import ImageTask, Settings
from VAE_model.training.loop import Files, Trainer
from VAE_model.training.model_file import TrainedVAE

Rates = dict[str, list[float]]  # images per second of each side

_OURS: dict[str, dict[str, Any]] = {  # constants in which the networks' trainings differ
    "published": dict(contaminants="kept", stretch="linear", loss="published"),
    "residual": dict(
        contaminants="masked", stretch="asinh", loss="gaussian", start="pretrained"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Sides:
    """One pass of the same work by both sides.

    count: images that the reference passes over; factor: images of ours for one of these.
    """

    count: int
    reference: Callable[[], object]
    ours: Callable[[], object]
    factor: int = 1


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
    list_images(run)
    return run


def list_images(run: Run) -> None:
    """Write train.txt with all images of the first survey."""
    names = sorted(path.name for path in run.images().glob("*.fits"))
    write_text(run.train_txt, "".join(f"images/decals/{name}\n" for name in names))


def trainer(
    packed: Packed, folder: Path, device: torch.device, images: int, batch_size: int,
    network: str = "published", precision: Precision = "auto", epochs: int = 1,
) -> Trainer:  # fmt: skip
    """Return a trainer of a network with the constants of its training (Galaxy_VAE_n.py).

    images: per epoch, at most.
    """
    shutil.rmtree(folder, ignore_errors=True)
    settings = Settings(
        network=network, num_var=40, kl_weight=1.0, epochs=epochs, batch_size=batch_size,
        learning_rate=1e-3, schedule="constant", max_grad_norm=1e4, seed=0, precision=precision,
        train_images=images, **_OURS[network],
    )  # fmt: skip
    task = task_of(packed, "benchmark", settings, device)
    return Trainer(task, Files.of(folder / "best.safetensors"))


def training(
    run: Run, packed: Packed, ours: Trainer, resident: bool = False, workers: int | None = None
) -> Sides:
    """Return one epoch of training by both sides, on the training images of `ours`.

    resident: the batches are in the device's memory from the second pass on; workers: of the
    reference's loader, None: one per core.
    """
    task = ours.task
    assert isinstance(task, ImageTask)
    network = reference.network(task.settings.network).to(task.device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    batches = _reference_batches(
        run, packed, network, task.train_rows, task.settings.batch_size, task.device, resident,
        shuffle=True, workers=workers,
    )  # fmt: skip
    return Sides(
        len(task.train_rows),
        reference=lambda: reference.epoch(network, optimizer, batches()),
        ours=_kept(lambda: ours.train_epoch(0), resident),
        factor=2 if network.ACROSS_EXPOSURES else 1,  # both exposures are encoded and decoded
    )


def extraction(
    run: Run, packed: Packed, model: TrainedVAE, rows: NDArray[np.int64], batch_size: int,
    with_ssim: bool = True, reference_batch: int = 0, resident: bool = False,
    workers: int | None = None,
) -> Sides:  # fmt: skip
    """Return extraction from images to a written table by both sides: latents, error, SSIM.

    Ours has the defect flags too, which are in the packed copy.
    with_ssim: of the reference; reference_batch: its batch size, 0: that of ours; resident,
    workers: as in `training`.
    """
    network = reference.network(model.config["network"]).to(model.device).eval()
    batches = _reference_batches(
        run, packed, network, rows, reference_batch or batch_size, model.device, resident,
        shuffle=False, workers=workers,
    )  # fmt: skip

    def ours() -> None:
        latents = extraction_module.extract(packed, model, batch_size, rows)
        flags = packed.flags.iloc[rows].reset_index(drop=True)
        write_parquet(run.folder / "ours.parquet", pd.concat([latents, flags], axis=1))

    def theirs() -> None:
        table = np.concatenate(list(reference.extract(network, batches(), with_ssim)))
        write_parquet(run.folder / "theirs.parquet", pd.DataFrame(table).add_prefix("column_"))

    return Sides(len(rows), theirs, _kept(ours, resident))


def copied_bytes(network: models.VAE, is_training: bool) -> int:
    """Return the bytes that our loop copies to the device for each image, from the packed file.

    Extraction copies the images beside what the network reads, to compare the reconstruction with.
    """
    flux = 4 * models.BANDS * models.SIZE**2
    inputs = 4 * (sum(network.parts) + len(Pose._fields)) if network.PREPARED_ONCE else flux
    if not is_training:
        return inputs + flux
    return 2 * inputs if network.ACROSS_EXPOSURES else inputs  # of each exposure, and its target


def ratios(rates: Rates) -> list[float]:
    """Return the ratio of ours to the reference in each turn."""
    return [o / r for o, r in zip(rates["ours"], rates["reference"], strict=True)]


def rate_row(what: str, rates: Rates) -> tuple[str, ...]:
    """Return a table row of the rates of both sides and their ratio, turn by turn."""
    sides = (spread(rates[side]) for side in ("reference", "ours"))
    return (what, "images/s", *sides, spread(ratios(rates), 2))


def middle(rates: Rates) -> float:
    """Return the median rate of ours."""
    return statistics.median(rates["ours"])


def _reference_batches(
    run: Run, packed: Packed, network: models.VAE, rows: NDArray[np.int64], batch_size: int,
    device: torch.device, resident: bool, shuffle: bool, workers: int | None,
) -> Callable[[], reference.Batches]:  # fmt: skip
    """Return a function that returns the reference's batches of one pass."""
    paths = [str(run.folder / packed.index["path"][row]) for row in rows]
    prepare = reference.preparation(network)
    images = reference.loader(paths, batch_size, shuffle, prepare, workers)
    kept: list[reference.Batch] = []

    def batches() -> reference.Batches:
        if resident and not kept:
            kept.extend([part.to(device) for part in batch] for batch in images)
        return kept or images

    return batches


def _kept(function: Callable[[], object], resident: bool) -> Callable[[], object]:
    """Return the function; if `resident`, with its batches kept on the device."""
    if not resident:
        return function
    store: dict[object, list] = {}

    def on_kept_batches() -> object:
        with _batches_kept(store):
            return function()

    return on_kept_batches


@contextmanager
def _batches_kept(store: dict[object, list]) -> Iterator[None]:
    """Let the loader read each batch once and keep it in `store`, on the device."""

    def batches(
        images: RowFile | GroupedRows, rows: NDArray[np.int64], batch_size: int,
        device: torch.device, shared: bool = False,
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:  # fmt: skip
        key = (images.row, rows.tobytes(), batch_size)
        if key not in store:
            store[key] = list(loader.batches(images, rows, batch_size, device, shared))
        yield from store[key]

    with ExitStack() as stack:
        for module in (prepared_inputs, exposure_task, extraction_module):
            stack.enter_context(patch.object(module, "batches", batches))
        yield
