"""Domain adaptation: making the latents of a second survey mean what those of the first mean.

A method is an entry of METHODS; a new one is a module of its own and a line there. Those with
weights fine-tune the network on pairs of images of the same galaxies; those with a map compute it
from the latents and train nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from VAE_model import models
from VAE_model.files import sha256
from VAE_model.pairs import View
from VAE_model.preparation.prepared_inputs import Prepared
from VAE_model.training import checkpoint
from VAE_model.training.device import Precision, autocast
from VAE_model.training.loop import Files, Loop, plain
from VAE_model.training.losses import Likelihood, kl_divergence
from VAE_model.training.model_file import TrainedVAE
from VAE_model.transfer import alignment
from VAE_model.transfer.alignment import Method

METHODS = {
    "standardise": Method(
        "each latent of the second survey gets the first one's location and scale",
        map=alignment.standardise,
    ),
    "coral": Method("the second survey gets the first one's covariance", map=alignment.coral),
    "continue": Method("the same training on both surveys' images, without any alignment"),
    "mmd": Method("the published: the same, and the two distributions are drawn together", mmd=1),
    "paired": Method(
        "the two views of each galaxy are drawn together, the first survey's latents held",
        pair=1,
        mmd=1,
        keep=1,
    ),
}
RECOMMENDED = "paired"  # chosen beforehand, on other skies than those that are reported on
BEFORE = "no_tf"  # latents of the model as it was trained on the first survey alone
_STEP = 0.1  # of the way from a galaxy to another, on which the stiffness is measured


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an adapted model's weights, besides pairs and starting model."""

    method: str
    pair: float
    mmd: float
    keep: float
    terms: dict[str, float]
    epochs: int
    batch: int
    learning_rate: float
    clip: float
    seed: int
    precision: Precision
    schedule: str = "one-cycle"


