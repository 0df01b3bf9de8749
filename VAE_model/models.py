"""The networks: convolutional variational auto-encoders (VAEs) of 3x256x256 images.

`VAE` is their interface; training, extraction and adaptation use nothing else. `PublishedVAE` is
the network of Xu et al. 2023, `ResidualVAE` the default. A new network is a subclass of `VAE`
and an entry of `NETWORKS`.
"""

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor, nn
from torch.nn import functional

from VAE_model.layers import (
    FusedUpsampling,
    Polar,
    PolarAmplitudes,
    PolarConvolution,
    Residual,
    double_resolution,
    zero_initialised,
)
from VAE_model.preparation import pose, structure_vector
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.segmentation import mask_contaminants

BANDS = 3
SIZE = 256

Contaminants = Literal["masked", "kept"]


class VAE(nn.Module, ABC):
    """A variational auto-encoder of stretched images (N, 3, 256, 256).

    An image passes through `prepare`, `encode`, a draw from the posterior, `decode` and `restore`.
    `decode` reconstructs the `target`, which for some networks is more than the image.
    """

    PREPARED_ONCE: ClassVar[bool] = False
    """`prepare` is expensive: its result is kept on disk (preparation/prepared_inputs.py)."""
    FAST_IN_BF16: ClassVar[bool] = False
    """On a CPU with bf16 instructions the network is faster in bf16 than in float32."""
    ACROSS_EXPOSURES: ClassVar[bool] = False
    """Training reconstructs another exposure of the galaxy (training/exposure_task.py)."""
    masks_contaminants = False
    """`prepare` replaces the light of other sources in the image."""
    parts: tuple[int, ...] = (BANDS * SIZE**2,)
    """Numbers in each part of the target; a part has its own sigma in the loss."""

    def __init__(self, num_var: int) -> None:
        super().__init__()
        self.num_var = num_var

    def prepare(self, images: Tensor) -> tuple[Tensor, Pose | None]:
        """Return the encoder's input, (N, ...), and the poses, if the network measures them.

        images: stretched, (N, 3, 256, 256).
        """
        return images, None

    def initialise(self, inputs: Tensor, degraded: Tensor | None = None) -> None:
        """Initialise from data; by default do nothing.

        inputs: prepared training images, (N, ...); degraded: the first M of them at lower
        signal-to-noise (preparation/degradation.py), (M, ...).
        """

    def target(self, inputs: Tensor) -> Tensor:
        """Return what the decoder must reconstruct, (N, D)."""
        return inputs.flatten(1)

    def squares(self, error: Tensor) -> Tensor:
        """Return the sum of squares in each part of an error of the target (N, D): (N, parts)."""
        return error.square().sum(dim=1, keepdim=True)

    @abstractmethod
    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior, (N, num_var) each."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Return the reconstruction of the target, (N, D), from latents (N, num_var)."""

    @abstractmethod
    def restore(self, decoded: Tensor, where: Pose | None) -> Tensor:
        """Return stretched images on the sky, (N, 3, 256, 256), from `decode` and the pose."""

    def forward(self, inputs: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction of the target from one draw, and the posterior.

        noise: standard normal, (N, num_var); None: drawn here. Returns the reconstruction, (N, D),
        and the posterior's mean and log-variance, (N, num_var) each.
        """
        mean, log_variance = self.encode(inputs)
        return self.decode(reparameterise(mean, log_variance, noise)), mean, log_variance

    def microbatch_size(self, dtype: torch.dtype) -> int | None:
        """Return how many images a CPU should compute at a time; None: the whole batch."""
        return None


class PublishedVAE(VAE):
    """The network of Xu et al. 2023 (MNRAS 526, 6391): 443,507 parameters at 40 latents.

    Its final ReLU is left out: the sky goes negative, and a ReLU could never fit it.
    """

    FAST_IN_BF16 = True  # its layers are large convolutions
    # Largest output of a layer (bytes). Larger blocks are requested from the system each time, page
    # by page, which takes most of the time.
    LARGEST_OUTPUT = 12 * 2**20

    def __init__(self, num_var: int) -> None:
        super().__init__(num_var)
        self.encoder = nn.Sequential()
        for channels in ((BANDS, 32), (32, 64), (64, 128)):
            self.encoder.extend(
                [nn.Conv2d(*channels, 3, 2, 1), nn.MaxPool2d(2), nn.LeakyReLU(inplace=True)]
            )
        self.encoder.append(nn.Flatten())
        self.mean = nn.Linear(128 * 4 * 4, num_var)
        self.log_variance = nn.Linear(128 * 4 * 4, num_var)
        self.decoder = FusedUpsampling(
            nn.Linear(num_var, 128 * 4 * 4), nn.Unflatten(1, (128, 4, 4))
        )
        for channels in ((128, 64), (64, 32), (32, 32)):
            self.decoder.extend([
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.ConvTranspose2d(*channels, 3, 2, 1, 1),
                nn.LeakyReLU(inplace=True),
            ])  # fmt: skip
        self.decoder.append(nn.Conv2d(32, BANDS, 3, 1, 1))

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, (N, num_var) each, of images (N, 3, 256, 256)."""
        features = self.encoder(inputs.contiguous(memory_format=torch.channels_last))
        return self.mean(features), self.log_variance(features)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the pixels, (N, 3 x 256 x 256)."""
        return self.decoder(latent).flatten(1)

    def restore(self, decoded: Tensor, where: Pose | None) -> Tensor:
        """Return the pixels as images, (N, 3, 256, 256)."""
        return decoded.unflatten(1, (BANDS, SIZE, SIZE))

    def microbatch_size(self, dtype: torch.dtype) -> int:
        """Return the number of images whose largest layer stays below LARGEST_OUTPUT."""
        return max(1, self.LARGEST_OUTPUT // (32 * SIZE**2 * dtype.itemsize))


class FramedVAE(VAE):
    """A network of each galaxy's image in its own frame and its structure vector.

    `prepare` masks contaminants, or latents would be spent on them. It measures the pose (centre,
    direction of the major axis), turns the image into the galaxy's frame, and computes the
    structure vector (preparation/structure_vector.py); `restore` puts the pose back. Features of
    the structure vector are weighted by their reproducibility at lower signal-to-noise.
    """

    PREPARED_ONCE = True  # pose and structure vector are expensive
    masks_contaminants = True
    SIDE = 64  # pixels of the galaxy's frame
    HALF_WIDTH = 0.5  # of the frame, in half-widths of the image: the frame is 34 arcsec wide
    PIXELS = BANDS * SIDE**2
    FEATURES = structure_vector.length(SIDE)
    # Numbers in each part of the target: the Haar coefficients of the image on the scales of 2, 4,
    # 8, 16 pixels, what is left, and the structure vector.
    parts = (3 * PIXELS // 4, 3 * PIXELS // 16, 3 * PIXELS // 64, 3 * PIXELS // 256, PIXELS // 256,
             FEATURES)  # fmt: skip
    # std between two images of a galaxy over std of galaxies: weight 0.7; chosen on two exposures
    # by one survey (benchmarks/experiments/degradation.py)
    NOISE_LIMIT = 0.2

    # Buffers. D = pixels + features.
    wavelets: Tensor  # of the structure vector
    input_mean: Tensor  # (D,)
    feature_std: Tensor  # (features,)
    compressed_mean: Tensor  # (features,), of the standardised and compressed features
    reproducibility: Tensor  # (features,), weights from 0 to 1

    def __init__(self, num_var: int) -> None:
        super().__init__(num_var)
        self.register_buffer("wavelets", structure_vector.wavelets(self.SIDE), persistent=False)
        self.register_buffer("input_mean", torch.zeros(self.PIXELS + self.FEATURES))
        self.register_buffer("feature_std", torch.ones(self.FEATURES))
        self.register_buffer("compressed_mean", torch.zeros(self.FEATURES))
        self.register_buffer("reproducibility", torch.ones(self.FEATURES))

    def prepare(self, images: Tensor) -> tuple[Tensor, Pose]:
        """Return the image in the galaxy's frame and its structure vector, (N, D), and the pose."""
        masked_fraction = None
        if self.masks_contaminants:
            images, masked_fraction = mask_contaminants(images)
        where = pose.measure(images, masked_fraction)
        frames = pose.to_frame(images, where, self.HALF_WIDTH, self.SIDE)
        features = structure_vector.describe(frames, self.wavelets)
        return torch.cat([frames.flatten(1), features], dim=1), where

    def target(self, inputs: Tensor) -> Tensor:
        """Return the image and the weighted, compressed structure vector, (N, D)."""
        image = self.split(inputs - self.input_mean)[0]
        features = self.reproducibility * (self.compressed(inputs) - self.compressed_mean)
        return torch.cat([image, features], dim=1)

    def squares(self, error: Tensor) -> Tensor:
        """Return the sum of squares at each scale of the image, and in the structure vector.

        The scales are those of a Haar transform, which keeps sums of squares: what averaging over
        2x2 pixels takes away belongs to the finest, and so on. Errors of an image are large at
        large scales; with a sigma for each scale these do not outweigh bars and arms.
        """
        image, features = self.split(error)
        left, sums = image.unflatten(1, (BANDS, self.SIDE, self.SIDE)), []
        for _ in self.parts[:-2]:
            sums.append(left.square().sum(dim=(1, 2, 3)))
            left = 2 * functional.avg_pool2d(left, 2)
        sums.append(left.square().sum(dim=(1, 2, 3)))
        each = [*(fine - coarse for fine, coarse in pairwise(sums)), sums[-1]]
        return torch.stack([*each, features.square().sum(dim=1)], dim=1)

    def compressed(self, inputs: Tensor) -> Tensor:
        """Return the standardised and compressed structure vector, (N, features)."""
        return _compress(self.split(inputs - self.input_mean)[1] / self.feature_std)

    def restore(self, decoded: Tensor, where: Pose | None) -> Tensor:
        """Return stretched images; outside the galaxy's frame they are zero, which is empty sky."""
        if where is None:
            raise ValueError("a network of frames needs the pose to restore an image")
        pixels = self.split(decoded)[0] + self.split(self.input_mean)[0]
        frames = pixels.unflatten(1, (BANDS, self.SIDE, self.SIDE))
        return pose.to_sky(frames, where, self.HALF_WIDTH, SIZE)

    @torch.no_grad()
    def initialise(self, inputs: Tensor, degraded: Tensor | None = None) -> None:
        """Set mean, scale and reproducibility of the inputs.

        inputs: (N, D); degraded: the first M of them at lower signal-to-noise, (M, D); None: all
        features have the same weight.
        """
        self.input_mean.copy_(inputs.mean(dim=0))
        features = self.split(inputs - self.input_mean)[1]
        self.feature_std.copy_(features.std(dim=0).clamp_min(1e-3 * features.std().clamp_min(1e-6)))
        compressed = self.compressed(inputs)
        self.compressed_mean.copy_(compressed.mean(dim=0))
        if degraded is not None:
            step = compressed[: len(degraded)] - self.compressed(degraded)
            noise = step.square().mean(dim=0).div(2).sqrt()
            noise = noise / compressed.std(dim=0).clamp_min(1e-6)
            self.reproducibility.copy_((1 + (noise / self.NOISE_LIMIT).square()).rsqrt())

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Split (..., D) into the parts of image and structure vector."""
        image, features = values.split((self.PIXELS, self.FEATURES), dim=-1)
        return image, features


class StructureBaseline(FramedVAE):
    """Averages of the structure vector, as a VAE: a baseline that does not learn.

    Encoder and decoder are fixed linear maps. The latents span the principal components of the
    training images, the optimum of a linear VAE (Lucas et al. 2019). Each latent is the mean of a
    cluster of correlated features, as the components reconstruct them, and the decoder is the
    linear regression on such latents and their noise. So a latent stands for a few features, a
    component for a contrast between all; and a random forest, which splits along the axes, finds
    more in latents (docs/LOG.md). The latents are correlated, which the prior is not.
    """

    INITIAL_STD = 0.03  # of the posterior
    IMAGE_SHARE = 0.25  # of the target's variance; the structure vector has the rest

    scale: Tensor  # (2,), factors of image and structure vector in the input of the linear maps

    def __init__(self, num_var: int) -> None:
        super().__init__(num_var)
        size = self.PIXELS + self.FEATURES
        self.register_buffer("scale", torch.ones(2))
        self.linear_encoder = _fixed(nn.Linear(size, num_var, bias=False))
        self.linear_decoder = _fixed(nn.Linear(num_var, size, bias=False))
        self.log_variance = nn.Parameter(torch.zeros(num_var), requires_grad=False)

    def target(self, inputs: Tensor) -> Tensor:
        """Return the image and the structure vector, each scaled to its share, (N, D)."""
        image, features = self.split(super().target(inputs))
        return torch.cat([self.scale[0] * image, self.scale[1] * features], dim=1)

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, (N, num_var) each, of prepared images (N, D)."""
        mean = self.linear_encoder(self.target(inputs))
        return mean, self.log_variance.expand_as(mean)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the reconstruction of the target, (N, D)."""
        return self.linear_decoder(latent)

    def restore(self, decoded: Tensor, where: Pose | None) -> Tensor:
        """Return stretched images."""
        return super().restore(decoded / self.scale[0], where)

    @torch.no_grad()
    def initialise(self, inputs: Tensor, degraded: Tensor | None = None) -> None:
        """Set the scales of the target and the linear maps from prepared images; see FramedVAE."""
        super().initialise(inputs, degraded)
        self.scale.fill_(1)
        parts = self.split(self.target(inputs))
        shares = torch.tensor([self.IMAGE_SHARE, 1 - self.IMAGE_SHARE]).to(inputs)
        variances = torch.stack([part.var(dim=0).sum().clamp_min(1e-12) for part in parts])
        self.scale.copy_((shares * inputs.shape[1] / variances).sqrt())
        self._set_linear_maps(self.target(inputs))

    def _set_linear_maps(self, target: Tensor) -> None:
        """Set the linear encoder and decoder from targets (N, D).

        Latents beyond the rank of the sample, or of clusters that do not vary, keep zero weights.
        """
        count, size = target.shape
        rank = min(self.num_var, count - 1)
        _, singular, axes = torch.svd_lowrank(target, q=min(rank + 10, count, size), niter=4)
        std, axes = singular[:rank] / (count - 1) ** 0.5, axes[:, :rank]
        clusters = self.clusters(axes[self.PIXELS :] * std)
        means = clusters @ axes[self.PIXELS :]  # of each cluster, in terms of the components
        variance = (means * std).square().sum(dim=1)
        used = variance > 1e-6 * variance.max().clamp_min(1e-12)
        order = variance.argsort(descending=True)[: int(used.sum())]
        means = means[order] / variance[order, None].sqrt()
        gain = (1 - self.INITIAL_STD**2) ** 0.5  # so that draws from the posterior have variance 1
        covariance = gain * std[:, None].square() * means.T  # of components and latents
        noise = self.INITIAL_STD**2 * torch.eye(len(means)).to(means)
        regression = torch.linalg.solve(gain * means @ covariance + noise, covariance.T).T
        self.linear_encoder.weight[: len(means)] = gain * means @ axes.T
        self.linear_decoder.weight[:, : len(means)] = axes @ regression
        self.log_variance[: len(means)] = 2 * math.log(self.INITIAL_STD)

    @staticmethod
    def clusters(loadings: Tensor) -> Tensor:
        """Return averaging weights, (clusters, features), of clusters of correlated features.

        loadings: (features, components), of components of unit variance. There are as many
        clusters as components; each row of the weights adds up to one. Features with similar
        reconstructions share a cluster (Ward 1963, J. Am. Stat. Assoc. 58, 236).
        """
        count, rank = loadings.shape
        if rank == 1:
            return loadings.new_full((1, count), 1 / count)
        tree = linkage(loadings.double().cpu().numpy(), "ward")
        members = torch.from_numpy(fcluster(tree, rank, "maxclust") - 1).long()
        weights = loadings.new_zeros(int(members.max()) + 1, count)
        weights[members.to(loadings.device), torch.arange(count, device=loadings.device)] = 1
        return weights / weights.sum(dim=1, keepdim=True)


class ResidualVAE(FramedVAE):
    """The default: residual convolutions on the image, and a network on the structure vector.

    Both branches of the encoder end in the same 256 numbers, of which the posterior is a function.
    The decoder has a branch for the image and one for the structure vector. It is trained across
    exposures (training/exposure_task.py): from one exposure it must predict another, whose noise is
    independent, so that noise cannot be copied. In training the structure vector is left out for
    some images, or the encoder would not look at the pixels.
    """

    ACROSS_EXPOSURES = True

    def __init__(self, num_var: int, width: int = 24, hidden: int = 256) -> None:
        super().__init__(num_var)
        self.image_encoder = nn.Sequential(
            nn.Unflatten(1, (BANDS, self.SIDE, self.SIDE)),
            Polar(radii=32, azimuths=128),
            nn.PixelUnshuffle(2),
            PolarConvolution(4 * BANDS, width),
            Residual(width, polar=True),
            PolarConvolution(width, 2 * width, stride=2),
            Residual(2 * width, polar=True),
            PolarConvolution(2 * width, 4 * width, stride=2),
            Residual(4 * width, polar=True),
            Residual(4 * width, polar=True),
            nn.GroupNorm(8, 4 * width),
            nn.SiLU(),
            PolarAmplitudes(orders=4),
            nn.Linear(4 * width * 4 * 4, hidden),
        )
        self.structure_encoder = nn.Sequential(
            nn.Linear(self.FEATURES, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.posterior = nn.Sequential(
            nn.SiLU(), nn.LayerNorm(hidden), nn.Linear(hidden, 2 * num_var)
        )
        self.image_decoder = nn.Sequential(
            nn.Linear(num_var, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 128 * 4 * 4),
            nn.Unflatten(1, (128, 4, 4)),
            Residual(128),
            *double_resolution(128, 64),
            Residual(64),
            *double_resolution(64, 32),
            Residual(32),
            *double_resolution(32, 16),
            nn.SiLU(),
            nn.Conv2d(16, 4 * BANDS, 3, 1, 1),
            nn.PixelShuffle(2),
            nn.Flatten(),
        )
        self.structure_decoder = nn.Sequential(
            nn.Linear(num_var, hidden), nn.SiLU(), nn.Linear(hidden, self.FEATURES)
        )

    def encode(self, inputs: Tensor, with_structure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, (N, num_var) each, of prepared images (N, D).

        with_structure: 0 for images whose structure vector is left out, else 1, (N,); None: all 1.
        """
        image, features = self.split(self.target(inputs))
        hidden = self.image_encoder(image)
        structure = self.structure_encoder(features)
        if with_structure is not None:
            structure = with_structure[:, None] * structure
        mean, log_variance = self.posterior(hidden + structure).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 4)

    def forward(
        self, inputs: Tensor, noise: Tensor | None = None, with_structure: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction and the posterior, as VAE.forward; see `encode`."""
        mean, log_variance = self.encode(inputs, with_structure)
        return self.decode(reparameterise(mean, log_variance, noise)), mean, log_variance

    def decode(self, latent: Tensor) -> Tensor:
        """Return the reconstruction of the target, (N, D)."""
        return torch.cat([self.image_decoder(latent), self.structure_decoder(latent)], dim=1)


def _compress(features: Tensor) -> Tensor:
    """Compress the tails of standardised features: linear near zero, logarithmic beyond."""
    return features.sign() * features.abs().log1p()


def _fixed(layer: nn.Linear) -> nn.Linear:
    """Make a linear layer zero and exclude it from training."""
    zero_initialised(layer).requires_grad_(False)
    return layer


NETWORKS: dict[str, type[VAE]] = {
    "residual": ResidualVAE,
    "structure": StructureBaseline,
    "published": PublishedVAE,
}


def build(network: str, num_var: int, contaminants: Contaminants = "masked") -> VAE:
    """Return a new network by its name in NETWORKS. Raises KeyError for an unknown name.

    contaminants: `kept`: a network that masks other sources leaves them in the image.
    """
    vae = NETWORKS[network](num_var)
    vae.masks_contaminants = vae.masks_contaminants and contaminants == "masked"
    return vae


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw from the posterior so that gradients pass (Kingma & Welling 2014, eq. 4).

    noise: standard normal, of the shape of `mean`; None: drawn here.
    """
    noise = torch.randn_like(mean) if noise is None else noise
    return mean + noise * torch.exp(0.5 * log_variance)
