"""The losses of training, in nats per image.

`Loss` is the loss of a VAE whose target t is the image x or a function of it,

    -log p(t | z) + KL(q(z | x) || p(z))

With t = x it is the negative evidence lower bound (Kingma & Welling 2014, eq. 3); of the default
network, whose target is the image and its structure vector, it is a regularised loss and no bound.

To change the loss, change `Loss`: the loop logs whatever terms it returns.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

LossKind = Literal["gaussian", "published"]

MMD_KERNELS, MMD_FACTOR = 5, 2.0  # bandwidths from a quarter to four times the mean distance


class Loss(nn.Module):
    """The loss of a VAE.

    kind: `published`: the reconstruction term is the sum of squared errors, as Xu et al. 2023 (a
    Gaussian of fixed sigma 1/sqrt(2), without its constant); `gaussian`: minus the log-likelihood
    of a Gaussian whose sigma is learned (sigma-VAE, Rybkin et al. 2021), so that the balance with
    the KL term is learned.
    kl_weight: factor of the KL term.
    """

    TERMS = ("reconstruction", "kl")

    def __init__(self, kind: LossKind, kl_weight: float = 1.0) -> None:
        super().__init__()
        self.kind, self.kl_weight = kind, kl_weight
        if kind == "gaussian":
            self.log_sigma = nn.Parameter(torch.zeros(()))

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
        squares = (reconstruction.float() - target.float()).square().sum(dim=1)
        if self.kind == "published":
            return squares
        constant = self.log_sigma + 0.5 * math.log(2 * math.pi)
        return 0.5 * squares * torch.exp(-2 * self.log_sigma) + target.shape[1] * constant

    @torch.no_grad()
    def initialise(self, reconstruction: Tensor, target: Tensor) -> None:
        """Set a learned sigma to the root mean square error."""
        if self.kind == "gaussian":
            error = (reconstruction.float() - target.float()).square().mean().clamp_min(1e-12)
            self.log_sigma.copy_(0.5 * error.log())


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
