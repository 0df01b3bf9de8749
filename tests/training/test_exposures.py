"""Claims about training across exposures: the pairs, the views, the loss."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import succeeded

from VAE_model import models
from VAE_model.data.packed import Packed
from VAE_model.data.row_file import GroupedRows, RowFile
from VAE_model.pipeline.run import Run
from VAE_model.preparation import pose
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.prepared_inputs import PreparedInputs
from VAE_model.preparation.stretch import Stretch
from VAE_model.training import exposure_task
from VAE_model.training.exposure_task import DEGRADED, Exposures
from VAE_model.training.losses import contrast, width


def rows_of(path, values: np.ndarray, dtype: str = "float32") -> RowFile:
    path.write_bytes(values.astype(dtype).tobytes())
    return RowFile(path, values.shape[1:], np.arange(len(values)), dtype)


def blob(angle: float, x: float = 0.0, y: float = 0.0) -> torch.Tensor:
    """A galaxy with a brighter spot on its major axis, (1, 3, 256, 256)."""
    axis = (torch.arange(256) + 0.5) / 128 - 1
    grid_y, grid_x = torch.meshgrid(axis, axis, indexing="ij")
    along = (grid_x - x) * math.cos(angle) + (grid_y - y) * math.sin(angle)
    across = (grid_y - y) * math.cos(angle) - (grid_x - x) * math.sin(angle)
    light = 4 * torch.exp(-0.5 * ((along / 0.15) ** 2 + (across / 0.06) ** 2))
    spot = 2 * torch.exp(-0.5 * (((along - 0.12) / 0.03) ** 2 + (across / 0.03) ** 2))
    return (light + spot).expand(1, 3, 256, 256)


def test_pairs_are_read_from_several_files_in_order(tmp_path):
    one = rows_of(tmp_path / "one", np.arange(6.0).reshape(3, 2))
    two = rows_of(tmp_path / "two", 10 + np.arange(8.0).reshape(4, 2), "float16")
    groups = GroupedRows((one, two), np.array([[0, 3], [6, 2], [1, 1]]))
    into = np.empty((2, *groups.row), np.float32)
    groups.read(np.array([1, 0]), into)
    assert into.tolist() == [[[16, 17], [4, 5]], [[0, 1], [10, 11]]]


def test_two_different_exposures_are_drawn_and_predict_each_other_or_the_deep_one(tmp_path):
    file = rows_of(tmp_path / "rows", np.zeros((9, 1)))
    none, copied = np.array([-1, -1]), np.array([0, DEGRADED] * 4 + [0])
    two = Exposures((file,), np.array([[0, 1], [2, 3]]), none, copied)
    surveys = np.array([0, 0, 1, 0, 0, 0, 0, 0, 1])
    three = Exposures((file,), np.array([[0, 1, 2], [6, 7, 8]]), np.array([3, 5]), surveys)
    joined = Exposures.joined([two, three])
    assert joined.table.tolist() == [[0, 1, -1], [2, 3, -1], [9, 10, 11], [15, 16, 17]]
    assert joined.deep.tolist() == [-1, -1, 12, 14]
    torch.manual_seed(0)
    drawn = np.stack([joined.draw(np.arange(4)) for _ in range(40)])
    assert (drawn[..., 0] != drawn[..., 1]).all() and (drawn >= 0).all()
    assert set(drawn[:, 0].ravel()) == {0, 1} and set(drawn[:, 3, :2].ravel()) == {15, 16, 17}
    assert (drawn[:, :2, 2:] == drawn[:, :2, 1::-1]).all() and (drawn[:, 3, 2:] == 14).all()
    shares = joined.shares(np.array([[0, 1], [1, 0], [9, 10], [11, 9]]))
    of_image = np.float32(exposure_task.IMAGE_SHARE)
    assert shares.tolist() == [[of_image, 0], [0, of_image], [0.5, 0.5], [0, 0]]


def test_a_frame_is_read_as_another_pose_has_it():
    """Two images of one galaxy, turned and shifted: the second frame in the first one's pose."""
    images = torch.cat([blob(0.3), blob(0.3)])
    true = [torch.tensor([0.3, 0.5]), torch.tensor([0.0, 0.02]), torch.tensor([0.0, -0.03])]
    rest = [torch.zeros(2)] * 3
    both = Pose(*true, *rest)
    frames = pose.to_frame(images, both, 0.5, 64)
    first, second = (Pose(*(value[i : i + 1] for value in both)) for i in (0, 1))
    moved = pose.warp(frames[1:], pose.between(first, second, 0.5))
    inner = (slice(None), slice(None), slice(16, 48), slice(16, 48))
    assert float((frames[1:] - frames[:1])[inner].abs().max()) > 0.5
    assert float((moved - frames[:1])[inner].abs().max()) < 0.15


