"""The weights that travel with the project (docs/WEIGHTS.md), in Python and in the stages.

from VAE_model import load

mean, log_variance = load().encode(flux)  # flux: (N, 3, 256, 256), nanomaggies
"""

from pathlib import Path

import numpy as np

from VAE_model.models import VAE, build
from VAE_model.training import checkpoint
from VAE_model.training.device import Precision
from VAE_model.training.model_file import TrainedVAE

NAME = "pretrained"  # in place of a path or as the start of a training
NETWORK, NUM_VAR = "residual", 40
WEIGHTS = Path(__file__).with_name("weights") / f"{NETWORK}_{NUM_VAR}.safetensors"


def load(
    display: bool = False, device: str = "auto", precision: Precision = "float32"
) -> TrainedVAE:
    """Return the network with these weights.

    display: for 8-bit images, in brightness from 0 to 1, in place of flux; device: `auto`, CUDA if
    there is a GPU.
    """
    model = TrainedVAE.load(WEIGHTS, NUM_VAR, device, precision)
    return model.for_images(np.array([display]))


def initialise(network: VAE, ends: bool = True) -> None:
    """Set the weights of a network of any number of latents.

    Layers whose shape depends on that number keep their own weights where it differs. With ends
    False they are drawn again in any case, so that numbers of latents can be compared: those of the
    network could be the very draw from which the weights were trained.
    """
    weights, like = checkpoint.load(WEIGHTS)["weights"], network
    if not ends:
        network.load_state_dict(build(NETWORK, network.num_var).state_dict())
        like = build(NETWORK, NUM_VAR + 1)
    shapes = {name: value.shape for name, value in like.state_dict().items()}
    fitting = {name: value for name, value in weights.items() if value.shape == shapes[name]}
    network.load_state_dict(fitting, strict=False)
