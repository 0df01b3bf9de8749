"""Download real data: the Galaxy Zoo DECaLS catalogue, and cutouts of its galaxies or of yours.

Stage 0, in place of data/simulate.py. The catalogue comes from Zenodo (record 4573248, CC-BY-4.0),
the cutouts from the Legacy Surveys' service, over few connections. Each cutout is checked before
the file gets its name. The same command resumes an interrupted run and downloads nothing twice.
Cutouts that the service does not have are listed with the reason and requested again only with
--retry-missing. --check compares the service with the behaviour that the code expects.

Reads:  nothing, or a table (CSV, FITS, parquet, VOTable) with ra and dec in degrees
Writes: catalogue.parquet (unless a table is given), images/decals/ and images/bassmzls/
        (<shard>/<ra>_<dec>.fits), download/manifest.parquet (one row per request: name, ra, dec,
        survey, path, url, status, reason, bytes, sha256, tries, time)

Example: python data/download.py --run data/check --first 3 --contact you@example.org
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.downloads.catalogue import RECORD, ZENODO, fetch_original, source_of, write_catalogue
from VAE_model.downloads.client import Manners
from VAE_model.downloads.cutout_service import SERVICE, Job, job_at
from VAE_model.downloads.fetching import fetch_all
from VAE_model.downloads.manifest import FAILED, GOOD, MISSING, Journal, fold
from VAE_model.downloads.resuming import Before, check_space, unfinished
from VAE_model.downloads.service_check import compare
from VAE_model.downloads.verdicts import Verdicts
from VAE_model.pipeline.files import sweep
from VAE_model.pipeline.origin import OWN, check_origin
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.surveys import BASSMZLS, DECALS, RELEASE, RELEASES, SURVEYS
from VAE_model.tables.columns import as_text
from VAE_model.tables.reading import read_table

BOTH = "both"  # in place of a survey: DECaLS and BASS+MzLS
CONTROLS = 5  # of the galaxies, requested as a test when the service seems to be down


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/real")
    """Folder of the run."""
    table: Path | None = None
    """Positions of your own galaxies; none: the Galaxy Zoo DECaLS catalogue, downloaded first."""
    catalogue: Literal["auto_posteriors", "volunteers_5"] = "auto_posteriors"
    """auto_posteriors: 313,789 galaxies, a network's predictions of the votes (1.6 GB);
    volunteers_5: the galaxies with votes (40 MB)."""
    survey: str = "decals"
    """A survey of the Legacy Surveys. decals: every galaxy; bassmzls: every galaxy of a table, of
    the catalogue those in the strip. both: the galaxies in the strip, in both, for pairs."""
    strip: tuple[float, float] = (31.5, 33.5)
    """Dec (degrees) of the strip that both surveys cover, around 32.375."""
    strip_ra: tuple[float, float] = (90.0, 300.0)
    """RA (degrees) of the strip: BASS+MzLS covers the northern galactic cap only."""
    first: int = 0
    """Number of galaxies, from the first; 0: all."""
    pixel_scale: float = PIXEL_SCALE
    """Arcsec per pixel."""
    release: str = RELEASE
    """Data release of the Legacy Surveys to cut from: dr9, dr10 (no northern images: these stay
    at dr9) or dr11. The constant RELEASE in VAE_model/surveys/survey.py is for all stages."""
    connections: int = 4
    """Parallel connections to the cutout service, at most 16: it asks for few."""
    contact: str = ""
    """Your e-mail address or web page, sent to the services, so that they can reach you."""
    tries: int = 6
    """Tries of a request after time-outs, 429, 5xx, resets or truncated bodies; at most three
    after HTTP 500, where the service itself fails on the request."""
    backoff: float = 1.0
    """Longest wait (seconds) before the second try; it doubles with each, up to a minute."""
    time_limit: float = 120.0
    """Seconds for one whole response (of the catalogue: for each 4 MiB)."""
    longest_wait: float = 600.0
    """Longest accepted Retry-After (seconds); the download ends if the service asks for more."""
    give_up_after: int = 20
    """Consecutive failed requests after which known positions are requested; if these fail too,
    the service is down and the download ends."""
    retry_missing: bool = False
    """Repeat requests whose cutout was missing or wrong in an earlier run."""
    service: str = SERVICE
    """Address of the cutout service."""
    check: bool = False
    """Only compare the cutout service with the expected behaviour; download nothing."""
    zenodo: str = ZENODO
    """Address of Zenodo."""
    record: int = RECORD
    """Number of the catalogue's record on Zenodo."""


def manners_of(config: Config) -> Manners:
    """Return the limits and identification of requests."""
    return Manners(
        config.tries, config.backoff, config.time_limit, config.longest_wait, config.contact
    )


