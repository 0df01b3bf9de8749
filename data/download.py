"""Fetch the real sky: the Galaxy Zoo DECaLS catalogue, and cutouts of its galaxies or of yours.

Stage 0, in place of data/simulate.py. The catalogue comes from Zenodo (record 4573248,
CC-BY-4.0), the cutouts from the Legacy Surveys' service, over few connections. Each cutout is
checked before it gets its name. Killed or cut off, the same command goes on and fetches nothing
twice; what the service does not have is listed with its reason, and asked for again only with
--retry-missing.

Reads:  nothing, or a table (CSV, FITS, parquet, VOTable) with ra and dec in degrees
Writes: catalogue.parquet (unless a table is given), images/decals/ and images/bassmzls/
        (<shard>/<ra>_<dec>.fits), download/manifest.parquet (a row a request: name, ra, dec,
        survey, path, url, status, reason, bytes, sha256, tries, time)

Example: python data/download.py --run data/check --first 3 --contact you@example.org
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.cutouts import PIXEL_SCALE, SIZE
from VAE_model.downloads.catalogue import (
    RECORD,
    ZENODO,
    fetch_original,
    source_of,
    write_catalogue,
)
from VAE_model.downloads.client import Manners
from VAE_model.downloads.cutout_service import SERVICE, Job, path_of, url_of
from VAE_model.downloads.fetching import Progress, fetch_all
from VAE_model.downloads.manifest import FAILED, GOOD, MISSING, Journal, alone, fold
from VAE_model.downloads.resuming import Before, check_space, unfinished
from VAE_model.galaxy_zoo import IDENTITY
from VAE_model.imports.tables import read_table
from VAE_model.pipeline.files import read_parquet, sweep
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.sky import iauname
from VAE_model.surveys import BASSMZLS, DECALS, SURVEYS

BOTH = "both"  # in place of a survey: DECaLS and BASS+MzLS


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/real")
    """Folder of the run."""
    table: Path | None = None
    """Positions of galaxies of your own; none: the Galaxy Zoo DECaLS catalogue, fetched first."""
    catalogue: Literal["auto_posteriors", "volunteers_5"] = "auto_posteriors"
    """auto_posteriors: 313,789 galaxies, a network's predictions of the votes (1.6 GB);
    volunteers_5: the galaxies with votes (40 MB)."""
    survey: str = "decals"
    """A survey of VAE_model/surveys. decals: every galaxy; bassmzls: every galaxy of a table, those
    of the strip of the catalogue. both: the galaxies of the strip, in these two, for pairs."""
    strip: tuple[float, float] = (31.5, 33.5)
    """Dec (degrees) of the strip that both surveys cover, around 32.375."""
    strip_ra: tuple[float, float] = (90.0, 300.0)
    """RA (degrees) of the strip: BASS+MzLS covers the northern galactic cap only."""
    first: int = 0
    """Only the first so many galaxies of those; 0: all."""
    size: int = SIZE
    """Pixels on a side; the pipeline takes 256."""
    pixel_scale: float = PIXEL_SCALE
    """Arcsec per pixel."""
    layers: dict[str, str] = field(default_factory=dict)
    """Layers of the service to cut from in place of the surveys' own: --layers decals
    ls-dr10-south. Without a northern one the service cuts BASS+MzLS from DECaLS."""
    connections: int = 4
    """Parallel connections to the cutout service, at most 16: it asks for few."""
    contact: str = ""
    """Your e-mail address or page, told to the services, so that they can reach you."""
    tries: int = 6
    """Tries of a request that time-outs, 429, 5xx, resets or truncated bodies spoil."""
    backoff: float = 1.0
    """Longest wait (seconds) before the second try; it doubles with each, up to a minute."""
    time_limit: float = 120.0
    """Seconds for one whole answer, however it trickles (of the catalogue: for each 4 MiB)."""
    longest_wait: float = 600.0
    """Retry-After (seconds) that is waited for; the download ends where the service asks more."""
    give_up_after: int = 20
    """Requests in a row that fail by the service's fault end the download."""
    retry_missing: bool = False
    """Ask again for what the service did not have, or had wrong, in an earlier run."""
    service: str = SERVICE
    """Address of the cutout service."""
    zenodo: str = ZENODO
    """Address of Zenodo."""
    record: int = RECORD
    """Zenodo's number of the catalogue."""


def manners_of(config: Config) -> Manners:
    return Manners(
        config.tries, config.backoff, config.time_limit, config.longest_wait, config.contact
    )


def check_config(config: Config, run: Run) -> None:
    """Raise Problem where the constants make no sense, or the run holds another sky."""
    for name, low, high in (
        ("connections", 1, 16), ("tries", 1, 100), ("give_up_after", 1, 10**6),
        ("first", 0, 10**9), ("size", 16, 3000), ("pixel_scale", 0.05, 100),
        ("backoff", 0, 3600), ("time_limit", 0.1, 86400), ("longest_wait", 0, 86400),
    ):  # fmt: skip
        if not low <= getattr(config, name) <= high:
            raise Problem(f"{name} = {getattr(config, name)}: from {low} to {high:,} is allowed")
    if unknown := {config.survey, *config.layers} - {BOTH, *SURVEYS}:
        raise Problem(f"there is no survey {min(unknown)!r}: choose {', '.join([*SURVEYS, BOTH])}")
    for name in ("service", "zenodo"):
        if not getattr(config, name).startswith(("https://", "http://")):
            raise Problem(f"{name} = {getattr(config, name)!r}: an address begins with https://")
    manners_of(config).user_agent()
    if run.truth.exists():
        raise Problem(
            f"{run.show(run.folder)} holds a simulated sky: choose another folder with --run"
        )


