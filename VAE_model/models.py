"""The networks: convolutional variational auto-encoders of 3x256x256 images.

Every network has one interface, so that training, extraction and everything after need not know
which one it is:

    prepare(images)  stretched images -> what the encoder sees, and the pose taken out of it
    target(inputs)   what the decoder must reconstruct, flat: (N, D)
    encode(inputs)   mean and log-variance of the posterior, each (N, num_var)
    decode(latent)   the reconstruction of the target, (N, D)
    restore(decoded, pose)  the reconstruction as stretched images on the sky
    initialise(inputs, again)  a look at training images before training begins, and at the same as
                     a worse exposure shows them
    hides            whether prepare takes the neighbours out of the image
"""

import math
from typing import Literal

import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor, nn

from VAE_model.layers import Upsampling
from VAE_model.preparation import pose
from VAE_model.preparation import structure_vector as structure
from VAE_model.preparation.pose import Pose
from VAE_model.segmentation import hide_neighbours

BANDS = 3
SIZE = 256


class Published(nn.Module):
    """The network of Xu et al. 2023 (MNRAS 526, 6391): 443,507 parameters at 40 latents.

    Its final ReLU is left out: the sky goes negative, and a ReLU could never fit it.
    """

    CACHED = False  # what the encoder sees is the image itself
    hides = False
    FAST_IN_BF16 = True  # on a processor with instructions for it, three times and more
    # Bytes of the largest layer's output that a CPU trains on at a time: larger blocks are not
    # kept by the allocator but fetched page by page from the kernel, which takes most of the time.
    PART_BYTES = 12 * 2**20

    def __init__(self, num_var: int) -> None:
        super().__init__()
        down = ((BANDS, 32), (32, 64), (64, 128))
        up = ((128, 64), (64, 32), (32, 32))
        self.encoder = nn.Sequential(
            *(
                layer
                for wide in down
                for layer in (
                    nn.Conv2d(*wide, 3, 2, 1),
                    nn.MaxPool2d(2),
                    nn.LeakyReLU(inplace=True),
                )
            ),
            nn.Flatten(),
        )
        self.mean = nn.Linear(128 * 4 * 4, num_var)
        self.log_variance = nn.Linear(128 * 4 * 4, num_var)
        self.decoder = Upsampling(
            nn.Linear(num_var, 128 * 4 * 4),
            nn.Unflatten(1, (128, 4, 4)),
            *(
                layer
                for wide in up
                for layer in (
                    nn.Upsample(scale_factor=2, mode="nearest"),
                    nn.ConvTranspose2d(*wide, 3, 2, 1, 1),
                    nn.LeakyReLU(inplace=True),
                )
            ),
            nn.Conv2d(32, BANDS, 3, 1, 1),
        )

    def initialise(self, inputs: Tensor, again: Tensor | None = None) -> None:
        """Nothing: the published network starts from random weights."""

    def part(self, dtype: torch.dtype) -> int:
        """Images that a CPU trains on at a time."""
        largest = self.decoder[-1].in_channels * SIZE**2 * dtype.itemsize
        return max(1, int(self.PART_BYTES // largest))

    def prepare(self, images: Tensor) -> tuple[Tensor, None]:
        return images, None

    def target(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(inputs.contiguous(memory_format=torch.channels_last))
        return self.mean(features), self.log_variance(features)

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(latent).flatten(1)

    def restore(self, decoded: Tensor, _: None) -> Tensor:
        return decoded.unflatten(1, (BANDS, SIZE, SIZE))


class Structured(nn.Module):
    """Sees each galaxy in its own frame, and must predict its structure as well as its pixels.

    Other sources are hidden first, or latents would be spent on them. The pose (centre, direction
    of the major axis) is measured and taken out before the encoder and put back after the decoder,
    so that no latent is spent on it. Beside the turned image the
    network sees, and its latents must reconstruct, the structure vector of structure.py.

    What a second look at the same galaxy does not confirm (second_look.py) has little weight.

    Encoder and decoder are each a fixed linear map plus a network whose last layer starts at
    zero: training begins at a linear VAE, and the networks learn what a linear map cannot do. The
    latents of the linear VAE span the principal components of the training images, the optimum
    (Lucas et al. 2019), but are not these: each is the mean of a group of numbers of the structure
    vector that vary together, as the components reconstruct them, and the decoder is the regression
    on such latents and their noise. So a latent has a meaning of its own, which a component, a
    contrast between everything, has not; and what cuts along the axes, as a forest does, finds more
    in them (docs/LOG.md). They are correlated, which the prior is not.
    """

    CACHED = True  # measuring pose and structure costs more than an epoch of training
    hides = True  # what belongs to neighbours (segmentation.py)
    SIDE = 64  # pixels of the galaxy's own frame
    HALF_WIDTH = 0.5  # of the frame, in half-frames of the image: 34 arcsec across
    WIDTH = 0.03  # of a latent's posterior at the beginning
    TRUST = 0.15  # scatter between two looks over that among galaxies, at which a number has 0.7
    IMAGE_SHARE = 0.25  # of the target's variance; the rest is the structure vector's

    def __init__(self, num_var: int, width: int = 16) -> None:
        super().__init__()
        self.pixels = BANDS * self.SIDE**2
        self.numbers = structure.length(self.SIDE)
        size = self.pixels + self.numbers
        corner = 4 * width * 4 * 4
        self.register_buffer("bank", structure.wavelets(self.SIDE), persistent=False)
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("spread", torch.ones(self.numbers))
        self.register_buffer("middle", torch.zeros(self.numbers))  # after the logarithm
        self.register_buffer("trust", torch.ones(self.numbers))  # weight beside other numbers
        self.register_buffer("weight", torch.ones(2))  # of a pixel and of a number
        self.linear_encoder = _zero(nn.Linear(size, num_var, bias=False)).requires_grad_(False)
        self.linear_decoder = _zero(nn.Linear(num_var, size, bias=False)).requires_grad_(False)
        self.image_encoder = nn.Sequential(
            nn.Unflatten(1, (BANDS, self.SIDE, self.SIDE)),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * BANDS, width, 3, 2, 1),
            Residual(width),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            Residual(2 * width),
            nn.Conv2d(2 * width, 4 * width, 3, 2, 1),
            Residual(4 * width),
            nn.Flatten(),
            nn.SiLU(),
            _zero(nn.Linear(corner, 2 * num_var)),
        )
        self.structure_encoder = nn.Sequential(
            nn.Linear(self.numbers, 256), nn.SiLU(), _zero(nn.Linear(256, 2 * num_var))
        )
        self.image_decoder = nn.Sequential(
            nn.Linear(num_var, corner),
            nn.Unflatten(1, (4 * width, 4, 4)),
            Residual(4 * width),
            *_double(4 * width, 2 * width),
            Residual(2 * width),
            *_double(2 * width, width),
            Residual(width),
            *_double(width, width),
            nn.SiLU(),
            _zero(nn.Conv2d(width, 4 * BANDS, 3, 1, 1)),
            nn.PixelShuffle(2),
            nn.Flatten(),
        )
        self.structure_decoder = nn.Sequential(
            nn.Linear(num_var, 256), nn.SiLU(), _zero(nn.Linear(256, self.numbers))
        )

    @torch.no_grad()
    def initialise(self, inputs: Tensor, again: Tensor | None = None) -> None:
        """Scale the target, and set the linear maps by a look at training images, `inputs` (N, D).

        again: the first of them in a worse exposure, (M, D); None: all numbers are trusted alike.

        Each pixel keeps its variance, each number of the structure vector is standardised, bent,
        and weighed by how far it is the same in both looks; then image and structure get their
        shares. Latents beyond the rank of the sample, or
        of groups that do not vary, are left to the networks.
        """
        count, size = inputs.shape
        self.centre.copy_(inputs.mean(dim=0))
        image, numbers = (inputs - self.centre).split([self.pixels, self.numbers], dim=1)
        self.spread.copy_(numbers.std(dim=0).clamp_min(1e-3 * numbers.std().clamp_min(1e-6)))
        bent = _bend(numbers / self.spread)
        self.middle.copy_(bent.mean(dim=0))
        if again is not None:
            other = _bend((again - self.centre)[:, self.pixels :] / self.spread)
            apart = (bent[: len(again)] - other).square().mean(dim=0).div(2).sqrt()
            apart = apart / bent.std(dim=0).clamp_min(1e-6)
            self.trust.copy_((1 + (apart / self.TRUST).square()).rsqrt())
        bent = self.trust * bent
        shares = torch.tensor([self.IMAGE_SHARE, 1 - self.IMAGE_SHARE]).to(inputs)
        variances = torch.stack([p.var(dim=0).sum().clamp_min(1e-12) for p in (image, bent)])
        self.weight.copy_((shares * size / variances).sqrt())
        target = self.target(inputs)
        num_var = int(self.linear_encoder.out_features)
        rank = min(num_var, count - 1)
        _, singular, axes = torch.svd_lowrank(target, q=min(rank + 10, count, size), niter=4)
        spread, axes = singular[:rank] / (count - 1) ** 0.5, axes[:, :rank]
        groups = self.groups(axes[self.pixels :] * spread)
        means = groups @ axes[self.pixels :]  # of each group, by the components
        variance = (means * spread).square().sum(dim=1)
        used = variance > 1e-6 * variance.max().clamp_min(1e-12)
        order = variance.argsort(descending=True)[: int(used.sum())]
        means = means[order] / variance[order, None].sqrt()
        gain = (1 - self.WIDTH**2) ** 0.5  # so that draws from the posterior have variance one
        across = gain * spread[:, None].square() * means.T  # covariance of components and latents
        noise = self.WIDTH**2 * torch.eye(len(means)).to(means)
        decoder = torch.linalg.solve(gain * means @ across + noise, across.T).T
        first = slice(0, len(means))
        self.linear_encoder.weight[first] = gain * means @ axes.T
        self.linear_decoder.weight[:, first] = axes @ decoder
        self.structure_encoder[-1].bias[num_var : num_var + len(means)] = 2 * math.log(self.WIDTH)

    @staticmethod
    def groups(loadings: Tensor) -> Tensor:
        """Which numbers make which group, of as many groups as there are components:
        (groups, numbers), rows that add up to one.

        loadings: (numbers, components), of unit scores. Numbers whose reconstructions are near
        each other are together (Ward 1963, J. Am. Stat. Assoc. 58, 236).
        """
        count, rank = loadings.shape
        if rank == 1:
            return loadings.new_full((1, count), 1 / count)
        tree = linkage(loadings.double().cpu().numpy(), "ward")
        members = torch.from_numpy(fcluster(tree, rank, "maxclust") - 1).long()
        groups = loadings.new_zeros(int(members.max()) + 1, count)
        groups[members.to(loadings.device), torch.arange(count, device=loadings.device)] = 1
        return groups / groups.sum(dim=1, keepdim=True)

    def prepare(self, images: Tensor) -> tuple[Tensor, Pose]:
        hidden = None
        if self.hides:
            images, hidden = hide_neighbours(images)
        where = pose.measure(images, hidden)
        frames = pose.turn(images, where, self.HALF_WIDTH, self.SIDE)
        numbers = structure.describe(frames, self.bank)
        return torch.cat([frames.flatten(1), numbers], dim=1), where

    def target(self, inputs: Tensor) -> Tensor:
        image, numbers = (inputs - self.centre).split([self.pixels, self.numbers], dim=1)
        bent = self.trust * (_bend(numbers / self.spread) - self.middle)
        pixel, number = self.weight.unbind()
        return torch.cat([pixel * image, number * bent], dim=1)

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        target = self.target(inputs)
        image, numbers = target.split([self.pixels, self.numbers], dim=1)
        bent = self.image_encoder(image) + self.structure_encoder(numbers)
        mean, log_variance = bent.chunk(2, dim=1)
        return mean + self.linear_encoder(target), log_variance.clamp(-12, 4)

    def decode(self, latent: Tensor) -> Tensor:
        bent = torch.cat([self.image_decoder(latent), self.structure_decoder(latent)], dim=1)
        return bent + self.linear_decoder(latent)

    def restore(self, decoded: Tensor, where: Pose) -> Tensor:
        """On the sky; zero, which is empty sky, outside the frame."""
        centre, _ = self.centre.split([self.pixels, self.numbers])
        pixels = decoded[:, : self.pixels] / self.weight.unbind()[0] + centre
        frames = pixels.unflatten(1, (BANDS, self.SIDE, self.SIDE))
        return pose.turn_back(frames, where, self.HALF_WIDTH, SIZE)


class Residual(nn.Module):
    """x + two 3x3 convolutions, normalised over groups (no batch statistics)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, 1, 1),
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, 1, 1),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.block(inputs)


def _bend(numbers: Tensor) -> Tensor:
    """Standardised numbers with their long tails drawn in: linear near zero, logarithmic beyond."""
    return numbers.sign() * numbers.abs().log1p()


def _double(channels: int, out: int) -> tuple[nn.Module, nn.Module]:
    """Twice the resolution, without the checkerboard of a transposed convolution."""
    return nn.Conv2d(channels, 4 * out, 1), nn.PixelShuffle(2)


def _zero(layer: nn.Module) -> nn.Module:
    """A last layer that adds nothing until it has learned something."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


Neighbours = Literal["hidden", "kept"]
NETWORKS = {"published": Published, "structured": Structured}


def build(network: str, num_var: int, neighbours: Neighbours = "hidden") -> nn.Module:
    """A new network by its name in NETWORKS. Raises KeyError for an unknown name.

    neighbours: what becomes of other sources in the image, for a network that can hide them.
    """
    made = NETWORKS[network](num_var)
    made.hides = made.hides and neighbours == "hidden"
    return made


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor | None = None) -> Tensor:
    """A draw from the posterior that lets gradients through (Kingma & Welling 2014, eq. 4).

    noise: standard normal, of the shape of `mean`; None: drawn here.
    """
    noise = torch.randn_like(mean) if noise is None else noise
    return mean + noise * torch.exp(0.5 * log_variance)
