"""Views of galaxies for training across exposures: what the encoder sees, and what it must predict.

The encoder sees one exposure in the galaxy's frame, turned a little (at times by half a turn or by
any angle, as noise turns the measured frame) and shifted. It must predict another exposure in the
frame of the first, not turned, so that latents do not depend on the direction. For some images the
structure vector is left out. Some of these are enlarged, mirrored, and changed in brightness and
colour, the prediction alike.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from VAE_model.models import BANDS, FramedVAE
from VAE_model.preparation import pose
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.stretch import Stretch

NORMAL, UNIFORM = 8, 5  # random numbers of a view
WITHOUT_STRUCTURE = 0.5  # share of the views
CHANGED = 0.5  # share of those without structure vector that are enlarged, mirrored, ...
HALF_TURN, ANY_TURN = 0.25, 0.15  # shares that are turned
_TURN = 0.12  # radians, standard deviation of the others
_SHIFT = 0.02  # of the half-width of the frame, standard deviation
_ZOOM, _BRIGHTNESS, _COLOUR = 0.12, 0.15, 0.05  # standard deviations of logarithms


class View(NamedTuple):
    """Views of N galaxies.

    inputs: of the encoder, (N, D); with_structure: 0 where the structure vector is left out, (N,);
    target: of the decoder, (N, D); unchanged: 0 where the image to predict is changed, so that its
    structure vector is not known, (N,).
    """

    inputs: Tensor
    with_structure: Tensor
    target: Tensor
    unchanged: Tensor


def view(
    network: FramedVAE, stretch: Stretch, own: tuple[Tensor, Pose], other: tuple[Tensor, Pose],
    normal: Tensor, uniform: Tensor,
) -> View:  # fmt: skip
    """Return views of one exposure, from which the other is to be predicted.

    own, other: prepared inputs (N, D) and poses of two exposures; normal, uniform: random numbers,
    (N, NORMAL) and (N, UNIFORM). With zeros and ones the view is the exposure itself.
    """
    without, change, turn, any_angle, mirror = uniform.T
    left_out = (without < WITHOUT_STRUCTURE).to(normal)
    changed = left_out * (change < CHANGED)
    angle = _TURN * normal[:, 0] + math.pi * (turn < HALF_TURN)
    angle = torch.where(any_angle < ANY_TURN, 2 * math.pi * any_angle / ANY_TURN, angle)
    zoom = torch.exp(_ZOOM * normal[:, 1] * changed)
    flip = torch.where((mirror < 0.5) & (changed > 0), -1.0, 1.0).to(normal)
    factor = torch.exp(
        changed[:, None] * (_BRIGHTNESS * normal[:, 2:3] + _COLOUR * normal[:, 3 : 3 + BANDS])
    )[:, :, None, None]
    axes = torch.stack([zoom, zoom * flip, torch.ones_like(zoom)], dim=1)[:, None]
    x, y = _SHIFT * normal[:, 6], _SHIFT * normal[:, 7]
    seen = pose.affine(angle.cos(), angle.sin(), x, y) * axes
    predicted = pose.between(own[1], other[1], network.HALF_WIDTH) * axes

    def moved(inputs: Tensor, maps: Tensor) -> Tensor:
        image, features = network.split(inputs)
        frames = image.unflatten(1, (BANDS, network.SIDE, network.SIDE))
        frames = stretch(factor * stretch.inverse(pose.warp(frames, maps)))
        return torch.cat([frames.flatten(1), features], dim=1)

    target = network.target(moved(other[0], predicted))
    return View(moved(own[0], seen), 1 - left_out, target, 1 - changed)
