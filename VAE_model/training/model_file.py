"""A trained model, read from its file: from images to latents and back."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VAE_model import models
from VAE_model.pipeline.problem import Problem
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.stretch import Stretch
from VAE_model.training import checkpoint
from VAE_model.training.device import Precision, autocast, choose_device, microbatch_size


@dataclass(frozen=True)
class TrainedVAE:
    """A network in evaluation mode on `device`.

    config: the constants it was trained with; maps: of surveys whose latents an adaptation moves by
    an affine map, mu -> matrix mu + offset: matrix (latents, latents) and offset (latents,).
    """

    network: models.VAE
    stretch: Stretch
    config: dict[str, Any]
    device: torch.device
    precision: Precision = "float32"
    maps: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def load(
        cls, path: str | Path, num_var: int, device: str = "auto", precision: Precision = "float32"
    ) -> "TrainedVAE":
        """Read a model file, which must have `num_var` latents.

        Raises Problem if it is missing, corrupt, or has another number of latents.
        """
        path = Path(path)
        content = checkpoint.load(path)
        config = content["config"]
        found = config.get("num_var")
        if found != num_var:
            raise Problem(
                f"{path} has {found} latents, not {num_var}: add --num-var {found} to the command"
            )
        place = choose_device(device)
        try:
            network = models.build(config["network"], num_var, config.get("contaminants", "kept"))
            network.load_state_dict(content["weights"])
            stretch = Stretch(config["stretch"], tuple(config["softening"]))
            maps = {
                survey: (one["matrix"].to(place), one["offset"].to(place))
                for survey, one in content.get("maps", {}).items()
            }
            if not all(torch.isfinite(value).all() for value in network.state_dict().values()):
                raise ValueError("weights that are not finite")
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise Problem(
                f"{path} does not fit this version's networks ({reason}): "
                f"run {checkpoint.trained_by(path)} --again"
            ) from None
        network.to(place).to(memory_format=torch.channels_last).eval()
        return cls(network, stretch, config, place, precision, maps)

    def for_images(self, display: NDArray[np.bool_], any_unit: bool = False) -> "TrainedVAE":
        """Return the model with a stretch for these images.

        display: which of them are 8-bit images, (N,); any_unit: a model that was trained on flux
        takes 8-bit images, and the reverse, by the stretch that suits the images, as the weights
        that travel with the project always do. Raises Problem without `any_unit`.
        """
        names = {True: "8-bit images", False: "images of flux"}
        own = self.stretch.kind == "display"
        wrong = display != own
        if not wrong.any():
            return self
        if not (any_unit or self.config.get("any_unit")):
            raise Problem(
                f"the model was trained on {names[own]}, and {wrong.sum():,} of {len(wrong):,} "
                f"images are {names[not own]}: train a model on them, or add --any-unit to encode "
                "them all the same (latents of the two kinds are not comparable)"
            )
        return replace(self, stretch=Stretch.of(display))

    @torch.inference_mode()
    def encode(self, flux: Tensor, surveys: Sequence[str] = ()) -> tuple[Tensor, Tensor]:
        """Return posterior mean and log-variance, each float32 (N, latents).

        flux: (N, 3, 256, 256); surveys: of each image, (N,), needed by a model that was adapted to
        a second survey.
        """
        return self.encode_inputs(self._prepare(flux)[0], surveys)

    @torch.inference_mode()
    def reconstruct(
        self, flux: Tensor, surveys: Sequence[str] = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, log-variance and the reconstruction from the mean.

        flux and the reconstruction: (N, 3, 256, 256), on the sky, nanomaggies.
        """
        inputs, where = self._prepare(flux)
        mean, log_variance = self.encode_inputs(inputs, surveys)
        return mean, log_variance, self.decode(mean, where)

    @torch.inference_mode()
    def decode(self, latent: Tensor, where: Pose | None) -> Tensor:
        """Return flux on the sky, (N, 3, 256, 256), nanomaggies, from latents (N, latents)."""
        return self.restore(self.decode_target(latent), where)

    @torch.inference_mode()
    def encode_inputs(self, inputs: Tensor, surveys: Sequence[str] = ()) -> tuple[Tensor, Tensor]:
        """Encode, as `encode`, what is prepared already (preparation/prepared_inputs.py)."""
        if self.maps and len(surveys) != len(inputs):
            raise ValueError(
                f"the model treats {', '.join(self.maps)} apart: it needs the survey of each of "
                f"the {len(inputs)} images, and got {len(surveys)}"
            )
        with autocast(self.device, self.precision, self.network):
            found = [self.network.encode(part) for part in self._parts(inputs)]
        mean, log_variance = (torch.cat(both).float() for both in zip(*found, strict=True))
        for survey, (matrix, offset) in self.maps.items():
            mapped = torch.tensor([s == survey for s in surveys], device=mean.device)[:, None]
            variance = log_variance.exp() @ matrix.square().T
            mean = torch.where(mapped, mean @ matrix.T + offset, mean)
            log_variance = torch.where(mapped, variance.log(), log_variance)
        return mean, log_variance

    @torch.inference_mode()
    def decode_target(self, latent: Tensor) -> Tensor:
        """Return the reconstruction of the network's target, float32 (N, D), from latents."""
        with autocast(self.device, self.precision, self.network):
            decoded = torch.cat([self.network.decode(part) for part in self._parts(latent)])
        return decoded.float()

    @torch.inference_mode()
    def residual(self, inputs: Tensor, decoded: Tensor) -> Tensor:
        """Return the mean squared error of `decode_target` for each of `inputs`, (N,)."""
        return (self.network.target(inputs) - decoded).square().mean(dim=1)

    @torch.inference_mode()
    def restore(self, decoded: Tensor, where: Pose | None) -> Tensor:
        """Return flux on the sky, (N, 3, 256, 256), nanomaggies, from `decode_target` and poses."""
        return self.stretch.inverse(self.network.restore(decoded, where))

    def _prepare(self, flux: Tensor) -> tuple[Tensor, Pose | None]:
        return self.network.prepare(self.stretch(flux.to(self.device, torch.float32)))

    def _parts(self, batch: Tensor) -> tuple[Tensor, ...]:
        size = microbatch_size(self.network, self.device, self.precision, len(batch))
        return batch.split(size)
