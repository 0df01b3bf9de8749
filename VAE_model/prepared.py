"""What the encoder sees of each image of a packed run, batch by batch.

The published network sees the stretched image. Where a network's preparation is dear (measuring
pose and structure), it is done once and kept in a file beside the packed images,
so that an epoch of training reads 54 kB an image and not 786 kB.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from VAE_model import distributed, pixel_noise, pose, segmentation, structure
from VAE_model.batches import batches
from VAE_model.files import atomic
from VAE_model.packed import Packed
from VAE_model.pose import Pose
from VAE_model.problem import Problem
from VAE_model.row_file import RowFile
from VAE_model.stretch import Stretch

_BATCH = 64


class Prepared:
    """The inputs of a network for all images of a packed run."""

    def __init__(
        self, packed: Packed, network: nn.Module, stretch: Stretch, device: torch.device
    ) -> None:
        self.packed, self.network, self.stretch, self.device = packed, network, stretch, device
        with distributed.first_alone():
            self.cache = self._cache() if network.CACHED else None

    def batches(
        self, rows: NDArray[np.int64], size: int, shared: bool = False
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, Pose | None]]:
        """Rows, inputs on the device and the pose taken out of them, in the order of `rows`.

        shared: as in batches.py."""
        if self.cache is not None:
            for chunk, block in batches(self.cache, rows, size, self.device, shared):
                yield chunk, block[:, : -len(Pose._fields)], Pose(*block[:, -len(Pose._fields) :].T)
            return
        for chunk, flux in batches(self.packed.images, rows, size, self.device, shared):
            with torch.no_grad():
                inputs, where = self.network.prepare(self.stretch(flux))
            yield chunk, inputs, where

    def check_finite(self, rows: NDArray[np.int64]) -> None:
        """Raise Problem naming the first of the images whose input is not finite."""
        for chunk, inputs, _ in self.batches(rows, _BATCH):
            bad = ~torch.isfinite(inputs.flatten(1)).all(dim=1)
            if bad.any():
                row, folder = chunk[int(bad.nonzero()[0])], self.packed.folder
                raise Problem(
                    f"{folder} is damaged: {self.packed.index['path'][row]} is not finite in it: "
                    f"delete {folder.name}/ and rerun"
                )

    def _cache(self) -> RowFile:
        path = self.packed.folder / f"prepared_{self._key()}.float32"
        if not path.exists():
            self._write(path)
        count = len(self.packed.images)
        length = path.stat().st_size // np.dtype(np.float32).itemsize // count
        return RowFile(path, (length,), np.arange(count))

    def _key(self) -> str:
        """Changes with the images, the code that prepares, the stretch, and the network's frame."""
        modules = (segmentation, pixel_noise, pose, structure)
        source = [Path(str(module.__file__)).read_bytes() for module in modules]
        constants: list[object] = [
            type(self.network).__name__,
            self.network.SIDE,
            self.network.HALF_WIDTH,
            self.network.hides,
        ]
        constants += [self.stretch.kind, self.stretch.softening]
        constants += [self.packed.images.dtype]
        images = self.packed.index[["sha256", "shift_x", "shift_y"]].to_csv(index=False).encode()
        text = json.dumps(constants).encode() + b"".join(source) + images
        return hashlib.sha256(text).hexdigest()[:12]

    @torch.no_grad()
    def _write(self, path: Path) -> None:
        rows = np.arange(len(self.packed.images))
        with (
            atomic(path) as temporary,
            open(temporary, "wb") as file,
            tqdm(total=len(rows), desc="preparing inputs", unit="image") as bar,
        ):
            for chunk, flux in batches(self.packed.images, rows, _BATCH, self.device):
                inputs, where = self.network.prepare(self.stretch(flux))
                block = torch.cat([inputs, torch.stack(where, dim=1)], dim=1).cpu().numpy()
                file.write(block.tobytes())
                bar.update(len(chunk))
