"""Domain adaptation: the latents of a second survey are brought into agreement with the first's.

A method is an entry of METHODS. A method without a map fine-tunes the network on pairs of images of
the same galaxies (`PairTask`, for the loop in training/loop.py); a method with a map computes it
from the latents (`save_mapped`).
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

from VAE_model.pipeline.files import sha256
from VAE_model.preparation.prepared_inputs import PreparedInputs
from VAE_model.training import checkpoint
from VAE_model.training.device import autocast
from VAE_model.training.loop import LoopSettings, Microbatch, Task, plain
from VAE_model.training.losses import Loss, loss_of, mmd
from VAE_model.training.model_file import TrainedVAE
from VAE_model.transfer import alignment
from VAE_model.transfer.alignment import Method
from VAE_model.transfer.pairs import SurveyImages

METHODS = {
    "standardise": Method(
        "each latent of the second survey gets the first one's location and scale",
        map=alignment.standardise,
    ),
    "coral": Method("the second survey gets the first one's covariance", map=alignment.coral),
    "continue": Method("the same training on both surveys' images, without any alignment"),
    "mmd": Method("the published: the same, and the two distributions are drawn together", mmd=1),
    "paired": Method(
        "the two images of each galaxy are drawn together, the first survey's latents held",
        pair=1,
        mmd=1,
        keep=1,
    ),
}
RECOMMENDED = "paired"  # chosen on other skies than those that are reported on
BEFORE = "no_tf"  # latents of the model that was trained on the first survey alone
_STEP = 0.1  # share of the distance between two galaxies, for the loss's second derivative


@dataclass(frozen=True, kw_only=True)
class AdaptationSettings(LoopSettings):
    """The settings that determine an adapted model, apart from its pairs and starting model."""

    method: str
    pair: float
    mmd: float
    keep: float
    terms: dict[str, float]


def settings_of(method: str, **loop: Any) -> AdaptationSettings:
    """Return the settings of a method that trains; loop: those of LoopSettings."""
    of = METHODS[method]
    terms = {name: weight for name, (weight, _) in of.terms.items()}
    return AdaptationSettings(
        method=method, pair=of.pair, mmd=of.mmd, keep=of.keep, terms=terms,
        schedule="one-cycle", **loop,
    )  # fmt: skip


class PairTask(Task):
    """Fine-tuning of a trained model on the pairs of the `train` split, validated on `validation`.

    The weights of the alignment terms are in units of the *stiffness*: the rise of the
    reconstruction loss, in nats per image, when a galaxy's latents move towards another galaxy's by
    one standard deviation of each latent, from the second derivative in that direction. So a weight
    of one matters as much as the reconstruction, for any network, loss and axes of the latents.
    """

    settings: AdaptationSettings

    def __init__(
        self, both: tuple[SurveyImages, SurveyImages], pairs: pd.DataFrame, base: Path, data: str,
        settings: AdaptationSettings, num_var: int, device: torch.device,
    ) -> None:  # fmt: skip
        """Load the starting model and measure it.

        both: the two surveys' images; base: model file to start from; data: hash of the pairs.
        """
        usable, split = pairs["usable"].to_numpy(bool), pairs["split"].to_numpy(object)
        train_rows, validation_rows = (
            np.flatnonzero(usable & (split == name)) for name in ("train", "validation")
        )
        super().__init__(settings, device, train_rows, validation_rows, "pairs")
        start = checkpoint.load(base, ("config", "weights", "loss"))
        model = TrainedVAE.load(base, num_var, str(device), settings.precision)
        self.config = {**start["config"], **plain(settings)}
        self.data = [data, sha256(base)]
        torch.manual_seed(settings.seed)
        self.network = model.network
        kind, kl_weight = self.config["loss"], self.config["kl_weight"]
        self.loss = loss_of(self.network, kind, kl_weight).to(device)
        self.loss.load_state_dict(start["loss"])
        self.own_terms = {name: term for name, (_, term) in METHODS[settings.method].terms.items()}
        self.weights = {
            "pair": settings.pair, "mmd": settings.mmd, "keep": settings.keep, **settings.terms,
        }  # fmt: skip
        self.terms = (*Loss.TERMS, *self.weights)
        self.sources = [
            (PreparedInputs(side.packed, model.network, model.stretch, device), side.rows)
            for side in both
        ]
        self.initial = torch.zeros(len(pairs), num_var, device=device)
        self._measure_initial()

    @torch.no_grad()
    def _measure_initial(self) -> None:
        """Measure the first survey's latents, their standard deviations, and the stiffness."""
        for rows in (self.validation_rows, self.train_rows):
            for numbers, first, _ in self._pairs(rows):
                self.initial[numbers] = self.network.encode(first)[0].float()
        latents = self.initial[self.train_rows]
        self.std = latents.std(dim=0).clamp_min(1e-3)
        step = torch.zeros_like(self.initial)
        step[self.train_rows] = _STEP * (latents.roll(1, dims=0) - latents)
        rises = []
        for numbers, first, _ in self._pairs(self.train_rows):
            here, target = self.initial[numbers], self.network.target(first)
            ahead, behind, now = (
                self.loss.reconstruction(self.network.decode(here + sign * step[numbers]), target)
                for sign in (1, -1, 0)
            )
            rises.append(ahead + behind - 2 * now)
        # The squared distance of two galaxies is twice the variance.
        self.stiffness = float(torch.cat(rises).mean() / (2 * _STEP**2) / 2)
        self.results = {"stiffness": self.stiffness}

    def batches(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, list[Microbatch]]]:
        """Yield batches of pairs, each computed at once."""
        for inputs in self._pairs(rows):
            yield len(inputs[0]), [(1.0, inputs)]

    def _pairs(self, rows: NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the numbers of the pairs and the two surveys' inputs, in the order of `rows`."""
        size = self.settings.batch_size
        numbers = torch.from_numpy(rows).to(self.device).split(size)
        first, second = (inputs.batches(of[rows], size) for inputs, of in self.sources)
        for some, (_, one, _), (_, two, _) in zip(numbers, first, second, strict=True):
            yield some, one, two

    def compute_loss(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss of both surveys' images plus the weighted alignment terms."""
        numbers, images = inputs[0], torch.cat(inputs[1:])
        with autocast(self.device, self.settings.precision, self.network):
            reconstruction, mean, log_variance = self.network(images)
        target = self.network.target(images)
        loss, terms = self.loss(reconstruction, target, mean, log_variance)
        one, two = (mean.float() / self.std).chunk(2)
        aligned = {
            "pair": (one - two).square().mean(),
            "mmd": mmd(one, two),
            "keep": (one - self.initial[numbers] / self.std).square().mean(),
            **{name: term(one, two) for name, term in self.own_terms.items()},
        }
        for name, value in aligned.items():
            if self.weights[name]:
                loss = loss + self.weights[name] * self.stiffness * value
        return loss, torch.cat([terms, torch.stack([*aligned.values()])]), mean


def save_mapped(
    method: str, base: Path, path: Path, survey: str,
    source: NDArray[np.floating], target: NDArray[np.floating],
) -> None:  # fmt: skip
    """Save the model `base` with the map of `method` for the latents of `survey`.

    source, target: latents of the training pairs in that survey and in the first, (N, d) each.
    """
    compute = METHODS[method].map
    if compute is None:
        raise ValueError(f"{method} computes no map: it trains")
    content = checkpoint.load(base)
    content = {key: content[key] for key in ("config", "weights", "loss", "data") if key in content}
    matrix, offset = (torch.tensor(part, dtype=torch.float32) for part in compute(source, target))
    maps = {survey: {"matrix": matrix, "offset": offset}}
    config = {**content["config"], "method": method}
    checkpoint.save(path, {**content, "config": config, "maps": maps})
