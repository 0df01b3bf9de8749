"""The task of training a network on packed images: each must be reconstructed from itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VAE_model import models, pretrained
from VAE_model.data.packed import Packed
from VAE_model.preparation.prepared_inputs import PreparedInputs
from VAE_model.preparation.stretch import SOFTENING, Kind, Stretch
from VAE_model.training import distributed
from VAE_model.training.device import autocast, compiled, microbatch_size
from VAE_model.training.loader import shuffled
from VAE_model.training.loop import LoopSettings, Microbatch, Task, plain
from VAE_model.training.losses import LossKind, loss_of

Start = Literal["pretrained", "trunk", "random"]

_INITIALISATION_IMAGES = 4096  # for the data-dependent initialisation
_DEGRADED_IMAGES = 512  # of these, at lower signal-to-noise too


@dataclass(frozen=True, kw_only=True)
class Settings(LoopSettings):
    """Everything that determines the weights of a network, apart from the images."""

    network: str
    num_var: int
    contaminants: models.Contaminants
    stretch: Kind
    softening: tuple[float, ...] = SOFTENING
    loss: LossKind
    kl_weight: float
    train_images: int = 0
    start: Start = "random"


class Sample(NamedTuple):
    """Training images, drawn at random, that initialise a network.

    inputs: prepared, (N, ...); degraded: the first M of them at lower signal-to-noise, (M, ...), if
    the network is initialised from them.
    """

    inputs: Tensor
    degraded: Tensor | None


class ImageTask(Task):
    """Training of a network on the `train` split of packed images, validated on `validation`."""

    settings: Settings

    def __init__(
        self, packed: Packed, data: str, settings: Settings, device: torch.device,
        sample: Sample | None = None,
    ) -> None:  # fmt: skip
        """Build the network and its loss.

        data: hash of train.txt, so that no run is resumed on other images or another split;
        sample: of another task with the same images and preparation; None: drawn when needed.
        """
        train_rows = packed.rows("train")
        if settings.train_images:
            chosen = shuffled(train_rows, settings.seed, 0)[: settings.train_images]
            train_rows = np.sort(chosen)
        super().__init__(settings, device, train_rows, packed.rows("validation"), "images")
        self.config, self.data = plain(settings), f"{data} {packed.given}".strip()
        torch.manual_seed(settings.seed)
        self.network = models.build(settings.network, settings.num_var, settings.contaminants)
        self.network.to(device).to(memory_format=torch.channels_last)
        self.forward = compiled(self.network.forward, device)
        self.microbatch_size = microbatch_size(
            self.network, device, settings.precision, settings.batch_size
        )
        self.loss = loss_of(self.network, settings.loss, settings.kl_weight).to(device)
        self.terms = self.loss.TERMS
        self.stretch = Stretch(settings.stretch, settings.softening)
        self.inputs = PreparedInputs(packed, self.network, self.stretch, device)
        self.sources = [(self.inputs, np.arange(len(packed.index)))]
        self.sample, self.image_rows = sample, self.train_rows

    def batches(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, list[Microbatch]]]:
        """Yield batches of prepared images with the noise of their draws."""
        size = self.settings.batch_size
        for number, (_, inputs, _) in enumerate(self.inputs.batches(rows, size, shared=True)):
            count = min(size, len(rows) - number * size)
            noise = torch.randn(count, self.settings.num_var, device=self.device)
            own = noise.tensor_split(distributed.world_size())[distributed.rank()]
            parts = zip(*(one.split(self.microbatch_size) for one in (inputs, own)), strict=True)
            yield count, [(len(part[0]) / count, part) for part in parts if len(part[0])]

    def compute_loss(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, its terms and the posterior means."""
        images, noise = inputs
        with autocast(self.device, self.settings.precision, self.network):
            reconstruction, mean, log_variance = self.forward(images, noise)
        target = self.network.target(images)
        return *self.loss(reconstruction, target, mean, log_variance), mean

    @torch.no_grad()
    def initialise(self) -> None:
        """Initialise network and loss from a sample of the training images."""
        self.sample = self.sample or self._draw_sample()
        inputs, degraded = self.sample
        if self.settings.start != "random":
            pretrained.initialise(self.network, ends=self.settings.start == pretrained.NAME)
        else:
            self.network.initialise(inputs, degraded)
        some = inputs[: self.settings.batch_size]
        parts = some.split(self.microbatch_size)
        reconstruction = [self.network.decode(self.network.encode(part)[0]) for part in parts]
        self.loss.initialise(torch.cat(reconstruction), self.network.target(some))

    @torch.no_grad()
    def _draw_sample(self) -> Sample:
        """Return a few thousand prepared training images, or one batch of whole images."""
        size, seed = self.settings.batch_size, self.settings.seed
        count = _INITIALISATION_IMAGES if self.network.PREPARED_ONCE else size
        rows = shuffled(self.image_rows, seed, 0)[:count]
        inputs = torch.cat([part for _, part, _ in self.inputs.batches(rows, size)])
        if not torch.isfinite(inputs).all():
            self.check_inputs()
        if self.settings.start != "random" or not self.network.PREPARED_ONCE:
            return Sample(inputs, None)
        generator = torch.Generator().manual_seed(seed)
        copies = self.inputs.degraded(rows[:_DEGRADED_IMAGES], generator, moved=True)
        return Sample(inputs, torch.cat([part for _, part, _ in copies]))
