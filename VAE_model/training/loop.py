"""The training loop: a step for each batch; after each epoch validation and a checkpoint.

`Trainer` is the loop. A `Task` is what is trained: a network, its loss and its batches.
image_task.py has the task of packed images, exposure_task.py that of two exposures of each galaxy,
and transfer/adaptation.py that of pairs of images of two surveys.

After every epoch the state is saved as <name>_last.safetensors, and as <name>.safetensors if the
validation loss is the best so far. An epoch depends only on the seed and its number, so a resumed
run ends with the same weights as an undisturbed one, bit for bit on a CPU. Under torchrun the
processes share each batch and sum their gradients (distributed.py): batches, their order and the
random draws are those of one process.
"""

import dataclasses
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from VAE_model import models
from VAE_model.data.splits import FEWEST
from VAE_model.pipeline.files import write_text
from VAE_model.pipeline.problem import Problem
from VAE_model.preparation.prepared_inputs import PreparedInputs
from VAE_model.training import checkpoint, distributed
from VAE_model.training.device import Precision
from VAE_model.training.loader import shuffled
from VAE_model.training.losses import Loss

_ACTIVE = 0.01  # variance of a latent's mean over galaxies above which it is active (Burda 2016)

Microbatch = tuple[float, tuple[Tensor, ...]]  # its share of the batch's images; its inputs