def check_config(config: Config, run: Run) -> None:
    """Raise Problem if the constants are invalid, or the run holds another sky."""
    for name, low, high in (
        ("connections", 1, 16), ("tries", 1, 100), ("give_up_after", 1, 10**6),
        ("first", 0, 10**9), ("pixel_scale", 0.05, 100),
        ("backoff", 0, 3600), ("time_limit", 0.1, 86400), ("longest_wait", 0, 86400),
    ):  # fmt: skip
        if not low <= getattr(config, name) <= high:
            raise Problem(f"{name} = {getattr(config, name)}: from {low} to {high:,} is allowed")
    if config.survey not in (BOTH, *SURVEYS):
        known = ", ".join([*(name for name, one in SURVEYS.items() if one.release), BOTH])
        raise Problem(f"there is no survey {config.survey!r}: choose {known}")
    if config.survey != BOTH and not SURVEYS[config.survey].release:
        raise Problem(
            f"no layer of a release of the Legacy Surveys is of {SURVEYS[config.survey].label} "
            "alone, so that VERSION does not identify its cutouts: fetch them yourself and run "
            "python data/import_images.py"
        )
    if config.release not in RELEASES:
        raise Problem(f"there is no release {config.release!r}: choose {', '.join(RELEASES)}")
    for name in ("service", "zenodo"):
        if not getattr(config, name).startswith(("https://", "http://")):
            raise Problem(f"{name} = {getattr(config, name)!r}: an address begins with https://")
    manners_of(config).user_agent()
    if run.truth.exists():
        raise Problem(
            f"{run.show(run.folder)} holds a simulated sky: choose another folder with --run"
        )


def bring_catalogue(config: Config, run: Run) -> None:
    """Download catalogue.parquet unless it exists. Raises Problem if a different one exists."""
    name = f"gz_decals_{config.catalogue}.parquet"
    if run.catalogue.exists():
        if source_of(run.catalogue) != name:
            raise Problem(
                f"{run.show(run.catalogue)} was not made of {name}: it stays as it is; choose "
                "another folder with --run"
            )
        return
    original, checksum = fetch_original(run, manners_of(config), name, config.zenodo, config.record)
    rows = write_catalogue(original, run.catalogue, checksum)
    print(f"  catalogue: {rows:,} galaxies, {checksum} as Zenodo's record says")


def read_galaxies(config: Config, run: Run) -> pd.DataFrame:
    """Return name ('' if the table has none), ra and dec (degrees) of the galaxies to download.

    Raises Problem if the table has no positions, or no galaxy is left.
    """
    path = ROOT / config.table if config.table else run.catalogue
    galaxies = read_table(path, optional=("ra", "dec", "iauname", "name"))
    if "ra" not in galaxies:
        raise Problem(f"{path} has no columns ra and dec: give positions in degrees")
    name = next((name for name in ("iauname", "name") if name in galaxies), None)
    found = pd.DataFrame({
        "name": galaxies[name].map(as_text).fillna("") if name else "",
        "ra": galaxies["ra"], "dec": galaxies["dec"],
    })  # fmt: skip
    total = len(found)
    placed = np.isfinite(found["ra"]) & np.isfinite(found["dec"])
    inside = in_strip(found, config)
    chosen = found[placed & inside]
    if dropped := total - int(placed.sum()):
        print(f"  {dropped:,} of {total:,} galaxies have no position")
    if outside := int((placed & ~inside).sum()):
        print(f"  {outside:,} of {total:,} galaxies lie outside the strip of both surveys")
    if chosen.empty:
        raise Problem(f"none of {total:,} galaxies can be downloaded: see the lines above")
    return chosen.head(config.first) if config.first else chosen


def in_strip(galaxies: pd.DataFrame, config: Config) -> NDArray[np.bool_]:
    """Return a Boolean (N,): the galaxies requested from the survey.

    These are all galaxies, or those in the strip if the survey covers only the strip.
    """
    if config.survey != BOTH and (config.table or not SURVEYS[config.survey].strip_only):
        return np.ones(len(galaxies), bool)
    ra, dec = galaxies["ra"], galaxies["dec"]
    return (dec.between(*config.strip) & ra.between(*config.strip_ra)).to_numpy()


def surveys_of(config: Config) -> tuple[str, ...]:
    """Return the names of the surveys to download."""
    return (DECALS.name, BASSMZLS.name) if config.survey == BOTH else (config.survey,)


def job_of(config: Config, survey: str, ra: float, dec: float, name: str = "") -> Job:
    """Return the request for a survey's cutout at a position in degrees."""
    return job_at(survey, ra, dec, name, config.release, config.service, config.pixel_scale)


def plan(config: Config, galaxies: pd.DataFrame) -> Iterator[Job]:
    """Yield one job per cutout, the surveys of a galaxy one after the other; each file once."""
    seen: set[str] = set()
    for name, ra, dec in galaxies.itertuples(index=False, name=None):
        for survey in surveys_of(config):
            job = job_of(config, survey, ra, dec, name)
            if job.path not in seen:
                seen.add(job.path)
                yield job


