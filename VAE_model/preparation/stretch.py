"""The stretch from flux to the input of a network. It never clips the negative sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from VAE_model.pipeline.problem import Problem

if TYPE_CHECKING:  # a script that needs no torch does not wait for its import
    from torch import Tensor

Kind = Literal["linear", "asinh", "display"]

# Pixel noise of DECaLS coadds in g, r, z: medians, nanomaggies.
NOISE = (0.0031, 0.0044, 0.0117)
# Where arcsinh changes from linear to logarithmic: three sigma, so that noise stays small.
SOFTENING = tuple(3 * sigma for sigma in NOISE)
# The unit of an 8-bit image, in its brightness from 0 to 1: three times the noise of an SDSS sky.
DISPLAY_UNIT = (0.125, 0.125, 0.125)


@dataclass(frozen=True)
class Stretch:
    """A stretch and its inverse.

    kind: `linear` (flux, as published), `asinh` (arcsinh(flux / softening)), or `display`
    (brightness / softening, for 8-bit images, which were stretched when they were made);
    softening: of each band, (g, r, z), nanomaggies; of `display` in brightness from 0 to 1.
    """

    kind: Kind = "asinh"
    softening: tuple[float, ...] = SOFTENING

    @classmethod
    def of(cls, display: ArrayLike, kind: Kind | Literal["auto"] = "auto") -> Stretch:
        """Return the stretch for a list of images.

        display: which of them are 8-bit images, (N,); kind: `auto` is display if all are, asinh if
        none is. Raises Problem for `auto` if only some are.
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
        return scaled if self.kind == "display" else scaled.arcsinh()

    def inverse(self, stretched: Tensor) -> Tensor:
        """Return flux in nanomaggies: the exact inverse of the call."""
        if self.kind == "linear":
            return stretched
        scaled = stretched if self.kind == "display" else stretched.sinh()
        return scaled * self._scale(stretched)

    def _scale(self, like: Tensor) -> Tensor:
        return like.new_tensor(self.softening)[:, None, None]
