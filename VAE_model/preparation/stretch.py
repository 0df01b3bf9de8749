"""The stretch between flux on the sky and what a network sees. No stretch clips negative sky."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from VAE_model.problem import Problem

Kind = Literal["linear", "asinh", "display"]

# Pixel noise of DECaLS coadds in g, r, z: medians, nanomaggies.
NOISE = (0.0031, 0.0044, 0.0117)
# Where arcsinh turns from linear to logarithmic: three sigma, so that noise stays small.
SOFTENING = tuple(3 * sigma for sigma in NOISE)
# The unit of an 8-bit image, in its brightness from 0 to 1: three times the noise of an SDSS sky.
DISPLAY_UNIT = (0.125, 0.125, 0.125)


@dataclass(frozen=True)
class Stretch:
    """kind: `linear` (flux as it is, as published), `asinh` (arcsinh(flux / softening)), or
    `display` (brightness / softening, for 8-bit images, which were stretched when they were made);
    softening: a band, (g, r, z), in nanomaggies, or of `display` in brightness from 0 to 1."""

    kind: Kind = "asinh"
    softening: tuple[float, ...] = SOFTENING

    @classmethod
    def of(cls, display: ArrayLike, kind: Kind | Literal["auto"] = "auto") -> "Stretch":
        """The stretch for a list of images, with the softening of its kind.

        kind: `auto` is asinh, or display where all are 8-bit images; display: of each image, (N,).
        Raises Problem where that cannot be, as some are 8-bit images and some are not.
        """
        marked = np.asarray(display, bool)
        if kind == "auto" and marked.any() and not marked.all():
            raise Problem(
                f"{marked.sum():,} of {len(marked):,} images are 8-bit images for display, the "
                "others hold flux, and no stretch suits both: import them into runs of their own"
            )
        if kind == "auto":
            kind = "display" if marked.any() else "asinh"
        return cls(kind, DISPLAY_UNIT if kind == "display" else SOFTENING)

    def __call__(self, flux: Tensor) -> Tensor:
        """Stretch flux (..., 3, y, x) in nanomaggies."""
        if self.kind == "linear":
            return flux
        scaled = flux / self._scale(flux)
        return scaled if self.kind == "display" else torch.arcsinh(scaled)

    def inverse(self, stretched: Tensor) -> Tensor:
        """Flux in nanomaggies; exact inverse of the call."""
        if self.kind == "linear":
            return stretched
        scaled = stretched if self.kind == "display" else torch.sinh(stretched)
        return scaled * self._scale(stretched)

    def _scale(self, like: Tensor) -> Tensor:
        scale = torch.tensor(self.softening, dtype=like.dtype, device=like.device)
        return scale[:, None, None]
