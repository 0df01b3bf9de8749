"""Layers of the networks in models.py."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Polar(nn.Module):
    """Images about their middle on a grid of radius and azimuth; logarithmic spirals are straight.

    radii, azimuths: their numbers; the radii are a constant factor apart, from INNERMOST to 1, in
    half-widths of the image.
    """

    INNERMOST = 0.03
    points: Tensor  # (radii, azimuths, 2), x and y

    def __init__(self, radii: int, azimuths: int) -> None:
        super().__init__()
        radius = torch.logspace(math.log10(self.INNERMOST), 0, radii)[:, None]
        azimuth = torch.arange(azimuths) * (2 * math.pi / azimuths)
        points = torch.stack([radius * azimuth.cos(), radius * azimuth.sin()], dim=-1)
        self.register_buffer("points", points, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, bands, radii, azimuths), read bilinearly from (N, bands, y, x)."""
        grid = self.points.expand(len(images), -1, -1, -1)
        return functional.grid_sample(images, grid, align_corners=False)


class PolarConvolution(nn.Conv2d):
    """A 3x3 convolution of maps (N, channels, radius, azimuth): the azimuth is periodic."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__(channels, out, 3, stride, (1, 0))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, out, radius / stride, azimuth / stride)."""
        around = torch.cat([inputs[..., -1:], inputs, inputs[..., :1]], dim=-1)
        return super().forward(around.contiguous(memory_format=torch.channels_last))


class PolarAmplitudes(nn.Module):
    """Fourier amplitudes of maps around the azimuth, which a turn does not change.

    Orders 0 (the mean, with its sign) to `orders` - 1.
    """

    def __init__(self, orders: int) -> None:
        super().__init__()
        self.orders = orders

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, channels * radius * orders) of maps (N, channels, radius, azimuth)."""
        modes = torch.fft.rfft(inputs.float(), dim=3, norm="forward")[..., : self.orders]
        squares = modes.real.square() + modes.imag.square()
        mean, others = modes.real[..., :1], (squares[..., 1:] + 1e-6).sqrt()
        return torch.cat([mean, others], dim=3).flatten(1)


class Residual(nn.Module):
    """x + two 3x3 convolutions, with group normalisation (no batch statistics).

    polar: of maps over radius and azimuth.
    """

    def __init__(self, channels: int, polar: bool = False) -> None:
        super().__init__()
        convolutions = [
            PolarConvolution(channels, channels)
            if polar
            else nn.Conv2d(channels, channels, 3, 1, 1)
            for _ in range(2)
        ]
        self.block = nn.Sequential()
        for convolution in convolutions:
            self.block.extend([nn.GroupNorm(8, channels), nn.SiLU(), convolution])

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features of the same shape, (N, channels, y, x)."""
        return inputs + self.block(inputs)


def double_resolution(channels: int, out: int) -> tuple[nn.Module, nn.Module]:
    """Return a 1x1 convolution and a pixel shuffle, which double the resolution.

    They avoid the checkerboard pattern of a transposed convolution.
    """
    return nn.Conv2d(channels, 4 * out, 1), nn.PixelShuffle(2)


def zero_initialised(layer: nn.Module) -> nn.Module:
    """Set all parameters of a layer to zero; return the layer.

    A branch that ends in it contributes nothing at the beginning of training.
    """
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class FusedUpsampling(nn.Sequential):
    """A sequence in which `Upsample(2)` and `ConvTranspose2d(3, stride 2)` run as one convolution.

    Repeating each pixel twice and applying a 3x3 kernel with stride 2 equals applying, with stride
    4, the sum of that kernel shifted by 0 and 2 pixels on each axis: a 5x5 kernel. It is the same
    function of the same weights up to rounding, with fewer operations and less memory.

    layer_by_layer: run the layers one after the other instead, for drawings and comparisons.
    """

    layer_by_layer = False

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the output of the last layer."""
        if self.layer_by_layer:
            return super().forward(inputs)
        upsampled = False
        for layer in self:
            if isinstance(layer, nn.Upsample):
                upsampled = True
            elif upsampled and isinstance(layer, nn.ConvTranspose2d):
                inputs, upsampled = _upsample_fourfold(inputs, layer.weight, layer.bias), False
            else:
                inputs = layer(inputs)
        return inputs


def _upsample_fourfold(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map (N, in, y, x) to (N, out, 4 y, 4 x).

    weight: (in, out, 3, 3), of a transposed convolution with stride 2, padding 1 and output padding
    1 after nearest-neighbour upsampling.
    """
    shifted = [functional.pad(weight, (x, 2 - x, y, 2 - y)) for y in (0, 2) for x in (0, 2)]
    kernel = torch.stack(shifted).sum(dim=0).contiguous(memory_format=torch.channels_last)
    outputs = functional.conv_transpose2d(inputs, kernel, None, 4, 1, 1)
    # As a separate sum: on a CPU torch's own gradient of the bias takes longer than the rest of the
    # backward pass (docs/LOG.md).
    return outputs if bias is None else outputs.add_(bias[:, None, None])
