"""The reference of the benchmarks: a simple loop, as such code is often written.

One FITS file per item, opened by a DataLoader with one worker per core, which also prepares the
input of a network that needs it; the network (the published one of Xu et al. 2023, without its
final ReLU, or the default) layer by layer in eager float32 and the default memory layout.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from astropy.io import fits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from VAE_model import models, pretrained
from VAE_model.models import PublishedVAE
from VAE_model.pipeline.parallel import cores
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.stretch import Stretch

Batch = list[Tensor]  # images (N, 3, 256, 256); if prepared: inputs (N, D), and the parts of Pose
Batches = Iterable[Batch]
Preparation = Callable[[Tensor], tuple[Tensor, ...]]  # of one image, (3, 256, 256)


class Cutouts(Dataset):
    """Images by path, float32 (3, 256, 256), each with what `prepare` returns for it."""

    def __init__(self, paths: list[str], prepare: Preparation | None = None) -> None:
        self.paths, self.prepare = paths, prepare

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        flux = torch.from_numpy(fits.getdata(self.paths[number]).astype(np.float32))
        return (flux, *(self.prepare(flux) if self.prepare else ()))


def loader(
    paths: list[str], batch: int, shuffle: bool = True, prepare: Preparation | None = None,
    workers: int | None = None,
) -> DataLoader:  # fmt: skip
    """Return batches of images; workers: processes, None: one per core."""
    workers = cores() if workers is None else workers
    return DataLoader(
        Cutouts(paths, prepare), batch, shuffle, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip


class Network(PublishedVAE):
    """The published network without this repository's optimisations."""

    def __init__(self, num_var: int) -> None:
        super().__init__(num_var)
        self.decoder.layer_by_layer = True

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance in the default memory layout."""
        features = self.encoder(inputs)
        return self.mean(features), self.log_variance(features)


def network(name: str) -> models.VAE:
    """Return a network of models.NETWORKS with 40 latents, without our optimisations."""
    if name == "published":
        return Network(40)
    found = models.build(name, 40)
    if name == pretrained.NETWORK:
        pretrained.initialise(found)
    return found


class _Prepare:
    """The input of a network for one image, as the network prepares it on a CPU."""

    def __init__(self, network: models.VAE) -> None:
        self.network = type(network)(network.num_var)

    @torch.no_grad()
    def __call__(self, flux: Tensor) -> tuple[Tensor, ...]:
        inputs, where = self.network.prepare(Stretch("asinh")(flux[None]))
        return tuple(part[0] for part in (inputs, *(where or ())))


def preparation(network: models.VAE) -> Preparation | None:
    """Return what prepares the input of a network; None: its input is the image."""
    return _Prepare(network) if network.PREPARED_ONCE else None


def epoch(network: models.VAE, optimizer: torch.optim.Optimizer, batches: Batches) -> float:
    """Train for one pass; return the mean loss."""
    losses = []
    for batch in batches:
        _, inputs, _ = _on_device(network, batch)
        drawn, mean, log_variance = network(inputs)
        squares = torch.sum((drawn - network.target(inputs)) ** 2)
        kl = -0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp())
        loss = (squares + kl) / len(inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def extract(network: models.VAE, batches: Batches, similarity: bool) -> Iterator[np.ndarray]:
    """Yield latents, squared error and (if `similarity`) SSIM by pytorch-msssim, for each batch."""
    for batch in batches:
        flux, inputs, where = _on_device(network, batch)
        mean, log_variance = network.encode(inputs)
        sky = network.restore(network.decode(mean), where)
        if network.PREPARED_ONCE:
            sky = Stretch("asinh").inverse(sky)
        one, two = (part[:, :, 64:192, 64:192] for part in (sky, flux))
        found = [mean, log_variance, ((one - two) ** 2).mean(dim=(1, 2, 3))[:, None]]
        if similarity:
            from pytorch_msssim import ssim  # a package for development

            like = ssim(one, two, 1.0, size_average=False, win_size=11, win_sigma=10.0)
            found.append(like[:, None])
        yield torch.cat(found, dim=1).cpu().numpy()


def _on_device(network: models.VAE, batch: Batch) -> tuple[Tensor, Tensor, Pose | None]:
    """Return the images of a batch, the input of the network, and the poses if there are some."""
    device = next(network.parameters()).device
    flux, *rest = (part.to(device) for part in batch)
    return (flux, rest[0], Pose(*rest[1:])) if rest else (flux, flux, None)
