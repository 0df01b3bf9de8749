"""Resuming a download: cutouts that need no request, and whether work remains."""

import hashlib
import os
import shutil
from collections.abc import Iterator

import pandas as pd
from tqdm import tqdm

from VAE_model.data.cutout_writer import BYTES
from VAE_model.downloads.client import Permanent, Transient
from VAE_model.downloads.cutout_service import Job, check_cutout
from VAE_model.downloads.manifest import FAILED, GOOD, MISSING, Journal, Outcome, read_manifest
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run


class Before:
    """The cutouts in the manifest, and files that a killed run did not record.

    files: number of cutouts found on disk so far.
    """

    def __init__(self, run: Run, manifest: pd.DataFrame, retry_missing: bool) -> None:
        self.run, self.retry_missing = run, retry_missing
        columns = manifest[["path", "url", "status", "bytes"]]
        self._rows = {path: rest for path, *rest in columns.itertuples(index=False, name=None)}
        self.files = 0

    def left(self, jobs: Iterator[Job], journal: Journal, bar: tqdm) -> Iterator[Job]:
        """Yield the jobs that remain; the bar's total shrinks by the others.

        A good file is accepted if its size equals that in the manifest. A different URL (layer,
        scale) is a different cutout and is downloaded.
        """
        for job in jobs:
            url, status, length = self._rows.get(job.path, (job.url, "", 0))
            if url != job.url:
                yield job
            elif (status == GOOD and _is_there(self.run, job.path, length)) or (
                not status and self._adopts(job, journal)
            ):
                self.files += 1
                bar.total -= 1
            elif status == MISSING and not self.retry_missing:
                bar.total -= 1
            else:
                yield job

    def _adopts(self, job: Job, journal: Journal) -> bool:
        """Return True, and journal a row, if an unrecorded file is the cutout (after a kill)."""
        path = self.run.folder / job.path
        if not path.is_file():
            return False
        try:
            body = path.read_bytes()
            check_cutout(body, job)
        except (Permanent, Transient):
            return False
        digest = hashlib.sha256(body).hexdigest()
        journal.add(Outcome(job, GOOD, size=len(body), sha256=digest))
        return True


def unfinished(run: Run, retry_missing: bool) -> bool:
    """Return True if a run that looks complete has work left.

    That is the journal of a killed run, failed or deleted cutouts, or, with `retry_missing`, those
    that the service did not have.
    """
    if run.journal.exists():
        return True
    table = read_manifest(run)
    if (table["status"] == FAILED).any() or (retry_missing and (table["status"] == MISSING).any()):
        return True
    good = table[table["status"] == GOOD]
    return not all(
        _is_there(run, path, length)
        for path, length in zip(good["path"], good["bytes"], strict=True)
    )


def check_space(run: Run, cutouts: int) -> None:
    """Raise Problem if the disk has no room for this number of cutouts."""
    there = sum(1 for _ in run.images().parent.glob("*/??/*.fits"))
    needed, free = (cutouts - there) * BYTES, shutil.disk_usage(run.folder).free
    if needed > free:
        raise Problem(
            f"{run.show(run.folder)}: {needed / 1e9:,.1f} GB are needed and {free / 1e9:,.1f} GB "
            "are free: choose another disk with --run, or fewer galaxies with --first"
        )


def _is_there(run: Run, path: str, length: int) -> bool:
    try:
        return os.stat(run.folder / path).st_size == length
    except OSError:
        return False
