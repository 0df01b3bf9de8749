"""The reference of benchmarks/speed.py: a simple loop, as such code is often written.

One FITS file per item, opened by a DataLoader with one worker per core; the published network (Xu
et al. 2023, without its final ReLU) in eager float32 and the default memory layout.
"""

from collections.abc import Iterator

import numpy as np
import torch
from astropy.io import fits
from pytorch_msssim import ssim
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

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
    return DataLoader(Cutouts(paths), batch, shuffle, num_workers=cores(), persistent_workers=True)


class Network(nn.Module):
    def __init__(self, num_var: int) -> None:
        super().__init__()
        encoder, decoder = [], []
        for wide in ((3, 32), (32, 64), (64, 128)):
            encoder += [nn.Conv2d(*wide, 3, 2, 1), nn.MaxPool2d(2), nn.LeakyReLU()]
        for wide in ((128, 64), (64, 32), (32, 32)):
            decoder += [nn.Upsample(scale_factor=2), nn.ConvTranspose2d(*wide, 3, 2, 1, 1)]
            decoder += [nn.LeakyReLU()]
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.mean, self.log_variance = nn.Linear(2048, num_var), nn.Linear(2048, num_var)
        self.linear = nn.Linear(num_var, 2048)
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(32, 3, 3, 1, 1))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(images)
        return self.mean(features), self.log_variance(features)

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(self.linear(latent).view(-1, 128, 4, 4))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(images)
        drawn = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decode(drawn), mean, log_variance


def epoch(network: Network, optimizer: torch.optim.Optimizer, images: DataLoader) -> float:
    """Train for one pass; return the mean loss."""
    total = 0.0
    device = next(network.parameters()).device
    for flux in images:
        flux = flux.to(device)
        drawn, mean, log_variance = network(flux)
        squares = torch.sum((drawn - flux) ** 2)
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
        sky = network.decode(mean)
        one, two = (part[:, :, 64:192, 64:192] for part in (sky, flux))
        found = [mean, log_variance, ((one - two) ** 2).mean(dim=(1, 2, 3))[:, None]]
        if similarity:
            like = ssim(one, two, 1.0, size_average=False, win_size=11, win_sigma=10.0)
            found.append(like[:, None])
        yield torch.cat(found, dim=1).cpu().numpy()
