"""Quality of reconstructions: reduced chi-squared per pixel and structural similarity."""

import torch
from torch import Tensor

CENTRE = 128  # pixels a side of the central square, 34 arcsec, that holds the galaxy
WINDOW, SIGMA = 11, 10.0  # pixels, of SSIM
_C1, _C2 = 0.01**2, 0.03**2  # for a data range of 1


def quality(sky: Tensor, flux: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return reduced chi-squared per pixel and SSIM, each (N,), of reconstructions `sky` of `flux`.

    sky, flux: (N, 3, y, x), nanomaggies; noise: sky sigma, (N, 3), nanomaggies. Both measures are
    taken over the central CENTRE x CENTRE pixels, where the galaxy is: networks are not trained to
    reconstruct the other sources around it. Chi-squared is the mean over pixels and bands of the
    squared error over the sky variance.
    """
    edge = (flux.shape[-1] - CENTRE) // 2
    middle = (..., slice(edge, edge + CENTRE), slice(edge, edge + CENTRE))
    sky, flux = sky[middle], flux[middle]
    sigma = noise.to(flux)[:, :, None, None]
    return ((sky - flux) / sigma).square().mean(dim=(1, 2, 3)), ssim(sky, flux)


def ssim(one: Tensor, two: Tensor) -> Tensor:
    """Return SSIM of each pair of images, (N,), of two tensors (N, bands, y, x) in nanomaggies.

    Wang et al. 2004 (IEEE Trans. Image Process. 13, 600), eq. 13, averaged over bands and over
    all places where the whole window fits; window, sigma and data range 1 as published. The blur
    is two matrix products, on a CPU about three times faster than the convolutions of
    pytorch-msssim; a test compares the two.
    """
    rows, columns = (_blur(size, one) for size in one.shape[-2:])

    def blurred(images: Tensor) -> Tensor:
        return rows @ (images @ columns.T)

    mean1, mean2 = blurred(one), blurred(two)
    squares, product = mean1.square() + mean2.square(), mean1 * mean2
    variances = blurred(one.square() + two.square()) - squares
    covariance = blurred(one * two) - product
    index = (2 * product + _C1) * (2 * covariance + _C2)
    return (index / ((squares + _C1) * (variances + _C2))).mean(dim=(1, 2, 3))


def _blur(size: int, like: Tensor) -> Tensor:
    """Return the matrix (size - WINDOW + 1, size) that blurs a row with the Gaussian window."""
    window = torch.exp(-((torch.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    window = (window / window.sum()).to(like)
    matrix = like.new_zeros(size - WINDOW + 1, size)
    for offset in range(WINDOW):
        matrix.diagonal(offset).fill_(window[offset])
    return matrix
