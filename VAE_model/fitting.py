"""Fitting a network by epochs: steps, validation, checkpoints, guards; what is fitted is left open.

After every epoch the state goes to <name>_last.pt, and to <name>.pt when the validation loss is
the best so far. What an epoch does depends on the seed and its number alone, so a fit that was
killed and started again ends with the same weights, bit for bit on the CPU. Several processes
(distributed.py) share each batch and add up their gradients: the batch, its order and its random
draws are those of one process, so that another number of them may go on with the fit.
"""

import dataclasses
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from VAE_model import checkpoint, distributed
from VAE_model.batches import shuffled
from VAE_model.elbo import Likelihood
from VAE_model.files import write_text
from VAE_model.problem import Problem
from VAE_model.splits import FEWEST


@dataclasses.dataclass(frozen=True)
class Files:
    """Where a training writes: the best model, the state to resume from, a JSON line an epoch."""

    best: Path
    last: Path
    log: Path


class Loop(ABC):
    """Epochs over the rows of one split, judged on those of another: what every fit has in common.

    A kind of fit sets `network`, `likelihood` and `begin`s with the rows; it says what a step sees
    (`batches`) and what a step minimises (`step`), whose terms are named in TERMS.
    """

    TERMS: tuple[str, ...] = ("reconstruction", "kl")
    network: nn.Module
    likelihood: Likelihood

    def __init__(
        self, identity: dict[str, Any], recipe: Any, files: Files, device: torch.device
    ) -> None:
        """identity: what must agree for a state to be resumed; recipe: with epochs, batch,
        learning_rate, schedule, clip, seed and precision."""
        self.identity, self.recipe, self.files, self.device = identity, recipe, files, device
        self.history: list[dict[str, Any]] = []

    def begin(self, rows: NDArray[np.int64], judges: NDArray[np.int64], what: str) -> None:
        """rows, judges: to learn from and to judge by. Raises Problem where there are too few."""
        if len(rows) < 2 or len(judges) < 1:
            raise Problem(
                f"{len(rows)} training and {len(judges)} validation {what}: at least 2 and 1 are "
                f"needed, which any {FEWEST} images of different galaxies have unless a table "
                "splits them; add images and rerun the stages before this one"
            )
        self.rows, self.judges = rows, judges
        recipe = self.recipe
        modules = (*self.network.parameters(), *self.likelihood.parameters())
        self.parameters = [parameter for parameter in modules if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, recipe.learning_rate)
        steps = recipe.epochs * math.ceil(len(rows) / recipe.batch)
        self.schedule: torch.optim.lr_scheduler.LRScheduler
        if recipe.schedule == "one-cycle":
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer, recipe.learning_rate, total_steps=steps
            )
        else:
            self.schedule = torch.optim.lr_scheduler.ConstantLR(self.optimizer, 1.0, steps)

    @abstractmethod
    def initialise(self) -> None:
        """Where the first epoch starts from, unless a killed fit is resumed."""

    @abstractmethod
    def batches(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        """What each step sees, in the order of `rows`, and how many rows that is."""

    def parts(self, batch: Any) -> Iterator[tuple[float, Any]]:
        """The batch in parts that are computed one after the other, each with its share of it.
        Their terms and gradients add up to those of the batch; a fit that can does so where a
        whole batch is slower or too large for the memory."""
        yield 1.0, batch

    @abstractmethod
    def check_inputs(self) -> None:
        """Raise Problem naming the first image whose input is not finite, if there is one: then
        it is no fault of the learning rate that a fit diverges."""

    @abstractmethod
    def step(self, batch: Any) -> tuple[Tensor, Tensor]:
        """What a step minimises, a scalar, and its terms (len(TERMS),), both means of the batch."""

    def run(self, label: str = "") -> dict[str, Any]:
        """Fit to the last epoch, from where a killed fit stopped; the best epoch's log.

        Raises Problem when it diverges; the last good state stays on disk.
        """
        if not self._resume():
            self.initialise()
        distributed.as_the_first([*self.network.state_dict().values(), *self.parameters])
        first = len(self.history)
        if first:
            print(f"  {label}: goes on after epoch {first} of {self.recipe.epochs}")
        with tqdm(total=self.recipe.epochs, initial=first, desc=label, unit="epoch") as bar:
            for epoch in range(first, self.recipe.epochs):
                began = time.monotonic()
                record = {"epoch": epoch + 1, **self._train_epoch(epoch), **self.validate()}
                record["seconds"] = round(time.monotonic() - began, 2)
                self._guard(record)
                self.history.append(record)
                self._save(record)
                bar.set_postfix(validation=f"{record['validation_loss']:.1f}")
                bar.update()
        return self._best()

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        torch.manual_seed(_seed(self.recipe.seed, epoch))
        self.network.train()
        totals = torch.zeros(len(self.TERMS), dtype=torch.float64, device=self.device)
        skipped: list[Tensor] = []
        order = shuffled(self.rows, self.recipe.seed, epoch, getattr(self.recipe, "block", 0))
        for count, batch in self.batches(order):
            self.optimizer.zero_grad(set_to_none=True)
            terms = torch.zeros(len(self.TERMS), device=self.device)
            for share, part in self.parts(batch):
                loss, some = self.step(part)
                (share * loss).backward()
                terms += share * some.detach()
            gradients = []
            for parameter in self.parameters:
                if parameter.grad is None:  # where other processes have the whole batch
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
            distributed.add_up_all([*gradients, terms])
            norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
            # A step whose gradient is not finite is left out, without waiting for the device.
            finite = torch.isfinite(norm)
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad = torch.where(finite, parameter.grad, 0.0)
            self.optimizer.step()
            self.schedule.step()
            skipped.append(~finite)
            totals += torch.where(finite, count * terms, 0.0)
        means = (totals / len(order)).tolist()
        return {
            **{f"train_{name}": value for name, value in zip(self.TERMS, means, strict=True)},
            "left_out_steps": torch.stack(skipped).nonzero().flatten().tolist(),
            "steps": len(skipped),
            "learning_rate": self.schedule.get_last_lr()[0],
        }

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """What is minimised and its terms, over the judges (one draw each, always the same)."""
        self.network.eval()
        torch.manual_seed(_seed(self.recipe.seed, 0))
        totals = torch.zeros(1 + len(self.TERMS), dtype=torch.float64, device=self.device)
        for count, batch in self.batches(self.judges):
            for share, part in self.parts(batch):
                loss, terms = self.step(part)
                totals += share * count * torch.cat([loss[None], terms])
        distributed.add_up(totals)
        values = (totals / len(self.judges)).tolist()
        return {
            f"validation_{name}": value
            for name, value in zip(("loss", *self.TERMS), values, strict=True)
        }

    def _guard(self, record: dict[str, Any]) -> None:
        """Stop a fit that has left the finite numbers, before it is saved."""
        left_out = record["left_out_steps"]
        lost = len(left_out) > 0.1 * record["steps"]
        if lost or not math.isfinite(record["validation_loss"]):
            why = (
                f"{len(left_out)} of {record['steps']} steps without a finite gradient, the first "
                f"step {left_out[0] + 1}"
                if left_out
                else "the validation loss is not finite"
            )
            self.check_inputs()
            raise Problem(
                f"training diverged in epoch {record['epoch']} ({why}): lower learning_rate "
                f"({self.recipe.learning_rate:g}), delete {self.files.last} and rerun"
            )
        if left_out:
            print(f"  epoch {record['epoch']}: left out steps {left_out}, gradient not finite")

    def content(self) -> dict[str, Any]:
        """What a model file holds besides the history."""
        return {
            **self.identity,
            "weights": self.network.state_dict(),
            "likelihood": self.likelihood.state_dict(),
        }

    def _save(self, record: dict[str, Any]) -> None:
        """The best model before the state to resume from: killed between the two, the epoch is
        done again and both come out the same; the other way round, a best model could be lost."""
        if distributed.number():
            return
        common = {**self.content(), "history": self.history}
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        if record is self._best():
            checkpoint.save(self.files.best, common)
        checkpoint.save(self.files.last, {**common, **state})
        write_text(self.files.log, "".join(json.dumps(line) + "\n" for line in self.history))

    def _best(self) -> dict[str, Any]:
        return min(self.history, key=lambda record: record["validation_loss"])

    def _resume(self) -> bool:
        """Take up the state of a killed fit with the same constants and images, if any."""
        if not self.files.last.exists():
            return False
        state = checkpoint.load(self.files.last, ("config", "data", "weights", "optimizer"))
        if any(state.get(key) != value for key, value in self.identity.items()):
            distributed.wait()  # until every process has read it
            if not distributed.number():
                _keep_previous(self.files.best, _difference(state, self.identity))
            return False
        self.network.load_state_dict(state["weights"])
        self.likelihood.load_state_dict(state["likelihood"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history = state["history"]
        return True


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def plain(recipe: Any) -> dict[str, Any]:
    """The recipe as plain values that compare equal after a round trip through a file."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(recipe).items()}


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    if before["data"] != now["data"]:
        return "the list of images or their split has changed"
    old, new = before["config"], now["config"]
    return ", ".join(f"{k}: {old.get(k)} -> {new[k]}" for k in new if old.get(k) != new[k])


def _keep_previous(best: Path, why: str) -> None:
    """A finished model is not lost when a constant changes: it moves aside."""
    print(f"  {best.name}: trained anew ({why})")
    if best.exists():
        best.replace(best.with_name(f"{best.stem}_previous.pt"))
