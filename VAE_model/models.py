"""The networks: convolutional variational auto-encoders (VAEs) of 3x256x256 images.

`VAE` is their interface; training, extraction and adaptation use nothing else. `PublishedVAE` is
the network of Xu et al. 2023, `StructuredVAE` the default. A new network is a subclass of `VAE`
and an entry of `NETWORKS`.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, cast

import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor, nn

from VAE_model.layers import FusedUpsampling, Residual, double_resolution, zero_initialised
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
    masks_contaminants = False
    """`prepare` replaces the light of other sources in the image."""

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


class StructuredVAE(VAE):
    """Encodes and reconstructs each galaxy's image in its own frame and its structure vector.

    `prepare` masks contaminants, or latents would be spent on them. It measures the pose (centre,
    direction of the major axis), turns the image into the galaxy's frame, and computes the
    structure vector (preparation/structure_vector.py); `restore` puts the pose back. Features of
    the structure vector are weighted by their reproducibility at lower signal-to-noise.

    Encoder and decoder are each a fixed linear map plus a network whose last layer starts at zero:
    training begins at a linear VAE, and the networks may add to it. The latents
    of the linear VAE span the principal components of the training images, its optimum (Lucas et
    al. 2019). Each latent is the mean of a cluster of correlated features, as the components
    reconstruct them, and the decoder is the linear regression on such latents and their noise. So
    a latent stands for a few features, a component for a contrast between all; and a random forest,
    which splits along the axes, finds more in latents (docs/LOG.md). The latents are correlated,
    which the prior is not.
    """

    PREPARED_ONCE = True  # pose and structure vector are expensive
    masks_contaminants = True
    SIDE = 64  # pixels of the galaxy's frame
    HALF_WIDTH = 0.5  # of the frame, in half-widths of the image: the frame is 34 arcsec wide
    INITIAL_STD = 0.03  # of the posterior
    # std between two images of a galaxy over std of galaxies: weight 0.7; chosen on two exposures
    # by one survey (benchmarks/experiments/degradation.py)
    NOISE_LIMIT = 0.2
    IMAGE_SHARE = 0.25  # of the target's variance; the structure vector has the rest

    # Buffers. D = pixels + features.
    wavelets: Tensor  # of the structure vector
    input_mean: Tensor  # (D,)
    feature_std: Tensor  # (features,)
    compressed_mean: Tensor  # (features,), of the standardised and compressed features
    reproducibility: Tensor  # (features,), weights from 0 to 1
    scale: Tensor  # (2,), factors of image and structure vector in the target

    def __init__(self, num_var: int, width: int = 16) -> None:
        super().__init__(num_var)
        self.pixels = BANDS * self.SIDE**2
        self.features = structure_vector.length(self.SIDE)
        size = self.pixels + self.features
        corner = 4 * width * 4 * 4
        self.register_buffer("wavelets", structure_vector.wavelets(self.SIDE), persistent=False)
        self.register_buffer("input_mean", torch.zeros(size))
        self.register_buffer("feature_std", torch.ones(self.features))
        self.register_buffer("compressed_mean", torch.zeros(self.features))
        self.register_buffer("reproducibility", torch.ones(self.features))
        self.register_buffer("scale", torch.ones(2))
        self.linear_encoder = _fixed(nn.Linear(size, num_var, bias=False))
        self.linear_decoder = _fixed(nn.Linear(num_var, size, bias=False))
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
            zero_initialised(nn.Linear(corner, 2 * num_var)),
        )
        self.structure_encoder = nn.Sequential(
            nn.Linear(self.features, 256),
            nn.SiLU(),
            zero_initialised(nn.Linear(256, 2 * num_var)),
        )
        self.image_decoder = nn.Sequential(
            nn.Linear(num_var, corner),
            nn.Unflatten(1, (4 * width, 4, 4)),
            Residual(4 * width),
            *double_resolution(4 * width, 2 * width),
            Residual(2 * width),
            *double_resolution(2 * width, width),
            Residual(width),
            *double_resolution(width, width),
            nn.SiLU(),
            zero_initialised(nn.Conv2d(width, 4 * BANDS, 3, 1, 1)),
            nn.PixelShuffle(2),
            nn.Flatten(),
        )
        self.structure_decoder = nn.Sequential(
            nn.Linear(num_var, 256), nn.SiLU(), zero_initialised(nn.Linear(256, self.features))
        )

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
        image = self._split(inputs - self.input_mean)[0]
        features = self.reproducibility * (self.compressed(inputs) - self.compressed_mean)
        return torch.cat([self.scale[0] * image, self.scale[1] * features], dim=1)

    def compressed(self, inputs: Tensor) -> Tensor:
        """Return the standardised and compressed structure vector, (N, features)."""
        return _compress(self._split(inputs - self.input_mean)[1] / self.feature_std)

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, (N, num_var) each, of prepared images (N, D)."""
        target = self.target(inputs)
        image, features = self._split(target)
        nonlinear = self.image_encoder(image) + self.structure_encoder(features)
        mean, log_variance = nonlinear.chunk(2, dim=1)
        return mean + self.linear_encoder(target), log_variance.clamp(-12, 4)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the reconstruction of the target, (N, D)."""
        nonlinear = torch.cat([self.image_decoder(latent), self.structure_decoder(latent)], dim=1)
        return nonlinear + self.linear_decoder(latent)

    def restore(self, decoded: Tensor, where: Pose | None) -> Tensor:
        """Return stretched images; outside the galaxy's frame they are zero, which is empty sky."""
        if where is None:
            raise ValueError("a structured network needs the pose to restore an image")
        pixels = self._split(decoded)[0] / self.scale[0] + self._split(self.input_mean)[0]
        frames = pixels.unflatten(1, (BANDS, self.SIDE, self.SIDE))
        return pose.to_sky(frames, where, self.HALF_WIDTH, SIZE)

    @torch.no_grad()
    def initialise(self, inputs: Tensor, degraded: Tensor | None = None) -> None:
        """Set the scales of the target and the linear maps from prepared images.

        inputs: (N, D); degraded: the first M of them at lower signal-to-noise, (M, D); None: all
        features have the same weight.
        """
        self._set_scales(inputs, degraded)
        self._set_linear_maps(self.target(inputs))

    def _set_scales(self, inputs: Tensor, degraded: Tensor | None) -> None:
        """Set the scales of the target.

        Pixels keep their variance. Features are standardised, compressed and weighted by their
        reproducibility. Then image and structure vector get their shares of the variance.
        """
        self.input_mean.copy_(inputs.mean(dim=0))
        image, features = self._split(inputs - self.input_mean)
        self.feature_std.copy_(features.std(dim=0).clamp_min(1e-3 * features.std().clamp_min(1e-6)))
        compressed = self.compressed(inputs)
        self.compressed_mean.copy_(compressed.mean(dim=0))
        if degraded is not None:
            step = compressed[: len(degraded)] - self.compressed(degraded)
            noise = step.square().mean(dim=0).div(2).sqrt()
            noise = noise / compressed.std(dim=0).clamp_min(1e-6)
            self.reproducibility.copy_((1 + (noise / self.NOISE_LIMIT).square()).rsqrt())
        weighted = self.reproducibility * compressed
        shares = torch.tensor([self.IMAGE_SHARE, 1 - self.IMAGE_SHARE]).to(inputs)
        variances = torch.stack([p.var(dim=0).sum().clamp_min(1e-12) for p in (image, weighted)])
        self.scale.copy_((shares * inputs.shape[1] / variances).sqrt())

    def _set_linear_maps(self, target: Tensor) -> None:
        """Set the linear encoder and decoder from targets (N, D).

        Latents beyond the rank of the sample, or of clusters that do not vary, keep zero weights.
        """
        count, size = target.shape
        rank = min(self.num_var, count - 1)
        _, singular, axes = torch.svd_lowrank(target, q=min(rank + 10, count, size), niter=4)
        std, axes = singular[:rank] / (count - 1) ** 0.5, axes[:, :rank]
        clusters = self.clusters(axes[self.pixels :] * std)
        means = clusters @ axes[self.pixels :]  # of each cluster, in terms of the components
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
        bias = cast(nn.Linear, self.structure_encoder[-1]).bias
        bias[self.num_var : self.num_var + len(means)] = 2 * math.log(self.INITIAL_STD)

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

    def _split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Split (..., D) into the parts of image and structure vector."""
        image, features = values.split([self.pixels, self.features], dim=-1)
        return image, features


def _compress(features: Tensor) -> Tensor:
    """Compress the tails of standardised features: linear near zero, logarithmic beyond."""
    return features.sign() * features.abs().log1p()


def _fixed(layer: nn.Linear) -> nn.Linear:
    """Make a linear layer zero and exclude it from training."""
    zero_initialised(layer).requires_grad_(False)
    return layer


NETWORKS: dict[str, type[VAE]] = {
    "published": PublishedVAE,
    "structured": StructuredVAE,
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
