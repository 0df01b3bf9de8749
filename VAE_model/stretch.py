"""The stretch between flux on the sky and what a network sees. No stretch clips negative sky."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# Pixel noise of DECaLS coadds in g, r, z: medians, nanomaggies.
NOISE = (0.0031, 0.0044, 0.0117)
# Where arcsinh turns from linear to logarithmic: three sigma, so that noise stays small.
SOFTENING = tuple(3 * sigma for sigma in NOISE)


@dataclass(frozen=True)
class Stretch:
    """kind: `linear` (flux as it is, as published) or `asinh` (arcsinh(flux / softening));
    softening: nanomaggies a band, (g, r, z)."""

    kind: Literal["linear", "asinh"] = "asinh"
    softening: tuple[float, ...] = SOFTENING

    def __call__(self, flux: Tensor) -> Tensor:
        """Stretch flux (..., 3, y, x) in nanomaggies."""
        if self.kind == "linear":
            return flux
        return torch.arcsinh(flux / self._scale(flux))

    def inverse(self, stretched: Tensor) -> Tensor:
        """Flux in nanomaggies; exact inverse of the call."""
        if self.kind == "linear":
            return stretched
        return torch.sinh(stretched) * self._scale(stretched)

    def _scale(self, like: Tensor) -> Tensor:
        scale = torch.tensor(self.softening, dtype=like.dtype, device=like.device)
        return scale[:, None, None]
