"""Claims about SSIM: the library's own values, and what it means."""

import pytest
import torch
from pytorch_msssim import ssim as library

from VAE_model.evaluation.reconstruction import quality, ssim


def test_ssim_is_that_of_the_library():
    torch.manual_seed(0)
    one = torch.rand(3, 3, 64, 64)
    two = one + 0.1 * torch.randn_like(one)
    theirs = library(one, two, data_range=1, size_average=False, win_size=11, win_sigma=10)
    assert torch.allclose(ssim(one, two), theirs, atol=1e-5)


def test_an_image_is_like_itself_and_unlike_its_negative():
    image = torch.rand(1, 3, 64, 64)
    assert float(ssim(image, image)) == pytest.approx(1, abs=1e-5)
    assert float(ssim(image, 1 - image)) < 0


def test_quality_looks_at_the_centre_and_counts_in_sky_variances():
    noise = torch.tensor([[0.1, 0.2, 0.4]])
    flux = torch.zeros(1, 3, 256, 256)
    flux[..., :60, :] = 100  # a bright star far from the galaxy
    sky = torch.zeros_like(flux) + noise[:, :, None, None]
    error, likeness = quality(sky, flux, noise)
    assert float(error) == pytest.approx(1, rel=1e-5)
    assert 0 < float(likeness) < 1
