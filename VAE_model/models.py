"""The networks: convolutional variational auto-encoders of 3x256x256 images.

Every network has one interface. `prepare` turns stretched images into what the encoder sees and
remembers how (the pose); `encode` gives the posterior's mean and log-variance; `decode` gives the
reconstruction of what the encoder saw; `restore` puts it back on the sky. For the published
network `prepare` and `restore` do nothing.
"""

import torch
from torch import Tensor, nn

BANDS = 3
SIZE = 256


class Published(nn.Module):
    """The network of Xu et al. 2023 (MNRAS 526, 6391): 443,507 parameters at 40 latents.

    Its final ReLU is left out: the sky goes negative, and a ReLU could never fit it.
    """

    def __init__(self, num_var: int) -> None:
        super().__init__()
        down = ((BANDS, 32), (32, 64), (64, 128))
        up = ((128, 64), (64, 32), (32, 32))
        self.encoder = nn.Sequential(
            *(
                layer
                for wide in down
                for layer in (nn.Conv2d(*wide, 3, 2, 1), nn.MaxPool2d(2), nn.LeakyReLU())
            ),
            nn.Flatten(),
        )
        self.mean = nn.Linear(128 * 4 * 4, num_var)
        self.log_variance = nn.Linear(128 * 4 * 4, num_var)
        self.decoder = nn.Sequential(
            nn.Linear(num_var, 128 * 4 * 4),
            nn.Unflatten(1, (128, 4, 4)),
            *(
                layer
                for wide in up
                for layer in (
                    nn.Upsample(scale_factor=2, mode="nearest"),
                    nn.ConvTranspose2d(*wide, 3, 2, 1, 1),
                    nn.LeakyReLU(),
                )
            ),
            nn.Conv2d(32, BANDS, 3, 1, 1),
        )

    def prepare(self, images: Tensor) -> tuple[Tensor, None]:
        return images, None

    def restore(self, reconstruction: Tensor, pose: None) -> Tensor:
        return reconstruction

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(inputs)
        return self.mean(features), self.log_variance(features)

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(latent)


NETWORKS = {"published": Published}


def build(network: str, num_var: int) -> nn.Module:
    """A new network by its name in NETWORKS.

    Raises KeyError for an unknown name.
    """
    return NETWORKS[network](num_var)


def reparameterise(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A draw from the posterior that lets gradients through (Kingma & Welling 2014, eq. 4)."""
    return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
