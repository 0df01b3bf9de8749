"""Tell a position that the service cannot cut from a service that is down.

The cutout service answers HTTP 500 for good where a position lies outside a layer's footprint; a
broken service answers the same everywhere. So a refusal waits for its verdict. As soon as the same
layer cuts another position, in a request begun after the refusal, the position is to blame: it is
MISSING. Where many requests in a row bring nothing, or the download ends before, control positions
are asked. If none of them is cut, the layer is down, and the refusals are FAILED: to be asked
again.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from VAE_model.downloads.client import Stopped
from VAE_model.downloads.cutout_service import Job
from VAE_model.downloads.manifest import FAILED, GOOD, MISSING, Journal, row
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.surveys import label_of

REFUSED = "refused"  # no cutout after all tries; whose fault it is remains to be seen

# What a control may be refused for by the fault of its own position: another control is asked.
_OF_A_POSITION = ("HTTP 400", "HTTP 404", "HTTP 410", "HTTP 500")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a request: one of GOOD, MISSING (the layer was cut, and shows no galaxy
    there), FAILED, REFUSED; the reason; bytes and hash of the file; tries; and when its last try
    began (seconds, monotonic)."""

    job: Job
    status: str
    reason: str = ""
    size: int = 0
    sha256: str = ""
    tries: int = 0
    began: float = 0.0


@dataclass
class _Layer:
    """useless: requests in a row without use; waiting: refusals and when they ended; last: the
    last position that was cut."""

    useless: int = 0
    waiting: list[tuple[float, Outcome]] = field(default_factory=list)
    last: Job | None = None


class Verdicts:
    """Write a row for each request into the journal, a refusal's as soon as it has its verdict.

    controls: of each survey, positions to ask for when the layer seems to be down; give_up_after:
    requests in a row without use after which they are asked.
    """

    def __init__(
        self,
        run: Run,
        journal: Journal,
        bar: tqdm,
        give_up_after: int,
        controls: Mapping[str, Sequence[Job]],
    ) -> None:
        self.run, self.journal, self.bar = run, journal, bar
        self.give_up_after, self.controls = give_up_after, controls
        self.counts: Counter[str] = Counter()
        self._layers: dict[str, _Layer] = {}
        self._shown, self._down = 0.0, False
        self._lock = threading.Lock()

    def add(self, outcome: Outcome, ask: Callable[[Job], Outcome]) -> None:
        """Take up what became of a request. `ask` asks for a control and writes nothing.

        Raises Problem where the layer is down, Stopped where that was said already.
        """
        with self._lock:
            survey = outcome.job.survey
            layer = self._layers.setdefault(survey, _Layer())
            if self._down:
                self._write(outcome, FAILED if outcome.status == REFUSED else "")
                raise Stopped
            if outcome.status == REFUSED:
                layer.waiting.append((time.monotonic(), outcome))
            else:
                self._write(outcome)
            self._show()
            if outcome.status in (GOOD, MISSING):
                layer.useless = 0
                if outcome.status == GOOD:
                    layer.last = outcome.job
                self._settle(layer, MISSING, outcome.began)
                return
            layer.useless += 1
            if layer.useless < self.give_up_after:
                return
            is_up = self._cuts(survey, ask)
            self._settle(layer, MISSING if is_up else FAILED)
            if not is_up:
                self._down = True
                raise Problem(
                    f"{layer.useless} requests in a row failed, the last by {outcome.reason}; so "
                    f"did positions that {label_of(survey)} should show: what came is kept; give "
                    "the same command again later"
                )
            layer.useless = 0

    def close(self, ask: Callable[[Job], Outcome] | None = None) -> None:
        """Settle what still waits: by controls, or as FAILED where nothing may be asked.

        What a connection that hangs keeps from being settled is asked for again.
        """
        if not self._lock.acquire(timeout=2.0):
            return
        try:
            for survey, layer in self._layers.items():
                if layer.waiting:
                    is_up = ask is not None and self._cuts(survey, ask)
                    self._settle(layer, MISSING if is_up else FAILED)
        finally:
            self._lock.release()

    def _cuts(self, survey: str, ask: Callable[[Job], Outcome]) -> bool:
        """Return whether the layer of a survey still cuts: whether one of its controls is good."""
        layer = self._layers[survey]
        refused = {outcome.job.path for _, outcome in layer.waiting}
        for job in [*([layer.last] if layer.last else []), *self.controls.get(survey, [])]:
            if job.path in refused:
                continue
            control = ask(job)
            if control.status == GOOD:
                return True
            if control.status != MISSING and not control.reason.startswith(_OF_A_POSITION):
                return False
        return False

    def _settle(self, layer: _Layer, status: str, before: float = float("inf")) -> None:
        """Write the refusals that ended before a time (monotonic) with their verdict."""
        for ended, outcome in layer.waiting:
            if ended <= before:
                self._write(outcome, status)
        layer.waiting = [entry for entry in layer.waiting if entry[0] > before]

    def _write(self, outcome: Outcome, verdict: str = "") -> None:
        status, reason = verdict or outcome.status, outcome.reason
        if status == MISSING:
            # of another request, where there is one: layer or scale
            (self.run.folder / outcome.job.path).unlink(missing_ok=True)
            if reason.startswith("HTTP 500"):
                reason = (
                    f"HTTP 500 after {outcome.tries} tries: outside the layer's footprint, or the "
                    "service cannot cut there"
                )
        self.counts[status] += 1
        self.journal.add(
            row(outcome.job, status, reason, outcome.size, outcome.sha256, outcome.tries)
        )

    def _show(self) -> None:
        self.bar.update()
        if time.monotonic() - self._shown > 0.5:
            self._shown = time.monotonic()
            self.bar.set_postfix(missing=self.counts[MISSING], failed=self.counts[FAILED])
