"""Claims about images at lower signal-to-noise."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch import Tensor

from VAE_model.preparation import degradation
from VAE_model.preparation.degradation import degrade, noise_spectrum, psf_transfer

SIGMA = (0.5, 1.0, 3.0)  # of the sky in g, r, z
FINE, COARSE = 0.1, 0.35  # weights of the neighbouring pixels in the resampling of two coadds


def sky(count: int, blend: float, seed: int = 0) -> Tensor:
    """Noise of `SIGMA` whose neighbouring pixels correlate by 2 b / (1 + 2 b^2), (N, 3, y, x)."""
    white = np.random.default_rng(seed).standard_normal((count, 3, 256, 256), np.float32)
    kernel = np.array([blend, 1, blend]) / np.sqrt(1 + 2 * blend**2)
    for axis in (2, 3):
        white = correlate1d(white, kernel, axis, mode="wrap")
    return torch.from_numpy(white * np.float32(SIGMA)[:, None, None])


def star(seeing: float) -> Tensor:
    """The PSF of unit flux in each band, in the middle between four pixels, (3, y, x)."""
    image = torch.fft.fftshift(torch.fft.irfft2(psf_transfer(256, seeing)), dim=(1, 2))
    return (image + image.roll(-1, 1) + image.roll(-1, 2) + image.roll((-1, -1), (1, 2))) / 4


def noise_of(images: Tensor) -> Tensor:
    return torch.tensor(SIGMA).expand(len(images), 3)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flux_error(images: Tensor, seeing: float) -> Tensor:
    """The standard deviation in each band of the PSF-weighted flux of a point source, anywhere."""
    psf = psf_transfer(images.shape[-1], seeing)
    found = (
        torch.fft.irfft2(torch.fft.rfft2(images) * psf)
        / torch.fft.irfft2(psf).square().sum(dim=(1, 2))[:, None, None]
    )
    return found.std(dim=(0, 2, 3))


def neighbours(images: Tensor) -> Tensor:
    """The correlation of neighbouring pixels."""
    return (images[..., 1:] * images[..., :-1]).mean() / images.square().mean()


@pytest.mark.parametrize("blend", [FINE, COARSE])
@pytest.mark.parametrize(
    "loss, seeing", [(0.38, 1.1), (degradation.DEPTH_LOSS, degradation.SEEING), (1.0, 1.0)]
)
def test_the_depth_for_point_sources_falls_by_what_is_stated(blend, loss, seeing):
    images = sky(12, blend)
    worse = degrade(images, noise_of(images), seeded(), loss, seeing)
    cost = 2.5 * torch.log10(flux_error(worse, seeing) / flux_error(images, 1.0))
    assert torch.allclose(cost, torch.tensor(loss), atol=0.03)  # 1 % of scatter, 12 images


@pytest.mark.parametrize("blend", [FINE, COARSE])
def test_the_noise_keeps_the_autocorrelation_of_the_image(blend):
    images = sky(6, blend)
    worse = degrade(images, noise_of(images), seeded())
    expected = 2 * blend / (1 + 2 * blend**2)
    assert float(neighbours(images)) == pytest.approx(expected, abs=0.01)
    assert float(neighbours(worse)) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("blend", [FINE, COARSE])
def test_the_autocorrelation_is_that_of_the_sky_without_sources(blend):
    images = sky(6, blend)
    shown = torch.zeros_like(images)
    rng = np.random.default_rng(1)
    for x, y in rng.integers(-110, 110, (40, 2)):
        shown += 1000 * star(1.5).roll((int(x), int(y)), (1, 2))
    assert float(neighbours(images + shown)) > float(neighbours(images)) + 0.05
    lags = torch.fft.irfft2(noise_spectrum(images + shown, noise_of(images)))
    expected = 2 * blend / (1 + 2 * blend**2)
    assert float(lags[..., 0, 1].mean()) == pytest.approx(expected, abs=0.03)


def test_a_star_has_the_stated_seeing_and_keeps_its_flux():
    before, after = star(1.0), star(degradation.SEEING)
    bright = 1e6 * before.expand(8, 3, 256, 256) + sky(8, FINE)
    worse = degrade(bright, noise_of(bright), seeded()).mean(dim=0) / 1e6
    y, x = np.mgrid[:256, :256] - 127.5
    inside = torch.from_numpy(np.hypot(x, y) < 5)
    within = [(image * inside).sum(dim=(1, 2)) for image in (worse, before, after)]
    assert torch.allclose(worse.sum(dim=(1, 2)), before.sum(dim=(1, 2)), rtol=0.01)
    assert torch.allclose(within[0], within[2], rtol=0.02)
    assert float((within[1] / within[2]).min()) > 1.05


def test_images_are_turned_by_the_draws_of_the_generator_alone():
    image = sky(2, FINE)
    image[:, :, 120:136, 60:190] += 100
    draws = [degrade(image, noise_of(image), seeded(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert float((draws[0] - image).abs().amax()) > 80


def test_a_blur_that_costs_more_than_the_stated_depth_is_refused():
    images = sky(1, FINE)
    with pytest.raises(ValueError, match=r"costs more than 0\.1 mag"):
        degrade(images, noise_of(images), seeded(), 0.1, 1.3)