def controls_of(config: Config, galaxies: pd.DataFrame) -> dict[str, list[Job]]:
    """Return positions of each survey to request when its layer seems to be down.

    The first is a galaxy known to be in the layer; then follow some of the galaxies, from the last.
    """
    rows = np.unique(np.linspace(len(galaxies) - 1, 0, CONTROLS).astype(int))[::-1]
    spread = [(ra, dec) for _, ra, dec in galaxies.iloc[rows].itertuples(index=False, name=None)]
    known = {name: SURVEYS[name].known for name in surveys_of(config)}
    return {
        name: [job_of(config, name, *place) for place in [*([first] if first else []), *spread]]
        for name, first in known.items()
    }


def fetch_cutouts(config: Config, run: Run, galaxies: pd.DataFrame) -> int:
    """Download the remaining cutouts; return the number of those already there.

    The outcomes are in the journal.
    """
    check_space(run, len(galaxies) * len(surveys_of(config)))
    for survey in surveys_of(config):
        run.images(survey).mkdir(parents=True, exist_ok=True)
        for shard in run.images(survey).iterdir():
            sweep(shard)
    before = Before(run, fold(run), config.retry_missing)
    cutouts = sum(1 for _ in plan(config, galaxies))
    journal = Journal(run.journal)
    try:
        with tqdm(total=cutouts, desc="cutouts", unit="") as bar:
            controls = controls_of(config, galaxies)
            fetch_all(
                before.left(plan(config, galaxies), journal, bar),
                run,
                Verdicts(run, journal, bar, config.give_up_after, controls),
                manners_of(config),
                config.connections,
            )
    finally:
        journal.close()
    return before.files


def report(config: Config, run: Run, galaxies: pd.DataFrame, before: int) -> dict[str, int]:
    """Print the outcomes and their reasons; return the numbers for the side-cars.

    before: cutouts that were already there. Raises Problem if there is no cutout at all.
    """
    asked = {job.path for job in plan(config, galaxies)}
    manifest = fold(run)
    manifest = manifest[manifest["path"].isin(asked)]
    counts = Counter(manifest["status"])
    if twice := len(galaxies) * len(surveys_of(config)) - len(asked):
        print(f"  {twice:,} positions equal others to 0.0001 degrees: one cutout each")
    print(
        f"  good {counts[GOOD]:,} of {len(asked):,} cutouts: {before:,} were there, "
        f"{counts[GOOD] - before:,} downloaded"
    )
    for status, words in ((MISSING, "unavailable"), (FAILED, "failed")):
        reasons = manifest["reason"][manifest["status"] == status].str.split(":").str[0]
        for reason, count in Counter(reasons).most_common():
            print(f"  {words} {count:,}: {reason}")
    shown = run.show(run.manifest)
    if not counts[GOOD]:
        raise Problem(
            f"none of {len(asked):,} cutouts could be downloaded: {manifest['reason'].iloc[0]}"
        )
    if counts[FAILED]:
        print(f"  the same command repeats the {counts[FAILED]:,} that failed; see {shown}")
    if counts[MISSING]:
        print(f"  --retry-missing repeats the requests for those unavailable; see {shown}")
    return {"good": counts[GOOD], "missing": counts[MISSING], "failed": counts[FAILED]}


def say_releases(config: Config) -> None:
    """Print the surveys of which the release has no images of its own."""
    for name in surveys_of(config):
        survey = SURVEYS[name].at(config.release)
        if survey.release and survey.release != config.release:
            print(
                f"  {config.release.upper()} has no images of {survey.label}: these come from "
                f"{survey.release.upper()} ({survey.layer})"
            )


def main(config: Config) -> None:
    """Download the catalogue and the cutouts, or check the service."""
    run = Run(config.run)
    table = [ROOT / config.table] if config.table else []
    images = [run.images(survey) for survey in surveys_of(config)]
    outputs = [*([] if table else [run.catalogue]), run.manifest, *images]
    stage = Stage(__file__, run, config, inputs=table, outputs=outputs)
    check_config(config, run)
    if config.check and not stage.dry_run:
        return compare(config.service, manners_of(config))
    check_origin(run, OWN)
    if not stage.dry_run and table and not table[0].is_file():
        raise Problem(f"{table[0]} is missing: give the table's place with --table")
    if stage.is_up_to_date(unfinished(run, config.retry_missing)):
        return
    stage.begin()
    say_releases(config)
    if not table:
        bring_catalogue(config, run)
    galaxies = read_galaxies(config, run)
    before = fetch_cutouts(config, run, galaxies)
    stage.finish(**report(config, run, galaxies, before))


if __name__ == "__main__":
    start(main, Config, __doc__)