def bring_catalogue(config: Config, run: Run) -> None:
    """Make catalogue.parquet, unless it is there. Raises Problem where another one is."""
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
    """Name ("" where the table has none), ra and dec (degrees) of the galaxies to fetch.

    Raises Problem where the table has no positions, or none is left.
    """
    if config.table is None:
        galaxies = read_parquet(run.catalogue, IDENTITY)
    else:
        path = ROOT / config.table
        galaxies = read_table(path, ("ra", "dec", "iauname", "name"))
        if "ra" not in galaxies:
            raise Problem(f"{path} has no columns ra and dec: give positions in degrees")
    by_lower = {str(column).lower(): column for column in galaxies}
    name = by_lower.get("iauname", by_lower.get("name"))
    found = pd.DataFrame({
        "name": galaxies[name].fillna("").astype(str) if name is not None else "",
        "ra": galaxies["ra"].astype(float), "dec": galaxies["dec"].astype(float),
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
        raise Problem(f"none of {total:,} galaxies can be fetched: see the lines above")
    return chosen.head(config.first) if config.first else chosen


def in_strip(galaxies: pd.DataFrame, config: Config) -> NDArray[np.bool_]:
    """Boolean (N,): galaxies that the survey is asked for; all but where only a strip has it."""
    if config.survey != BOTH and (config.table or not SURVEYS[config.survey].strip_only):
        return np.ones(len(galaxies), bool)
    ra, dec = galaxies["ra"], galaxies["dec"]
    return (dec.between(*config.strip) & ra.between(*config.strip_ra)).to_numpy()


def surveys_of(config: Config) -> tuple[str, ...]:
    return (DECALS.name, BASSMZLS.name) if config.survey == BOTH else (config.survey,)


def plan(config: Config, galaxies: pd.DataFrame) -> Iterator[Job]:
    """A job a cutout, the two views of a galaxy one after the other; each file once."""
    layers = {name: survey.layer for name, survey in SURVEYS.items()} | config.layers
    seen: set[str] = set()
    for name, ra, dec in galaxies.itertuples(index=False, name=None):
        for survey in surveys_of(config):
            path = path_of(survey, ra, dec)
            if path in seen:
                continue
            seen.add(path)
            url = url_of(config.service, layers[survey], ra, dec, config.size, config.pixel_scale)
            yield Job(name or iauname(ra, dec), ra, dec, survey, url, path)


def fetch_cutouts(config: Config, run: Run, galaxies: pd.DataFrame) -> int:
    """Fetch what is left to fetch; what becomes of it is in the journal.

    Returns how many cutouts were there already.
    """
    check_space(run, len(galaxies) * len(surveys_of(config)), config.size)
    for survey in surveys_of(config):
        run.images(survey).mkdir(parents=True, exist_ok=True)
        for shard in run.images(survey).iterdir():
            sweep(shard)
    before = Before(run, fold(run), config.size, config.retry_missing)
    cutouts = sum(1 for _ in plan(config, galaxies))
    journal = Journal(run.journal)
    try:
        with tqdm(total=cutouts, desc="cutouts", unit="") as bar:
            fetch_all(
                before.left(plan(config, galaxies), journal, bar),
                run,
                journal,
                Progress(bar, config.give_up_after),
                manners_of(config),
                config.connections,
                config.size,
            )
    finally:
        journal.close()
    return before.files


def report(config: Config, run: Run, galaxies: pd.DataFrame, before: int) -> dict[str, int]:
    """Print what there is, what could not be had and why; the numbers for the side-cars.

    before: cutouts that were there already. Raises Problem where there is not one cutout.
    """
    asked = {job.path for job in plan(config, galaxies)}
    manifest = fold(run)
    manifest = manifest[manifest["path"].isin(asked)]
    counts = Counter(manifest["status"])
    if twice := len(galaxies) * len(surveys_of(config)) - len(asked):
        print(f"  {twice:,} positions are those of others to 0.0001 degrees: one cutout each")
    print(
        f"  good {counts[GOOD]:,} of {len(asked):,} cutouts: {before:,} were there, "
        f"{counts[GOOD] - before:,} fetched"
    )
    for status, words in ((MISSING, "not to be had"), (FAILED, "failed")):
        reasons = manifest["reason"][manifest["status"] == status].str.split(":").str[0]
        for reason, count in Counter(reasons).most_common():
            print(f"  {words} {count:,}: {reason}")
    shown = run.show(run.manifest)
    if not counts[GOOD]:
        raise Problem(f"none of {len(asked):,} cutouts could be had: {manifest['reason'].iloc[0]}")
    if counts[FAILED]:
        print(f"  the same command asks again for the {counts[FAILED]:,} that failed; see {shown}")
    if counts[MISSING]:
        print(f"  --retry-missing asks again for those not to be had; see {shown}")
    return {"good": counts[GOOD], "missing": counts[MISSING], "failed": counts[FAILED]}


def main(config: Config) -> None:
    run = Run(config.run)
    table = [ROOT / config.table] if config.table else []
    images = [run.images(survey) for survey in surveys_of(config)]
    outputs = [*([] if table else [run.catalogue]), run.manifest, *images]
    stage = Stage(__file__, run, config, inputs=table, outputs=outputs)
    check_config(config, run)
    if not stage.dry_run and table and not table[0].is_file():
        raise Problem(f"{table[0]} is missing: give the table's place with --table")
    if stage.is_up_to_date(unfinished(run, config.retry_missing)):
        return
    stage.begin()
    with alone(run):
        if not table:
            bring_catalogue(config, run)
        galaxies = read_galaxies(config, run)
        before = fetch_cutouts(config, run, galaxies)
        numbers = report(config, run, galaxies, before)
    stage.finish(**numbers)


if __name__ == "__main__":
    start(main, Config, __doc__)
