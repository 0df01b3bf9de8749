"""Claims about the networks, the pose, the structure vector and the losses."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from VAE_model import models
from VAE_model.pipeline.problem import Problem
from VAE_model.preparation import pose
from VAE_model.preparation import structure_vector as structure
from VAE_model.preparation.stretch import NOISE, Stretch
from VAE_model.training import checkpoint, device
from VAE_model.training.losses import Loss, kl_divergence


def ellipse(angle: float, x: float = 0.0, y: float = 0.0, ratio: float = 0.4) -> torch.Tensor:
    """A Gaussian of sigma 0.15 half-frames along `angle`, (1, 3, 256, 256)."""
    axis = (torch.arange(256) + 0.5) / 128 - 1
    grid_y, grid_x = torch.meshgrid(axis, axis, indexing="ij")
    along = (grid_x - x) * math.cos(angle) + (grid_y - y) * math.sin(angle)
    across = (grid_y - y) * math.cos(angle) - (grid_x - x) * math.sin(angle)
    light = 5 * torch.exp(-0.5 * ((along / 0.15) ** 2 + (across / (0.15 * ratio)) ** 2))
    return light.expand(1, 3, 256, 256)


def spiral(hand: int, turned: float = 0.0) -> torch.Tensor:
    """A two-armed logarithmic spiral in a round disc, (1, 3, 256, 256); hand: +1 or -1."""
    axis = (torch.arange(256) + 0.5) / 128 - 1
    grid_y, grid_x = torch.meshgrid(axis, axis, indexing="ij")
    radius = (grid_x**2 + grid_y**2).sqrt().clamp_min(1e-3)
    azimuth = torch.atan2(grid_y, grid_x) - turned
    arms = 1 + 0.8 * torch.cos(2 * azimuth - hand * 5 * radius.log())
    return (4 * torch.exp(-radius / 0.15) * arms).expand(1, 3, 256, 256)


@pytest.fixture(params=sorted(models.NETWORKS))
def network(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    built = models.build(request.param, 6)
    galaxies = torch.cat([ellipse(0.2 * i, ratio=0.2 + 0.08 * i) for i in range(10)])
    built.initialise(built.prepare(galaxies)[0])
    return built


def test_published_network_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in models.build("published", 40).parameters()) == 443_507


def test_fused_upsampling_is_the_published_function_of_the_same_weights():
    """Output and every gradient, to rounding; the names in a model file as ever."""
    torch.manual_seed(0)
    network = models.build("published", 4).double()
    names = [name for name in network.state_dict() if name.startswith("decoder")]
    assert names == [f"decoder.{i}.{kind}" for i in (0, 3, 6, 9, 11) for kind in ("weight", "bias")]
    latent, results = torch.randn(2, 4, dtype=torch.float64, requires_grad=True), []
    for network.decoder.layer_by_layer in (True, False):
        decoded = network.decode(latent)
        decoded.square().sum().backward()
        parts = [latent, *network.decoder.parameters()]
        results.append([decoded.detach(), *(part.grad.clone() for part in parts)])
        for part in parts:
            part.grad = None
    for written, fused in zip(*results, strict=True):
        assert float((written - fused).abs().max()) < 1e-12 * float(written.abs().max())


def test_bf16_is_chosen_where_it_pays_and_nowhere_else(monkeypatch):
    cpu = torch.device("cpu")
    chosen = {}
    for has in (True, False):
        monkeypatch.setattr(device, "_cpu_has_bf16", lambda has=has: has)
        for name in models.NETWORKS:
            chosen[name, has] = device.compute_dtype(cpu, "auto", models.build(name, 3))
    assert [key for key, dtype in chosen.items() if dtype == torch.bfloat16] == [
        ("published", True)
    ]
    assert device.compute_dtype(cpu, "bf16") == torch.bfloat16
    assert device.compute_dtype(cpu, "float32", models.build("published", 3)) == torch.float32


@pytest.mark.parametrize("name", sorted(models.NETWORKS))
@pytest.mark.parametrize("num_var", [1, 7, 40])
def test_any_number_of_latents(name: str, num_var: int):
    built = models.build(name, num_var)
    inputs, where = built.prepare(ellipse(0.3))
    mean, log_variance = built.encode(inputs)
    assert mean.shape == log_variance.shape == (1, num_var)
    decoded = built.decode(mean)
    assert decoded.shape == built.target(inputs).shape
    assert built.restore(decoded, where).shape == (1, 3, 256, 256)


@pytest.mark.parametrize("name", sorted(models.NETWORKS))
def test_second_vae_in_a_process_is_like_the_first(name: str):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(models.build(name, 5).state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_negative_sky_can_be_reconstructed(network: torch.nn.Module):
    """A final ReLU could not: the decoder gives negative values, and learns a negative sky."""
    if isinstance(network, models.StructureBaseline):
        pytest.skip("it does not learn")
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    images = -0.5 + 0.1 * ellipse(0.0)
    inputs, where = network.prepare(images)
    target = network.target(inputs)
    for _ in range(120):
        loss = (network.decode(network.encode(inputs)[0]) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sky = network.restore(network.decode(network.encode(inputs)[0]), where)
    assert float(sky[0, :, 128, 100].detach().max()) < -0.1


def test_nothing_is_mirrored_or_transposed_on_the_way_through(network: torch.nn.Module):
    """prepare, then restore without encoding: what comes back lies where it lay."""
    images = ellipse(0.7, x=0.05, y=-0.03) * torch.tensor([1.0, 0.5, 0.25])[:, None, None]
    inputs, where = network.prepare(images)
    back = network.restore(network.target(inputs), where)
    assert float((back - images).abs().max()) < 0.12 * float(images.max())
    for other in (images.flip(2), images.flip(3), images.transpose(2, 3), images.flip(1)):
        assert float((back - other).abs().max()) > 0.5 * float(images.max()) * 0.5


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.4, 2.8])
def test_pose_finds_angle_centre_and_axis_ratio(angle: float):
    found = pose.measure(ellipse(angle, 0.04, -0.06))
    off = (float(found.angle) - angle + math.pi / 2) % math.pi - math.pi / 2
    assert abs(off) < 0.01
    assert abs(float(found.x) - 0.04) < 2e-3
    assert abs(float(found.y) + 0.06) < 2e-3
    assert abs(float(found.axis_ratio) - 0.4) < 0.03


def test_a_companion_does_not_turn_the_frame():
    alone = pose.measure(ellipse(0.5))
    small = torch.zeros(1, 3, 256, 256)
    small[:, :, 40:52, 200:212] = 5.0
    assert abs(float(pose.measure(ellipse(0.5) + small).angle - alone.angle)) < 0.02


def test_turning_a_galaxy_moves_its_inputs_little_and_its_kind_much():
    built = models.build("residual", 4)
    still, turned = (built.prepare(ellipse(a))[0] for a in (0.3, 1.5))
    other = built.prepare(ellipse(0.3, ratio=0.8))[0]
    assert float((still - turned).norm()) < 0.1 * float((still - other).norm())


def test_turning_an_image_moves_its_latents_by_less_than_a_tenth_of_a_distance():
    torch.manual_seed(0)
    built = models.build("residual", 4)
    galaxies = torch.cat([
        *(ellipse(0.3 * i, ratio=0.3 + 0.1 * i) for i in range(6)),
        *(spiral(hand, 0.4) + ellipse(0.2, 0.02 * i) for i in range(3) for hand in (1, -1)),
    ])  # fmt: skip
    inputs = built.prepare(galaxies)[0]
    built.initialise(inputs)
    still = built.encode(inputs)[0].detach()
    apart = torch.pdist(still).median()
    for angle in (37, 90, 180):
        turned = rotate(galaxies.numpy(), angle, (3, 2), reshape=False, order=3, mode="nearest")
        moved = built.encode(built.prepare(torch.from_numpy(turned))[0])[0].detach() - still
        assert float(moved.norm(dim=1).median()) < (1e-3 if angle % 90 == 0 else 0.1) * apart


def test_half_a_turn_leaves_the_structure_vector_as_it_is():
    frame = torch.nn.functional.avg_pool2d(spiral(1) + ellipse(0.4, x=0.1), 4)
    bank = structure.wavelets(64)
    found, turned = structure.describe(frame, bank), structure.describe(frame.flip(2, 3), bank)
    assert float((found - turned).norm()) < 1e-3 * float(found.norm())


def test_handedness_stays_in_the_structure_vector():
    """A mirrored spiral differs by far more than noise does, in numbers that turn their sign."""
    torch.manual_seed(0)
    bank = structure.wavelets(64)
    frame = torch.nn.functional.avg_pool2d(spiral(1), 4)
    right, left = structure.describe(frame, bank), structure.describe(frame.flip(3), bank)
    noisy = structure.describe(frame + 0.01 * torch.randn_like(frame), bank)
    assert float((right - left).norm()) > 5 * float((right - noisy).norm())
    odd = (right.abs() > 1e-3) & ((right + left).abs() < 0.1 * right.abs())
    assert int(odd.sum()) >= 10


def test_an_empty_image_goes_through(network: torch.nn.Module):
    inputs, where = network.prepare(torch.zeros(2, 3, 256, 256))
    mean, _ = network.encode(inputs)
    assert torch.isfinite(mean).all()
    assert torch.isfinite(network.restore(network.decode(mean), where)).all()


def groups_of_numbers(built: torch.nn.Module, count: int = 60) -> torch.Tensor:
    """Inputs in which three hidden causes each move the pixels and a third of the numbers."""
    torch.manual_seed(0)
    hidden = torch.randn(count, 3)
    image = hidden @ torch.randn(3, built.PIXELS)
    numbers = hidden.repeat_interleave(built.FEATURES // 3, dim=1)
    return torch.cat([image, numbers], dim=1) + 0.1 * torch.randn(count, image.shape[1] + 1290)


def test_structure_baseline_lies_in_the_span_of_the_principal_components():
    built = models.build("structure", 3)
    inputs = groups_of_numbers(built)
    built.initialise(inputs)
    with torch.no_grad():
        mean, log_variance = built.encode(inputs)
        target, decoded = built.target(inputs), built.decode(mean)
    from sklearn.decomposition import PCA

    pca = PCA(3).fit(target.numpy())
    best = pca.inverse_transform(pca.transform(target.numpy()))
    ours, theirs = ((d - target.numpy()) ** 2 for d in (decoded.numpy(), best))
    assert ours.mean() < 1.02 * theirs.mean()
    assert torch.allclose(log_variance.exp(), torch.tensor(built.INITIAL_STD**2))


def test_each_latent_is_the_mean_of_numbers_that_vary_together():
    built = models.build("structure", 3)
    inputs = groups_of_numbers(built)
    built.initialise(inputs)
    mean = built.encode(inputs)[0].detach()
    third = built.FEATURES // 3
    causes = inputs[:, built.PIXELS :].unflatten(1, (3, third)).mean(dim=2)
    alike = np.corrcoef(mean.T.numpy(), causes.T.numpy())[:3, 3:]
    assert sorted(np.abs(alike).argmax(axis=1)) == [0, 1, 2]
    assert np.abs(alike).max(axis=1).min() > 0.95
    assert torch.allclose(mean.std(dim=0), torch.ones(3), atol=0.02)


def test_features_that_a_worse_exposure_does_not_reproduce_lose_their_weight():
    built = models.build("structure", 3)
    inputs = groups_of_numbers(built)
    unsure = built.PIXELS + torch.arange(0, built.FEATURES, 2)
    again = inputs[:40].clone()
    again[:, unsure] = again[:, unsure].flip(0)
    built.initialise(inputs, again)
    assert torch.allclose(built.reproducibility[1::2], torch.ones(built.FEATURES // 2))
    assert (
        float(built.reproducibility[::2].max()) < 1.5 * built.NOISE_LIMIT
    )  # two galaxies are one scatter apart
    before, there = built.target(inputs), built.target(inputs)[:, unsure].var(dim=0).sum()
    share = there / before[:, built.PIXELS :].var(dim=0).sum()
    assert float(share) < 1.5 * built.NOISE_LIMIT**2


def test_kl_of_known_gaussians():
    mean, log_variance = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, math.log(0.25)]])
    expected = [0.0, 0.5 * (4 + 0.25 - 1 - math.log(0.25))]
    assert torch.allclose(kl_divergence(mean, log_variance), torch.tensor([expected]))


def test_published_loss_is_the_sum_of_squares():
    x, y = torch.zeros(2, 10), torch.full((2, 10), 0.5)
    loss = Loss(models.build("published", 2), "published")
    assert torch.allclose(loss.reconstruction(x, y), torch.tensor([2.5, 2.5]))


def test_gaussian_likelihood_is_that_of_a_normal_distribution():
    network = models.build("published", 2)
    network.parts = (50,)
    loss = Loss(network, "gaussian")
    x, y = torch.randn(4, 50), torch.randn(4, 50)
    loss.initialise(x, y)
    normal = torch.distributions.Normal(x, loss.log_sigma.exp())
    assert torch.allclose(loss.reconstruction(x, y), -normal.log_prob(y).sum(dim=1), rtol=1e-4)


@pytest.mark.parametrize("kind", ["asinh", "linear", "display"])
def test_stretch_is_inverted_exactly_and_clips_nothing(kind: str):
    flux = torch.linspace(-0.05, 30, 3 * 64).reshape(1, 3, 8, 8)
    stretch = Stretch(kind)
    assert torch.allclose(stretch.inverse(stretch(flux)), flux, rtol=1e-4, atol=1e-6)
    assert float(stretch(flux).min()) < 0
    assert stretch.softening[0] == pytest.approx(3 * NOISE[0])


class _Harm:
    def __reduce__(self):
        return print, ("this ran",)


def test_a_model_file_that_holds_code_is_refused(tmp_path, capsys):
    torch.save(
        {"format": checkpoint.FORMAT, "config": {}, "weights": _Harm()}, tmp_path / "m.safetensors"
    )
    with pytest.raises(Problem, match="corrupt, or no safetensors file"):
        checkpoint.load(tmp_path / "m.safetensors")
    assert "this ran" not in capsys.readouterr().out


def test_eight_bit_images_are_not_stretched_twice():
    assert Stretch.of([False, False]) == Stretch()
    shown = Stretch.of([True, True])
    assert shown(torch.full((1, 3, 2, 2), 0.5)).max() == pytest.approx(4.0)
    with pytest.raises(Problem, match="1 of 2 images are 8-bit"):
        Stretch.of([True, False])
