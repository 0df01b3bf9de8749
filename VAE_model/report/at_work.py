"""The script that is at work on a run and, of a training, the epochs so far."""

import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from VAE_model.pipeline.lock import LOCK, user_of
from VAE_model.pipeline.run import Run
from VAE_model.report.page import Block, Paragraph
from VAE_model.report.run_tables import learning_curve
from VAE_model.training import checkpoint
from VAE_model.training.loop import Files


@dataclass(frozen=True)
class AtWork:
    """The script at work, with its process number; empty: none is.

    log, history: of the training that it has begun, as far as it is; epochs: that it will have.
    """

    script: str = ""
    log: Path | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    epochs: int = 0

    @classmethod
    def of(cls, run: Run) -> "AtWork":
        """Return what goes on in a run."""
        if not (script := user_of(run.folder)):
            return cls()
        since = (run.folder / LOCK).stat().st_mtime
        logs = [path for path in run.folder.glob("model/**/*_log.jsonl")
                if path.stat().st_mtime >= since]  # fmt: skip
        if not logs:
            return cls(script)
        log = max(logs, key=lambda path: path.stat().st_mtime)
        model = log.with_name(log.name.removesuffix("_log.jsonl") + ".safetensors")
        config = checkpoint.load(Files.of(model).last)["config"]
        history = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        return cls(script, log, history, config["epochs"])

    def sentences(self) -> list[str]:
        """Return what goes on, and how long it will take; nothing where no script is at work."""
        if not self.script:
            return []
        said = [f"{self.script}, is at work on this run: what it makes is not shown yet."]
        if self.log is not None:
            last, left = self.history[-1], self.epochs - len(self.history)
            seconds = left * sum(line["seconds"] for line in self.history) / len(self.history)
            until = datetime.fromtimestamp(time.time() + seconds).strftime("%H:%M")
            said.append(
                f"{self.log.name.removesuffix('_log.jsonl')}: epoch {last['epoch']} of "
                f"{self.epochs}, validation loss {last['validation_loss']:.1f}; about "
                f"{max(round(seconds / 60), 1)} min of training are left (until {until})."
                if left
                else f"{self.log.name.removesuffix('_log.jsonl')}: all {self.epochs} epochs are "
                f"done, validation loss {last['validation_loss']:.1f}."
            )
        return said

    def blocks(self) -> list[Block]:
        """Return the sentences, and the learning curve so far."""
        curve = [learning_curve(self.history)] if self.history else []
        return [*map(Paragraph, self.sentences()), *curve]
