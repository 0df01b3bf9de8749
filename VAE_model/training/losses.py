"""The losses of training, in nats per image.

`Loss` is the loss of a VAE whose target t is the image x or a function of it,

    -log p(t | z) + KL(q(z | x) || p(z))

With t = x it is the negative evidence lower bound (Kingma & Welling 2014, eq. 3); of a network
whose target is the image and its structure vector, it is a regularised loss and no bound.

To change the loss, change `Loss`: the loop logs whatever terms it returns.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from VAE_model.models import VAE

LossKind = Literal["gaussian", "published"]

MMD_KERNELS, MMD_FACTOR = 5, 2.0  # bandwidths from a quarter to four times the mean distance


class Loss(nn.Module):
    """The loss of a VAE.

    network: whose target is reconstructed.
    kind: `published`: the reconstruction term is the sum of squared errors, as Xu et al. 2023 (a
    Gaussian of fixed sigma 1/sqrt(2), without its constant); `gaussian`: minus the log-likelihood
    of a Gaussian whose sigma is learned (sigma-VAE, Rybkin et al. 2021), one for each part of the
    target, so that the balance with the KL term is learned.
    kl_weight: factor of the KL term.
    """

    TERMS: tuple[str, ...] = ("reconstruction", "kl")
    KINDS = 1  # of targets, whose errors differ
    _GAIN = 10  # of the parameter: sigmas must follow errors that fall by orders of magnitude

    def __init__(self, network: VAE, kind: LossKind, kl_weight: float = 1.0) -> None:
        super().__init__()
        self.kind, self.kl_weight = kind, kl_weight
        self.squares, self.lengths = network.squares, network.parts
        if kind == "gaussian":
            self.tenth = nn.Parameter(torch.zeros(self.KINDS, len(self.lengths)))

    @property
    def log_sigma(self) -> Tensor:
        """Logarithm of the sigma of each part of the target, (KINDS, parts)."""
        return self._GAIN * self.tenth

    def forward(
        self, reconstruction: Tensor, target: Tensor, mean: Tensor, log_variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss, a scalar, and its TERMS, each a mean over images.

        reconstruction, target: (N, D); mean, log_variance: of the posterior, (N, num_var).
        """
        terms = torch.stack([
            self.reconstruction(reconstruction, target).mean(),
            kl_divergence(mean, log_variance).sum(dim=1).mean(),
        ])  # fmt: skip
        return terms[0] + self.kl_weight * terms[1], terms

    def reconstruction(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return -log p(t | z) of each image, (N,), from two tensors (N, D)."""
        return self.of_parts(reconstruction, target).sum(dim=1)

    def of_parts(
        self, reconstruction: Tensor, target: Tensor, kind: Tensor | None = None
    ) -> Tensor:
        """Return -log p of each part of the target, (N, parts).

        kind: of each target, (N,), from 0 to KINDS - 1; None: all 0.
        """
        squares = self.squares(reconstruction.float() - target.float())
        if self.kind == "published":
            return squares
        log_sigma = self.log_sigma[:1] if kind is None else self.log_sigma[kind]
        constant = log_sigma + 0.5 * math.log(2 * math.pi)
        lengths = squares.new_tensor(self.lengths)
        return 0.5 * squares * torch.exp(-2 * log_sigma) + lengths * constant

    @torch.no_grad()
    def initialise(self, reconstruction: Tensor, target: Tensor) -> None:
        """Set learned sigmas to the root mean square errors."""
        if self.kind == "gaussian":
            squares = self.squares(reconstruction.float() - target.float())
            error = squares.mean(dim=0) / squares.new_tensor(self.lengths)
            self.tenth.copy_(0.5 * error.clamp_min(1e-12).log() / self._GAIN)


class LossAcrossExposures(Loss):
    """The loss of two exposures of each galaxy, each of which must predict another.

    To reconstruction and KL divergence it adds, with weights: `contrast`, of a projection of the
    means, so that exposures of one galaxy come together and galaxies apart; and `width`, so that
    the posterior is as wide as the scatter of exposures. A target is a usual exposure (kind 0) or a
    deep one (1), which has less noise.
    """

    KINDS = 2
    TERMS = ("image", "structure", "kl", "contrast", "width")
    WEIGHTS: tuple[float, ...] = (0.5, 1.0, 1.0, 100.0, 10.0)  # of the terms; kl times kl_weight
    TEMPERATURE = 0.1  # of the contrast

    def __init__(self, network: VAE, kind: LossKind, kl_weight: float = 1.0) -> None:
        super().__init__(network, kind, kl_weight)
        self.projection = nn.Sequential(
            nn.Linear(network.num_var, 256), nn.SiLU(), nn.Linear(256, 64)
        )

    def across(
        self, of_parts: Tensor, means: Tensor, log_variances: Tensor, projected: Tensor,
        shares: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return the loss, a scalar, and its TERMS, each a mean over images.

        of_parts: -log p of each part, (2, N, parts), the structure vector last; means,
        log_variances: (2, N, num_var); projected: the means of all images of the batch, (2, M, 64),
        M > N if other processes have a share of it; shares: as in `width`, (2, N).
        """
        terms = torch.stack([
            of_parts[..., :-1].sum(dim=2).mean(),
            of_parts[..., -1].mean(),
            kl_divergence(means, log_variances).sum(dim=2).mean(),
            contrast(projected[0], projected[1], self.TEMPERATURE),
            width(means, means.flip(0), log_variances, shares).sum(dim=2).mean(),
        ])  # fmt: skip
        weights = terms.new_tensor(self.WEIGHTS)
        weights[2] *= self.kl_weight
        weights[3] *= projected.shape[1] / means.shape[1]  # the loop multiplies by the share
        return weights @ terms, terms


def loss_of(network: VAE, kind: LossKind, kl_weight: float) -> Loss:
    """Return the loss that suits a network."""
    return (LossAcrossExposures if network.ACROSS_EXPOSURES else Loss)(network, kind, kl_weight)


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE of two exposures of N galaxies, (N, d) each: a scalar, in nats.

    Minus the log-probability that an exposure is told from those of all other galaxies to be of
    the same galaxy, by a softmax over cosine similarities divided by `temperature` (van den Oord et
    al. 2018, arXiv 1807.03748; Chen et al. 2020, arXiv 2002.05709).
    """
    count = len(first)
    rows = functional.normalize(torch.cat([first, second]).float(), dim=1)
    similarity = rows @ rows.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * count, device=rows.device).bool(), -torch.inf)
    return functional.cross_entropy(similarity, torch.arange(2 * count).roll(count).to(rows.device))


def width(first: Tensor, second: Tensor, log_variance: Tensor, share: Tensor) -> Tensor:
    """Return -log N(mean of one exposure; mean of the other, posterior) up to a constant.

    first, second: means of two exposures, (..., N, d), which get no gradient; log_variance: of the
    first one's posterior; share: that the variance of the first one has of the squared difference,
    (..., N); where it is 0, so is the result. The minimum is where the width of the posterior is
    the scatter of repeated exposures.
    """
    share = share[..., None]
    square = share * (first - second).detach().square()
    return 0.5 * (share > 0) * (log_variance + square * torch.exp(-log_variance))


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the KL divergence of the posterior from a standard normal, for each latent, (N, d).

    Kingma & Welling 2014, appendix B.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two samples of one size, (N, d) each.

    The unbiased estimate of Gretton et al. 2012, J. Mach. Learn. Res. 13, 723, lemma 6, which
    leaves out row i against row i, so that both may be the same galaxy; with the mean of
    MMD_KERNELS Gaussian kernels whose bandwidths are MMD_FACTOR apart about the mean squared
    distance of the joint sample (Long et al. 2015). About zero, of either sign, if both samples
    have one distribution; at most 2.
    """
    count = len(first)
    if count < 2:
        return first.new_zeros(())
    joint = torch.cat([first, second])
    squares = torch.cdist(joint, joint).square()
    mean = squares.detach().sum() / (2 * count * (2 * count - 1))
    kernel = torch.zeros_like(squares)
    for number in range(MMD_KERNELS):
        bandwidth = mean * MMD_FACTOR ** (number - MMD_KERNELS // 2)
        kernel = kernel + torch.exp(-squares / bandwidth.clamp_min(1e-12)) / MMD_KERNELS
    statistic = (
        kernel[:count, :count] + kernel[count:, count:]
        - kernel[:count, count:] - kernel[count:, :count]
    )  # fmt: skip
    return (statistic.sum() - statistic.diagonal().sum()) / (count * (count - 1))
