"""The two terms of the evidence lower bound, as losses to minimise, in nats an image.

-ELBO = -log p(x | z) + KL(q(z | x) || p(z)), Kingma & Welling 2014, eq. 3.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn


class Likelihood(nn.Module):
    """-log p(x | z) in nats, summed over the target: (N,) from two tensors (N, D).

    published: sum of squared errors, as Xu et al. 2023 (a Gaussian of fixed sigma 1/sqrt(2),
    without its constant);
    gaussian: a Gaussian whose sigma is learned (Rybkin et al. 2021, sigma-VAE), so that the
    balance with the KL term is found and not set.
    """

    def __init__(self, kind: Literal["published", "gaussian"]) -> None:
        super().__init__()
        self.kind = kind
        if kind == "gaussian":
            self.log_sigma = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def initialise(self, reconstruction: Tensor, target: Tensor) -> None:
        """Start from the sigma that fits: the root mean square error."""
        if self.kind == "gaussian":
            error = (reconstruction.float() - target.float()).square().mean().clamp_min(1e-12)
            self.log_sigma.copy_(0.5 * error.log())

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        squares = (reconstruction.float() - target.float()).square().sum(dim=1)
        if self.kind == "published":
            return squares
        constant = self.log_sigma + 0.5 * math.log(2 * math.pi)
        return 0.5 * squares * torch.exp(-2 * self.log_sigma) + target.shape[1] * constant


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of the posterior from a standard normal, for each latent: (N, latents).

    Kingma & Welling 2014, appendix B.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
