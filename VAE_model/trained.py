"""A trained model at work: latents of images, images of latents."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from VAE_model import checkpoint, models
from VAE_model.device import Precision, autocast, choose_device
from VAE_model.pose import Pose
from VAE_model.problem import Problem
from VAE_model.stretch import Stretch


@dataclass(frozen=True)
class TrainedVAE:
    """network in evaluation mode on `device`; config: what it was trained with."""

    network: nn.Module
    stretch: Stretch
    config: dict[str, Any]
    device: torch.device
    precision: Precision = "float32"

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
            network = models.build(config["network"], num_var)
            network.load_state_dict(content["weights"])
            stretch = Stretch(config["stretch"], tuple(config["softening"]))
        except (KeyError, RuntimeError, TypeError) as error:
            first = str(error).splitlines()[0]
            raise Problem(
                f"{path} does not fit this version's networks ({first}): train it anew"
            ) from None
        where = choose_device(device)
        network.to(where, memory_format=torch.channels_last).eval()
        return cls(network, stretch, config, where, precision)

    @torch.inference_mode()
    def encode(self, flux: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance, each float32 (N, latents), of flux (N, 3, 256, 256)."""
        inputs, _ = self.network.prepare(self._stretched(flux))
        return self.encode_inputs(inputs)

    @torch.inference_mode()
    def reconstruct(self, flux: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log-variance and the reconstruction of the mean: flux on the sky, nanomaggies,
        of the same shape as `flux` (N, 3, 256, 256)."""
        inputs, where = self.network.prepare(self._stretched(flux))
        mean, log_variance = self.encode_inputs(inputs)
        return mean, log_variance, self.decode(mean, where)

    @torch.inference_mode()
    def encode_inputs(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """As `encode`, of inputs that are prepared already (prepared.py)."""
        with autocast(self.device, self.precision):
            mean, log_variance = self.network.encode(inputs)
        return mean.float(), log_variance.float()

    @torch.inference_mode()
    def decode(self, latent: Tensor, where: Pose | None) -> Tensor:
        """Flux on the sky (N, 3, 256, 256), nanomaggies, of latents (N, latents) at a pose."""
        with autocast(self.device, self.precision):
            decoded = self.network.decode(latent)
        return self.stretch.inverse(self.network.restore(decoded.float(), where))

    def _stretched(self, flux: Tensor) -> Tensor:
        return self.stretch(flux.to(self.device, torch.float32))
