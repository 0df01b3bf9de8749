"""The reference of benchmarks/speed.py: a simple loop, as such code is often written.

One FITS file per item, opened by a DataLoader with one worker per core; the published network (Xu
et al. 2023, without its final ReLU) layer by layer in eager float32 and the default memory layout.
"""

from collections.abc import Iterator

import numpy as np
import torch
from astropy.io import fits
from pytorch_msssim import ssim
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from VAE_model.models import BANDS, SIZE, PublishedVAE
from VAE_model.pipeline.parallel import cores


class Cutouts(Dataset):
    """Images by path, float32 (3, 256, 256)."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Tensor:
        return torch.from_numpy(fits.getdata(self.paths[number]).astype(np.float32))


def loader(paths: list[str], batch: int, shuffle: bool = True) -> DataLoader:
    """Return batches of images."""
    return DataLoader(Cutouts(paths), batch, shuffle, num_workers=cores(), persistent_workers=True)


class Network(PublishedVAE):
    """The published network without this repository's optimisations."""

    def __init__(self, num_var: int) -> None:
        super().__init__(num_var)
        self.decoder.layer_by_layer = True

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance in the default memory layout."""
        features = self.encoder(inputs)
        return self.mean(features), self.log_variance(features)


def epoch(network: Network, optimizer: torch.optim.Optimizer, images: DataLoader) -> float:
    """Train for one pass; return the mean loss."""
    total = 0.0
    device = next(network.parameters()).device
    for flux in images:
        flux = flux.to(device)
        drawn, mean, log_variance = network(flux)
        squares = torch.sum((drawn - flux.flatten(1)) ** 2)
        kl = -0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp())
        loss = (squares + kl) / len(flux)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(images)


@torch.no_grad()
def extract(network: Network, images: DataLoader, similarity: bool) -> Iterator[np.ndarray]:
    """Yield latents, squared error and (if `similarity`) SSIM by pytorch-msssim, for each batch."""
    device = next(network.parameters()).device
    for flux in images:
        flux = flux.to(device)
        mean, log_variance = network.encode(flux)
        sky = network.decode(mean).view(-1, BANDS, SIZE, SIZE)
        one, two = (part[:, :, 64:192, 64:192] for part in (sky, flux))
        found = [mean, log_variance, ((one - two) ** 2).mean(dim=(1, 2, 3))[:, None]]
        if similarity:
            like = ssim(one, two, 1.0, size_average=False, win_size=11, win_sigma=10.0)
            found.append(like[:, None])
        yield torch.cat(found, dim=1).cpu().numpy()
