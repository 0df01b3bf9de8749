"""Training a network on a packed run: the evidence lower bound of its images."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VAE_model import models
from VAE_model.packed import Packed
from VAE_model.preparation.degradation import second_look
from VAE_model.preparation.prepared_inputs import Prepared
from VAE_model.preparation.stretch import SOFTENING, Kind, Stretch
from VAE_model.training import distributed
from VAE_model.training.device import Precision, autocast, compiled, part_of_a_batch
from VAE_model.training.loader import batches, shuffled
from VAE_model.training.loop import Files, Loop, plain
from VAE_model.training.losses import Likelihood, kl_divergence

__all__ = ["Files", "Recipe", "Trainer"]

_LOOK = 4096  # training images that a network is initialised from
_LOOK_AGAIN = 512  # of these, seen once more
_ACTIVE = 0.01  # variance of a latent's mean over galaxies from which it is active (Burda 2016)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the images."""

    network: str
    num_var: int
    stretch: Kind
    loss: Literal["published", "gaussian"]
    kl_weight: float
    epochs: int
    batch: int
    learning_rate: float
    schedule: Literal["one-cycle", "constant"]
    clip: float
    seed: int
    precision: Precision
    train_images: int = 0
    block: int = 0
    softening: tuple[float, ...] = SOFTENING
    neighbours: models.Neighbours = "kept"  # as in model files that do not say


class Trainer(Loop):
    """Trains one network on the `train` split of a packed run, judged on `validation`."""

    def __init__(
        self, packed: Packed, data: str, recipe: Recipe, files: Files, device: torch.device
    ) -> None:
        """data: hash of train.txt, so that no state is resumed on other images, nor on another
        split of them."""
        identity = {"config": plain(recipe), "data": f"{data} {packed.given}".strip()}
        super().__init__(identity, recipe, files, device)
        rows = packed.rows("train")
        if recipe.train_images:
            rows = np.sort(shuffled(rows, recipe.seed, 0)[: recipe.train_images])
        torch.manual_seed(recipe.seed)
        self.network = models.build(recipe.network, recipe.num_var, recipe.neighbours).to(device)
        self.network.to(memory_format=torch.channels_last)
        self.likelihood = Likelihood(recipe.loss).to(device)
        self.begin(rows, packed.rows("validation"), "images")
        self.part = part_of_a_batch(self.network, device, recipe.precision, recipe.batch)
        self.encode, self.decode = (
            compiled(half, device) for half in (self.network.encode, self.network.decode)
        )
        self.moments = torch.zeros(3, recipe.num_var, dtype=torch.float64, device=device)
        stretch = Stretch(recipe.stretch, recipe.softening)
        self.inputs = Prepared(packed, self.network, stretch, device)

    @torch.no_grad()
    def initialise(self) -> None:
        """A look at some training images: where the network and sigma start from. The whole images
        that an uncached network sees are looked at in one batch, not to fill the memory."""
        look = _LOOK if self.network.CACHED else self.recipe.batch
        first = np.sort(shuffled(self.rows, self.recipe.seed, 0)[:look])
        inputs = torch.cat([part for _, part, _ in self.inputs.batches(first, self.recipe.batch)])
        if not torch.isfinite(inputs).all():
            self.check_inputs()
        self.network.initialise(inputs, self.look_again(first[:_LOOK_AGAIN]))
        some = inputs[: self.recipe.batch]
        drawn = [self.network.decode(self.network.encode(p)[0]) for p in some.split(self.part)]
        self.likelihood.initialise(torch.cat(drawn), self.network.target(some))

    def look_again(self, rows: NDArray[np.int64]) -> Tensor:
        """Inputs of images as a worse exposure might show them."""
        packed, generator = self.inputs.packed, torch.Generator().manual_seed(self.recipe.seed)
        noise, seen = packed.noise, []
        for chunk, flux in batches(packed.images, rows, self.recipe.batch, self.device):
            worse = second_look(flux, torch.from_numpy(noise[chunk]), generator)
            seen.append(self.network.prepare(self.inputs.stretch(worse))[0])
        return torch.cat(seen)

    def batches(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
        """Inputs, and the noise (count, latents) that the posterior's draws are made of."""
        size = self.recipe.batch
        for turn, (_, inputs, _) in enumerate(self.inputs.batches(rows, size, shared=True)):
            count = min(size, len(rows) - turn * size)
            noise = torch.randn(count, self.recipe.num_var, device=self.device)
            yield count, (inputs, noise)

    def check_inputs(self) -> None:
        self.inputs.check_finite(np.concatenate([self.rows, self.judges]))

    def parts(self, batch: tuple[Tensor, Tensor]) -> Iterator[tuple[float, tuple[Tensor, Tensor]]]:
        inputs, noise = batch
        own = noise.tensor_split(distributed.processes())[distributed.number()]
        for one, two in zip(inputs.split(self.part), own.split(self.part), strict=True):
            if len(one):
                yield len(one) / len(noise), (one, two)

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        inputs, noise = batch
        with autocast(self.device, self.recipe.precision, self.network):
            mean, log_variance = self.encode(inputs)
            reconstruction = self.decode(models.reparameterise(mean, log_variance, noise))
        if not self.network.training:
            wide = mean.double()
            ones = torch.ones_like(wide)
            self.moments += torch.stack([part.sum(dim=0) for part in (ones, wide, wide.square())])
        terms = torch.stack(
            [
                self.likelihood(reconstruction, self.network.target(inputs)).mean(),
                kl_divergence(mean, log_variance).sum(dim=1).mean(),
            ]
        )
        return terms[0] + self.recipe.kl_weight * terms[1], terms

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """-ELBO of the validation images in nats, its two terms, and the number of active latents
        (Burda et al. 2016)."""
        self.moments.zero_()
        found = super().validate()
        distributed.add_up(self.moments)
        count, total, squares = self.moments
        spread = squares / count - (total / count).square()
        return {**found, "active": int((spread > _ACTIVE).sum())}