class Adapter(Loop):
    """Fine-tunes a trained model on the pairs of the `train` split, judged on `validation`.

    The weights of the alignment terms are in units of the *stiffness*: what it costs the
    reconstruction, in nats an image, to move a galaxy's latents towards another galaxy's, by the
    curvature on the way and for a distance of one scatter of each latent. So a weight of one
    matters as much as the reconstruction, whatever the network, its loss and the axes of its
    latents.
    """

    def __init__(
        self, both: tuple[View, View], pairs: pd.DataFrame, base: Path, data: str,
        recipe: Recipe, files: Files, num_var: int, device: torch.device,
    ) -> None:  # fmt: skip
        """base: model file to start from; data: hash of the pairs."""
        started = checkpoint.load(base, ("config", "weights", "likelihood"))
        model = TrainedVAE.load(base, num_var, str(device), recipe.precision)
        config = {**started["config"], **plain(recipe)}
        super().__init__({"config": config, "data": [data, sha256(base)]}, recipe, files, device)
        own = METHODS[recipe.method].terms
        self.TERMS = ("reconstruction", "kl", "pair", "mmd", "keep", *own)
        self.weights = {"pair": recipe.pair, "mmd": recipe.mmd, "keep": recipe.keep, **recipe.terms}
        self.own = {name: term for name, (_, term) in own.items()}
        torch.manual_seed(recipe.seed)
        self.network = model.network
        self.likelihood = Likelihood(config["loss"]).to(device)
        self.likelihood.load_state_dict(started["likelihood"])
        self.kl_weight = config["kl_weight"]
        self.both = both
        self.inputs = [Prepared(v.packed, model.network, model.stretch, device) for v in both]
        usable = pairs["usable"].to_numpy(bool)
        rows, judges = (
            np.flatnonzero(usable & (pairs["split"] == split).to_numpy())
            for split in ("train", "validation")
        )
        self.begin(rows, judges, "pairs")
        self.started = torch.zeros(len(pairs), num_var, device=device)
        self._measure(model)

    def initialise(self) -> None:
        """Nothing: the fit starts from the trained model."""

    @torch.no_grad()
    def _measure(self, model: TrainedVAE) -> None:
        """Latents, scatter and stiffness of the starting model."""
        for rows in (self.judges, self.rows):
            for _, (chunk, first, _) in self.batches(rows):
                self.started[chunk] = model.network.encode(first)[0].float()
        latents = self.started[self.rows]
        self.scatter = latents.std(dim=0).clamp_min(1e-3)
        towards = torch.zeros_like(self.started)
        towards[self.rows] = _STEP * (latents.roll(1, dims=0) - latents)
        costs = []
        for _, (chunk, first, _) in self.batches(self.rows):
            here, target = self.started[chunk], self.network.target(first)
            there, back, now = (
                self.likelihood(self.network.decode(here + sign * towards[chunk]), target)
                for sign in (1, -1, 0)
            )
            costs.append(there + back - 2 * now)
        # Two galaxies are apart by twice the square of the scatter.
        self.stiffness = float(torch.cat(costs).mean() / (2 * _STEP**2) / 2)

    def batches(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor]]]:
        """Pair numbers and the two surveys' inputs."""
        streams = [
            inputs.batches(view.rows[rows], self.recipe.batch)
            for inputs, view in zip(self.inputs, self.both, strict=True)
        ]
        done = 0
        for (_, first, _), (_, second, _) in zip(*streams, strict=True):
            chunk = torch.from_numpy(rows[done : done + len(first)])
            done += len(first)
            yield len(first), (chunk.to(self.device), first, second)

    def check_inputs(self) -> None:
        rows = np.concatenate([self.rows, self.judges])
        for inputs, view in zip(self.inputs, self.both, strict=True):
            inputs.check_finite(view.rows[rows])

    def step(self, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        chunk, first, second = batch
        inputs = torch.cat([first, second])
        with autocast(self.device, self.recipe.precision, self.network):
            mean, log_variance = self.network.encode(inputs)
            reconstruction = self.network.decode(models.reparameterise(mean, log_variance))
        elbo = [
            self.likelihood(reconstruction, self.network.target(inputs)).mean(),
            kl_divergence(mean, log_variance).sum(dim=1).mean(),
        ]
        one, two = (mean.float() / self.scatter).chunk(2)
        aligned = {
            "pair": (one - two).square().mean(),
            "mmd": alignment.mmd(one, two),
            "keep": (one - self.started[chunk] / self.scatter).square().mean(),
            **{name: term(one, two) for name, term in self.own.items()},
        }
        loss = elbo[0] + self.kl_weight * elbo[1]
        for name, value in aligned.items():
            if self.weights[name]:
                loss = loss + self.weights[name] * self.stiffness * value
        return loss, torch.stack([*elbo, *aligned.values()])

    def content(self) -> dict[str, Any]:
        return {**super().content(), "stiffness": self.stiffness}


def recipe_of(method: str, **settings: Any) -> Recipe:
    """The recipe of a method that trains, with its weights."""
    of = METHODS[method]
    own = {name: weight for name, (weight, _) in of.terms.items()}
    return Recipe(method, of.pair, of.mmd, of.keep, own, **settings)


def save_mapped(
    method: str, base: Path, target: Path, survey: str,
    source: NDArray[np.floating], wanted: NDArray[np.floating],
) -> None:  # fmt: skip
    """The model `base` with the map of `method` for the latents of `survey`.

    source, wanted: latents of the training pairs in that survey and in the first, (N, d).
    """
    compute = METHODS[method].map
    if compute is None:
        raise ValueError(f"{method} computes no map: it trains")
    content = checkpoint.load(base)
    matrix, offset = (torch.tensor(part, dtype=torch.float32) for part in compute(source, wanted))
    kept: dict[str, Any] = {
        key: content[key] for key in ("weights", "likelihood", "data") if key in content
    }
    config = {**content["config"], "method": method}
    checkpoint.save(target, {**kept, "config": config, "maps": {survey: [matrix, offset]}})
