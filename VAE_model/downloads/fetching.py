"""Download of one cutout, or of many: one thread per connection, one row per cutout.

Memory holds only the cutouts in flight.
"""

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from VAE_model.downloads.client import (
    Client,
    Gate,
    Manners,
    Permanent,
    Stopped,
    Transient,
    come_back,
)
from VAE_model.downloads.cutout_service import (
    MOST_BYTES,
    SERVICE,
    Job,
    check_cutout,
    file_name,
    fill_in_version,
    job_at,
)
from VAE_model.downloads.manifest import FAILED, GOOD, MISSING, REFUSED, Outcome
from VAE_model.downloads.verdicts import Verdicts
from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.surveys import RELEASE, survey_of

# Consecutive refusals (HTTP 500) after which a request is not retried, and the minimum number that
# indicates a position that cannot be cut rather than a transient error.
_MOST_REFUSALS, _LEAST_REFUSALS = 3, 2
_TRIES_OF_A_CONTROL = 3

# Defects of pixels of the right layer: a cutout was made, so the service is up.
_OF_THE_PIXELS = ("zero image", "band without signal", "non-finite", "implausible flux")


def fetch_one(client: Client, job: Job, run: Run | None) -> Outcome:
    """Download one cutout and check it; write the whole file or nothing.

    run: None for a control, which is requested with fewer tries, checked, and not written.
    Raises Stopped if the download ends meanwhile.
    """
    began = 0.0

    def ask() -> tuple[int, str]:
        """Request the cutout once, check it and write it."""
        nonlocal began
        began = time.monotonic()
        body = fill_in_version(client.get(job.url, MOST_BYTES), job, client.came_from)
        check_cutout(body, job)
        if run is not None:
            with atomic(run.folder / job.path) as temporary:
                temporary.write_bytes(body)
        return len(body), hashlib.sha256(body).hexdigest()

    try:
        most = _TRIES_OF_A_CONTROL if run is None else None
        (length, digest), tries = client.persist(ask, most, _MOST_REFUSALS)
    except Permanent as refusal:
        reason = str(refusal)
        status = MISSING if reason.startswith(_OF_THE_PIXELS) else REFUSED
        return Outcome(job, status, reason, tries=refusal.tries, began=began)
    except Transient as hiccup:
        status = REFUSED if hiccup.refusals >= _LEAST_REFUSALS else FAILED
        return Outcome(job, status, str(hiccup), tries=hiccup.tries, began=began)
    return Outcome(job, GOOD, "", length, digest, tries, began)


def fetch_position(run: Run, ra: float, dec: float, service: str = SERVICE) -> Path:
    """Return the cutout of the Legacy Surveys at a position in degrees, below queries/ of a run.

    It is downloaded unless it is there. North of Dec 32.375 in the north galactic cap the survey
    is BASS+MzLS, elsewhere DECaLS. Raises Problem if there is no image, or no answer.
    """
    job = job_at(survey_of(RELEASE.upper(), ra, dec), ra, dec, service=service)
    path = run.queries(file_name(ra, dec))
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Client(Manners(tries=3), Gate(run.not_before))) as client:
        inside = replace(job, path=str(path.relative_to(run.folder)))
        outcome = fetch_one(client, inside, run)
    if outcome.status != GOOD:
        raise Problem(
            f"no image of {job.survey} at {ra:.4f} {dec:.4f} came from {service} "
            f"({outcome.reason}): download it yourself, and give the file as --query"
        )
    return path


def fetch_all(
    jobs: Iterable[Job],
    run: Run,
    verdicts: Verdicts,
    manners: Manners,
    connections: int,
) -> None:
    """Download the cutouts over `connections` connections and journal a row for each.

    Raises Problem if the service as a whole fails, and any error of a worker that is not a network
    error (a full disk).
    """
    gate = Gate(run.not_before)
    if (left := gate.closed_for()) > manners.longest_wait:
        raise come_back(left, "said to an earlier run")
    remaining, turn = iter(jobs), threading.Lock()

    def work() -> None:
        """Request cutouts until none remains or the download stops."""
        client = Client(manners, gate)
        try:
            while not gate.stopped:
                with turn:
                    job = next(remaining, None)
                if job is None:
                    return
                outcome = fetch_one(client, job, run)
                verdicts.add(outcome, lambda control: fetch_one(client, control, None))
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
        for worker in workers:
            while worker.is_alive() and not gate.stopped:
                worker.join(0.2)
        if not gate.stopped:
            client = Client(manners, gate)
            with contextlib.suppress(Stopped), contextlib.closing(client):
                verdicts.close(lambda control: fetch_one(client, control, None))
    finally:
        gate.stop()
        for worker in workers:  # requests in flight may finish, so that their results are kept
            worker.join(1.0)
        verdicts.close()
    if gate.problem:
        raise gate.problem