@pytest.fixture
def network() -> models.FramedVAE:
    torch.manual_seed(0)
    return models.build("residual", 4)


def test_a_view_without_random_numbers_is_the_exposure_itself(network):
    inputs, where = network.prepare(blob(0.3))
    torch.manual_seed(1)
    other, place = network.prepare(blob(0.3) + 0.3 * torch.randn(1, 3, 256, 256))
    zeros, ones = torch.zeros(1, exposure_task.NORMAL), torch.ones(1, exposure_task.UNIFORM)
    seen = exposure_task.view(network, Stretch(), (inputs, where), (other, place), zeros, ones)
    assert torch.allclose(seen.inputs, inputs, atol=1e-4)
    assert (seen.with_structure.item(), seen.unchanged.item()) == (1, 1)
    image, features = network.split(seen.target)
    assert torch.allclose(features, network.split(network.target(other))[1])
    away = image - network.split(network.target(inputs))[0]
    assert 0.02 < float(away.std()) < 0.3


def test_a_mirrored_view_predicts_the_mirrored_exposure_and_not_its_structure(network):
    inputs, where = network.prepare(blob(0.3))
    normal, uniform = torch.zeros(1, exposure_task.NORMAL), torch.ones(1, exposure_task.UNIFORM)
    uniform[0, [0, 1, 4]] = 0  # without structure, changed, mirrored
    seen = exposure_task.view(network, Stretch(), (inputs, where), (inputs, where), normal, uniform)
    frame = network.split(inputs)[0].unflatten(1, (3, 64, 64))
    mirrored = network.split(seen.inputs)[0].unflatten(1, (3, 64, 64))
    assert torch.allclose(mirrored, frame.flip(2), atol=1e-4)
    predicted = network.split(seen.target + network.input_mean)[0].unflatten(1, (3, 64, 64))
    assert torch.allclose(predicted, frame.flip(2), atol=1e-4)
    assert (seen.with_structure.item(), seen.unchanged.item()) == (0, 0)


def test_a_turned_view_predicts_the_exposure_that_is_not_turned(network):
    inputs, where = network.prepare(blob(0.3))
    normal, uniform = torch.zeros(1, exposure_task.NORMAL), torch.ones(1, exposure_task.UNIFORM)
    uniform[0, 2] = 0  # half a turn
    seen = exposure_task.view(network, Stretch(), (inputs, where), (inputs, where), normal, uniform)
    frame = network.split(inputs)[0].unflatten(1, (3, 64, 64))
    turned = network.split(seen.inputs)[0].unflatten(1, (3, 64, 64))
    assert torch.allclose(turned, frame.flip(2, 3), atol=1e-3)
    assert torch.allclose(seen.target, network.target(inputs), atol=1e-3)


def test_squares_by_scale_add_up_and_a_smooth_error_is_large_scale(network):
    error = torch.randn(3, sum(network.parts))
    assert torch.allclose(network.squares(error).sum(dim=1), error.square().sum(dim=1), rtol=1e-4)
    white = (network.squares(error).mean(dim=0) / torch.tensor(network.parts)).sqrt()
    assert torch.allclose(white, torch.ones(6), atol=0.15)
    smooth = torch.cat([torch.ones(1, network.PIXELS), torch.zeros(1, network.FEATURES)], dim=1)
    assert network.squares(smooth)[0, 4] == pytest.approx(network.PIXELS)


