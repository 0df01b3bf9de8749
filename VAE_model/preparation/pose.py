"""Pose of a galaxy, its centre and the direction of its major axis, and resampling to its frame.

The pose is measured, not learned, from adaptive second moments in an elliptical Gaussian window
(Bernstein & Jarvis 2002, AJ 123, 583) of the stretched image at low resolution, so other sources
contribute little. The major axis is rotated onto the x axis; the direction in which the light is
skewed becomes +x. Nothing is mirrored: the handedness of spirals is data.

Lengths are in half-widths of the image, which spans -1..1 on both axes, y upwards in FITS rows.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_GRID = 64  # pixels per side on which moments are measured
_ITERATIONS = 5  # of fitting the window to the moments
_LARGEST_OFFSET = 0.15  # of the centre from the middle of the image
_INITIAL_SIGMA = 0.2  # of the window


class Pose(NamedTuple):
    """Poses of N galaxies, each field (N,).

    angle: image angle of the major axis, radians from +x towards +y; x, y: centre; rms_radius:
    square root of the trace of the second moments; axis_ratio: b/a; masked_fraction: share of the
    image that was masked as contaminants before the measurement, NaN where no galaxy was found in
    the middle (segmentation.py).
    """

    angle: Tensor
    x: Tensor
    y: Tensor
    rms_radius: Tensor
    axis_ratio: Tensor
    masked_fraction: Tensor


@torch.no_grad()
def measure(images: Tensor, masked_fraction: Tensor | None = None) -> Pose:
    """Measure the pose in stretched images (N, 3, y, x), on the mean of the bands above its median.

    masked_fraction: (N,), to be kept with the pose; None: nothing is masked.
    """
    light = F.adaptive_avg_pool2d(images.float().mean(dim=1, keepdim=True), _GRID)[:, 0]
    light = (light - light.flatten(1).median(dim=1).values[:, None, None]).clamp_min(0)
    axis = (torch.arange(_GRID, device=images.device) + 0.5) / _GRID * 2 - 1
    grid_y, grid_x = torch.meshgrid(axis, axis, indexing="ij")
    count = len(light)
    x, y = light.new_zeros(count), light.new_zeros(count)
    xx = yy = light.new_full((count,), _INITIAL_SIGMA**2)
    xy = light.new_zeros(count)
    for _ in range(_ITERATIONS):
        dx, dy = grid_x - x[:, None, None], grid_y - y[:, None, None]
        weight = light * _gaussian(dx, dy, xx, yy, xy)
        total = weight.sum(dim=(1, 2)).clamp_min(1e-6)

        def moment(values: Tensor, weight: Tensor = weight, total: Tensor = total) -> Tensor:
            return (weight * values).sum(dim=(1, 2)) / total

        shift_x, shift_y = moment(dx), moment(dy)
        # A Gaussian times a window of twice its covariance has 2/3 of its moments.
        xx = (1.5 * moment(dx * dx)).clamp(5e-4, 0.12)
        yy = (1.5 * moment(dy * dy)).clamp(5e-4, 0.12)
        limit = 0.98 * (xx * yy).sqrt()
        xy = torch.maximum(torch.minimum(1.5 * moment(dx * dy), limit), -limit)
        x, y = (
            (x + shift_x).clamp(-_LARGEST_OFFSET, _LARGEST_OFFSET),
            (y + shift_y).clamp(-_LARGEST_OFFSET, _LARGEST_OFFSET),
        )
    angle = 0.5 * torch.atan2(2 * xy, xx - yy)
    along = dx * angle.cos()[:, None, None] + dy * angle.sin()[:, None, None]
    angle = torch.where(moment(along**3) < 0, angle + math.pi, angle)
    mean, half = (xx + yy) / 2, (((xx - yy) / 2) ** 2 + xy**2).sqrt()
    ratio = ((mean - half).clamp_min(1e-6) / (mean + half)).sqrt()
    if masked_fraction is None:
        masked_fraction = torch.zeros_like(ratio)
    return Pose(angle, x, y, (xx + yy).sqrt(), ratio, masked_fraction)


def to_frame(images: Tensor, pose: Pose, half_width: float | Tensor, size: int) -> Tensor:
    """Return images in the galaxy's frame, (N, bands, size, size), by bilinear interpolation.

    half_width: of the frame. Images finer than the frame are averaged down first, against aliasing.
    """
    finest = 2 * float(torch.as_tensor(half_width).max()) / size
    while images.shape[-1] * finest / 2 >= 2:
        images = F.avg_pool2d(images, 2)
    cos, sin = pose.angle.cos() * half_width, pose.angle.sin() * half_width
    return _sample(images, cos, -sin, pose.x, sin, cos, pose.y, size)


def to_sky(frames: Tensor, pose: Pose, half_width: float | Tensor, size: int) -> Tensor:
    """Invert `to_frame`: return (N, bands, size, size) on the sky, zero outside the frame."""
    cos, sin = pose.angle.cos() / half_width, pose.angle.sin() / half_width
    x = -(cos * pose.x + sin * pose.y)
    y = sin * pose.x - cos * pose.y
    return _sample(frames, cos, sin, x, -sin, cos, y, size)


def between(first: Pose, second: Pose, half_width: float) -> Tensor:
    """Return the affine maps, (N, 2, 3), from points in the first poses' frames to the second's."""
    turn = first.angle - second.angle
    x, y = (first.x - second.x) / half_width, (first.y - second.y) / half_width
    cos, sin = second.angle.cos(), second.angle.sin()
    return affine(turn.cos(), turn.sin(), cos * x + sin * y, cos * y - sin * x)


def affine(cos: Tensor, sin: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return affine maps, (N, 2, 3): a turn, with any scale, then a shift."""
    return torch.stack([torch.stack([cos, -sin, x], 1), torch.stack([sin, cos, y], 1)], 1)


def warp(frames: Tensor, maps: Tensor) -> Tensor:
    """Return frames read bilinearly at the mapped points; zero outside. maps: (N, 2, 3)."""
    grid = F.affine_grid(maps, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, align_corners=False)


def _gaussian(dx: Tensor, dy: Tensor, xx: Tensor, yy: Tensor, xy: Tensor) -> Tensor:
    """Return an elliptical Gaussian window of twice the covariance (xx, yy, xy)."""
    a, b, c = (2 * moment[:, None, None] for moment in (xx, xy, yy))
    determinant = (a * c - b * b).clamp_min(1e-8)
    return torch.exp(-0.5 * (c * dx * dx - 2 * b * dx * dy + a * dy * dy) / determinant)


def _sample(
    images: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor, size: int
) -> Tensor:
    """Sample bilinearly at (a x + b y + c, d x + e y + f)."""
    matrix = torch.stack([torch.stack([a, b, c], dim=1), torch.stack([d, e, f], dim=1)], dim=1)
    shape = [len(images), images.shape[1], size, size]
    grid = F.affine_grid(matrix, shape, align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False)
