"""The galaxy's own frame: where it is in the image, how it lies, how large it is; turning an
image into that frame and back.

The pose is measured, not learned: adaptive second moments in an elliptical Gaussian window
(Bernstein & Jarvis 2002, AJ 123, 583) of the stretched image at low resolution, so neighbours
count little. The major axis goes to the x axis; of its two directions the one in which the light
is skewed. Nothing is mirrored: the handedness of spirals is data.

Lengths are in half-frames: the image spans -1..1 on both axes, y upwards in FITS rows.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_GRID = 64  # pixels a side on which moments are measured
_ROUNDS = 5  # of fitting the window to the moments
_REACH = 0.15  # the centre is looked for this far from the middle of the image, half-frames
_START = 0.2  # sigma of the first window, half-frames


class Pose(NamedTuple):
    """angle: radians, from x towards y, of the major axis; x, y: centre, half-frames;
    size: sqrt(trace of the second moments), half-frames; ratio: minor to major axis; hidden: share
    of the image that was hidden as its neighbours' light before all this was measured, NaN where
    no galaxy was found to have neighbours (segmentation.py). Each (N,)."""

    angle: Tensor
    x: Tensor
    y: Tensor
    size: Tensor
    ratio: Tensor
    hidden: Tensor


@torch.no_grad()
def measure(images: Tensor, hidden: Tensor | None = None) -> Pose:
    """Pose of stretched images (N, 3, y, x), by the mean of the bands above the sky's median.

    hidden: what segmentation.py says of them; None: nothing is hidden.
    """
    light = F.adaptive_avg_pool2d(images.float().mean(dim=1, keepdim=True), _GRID)[:, 0]
    light = (light - light.flatten(1).median(dim=1).values[:, None, None]).clamp_min(0)
    axis = (torch.arange(_GRID, device=images.device) + 0.5) / _GRID * 2 - 1
    grid_y, grid_x = torch.meshgrid(axis, axis, indexing="ij")
    count = len(light)
    x, y = light.new_zeros(count), light.new_zeros(count)
    xx = yy = light.new_full((count,), _START**2)
    xy = light.new_zeros(count)
    for _ in range(_ROUNDS):
        dx, dy = grid_x - x[:, None, None], grid_y - y[:, None, None]
        weight = light * _gaussian(dx, dy, xx, yy, xy)
        total = weight.sum(dim=(1, 2)).clamp_min(1e-6)

        def moment(values: Tensor, weight: Tensor = weight, total: Tensor = total) -> Tensor:
            return (weight * values).sum(dim=(1, 2)) / total

        shift_x, shift_y = moment(dx), moment(dy)
        # A Gaussian seen through a window of twice its covariance has 2/3 of its moments.
        xx = (1.5 * moment(dx * dx)).clamp(5e-4, 0.12)
        yy = (1.5 * moment(dy * dy)).clamp(5e-4, 0.12)
        limit = 0.98 * (xx * yy).sqrt()
        xy = torch.maximum(torch.minimum(1.5 * moment(dx * dy), limit), -limit)
        x, y = (x + shift_x).clamp(-_REACH, _REACH), (y + shift_y).clamp(-_REACH, _REACH)
    angle = 0.5 * torch.atan2(2 * xy, xx - yy)
    along = dx * angle.cos()[:, None, None] + dy * angle.sin()[:, None, None]
    angle = torch.where(moment(along**3) < 0, angle + math.pi, angle)
    mean, half = (xx + yy) / 2, (((xx - yy) / 2) ** 2 + xy**2).sqrt()
    ratio = ((mean - half).clamp_min(1e-6) / (mean + half)).sqrt()
    hidden = torch.zeros_like(ratio) if hidden is None else hidden
    return Pose(angle, x, y, (xx + yy).sqrt(), ratio, hidden)


def turn(images: Tensor, pose: Pose, half_width: float | Tensor, size: int) -> Tensor:
    """The galaxy's own frame: (N, bands, size, size), spanning `half_width` half-frames each way.

    Bilinear; images finer than the frame are averaged down first, so that nothing aliases.
    """
    finest = 2 * float(torch.as_tensor(half_width).max()) / size
    while images.shape[-1] * finest / 2 >= 2:
        images = F.avg_pool2d(images, 2)
    cos, sin = pose.angle.cos() * half_width, pose.angle.sin() * half_width
    return _sample(images, cos, -sin, pose.x, sin, cos, pose.y, size)


def turn_back(frames: Tensor, pose: Pose, half_width: float | Tensor, size: int) -> Tensor:
    """The inverse of `turn`: (N, bands, size, size) on the sky, zero outside the frame."""
    cos, sin = pose.angle.cos() / half_width, pose.angle.sin() / half_width
    x = -(cos * pose.x + sin * pose.y)
    y = sin * pose.x - cos * pose.y
    return _sample(frames, cos, sin, x, -sin, cos, y, size)


def _gaussian(dx: Tensor, dy: Tensor, xx: Tensor, yy: Tensor, xy: Tensor) -> Tensor:
    """Elliptical Gaussian window of twice the covariance (xx, yy, xy)."""
    a, b, c = (2 * moment[:, None, None] for moment in (xx, xy, yy))
    determinant = (a * c - b * b).clamp_min(1e-8)
    return torch.exp(-0.5 * (c * dx * dx - 2 * b * dx * dy + a * dy * dy) / determinant)


def _sample(
    images: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor, size: int
) -> Tensor:
    """Bilinear sampling at (a x + b y + c, d x + e y + f)."""
    matrix = torch.stack([torch.stack([a, b, c], dim=1), torch.stack([d, e, f], dim=1)], dim=1)
    shape = [len(images), images.shape[1], size, size]
    grid = F.affine_grid(matrix, shape, align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False)
