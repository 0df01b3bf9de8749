"""The two terms of the evidence lower bound, as losses to minimise, in nats an image.

-ELBO = -log p(x | z) + KL(q(z | x) || p(z)), Kingma & Welling 2014, eq. 3.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

LOSSES = ("published", "gaussian")


class Likelihood(nn.Module):
    """-log p(x | z), summed over pixels and bands: (N,) from two tensors (N, bands, y, x).

    published: sum of squared errors, as Xu et al. 2023 (a Gaussian of fixed sigma 1/sqrt(2),
    without its constant);
    gaussian: a Gaussian whose sigma is learned for each band (Rybkin et al. 2021, sigma-VAE), so
    that the balance with the KL term is found and not set.
    """

    def __init__(self, kind: Literal["published", "gaussian"], bands: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "gaussian":
            self.log_sigma = nn.Parameter(torch.zeros(bands))

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        squares = (reconstruction.float() - target.float()).square().sum(dim=(2, 3))
        if self.kind == "published":
            return squares.sum(dim=1)
        pixels = target.shape[2] * target.shape[3]
        constant = self.log_sigma + 0.5 * math.log(2 * math.pi)
        return (0.5 * squares * torch.exp(-2 * self.log_sigma) + pixels * constant).sum(dim=1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of the posterior from a standard normal, for each latent: (N, latents).

    Kingma & Welling 2014, appendix B.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