@dataclass(frozen=True)
class Files:
    """Where training writes: the best model, the state to resume from, one JSON line per epoch."""

    best: Path
    last: Path
    log: Path

    @classmethod
    def of(cls, best: Path) -> "Files":
        """Return the files that belong to a model file."""
        last = best.with_name(f"{best.stem}_last{best.suffix}")
        return cls(best, last, best.with_name(f"{best.stem}_log.jsonl"))

    def forget(self) -> None:
        """Delete the state to resume from, so that training starts at the first epoch."""
        if not distributed.rank():
            self.last.unlink(missing_ok=True)
        distributed.barrier()


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Hyperparameters of the loop; see Galaxy_VAE_n.py."""

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Literal["one-cycle", "constant"]
    max_grad_norm: float
    seed: int
    precision: Precision
    block: int = 0


class Trainer:
    """The loop over epochs."""

    def __init__(self, task: "Task", files: Files) -> None:
        self.task, self.files, self.settings = task, files, task.settings
        self.history: list[dict[str, Any]] = []
        parameters = (*task.network.parameters(), *task.loss.parameters())
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in self.parameters:  # a process may have no image of a batch
            parameter.grad = torch.zeros_like(parameter)
        settings = task.settings
        self.optimizer = torch.optim.Adam(self.parameters, settings.learning_rate)
        steps = settings.epochs * math.ceil(len(task.train_rows) / settings.batch_size)
        schedules = torch.optim.lr_scheduler
        self.schedule: schedules.LRScheduler = (
            schedules.OneCycleLR(self.optimizer, settings.learning_rate, total_steps=steps)
            if settings.schedule == "one-cycle"
            else schedules.ConstantLR(self.optimizer, 1.0, steps)
        )

    def run(self, label: str = "") -> dict[str, Any]:
        """Train to the last epoch, or resume; return the log of the best epoch.

        Raises Problem if training diverges; the state of the epoch before stays on disk.
        """
        if not self._resume():
            self.task.initialise()
        distributed.broadcast([*self.task.network.state_dict().values(), *self.parameters])
        first, epochs = len(self.history), self.settings.epochs
        if first:
            distributed.say(f"  {label}: resumes after epoch {first} of {epochs}")
        silent = distributed.rank() != 0
        left = range(first, epochs)
        bar = tqdm(left, label, epochs, initial=first, unit="epoch", disable=silent)
        for epoch in bar:
            began = time.monotonic()
            record = {"epoch": epoch + 1, **self.train_epoch(epoch), **self.validate()}
            record["seconds"] = round(time.monotonic() - began, 2)
            self._check_divergence(record)
            self.history.append(record)
            self._save(record)
            bar.set_postfix(validation=f"{record['validation_loss']:.1f}")
        return self._best()

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """Take a step for each batch of training images; return the log of the epoch."""
        task, settings = self.task, self.settings
        torch.manual_seed(_seed(settings.seed, epoch))
        task.network.train()
        totals = torch.zeros(1 + len(task.terms), dtype=torch.float64, device=task.device)
        skipped: list[Tensor] = []
        order = shuffled(task.train_rows, settings.seed, epoch, settings.block)
        for count, microbatches in task.batches(order):
            self.optimizer.zero_grad(set_to_none=False)
            values = torch.zeros(len(totals), device=task.device)
            for share, inputs in microbatches:
                loss, terms, _ = task.compute_loss(*inputs)
                (share * loss).backward()
                values += share * torch.cat([loss[None], terms]).detach()
            finite = self._combine_gradients(values)
            self.optimizer.step()
            self.schedule.step()
            skipped.append(~finite)
            totals += torch.where(finite, count * values, 0.0)
        means = (totals / len(order)).tolist()
        names = [f"train_{name}" for name in ("loss", *task.terms)]
        return {
            **dict(zip(names, means, strict=True)),
            "skipped_steps": torch.stack(skipped).nonzero().flatten().tolist(),
            "steps": len(skipped),
            "learning_rate": self.schedule.get_last_lr()[0],
        }

    def _combine_gradients(self, values: Tensor) -> Tensor:
        """Sum gradients, and loss and terms, over the processes and clip the gradients.

        Returns True, a tensor on the device, if they are finite. If not they become zero, so that
        the step is skipped without waiting for the device.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        distributed.all_sum([*gradients, values])
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        finite = torch.isfinite(norm)
        for gradient in gradients:
            gradient.masked_fill_(~finite, 0)
        return finite

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Return mean loss and terms of the validation images, and the number of active latents.

        One draw per image, the same in every epoch. Active latents: Burda et al. 2016.
        """
        task = self.task
        task.network.eval()
        torch.manual_seed(_seed(self.settings.seed, 0))
        totals = torch.zeros(1 + len(task.terms), dtype=torch.float64, device=task.device)
        moments = torch.zeros(3, task.network.num_var, dtype=torch.float64, device=task.device)
        for count, microbatches in task.batches(task.validation_rows):
            for share, inputs in microbatches:
                loss, terms, mean = task.compute_loss(*inputs)
                totals += share * count * torch.cat([loss[None], terms])
                powers = mean.double() ** torch.arange(3, device=task.device)[:, None, None]
                moments += powers.sum(dim=1)
        distributed.all_sum([totals, moments])
        number, mean, square = moments
        variance = square / number - (mean / number).square()
        values = (totals / len(task.validation_rows)).tolist()
        names = [f"validation_{name}" for name in ("loss", *task.terms)]
        return {
            **dict(zip(names, values, strict=True)),
            "active": int((variance > _ACTIVE).sum()),
        }

    def _check_divergence(self, record: dict[str, Any]) -> None:
        """Raise Problem if the epoch has diverged, before it is saved."""
        skipped, steps = record["skipped_steps"], record["steps"]
        if len(skipped) > 0.1 * steps or not math.isfinite(record["validation_loss"]):
            self.task.check_inputs()
            reason = "the validation loss is not finite"
            if skipped:
                first = f"the first is step {skipped[0] + 1}"
                reason = f"{len(skipped)} of {steps} steps without a finite gradient, {first}"
            raise Problem(
                f"training diverged in epoch {record['epoch']} ({reason}): lower learning_rate "
                f"({self.settings.learning_rate:g}), delete {self.files.last} and rerun"
            )
        if skipped:
            distributed.say(
                f"  epoch {record['epoch']}: skipped steps {skipped}, gradient not finite"
            )

    def _best(self) -> dict[str, Any]:
        return min(self.history, key=lambda record: record["validation_loss"])

    def _save(self, record: dict[str, Any]) -> None:
        """Save the best model, then the state to resume from.

        If the process is killed between the two, the epoch is repeated with the same result. In the
        other order a best model could be lost.
        """
        if distributed.rank():
            return
        task = self.task
        model = {
            "config": task.config, "data": task.data, "history": self.history,
            "weights": task.network.state_dict(), "loss": task.loss.state_dict(), **task.results,
        }  # fmt: skip
        if record is self._best():
            checkpoint.save(self.files.best, model)
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        checkpoint.save(self.files.last, {**model, **state})
        write_text(self.files.log, "".join(json.dumps(line) + "\n" for line in self.history))

    def _resume(self) -> bool:
        """Load the state of an interrupted run of the same constants and data, if there is one."""
        if not self.files.last.exists():
            return False
        task = self.task
        needs = ("config", "data", "weights", "loss", "optimizer", "schedule", "history")
        state = checkpoint.load(self.files.last, needs)
        if (state["config"], state["data"]) != (task.config, task.data):
            distributed.barrier()  # until every process has read it
            if not distributed.rank():
                self._keep_previous(state)
            return False
        task.network.load_state_dict(state["weights"])
        task.loss.load_state_dict(state["loss"])
        optimizer = state["optimizer"]
        optimizer["state"] = {int(number): value for number, value in optimizer["state"].items()}
        self.optimizer.load_state_dict(optimizer)
        self.schedule.load_state_dict(state["schedule"])
        self.history = state["history"]
        return True

    def _keep_previous(self, state: dict[str, Any]) -> None:
        """Rename a finished model of other constants or data, and print the difference."""
        reason = "the list of images, their split or the code has changed"
        if state["data"] == self.task.data:
            old, new = state["config"], self.task.config
            changes = [f"{k}: {old.get(k)} -> {new[k]}" for k in new if old.get(k) != new[k]]
            reason = ", ".join(changes)
        best = self.files.best
        print(f"  {best.name}: retrained ({reason})")
        if best.exists():
            best.replace(best.with_name(f"{best.stem}_previous{best.suffix}"))


class Task(ABC):
    """A network, its loss and its batches.

    config, data: constants and hashes of the data, which must agree for a run to be resumed;
    sources: prepared inputs, and the row in them of each row of the task; results: what else a
    model file holds.
    """

    network: models.VAE
    loss: Loss
    terms: tuple[str, ...]
    config: dict[str, Any]
    data: Any
    sources: Sequence[tuple[PreparedInputs, NDArray[np.int64]]]

    def __init__(
        self, settings: LoopSettings, device: torch.device,
        train_rows: NDArray[np.int64], validation_rows: NDArray[np.int64], noun: str,
    ) -> None:  # fmt: skip
        """Raise Problem if there are too few rows.

        noun: the rows' plural.
        """
        if len(train_rows) < 2 or len(validation_rows) < 1:
            raise Problem(
                f"{len(train_rows)} training and {len(validation_rows)} validation {noun}: at "
                f"least 2 and 1 are needed, which any {FEWEST} images of different galaxies have "
                "unless a table splits them; add images and rerun the stages before this one"
            )
        self.settings, self.device = settings, device
        self.train_rows, self.validation_rows = train_rows, validation_rows
        self.results: dict[str, Any] = {}

    def initialise(self) -> None:  # noqa: B027
        """Set the weights before the first epoch; by default do nothing."""

    @abstractmethod
    def batches(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, list[Microbatch]]]:
        """Yield batches in the order of `rows`.

        Each is the number of its rows, and this process's share in parts that are computed one
        after the other.
        """

    @abstractmethod
    def compute_loss(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss of a microbatch, its terms and its posterior means.

        Loss, a scalar, and terms, (len(self.terms),), are means over images; the posterior means
        are (N, num_var).
        """

    def check_inputs(self) -> None:
        """Raise Problem naming the first image whose input is not finite, if there is one."""
        rows = np.concatenate([self.train_rows, self.validation_rows])
        for inputs, numbers in self.sources:
            inputs.check_finite(numbers[rows[rows < len(numbers)]])


def plain(settings: LoopSettings) -> dict[str, Any]:
    """Return settings as plain values, as they are after a round trip through a model file."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
