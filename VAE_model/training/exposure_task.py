"""Training across exposures: from one exposure of a galaxy another must be predicted.

An image has two exposures, itself and a degraded copy (preparation/degradation.py), each of which
must predict the other. A simulated galaxy (data/simulate_exposures.py) has several by several
surveys; two of them are drawn in each epoch, and each must predict the last, which is deep and
sharp: there the bars and arms are seen that the others only suggest.

The encoder sees an exposure in the galaxy's frame, turned a little (at times by half a turn or by
any angle, as noise turns the measured frame) and shifted. It must predict the other in the frame of
the first, not turned, so that latents do not depend on the direction. For some images the structure
vector is left out. Some of these are enlarged, mirrored, and changed in brightness and colour, the
prediction alike.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VAE_model import models
from VAE_model.data.packed import Packed
from VAE_model.data.row_file import GroupedRows, RowFile
from VAE_model.models import BANDS, FramedVAE
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.provenance import read_sidecar
from VAE_model.pipeline.run import Run
from VAE_model.preparation import pose
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.stretch import Stretch
from VAE_model.training import distributed
from VAE_model.training.device import autocast
from VAE_model.training.image_task import ImageTask, Sample, Settings
from VAE_model.training.loader import batches
from VAE_model.training.loop import Microbatch
from VAE_model.training.losses import LossAcrossExposures

_POSE = len(Pose._fields)
_HELD_OUT = 20  # one of so many simulated galaxies validates
NORMAL, UNIFORM = 8, 5  # random numbers of a view
WITHOUT_STRUCTURE = 0.5  # share of the views
CHANGED = 0.5  # share of those without structure vector that are enlarged, mirrored, ...
HALF_TURN, ANY_TURN = 0.25, 0.15  # shares that are turned
_TURN = 0.12  # radians, standard deviation of the others
_SHIFT = 0.02  # of the half-width of the frame, standard deviation
DEGRADED = -1  # in Exposures.survey
# Share that the variance of an image has of the squared difference to its degraded copy, between
# posterior means: median of the latents of 240 simulated galaxies, whose repeats are known
IMAGE_SHARE = 0.42
_ZOOM, _BRIGHTNESS, _COLOUR = 0.12, 0.15, 0.05  # standard deviations of logarithms


class Exposures(NamedTuple):
    """Prepared inputs and poses of galaxies in several exposures.

    files: their rows, numbered one file after the other; table: (galaxies, exposures) such numbers
    of those that the encoder sees, -1 where a galaxy has fewer; deep: (galaxies,) such numbers of
    those that are to be predicted, -1: the other one of two; survey: (rows,) the number of the
    survey of each exposure, DEGRADED for a degraded copy.
    """

    files: tuple[RowFile, ...]
    table: NDArray[np.int64]
    deep: NDArray[np.int64]
    survey: NDArray[np.int64]

    @classmethod
    def simulated(cls, path: Path, length: int) -> "Exposures":
        """Return those of data/simulate_exposures.py.

        length: of the inputs. Raises Problem where the file has other inputs.
        """
        made = read_sidecar(path)
        number, nights = made["numbers"]["exposures"], made["config"]["nights"]
        galaxies, odd = divmod(path.stat().st_size, 2 * (length + _POSE) * number)
        if odd:
            raise Problem(f"{path} is of another version: run {Run().made_by(path)}")
        rows = np.arange(galaxies * number)
        file, table = RowFile(path, (length + _POSE,), rows, "float16"), rows.reshape(-1, number)
        return cls((file,), table[:, :-1], table[:, -1], rows % number // nights)

    @classmethod
    def joined(cls, parts: Sequence["Exposures"]) -> "Exposures":
        """Return the galaxies of several, one after the other."""
        most, first, tables = max(part.table.shape[1] for part in parts), 0, []
        for part in parts:
            table = np.pad(
                part.table, ((0, 0), (0, most - part.table.shape[1])), constant_values=-1
            )
            table = np.column_stack([table, part.deep])
            tables.append(np.where(table < 0, -1, table + first))
            first += sum(len(file) for file in part.files)
        table = np.concatenate(tables)
        files = tuple(file for part in parts for file in part.files)
        survey = np.concatenate([part.survey for part in parts])
        return cls(files, table[:, :-1], table[:, -1], survey)

    def draw(self, galaxies: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return two exposures of each galaxy, and what each is to predict, (N, 4).

        By torch's random numbers.
        """
        table, deep = self.table[galaxies], self.deep[galaxies, None]
        order = torch.rand(table.shape).numpy() + 2 * (table < 0)
        two = np.take_along_axis(table, np.argsort(order, axis=1)[:, :2], axis=1)
        return np.concatenate([two, np.where(deep < 0, two[:, ::-1], deep)], axis=1)

    def shares(self, pairs: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the share that the variance of each exposure has of the squared difference.

        Of the posterior means of two exposures; pairs: their numbers, (N, 2). It is half for two by
        one survey, and 0, which is unknown, for two surveys, which differ by more than the noise,
        and for a degraded copy.
        """
        own = self.survey[pairs]
        other = own[:, ::-1]
        shares = np.select(
            [own == DEGRADED, other == DEGRADED, own == other], [0, IMAGE_SHARE, 0.5]
        )
        return shares.astype(np.float32)


class ExposureTask(ImageTask):
    """Training across exposures on the `train` split of packed images, and on further galaxies."""

    network: FramedVAE
    loss: LossAcrossExposures

    def __init__(
        self, packed: Packed, data: str, settings: Settings, device: torch.device,
        sample: Sample | None = None, further: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        """Build network and loss, and prepare the second exposures.

        further: files of simulated exposures; a part of their galaxies validates.
        """
        super().__init__(packed, data, settings, device, sample)
        own = np.sort(np.concatenate([packed.rows("train"), packed.rows("validation")]))
        table = np.full((len(packed.index), 2), -1)
        table[own] = np.stack([own, len(packed.index) + np.arange(len(own))], axis=1)
        with distributed.rank_0_first():
            files = (self.inputs.open(), self.inputs.open_degraded(own))
        more = [Exposures.simulated(path, sum(self.network.parts)) for path in further]
        survey = np.repeat([0, DEGRADED], [len(file) for file in files])
        images = Exposures(files, table, np.full(len(table), -1), survey)
        self.exposures = Exposures.joined([images, *more])
        galaxies = np.arange(len(table), len(self.exposures.table))
        held_out = np.arange(len(galaxies)) % _HELD_OUT == 0
        self.train_rows = np.concatenate([self.train_rows, galaxies[~held_out]])
        self.validation_rows = np.concatenate([self.validation_rows, galaxies[held_out]])

    def batches(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, list[Microbatch]]]:
        """Yield batches of two exposures of each galaxy with the random numbers of their views."""
        size, width = self.settings.batch_size, self.settings.num_var
        if (left := len(rows) % size) < distributed.world_size():  # each needs an image
            rows = rows[: len(rows) - left]
        chosen = self.exposures.draw(rows)
        groups, numbers = GroupedRows(self.exposures.files, chosen), np.arange(len(rows))
        shares = torch.from_numpy(self.exposures.shares(chosen[:, :2]))
        for first, (drawn, four) in zip(
            range(0, len(rows), size),
            batches(groups, numbers, size, self.device, shared=True),
            strict=True,
        ):
            count = min(size, len(rows) - first)
            draws = (
                torch.randn(count, 2, width, device=self.device),
                torch.randn(count, 2, NORMAL, device=self.device),
                torch.rand(count, 2, UNIFORM, device=self.device),
            )
            own = (of.tensor_split(distributed.world_size())[distributed.rank()] for of in draws)
            share = len(four) / count
            is_deep = torch.from_numpy(self.exposures.deep[rows[drawn]] >= 0).to(self.device)
            known = shares[drawn].T.to(self.device)
            yield count, [(share, (torch.tensor(count), four, is_deep, known, *own))]

    def compute_loss(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, its terms and the posterior means of the first exposures."""
        count, four, is_deep, shares, noise, normal, uniform = inputs
        if not self.network.training:  # the exposures themselves
            normal, uniform = torch.zeros_like(normal), torch.ones_like(uniform)
        exposures = [(block[:, :-_POSE], Pose(*block[:, -_POSE:].T)) for block in four.unbind(1)]
        views = [
            view(self.network, self.stretch, exposures[i], exposures[2 + i],
                 normal[:, i], uniform[:, i])
            for i in (0, 1)
        ]  # fmt: skip
        parts = zip(*views, strict=True)
        seen, with_structure, target, unchanged = (torch.cat(part) for part in parts)
        with autocast(self.device, self.settings.precision, self.network):
            reconstruction, mean, log_variance = self.forward(
                seen, noise.transpose(0, 1).flatten(0, 1), with_structure
            )
        of_parts = self.loss.of_parts(reconstruction, target, is_deep.long().repeat(2))
        of_parts[:, -1] = of_parts[:, -1] * unchanged
        two, number = (2, -1), int(count)
        mean, log_variance = mean.float().unflatten(0, two), log_variance.float().unflatten(0, two)
        shares = shares * with_structure.unflatten(0, two).prod(dim=0)  # of whole views only
        projected = self.loss.projection(mean)
        every = torch.stack([distributed.gathered(of, number) for of in projected])
        loss, terms = self.loss.across(
            of_parts.unflatten(0, two), mean, log_variance, every, shares
        )
        return loss, terms, mean[0]


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


def task_of(
    packed: Packed, data: str, settings: Settings, device: torch.device,
    sample: Sample | None = None, further: Sequence[Path] = (),
) -> ImageTask:  # fmt: skip
    """Return the task that trains the network of the settings on the `train` split.

    further: files of data/simulate_exposures.py, for a network that is trained across exposures.
    """
    network = models.NETWORKS[settings.network]
    if not network.ACROSS_EXPOSURES:
        return ImageTask(packed, data, settings, device, sample)
    return ExposureTask(packed, data, settings, device, sample, further)
