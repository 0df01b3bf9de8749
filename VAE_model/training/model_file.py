"""A trained model at work: latents of images, images of latents."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from VAE_model import models
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.stretch import Stretch
from VAE_model.problem import Problem
from VAE_model.training import checkpoint
from VAE_model.training.device import Precision, autocast, choose_device, part_of_a_batch


@dataclass(frozen=True)
class TrainedVAE:
    """network in evaluation mode on `device`; config: what it was trained with;
    maps: of surveys whose latents an adaptation moves by an affine map, mu -> matrix mu + offset:
    matrix (latents, latents) and offset (latents,)."""

    network: nn.Module
    stretch: Stretch
    config: dict[str, Any]
    device: torch.device
    precision: Precision = "float32"
    maps: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def load(
        cls, path: Path, num_var: int, device: str = "auto", precision: Precision = "float32"
    ) -> "TrainedVAE":
        """A model file, which must have `num_var` latents.

        Raises Problem where it is missing, corrupt, or of another dimension.
        """
        content = checkpoint.load(path)
        config = content["config"]
        found = config.get("num_var")
        if found != num_var:
            raise Problem(
                f"{path} has {found} latents, not {num_var}: set num_var = {found}, or train one "
                f"with python Galaxy_VAE_n.py --num-var {num_var}"
            )
        try:
            network = models.build(config["network"], num_var, config.get("neighbours", "kept"))
            network.load_state_dict(content["weights"])
            stretch = Stretch(config["stretch"], tuple(config["softening"]))
            if not all(
                bool(torch.isfinite(value).all()) for value in network.state_dict().values()
            ):
                raise ValueError("weights that are no number")
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise Problem(
                f"{path} does not fit this version's networks ({first}): train it anew"
            ) from None
        where = choose_device(device)
        network.to(where).to(memory_format=torch.channels_last).eval()
        maps = {
            survey: (matrix.to(where), offset.to(where))
            for survey, (matrix, offset) in content.get("maps", {}).items()
        }
        return cls(network, stretch, config, where, precision, maps)

    @torch.inference_mode()
    def encode(self, flux: Tensor, surveys: Sequence[str] = ()) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance, each float32 (N, latents), of flux (N, 3, 256, 256).

        surveys: of each image, (N,), which a model that was adapted to a second one needs.
        """
        inputs, _ = self.network.prepare(self._stretched(flux))
        return self.encode_inputs(inputs, surveys)

    @torch.inference_mode()
    def reconstruct(
        self, flux: Tensor, surveys: Sequence[str] = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log-variance and the reconstruction of the mean: flux on the sky, nanomaggies,
        of the same shape as `flux` (N, 3, 256, 256)."""
        inputs, where = self.network.prepare(self._stretched(flux))
        mean, log_variance = self.encode_inputs(inputs, surveys)
        return mean, log_variance, self.decode(mean, where)

    @torch.inference_mode()
    def encode_inputs(self, inputs: Tensor, surveys: Sequence[str] = ()) -> tuple[Tensor, Tensor]:
        """As `encode`, of inputs that are prepared already (prepared.py)."""
        if self.maps and len(surveys) != len(inputs):
            raise ValueError(
                f"the model treats {', '.join(self.maps)} apart: it needs the survey of each of "
                f"the {len(inputs)} images, and got {len(surveys)}"
            )
        with autocast(self.device, self.precision, self.network):
            found = [self.network.encode(some) for some in self._parts(inputs)]
        mean, log_variance = (torch.cat(both).float() for both in zip(*found, strict=True))
        for survey, (matrix, offset) in self.maps.items():
            theirs = torch.tensor([s == survey for s in surveys], device=mean.device)[:, None]
            variance = log_variance.exp() @ matrix.square().T
            mean = torch.where(theirs, mean @ matrix.T + offset, mean)
            log_variance = torch.where(theirs, variance.log(), log_variance)
        return mean, log_variance

    @torch.inference_mode()
    def decode(self, latent: Tensor, where: Pose | None) -> Tensor:
        """Flux on the sky (N, 3, 256, 256), nanomaggies, of latents (N, latents) at a pose."""
        return self.on_sky(self.draw(latent), where)

    @torch.inference_mode()
    def draw(self, latent: Tensor) -> Tensor:
        """The reconstruction of the target, float32 (N, D), of latents (N, latents)."""
        with autocast(self.device, self.precision, self.network):
            drawn = torch.cat([self.network.decode(some) for some in self._parts(latent)])
        return drawn.float()

    @torch.inference_mode()
    def residual(self, inputs: Tensor, drawn: Tensor) -> Tensor:
        """Mean squared difference of the target of `inputs` and what `draw` gives, (N,)."""
        return (self.network.target(inputs) - drawn).square().mean(dim=1)

    @torch.inference_mode()
    def on_sky(self, drawn: Tensor, where: Pose | None) -> Tensor:
        """Flux on the sky (N, 3, 256, 256), nanomaggies, of what `draw` gives, at a pose."""
        return self.stretch.inverse(self.network.restore(drawn, where))

    def _parts(self, batch: Tensor) -> tuple[Tensor, ...]:
        return batch.split(part_of_a_batch(self.network, self.device, self.precision, len(batch)))

    def _stretched(self, flux: Tensor) -> Tensor:
        return self.stretch(flux.to(self.device, torch.float32))
