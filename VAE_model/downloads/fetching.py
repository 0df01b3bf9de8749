"""Many cutouts over a few connections: a short queue, a thread a connection, a row a cutout.

Memory holds the cutouts in flight and no more, however many are still to come.
"""

import hashlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tqdm import tqdm

from VAE_model.downloads.client import (
    Client,
    Gate,
    Manners,
    Permanent,
    Stopped,
    Transient,
    come_back,
)
from VAE_model.downloads.cutout_service import Job, check_cutout, most_bytes
from VAE_model.downloads.manifest import FAILED, GOOD, MISSING, Journal, row
from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run

_OF_THE_SERVICE = ("text", "HTTP", "connection", "time limit", "truncated")  # not of one galaxy


@dataclass
class Progress:
    """The bar, what became of the requests, and how many in a row had no use."""

    bar: tqdm
    give_up_after: int

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._in_a_row = 0
        self._shown = 0.0
        self._lock = threading.Lock()

    def add(self, status: str, reason: str = "") -> None:
        """Count one. Raises Problem where the service as a whole seems to be the trouble."""
        with self._lock:
            self.counts[status] += 1
            self.bar.update()
            if time.monotonic() - self._shown > 0.5:
                self._shown = time.monotonic()
                self.bar.set_postfix(missing=self.counts[MISSING], failed=self.counts[FAILED])
            if status == GOOD or not reason.startswith(_OF_THE_SERVICE):
                self._in_a_row = 0
                return
            self._in_a_row += 1
            if self._in_a_row >= self.give_up_after:
                raise Problem(
                    f"{self._in_a_row} requests in a row failed, the last by {reason}: what came "
                    "is kept; wait, and give the same command again"
                )


def fetch_one(client: Client, job: Job, run: Run, size: int) -> dict:
    """Bring one cutout to its place, whole and checked or not at all; its row of the manifest."""
    path = run.folder / job.path

    def ask() -> tuple[int, str]:
        body = client.get(job.url, most_bytes(size))
        check_cutout(body, job, size)
        with atomic(path) as temporary:
            temporary.write_bytes(body)
        return len(body), hashlib.sha256(body).hexdigest()

    try:
        (length, digest), tries = client.persist(ask)
    except Permanent as refusal:
        path.unlink(missing_ok=True)  # of another request, where there is one: layer or scale
        return row(job, MISSING, str(refusal), tries=refusal.tries)
    except Transient as hiccup:
        return row(job, FAILED, str(hiccup), tries=hiccup.tries)
    return row(job, GOOD, size=length, sha256=digest, tries=tries)


def fetch_all(
    jobs: Iterable[Job],
    run: Run,
    journal: Journal,
    progress: Progress,
    manners: Manners,
    connections: int,
    size: int,
) -> None:
    """Bring the cutouts to their places over `connections` connections.

    size: pixels on a side. Rows go to the journal as they come. Raises Problem where the service
    as a whole fails, and whatever a worker met that is not of the network (a full disk).
    """
    gate = Gate(run.not_before)
    if (left := gate.closed_for()) > manners.longest_wait:
        raise come_back(left, "said to an earlier run")
    waiting: queue.Queue[Job | None] = queue.Queue(maxsize=2 * connections)

    def work() -> None:
        client = Client(manners, gate)
        try:
            while (job := waiting.get()) is not None:
                done = fetch_one(client, job, run, size)
                journal.add(done)
                progress.add(done["status"], done["reason"])
        except Stopped:
            pass
        except BaseException as error:
            gate.stop(error)
        finally:
            client.close()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(connections)]
    for worker in workers:
        worker.start()
    try:
        for job in _and_ends(jobs, connections):
            _put(waiting, job, gate)
        for worker in workers:
            while worker.is_alive() and not gate.stopped:
                worker.join(0.2)
    finally:
        gate.stop()
        for worker in workers:  # a request in flight may take its time: what it brings is not lost
            worker.join(1.0)
    if gate.problem:
        raise gate.problem


def _and_ends(jobs: Iterable[Job], connections: int) -> Iterable[Job | None]:
    """The jobs, and then for each connection the word that there are no more."""
    yield from jobs
    yield from [None] * connections


def _put(waiting: "queue.Queue[Job | None]", job: Job | None, gate: Gate) -> None:
    while not gate.stopped:
        try:
            return waiting.put(job, timeout=0.2)
        except queue.Full:
            continue