def test_contrast_of_known_similarities():
    """Two galaxies at right angles: each image has one like it and two unlike it."""
    axes = torch.eye(2)
    expected = math.log(1 + 2 * math.exp(-1 / 0.5))
    assert float(contrast(axes, axes, 0.5)) == pytest.approx(expected)
    assert float(contrast(axes, axes.flip(0), 0.5)) > expected


@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_width_is_least_at_the_scatter_of_exposures(noise: float):
    torch.manual_seed(0)
    first, second = 0.3 * torch.randn(2, 4000, 1)
    second = noise**0.5 * second
    share = torch.full((4000,), 1 / (1 + noise))
    first[:400] *= 10
    share[:400] = 0  # unknown
    log_variance = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([log_variance], 0.05)
    for _ in range(300):
        loss = width(first, second, log_variance.expand(4000, 1), share).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float((0.5 * log_variance.detach()).exp()) == pytest.approx(0.3, rel=0.05)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory, script) -> Run:
    """Three galaxies in two exposures by each of two surveys, and a deep one."""
    run = Run(tmp_path_factory.mktemp("exposures") / "run")
    succeeded(script("data/simulate_exposures.py", run, "--galaxies", "3", "--workers", "1"))
    return run


def test_simulated_exposures_are_prepared_galaxies_and_the_last_is_deep(simulated, network):
    exposures = Exposures.simulated(simulated.exposures, sum(network.parts))
    assert exposures.table.shape == (3, 4) and len(exposures.deep) == 3
    numbers = np.column_stack([exposures.table, exposures.deep])
    rows = torch.from_numpy(exposures.files[0][numbers.ravel()]).unflatten(0, numbers.shape)
    frames = rows[..., : network.PIXELS].unflatten(2, (3, 64, 64))
    edge = frames[..., 0].flatten(2)  # a side of the frame, where there is mostly sky
    rough = (edge[..., 1:] - edge[..., :-1]).abs().median(dim=2).values
    assert (rough[:, 4] < 0.5 * rough[:, :4].min(dim=1).values).all()
    middle = frames[..., 24:40, 24:40].flatten(2)
    alike = torch.stack([torch.corrcoef(of[[0, 4]])[0, 1] for of in middle])
    assert (alike > 0.8).all()


def test_a_degraded_copy_predicts_the_galaxy_where_its_image_has_it(copy_of_tiny_run, network):
    packed, rows = Packed.of(copy_of_tiny_run), np.arange(24)
    prepared = PreparedInputs(packed, network, Stretch(), torch.device("cpu"))
    own, copy = (
        torch.from_numpy(file[rows]) for file in (prepared.open(), prepared.open_degraded(rows))
    )
    number = sum(network.parts)
    (inputs, where), (other, place) = (
        (block[:, :number], Pose(*block[:, number:].T)) for block in (own, copy)
    )
    normal = torch.zeros(24, exposure_task.NORMAL)
    uniform = torch.ones(24, exposure_task.UNIFORM)
    seen = exposure_task.view(network, Stretch(), (inputs, where), (other, place), normal, uniform)
    images = (network.split(of)[0] for of in (network.target(inputs), seen.target))
    alike = [float(torch.corrcoef(torch.stack(two))[0, 1]) for two in zip(*images, strict=True)]
    assert min(alike) > 0.9, alike


def test_training_joins_the_images_of_a_run_and_simulated_galaxies(
    simulated, copy_of_tiny_run, script
):
    run = copy_of_tiny_run
    shutil.copytree(simulated.exposures.parent, run.exposures.parent)
    options = ("--num-var", "3", "--start", "random", "--epochs", "1", "--batch-size", "8")
    succeeded(script("Galaxy_VAE_n.py", run, *options))
    record = json.loads(run.model_log(3).read_text())
    split = Packed.of(run).index["split"]
    assert record["steps"] == math.ceil(((split == "train").sum() + 3) / 8)
    assert {"train_image", "train_contrast", "validation_width"} <= set(record)
