"""Distinguish a position that the service cannot cut from a service that is down.

The cutout service always answers HTTP 500 for positions outside a layer's footprint; a broken
service does so everywhere. So a refusal is first kept pending. Once the same layer cuts another
position, in a request begun after the refusal, the refused position is MISSING. After many
consecutive requests without result, or at the end of the download, control positions are requested.
If the layer cuts none of them, it is down and the pending refusals are FAILED, to be retried by the
next run.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tqdm import tqdm

from VAE_model.downloads.client import Stopped
from VAE_model.downloads.cutout_service import Job
from VAE_model.downloads.manifest import FAILED, GOOD, MISSING, REFUSED, Journal, Outcome
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.surveys import label_of

# Errors that may be due to the control's own position: another control is requested.
_OF_A_POSITION = ("HTTP 400", "HTTP 404", "HTTP 410", "HTTP 500")


@dataclass
class _Layer:
    """State of one layer.

    useless: consecutive requests without result; waiting: pending refusals and when they ended;
    last: the last position that was cut.
    """

    useless: int = 0
    waiting: list[tuple[float, Outcome]] = field(default_factory=list)
    last: Job | None = None


class Verdicts:
    """Journal a row for each request; that of a refusal is written once it is decided.

    controls: for each survey, positions to request when the layer seems to be down; give_up_after:
    consecutive requests without result before they are requested.
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
        self._down = False
        self._lock = threading.Lock()

    def add(self, outcome: Outcome, ask: Callable[[Job], Outcome]) -> None:
        """Process the outcome of a request. `ask` requests a control and writes nothing.

        Raises Problem if the layer is down, Stopped if that was already reported.
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
            counts = self.counts
            self.bar.set_postfix(missing=counts[MISSING], failed=counts[FAILED], refresh=False)
            self.bar.update()
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
                    f"did known positions in {label_of(survey)}: downloaded files are kept; run "
                    "the same command again later"
                )
            layer.useless = 0

    def close(self, ask: Callable[[Job], Outcome] | None = None) -> None:
        """Decide pending refusals: by controls, or as FAILED without `ask`.

        Requests that a hanging connection keeps pending are repeated in the next run.
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
        """Return True if the layer of a survey still cuts one of its controls."""
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
        """Write the pending refusals that ended before a time (monotonic) with their status."""
        for ended, outcome in layer.waiting:
            if ended <= before:
                self._write(outcome, status)
        layer.waiting = [entry for entry in layer.waiting if entry[0] > before]

    def _write(self, outcome: Outcome, verdict: str = "") -> None:
        status, reason = verdict or outcome.status, outcome.reason
        if status == MISSING:
            # of a request with another layer or scale, if there is one
            (self.run.folder / outcome.job.path).unlink(missing_ok=True)
            if reason.startswith("HTTP 500"):
                reason = (
                    f"HTTP 500 after {outcome.tries} tries: outside the layer's footprint, or the "
                    "service cannot cut there"
                )
        self.counts[status] += 1
        self.journal.add(replace(outcome, status=status, reason=reason))
