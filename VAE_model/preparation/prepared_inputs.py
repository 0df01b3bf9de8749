"""The inputs of a network for all images of a packed run, prepared once.

The published network's input is the stretched image. Where preparation is expensive (pose and
structure vector), it is done once and kept in a file beside the packed images, so that an epoch of
training reads 54 kB per image instead of 786 kB.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from VAE_model.data.packed import Packed
from VAE_model.data.row_file import RowFile
from VAE_model.models import VAE
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.problem import Problem
from VAE_model.preparation import (
    degradation,
    pixel_noise,
    pose,
    segmentation,
    structure_vector,
)
from VAE_model.preparation.degradation import degrade
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.stretch import Stretch
from VAE_model.training import distributed
from VAE_model.training.loader import batches

AT_ONCE = 16  # whole images: blocks above 32 MB come from the system page by page
_POSE = len(Pose._fields)


class PreparedInputs:
    """The inputs of a network for all images of a packed run."""

    def __init__(
        self, packed: Packed, network: VAE, stretch: Stretch, device: torch.device
    ) -> None:
        self.packed, self.network, self.stretch, self.device = packed, network, stretch, device
        self.file: RowFile | None = None
        if network.PREPARED_ONCE:
            with distributed.rank_0_first():
                self.file = self.open()

    def batches(
        self, rows: NDArray[np.int64], batch_size: int, shared: bool = False
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, Pose | None]]:
        """Yield rows, their inputs on the device, and their poses, in the order of `rows`.

        shared: as in loader.py.
        """
        if self.file is not None:
            for part, block in batches(self.file, rows, batch_size, self.device, shared):
                yield part, block[:, :-_POSE], Pose(*block[:, -_POSE:].T)
            return
        for part, flux in batches(self.packed.images, rows, batch_size, self.device, shared):
            yield part, *self._prepare(flux)

    def degraded(
        self, rows: NDArray[np.int64], generator: torch.Generator, moved: bool
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, Pose | None]]:
        """Yield rows, inputs and poses of degraded copies of images; moved: as in degradation.py.

        generator: on the CPU.
        """
        noise = self.packed.noise
        for part, flux in batches(self.packed.images, rows, AT_ONCE, self.device):
            copies = degrade(flux, torch.from_numpy(noise[part]), generator, moved=moved)
            yield part, *self._prepare(copies)

    def check_finite(self, rows: NDArray[np.int64]) -> None:
        """Raise Problem naming the first of the images whose input is not finite."""
        for part, inputs, _ in self.batches(rows, AT_ONCE):
            bad = ~torch.isfinite(inputs.flatten(1)).all(dim=1)
            if bad.any():
                row, folder = part[int(bad.nonzero()[0])], self.packed.folder
                raise Problem(
                    f"{folder} is damaged: {self.packed.index['path'][row]} is not finite in it: "
                    f"delete the folder {folder} and run the same command again"
                )

    def open(self) -> RowFile:
        """Return the file of inputs and poses of all images, which is written if it is missing."""
        return self._opened("", np.arange(len(self.packed.images)))

    def open_degraded(self, rows: NDArray[np.int64]) -> RowFile:
        """Return the file of inputs and poses of degraded copies of some images, in their order."""
        name = hashlib.sha256(rows.tobytes()).hexdigest()[:12]
        return self._opened(f"degraded_{name}_", rows)

    def _opened(self, kind: str, rows: NDArray[np.int64]) -> RowFile:
        path = self.packed.folder / f"prepared_{kind}{self._version()}.float32"
        if not path.exists():
            self._write(path, rows, bool(kind))
        length = path.stat().st_size // np.dtype(np.float32).itemsize // len(rows)
        return RowFile(path, (length,), np.arange(len(rows)))

    def _version(self) -> str:
        """Return a hash of the images, the code that prepares them, and its constants."""
        modules = (segmentation, pixel_noise, pose, structure_vector, degradation)
        code = code_version(*(Path(str(module.__file__)) for module in modules))
        network = self.network
        constants = [type(network).__name__, network.masks_contaminants]
        constants += [getattr(network, name, None) for name in ("SIDE", "HALF_WIDTH")]
        constants += [self.stretch.kind, self.stretch.softening, self.packed.images.dtype, code]
        images = self.packed.index[["sha256", "shift_x", "shift_y"]].to_csv(index=False).encode()
        text = json.dumps(constants).encode() + images
        return hashlib.sha256(text).hexdigest()[:12]

    @torch.no_grad()
    def _prepare(self, flux: Tensor) -> tuple[Tensor, Pose | None]:
        return self.network.prepare(self.stretch(flux))

    def _write(self, path: Path, rows: NDArray[np.int64], degraded: bool) -> None:
        label = "preparing second exposures" if degraded else "preparing inputs"
        if degraded:  # not moved: both exposures are of one place on the sky
            prepared = self.degraded(rows, torch.Generator().manual_seed(0), moved=False)
        else:
            prepared = self.batches(rows, AT_ONCE)
        with (
            atomic(path) as temporary,
            open(temporary, "wb") as file,
            tqdm(total=len(rows), desc=label, unit="image") as bar,
        ):
            for part, inputs, where in prepared:
                if where is None:
                    raise TypeError(f"{type(self.network).__name__} is prepared once, without pose")
                block = torch.cat([inputs, torch.stack(where, dim=1)], dim=1).cpu().numpy()
                file.write(block.tobytes())
                bar.update(len(part))
