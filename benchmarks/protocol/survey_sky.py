"""One sky of "Several surveys" in docs/PROTOCOL.md: DECaLS and several other surveys.

`surveys.py` runs this script for every sky. It draws the sky, trains the default network on DECaLS,
and for each other survey pairs and adapts as a user does, and measures. Each part (an experiment in
a survey) is kept as soon as it is measured, so that the same command resumes. The limits on threads
are those of its environment.

Reads:  <results>/<seed>.json, if there is one
Writes: <folder>/<seed>/ (a run, removed at the end), <results>/<seed>.json and, with the latents
        for the search among all skies, <results>/<seed>_<survey>.npz

Example: python benchmarks/protocol/survey_sky.py --seed 11 --results data/surveys_results
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from VAE_model import pretrained
from VAE_model.evaluation.probe import exposures
from VAE_model.evaluation.probe.encoded import Encoded, Encoder
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import read_json, read_parquet, sha256, write_json
from VAE_model.pipeline.provenance import versions
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.script_server import ScriptServer
from VAE_model.pipeline.stage import Problem, start
from VAE_model.surveys import DECALS, SURVEYS
from VAE_model.transfer.adaptation import BEFORE, METHODS
from VAE_model.transfer.pair_latents import read_sides

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import sky, survey_grid, survey_networks, survey_search
from benchmarks.protocol.scoring import Effort
from benchmarks.protocol.survey_uses import (
    EXPERIMENTS,
    NIGHT,
    NOISE,
    PER_LATENT,
    Latents,
    Pairs,
    per_latent,
    questions_of,
)
from benchmarks.protocol.tasks import LATENTS

PREPARATION = "preparation"  # an experiment on the images, beside those on the latents
PUBLISHED = "published"  # the same experiment as "adaptation", with the published network
GRID = "grid"  # on DECaLS itself
PARTS = ("adaptation", PREPARATION, *(name for name in EXPERIMENTS if name != "adaptation"))
OTHERS = tuple(name for name in SURVEYS if name != DECALS.name)
Content = dict[str, Any]


@dataclass(frozen=True)
class Constants:
    """Constants of the protocol; see docs/PROTOCOL.md."""

    surveys: tuple[str, ...] = OTHERS
    """Surveys beside DECaLS: bassmzls, des, sdss, hsc."""
    folder: Path = Path("data/surveys")
    """Folder of the runs."""
    results: Path = Path("benchmarks/protocol/survey_results")
    """Folder of the results, one file per sky."""
    galaxies: int = 1500
    """Galaxies in the sky; every survey observes all of them."""
    trees: int = 200
    """Trees per forest."""
    forests: int = 2
    """Forests with different seeds that are averaged."""
    epochs: int = 0
    """Of every training; 0: those of the stages."""
    min_test: int = 30
    """Test galaxies that a question needs."""
    min_answer: int = 5
    """Galaxies that an answer needs in either split."""


@dataclass(frozen=True)
class Config(Constants):
    """Constants of one sky."""

    seed: int = 301
    """Seed of the sky."""
    published: tuple[str, ...] = ()
    """Surveys to which the published network is adapted too."""


def frozen_code() -> str:
    """Return the version of all code that can change a result, with the constants of the stages."""
    scripts = [ROOT / entry.script for entry in (*sky.DRAWN, *sky.PAIRED)]
    own = ("tasks", "rivals", "scoring", "sky", "survey_sky", "survey_uses", "survey_grid",
           "survey_networks", "survey_search")  # fmt: skip
    beside = [Path(__file__).with_name(f"{name}.py") for name in own]
    return f"{code_version(*scripts, *beside, frozen=True)} {sha256(pretrained.WEIGHTS)[:8]}"


def constants_of(config: Config) -> Content:
    """Return the constants that determine the result of a sky."""
    free = ("surveys", "published", "folder", "results")
    return {name: value for name, value in asdict(config).items() if name not in free}


def path_of(config: Config) -> Path:
    """Return the file of the results."""
    return ROOT / config.results / f"{config.seed}.json"


def read_result(config: Config) -> Content:
    """Return the parts of a sky that are there.

    Raises Problem if they were made by other code or with other constants.
    """
    path = path_of(config)
    new = {"code": frozen_code(), "constants": constants_of(config)}
    if not path.exists():
        return {**new, "versions": versions(), "surveys": {}, "minutes": 0.0}
    content = read_json(path)
    for key, value in new.items():
        if content[key] != value:
            raise Problem(
                f"{path} was made with other {key} ({content[key]}, now {value}), and results are "
                "not mixed: check that commit out again, or delete the results of every sky"
            )
    return content


def missing(config: Config) -> dict[str, list[str]]:
    """Return the experiments that are still to be measured, by survey; none of finished surveys.

    Raises Problem if a survey is unknown.
    """
    for name in (*config.surveys, *config.published):
        if name not in OTHERS:
            raise Problem(f"there is no survey {name!r} beside DECaLS: choose among {OTHERS}")
    parts: dict[str, list[str]] = {DECALS.name: [GRID]}
    for survey in dict.fromkeys((*config.surveys, *config.published)):
        parts[survey] = [*PARTS] * (survey in config.surveys)
        parts[survey] += [PUBLISHED] * (survey in config.published)
    there = read_result(config)["surveys"]
    left = {survey: [part for part in of if part not in there.get(survey, {})]
            for survey, of in parts.items()}  # fmt: skip
    return {survey: of for survey, of in left.items() if of}


def do(config: Config, run: Run, entries: Sequence[Any], surveys: Sequence[str]) -> None:
    """Run stages as a user does, with the constants of the protocol.

    surveys: beside DECaLS: those to draw, or the one to pair.
    """
    n, epochs = config.galaxies, ("--epochs", config.epochs) if config.epochs else ()
    options = {
        "data/simulate.py": ("--galaxies", n, "--overlap", n, "--seed", config.seed,
                             "--surveys", DECALS.name, *surveys),
        "Galaxy_VAE_n.py": epochs,
        "transfer/make_pairs.py": ("--other", *surveys),
        "transfer/adapt.py": epochs,
    }  # fmt: skip
    with ScriptServer() as server:
        for entry in entries:
            given = map(str, options.get(entry.script, ()))
            command = [entry.script, "--run", str(run.folder), *given]
            print(*command, flush=True)
            if code := server.run(command):
                raise subprocess.CalledProcessError(code, command)


# ---- the pairs


def observed_again(run: Run) -> tuple[pd.Index, dict[str, NDArray[np.float32]]]:
    """Return the paths of the test galaxies, and their latents in a further exposure by DECaLS.

    The latents are (n, d) by NOISE and NIGHT. Galaxies whose frame has a defect are left out.
    """
    encoded = Encoded.of(run, LATENTS)
    rows = np.flatnonzero(encoded.table["split"] == "test")
    again = exposures.observe(run, encoded, Encoder(encoded, run.model(LATENTS)), rows, 1, 2)
    if again.why:
        raise Problem(f"{run.show(run.folder)}: no second exposures: {again.why}")
    kinds = dict(zip((NOISE, NIGHT), exposures.KINDS, strict=True))
    latents = {name: again.latents[kind][0][1] for name, kind in kinds.items()}
    return pd.Index(encoded.table["path"].iloc[again.rows]), latents


def read_all_pairs(
    config: Config, run: Run, paths: pd.Index, again: dict[str, NDArray[np.float32]]
) -> Pairs:
    """Return the pairs of the survey that was paired last; paths, again: see `observed_again`.

    Test pairs are those without a defect whose galaxy was observed again, so that the nulls are
    measured on the same galaxies.
    """
    sides = {name: read_sides(run, run.pair_latents(name), LATENTS) for name in (BEFORE, *METHODS)}
    before = sides[BEFORE]
    usable, place = before.pairs["usable"].to_numpy(bool), paths.get_indexer(before.pairs["path"])
    of_split = before.pairs["split"].to_numpy(object)
    kept = usable & ((of_split != "test") | (place >= 0))
    split = np.where(kept, of_split, "left out")
    fit, test = split == "train", split == "test"
    sides[sky.AFFINE] = sky.affine(before, fit)
    latents = {name: Latents(of.first, of.second) for name, of in sides.items()}
    latents[PER_LATENT] = per_latent(latents[BEFORE], fit)
    questions = questions_of(run, before.pairs["path"], split, config.min_test, config.min_answer)
    seen = {name: np.where(test[:, None], of[place], np.nan) for name, of in again.items()}
    truth = true_quantities(run, before.pairs["iauname"])
    return Pairs(latents, seen, questions, fit, test, truth, effort_of(config), config.seed)


def effort_of(config: Config) -> Effort:
    """Return the size of the measurement."""
    return Effort(config.trees, config.forests, config.epochs)


def true_quantities(run: Run, names: pd.Series) -> pd.DataFrame:
    """Return the columns QUANTITIES of the galaxies: r magnitude, log10 of the size, redshift.

    The size is the half-light radius along the major axis, arcsec.
    """
    truth = read_parquet(run.truth, ["iauname", "mag_r", "half_light_radius", "redshift"])
    truth = truth.set_index("iauname").loc[names].reset_index(drop=True)
    return pd.DataFrame({
        "magnitude": truth["mag_r"], "size": np.log10(truth["half_light_radius"]),
        "redshift": truth["redshift"],
    })  # fmt: skip


# ---- the sky


def main(config: Config) -> None:
    """Measure the parts that are missing, and remove the run."""
    parts, path = missing(config), path_of(config)
    if not parts:
        return print(f"{path} has every part of {', '.join(config.surveys)}")
    run = Run(config.folder / str(config.seed))
    lock = FileLock(run.folder.with_suffix(".lock"), timeout=0)
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        with lock:
            measure(config, run, parts)
    except Timeout:
        raise Problem(f"{run.show(run.folder)} is in use by another process") from None


def measure(config: Config, run: Run, parts: dict[str, list[str]]) -> None:
    """Draw the sky, measure the parts by survey, keep each, and remove the run."""
    began = time.monotonic()
    content = read_result(config)
    before = content["minutes"]
    others = [survey for survey in parts if survey != DECALS.name]
    do(config, run, sky.DRAWN, others)
    again = observed_again(run) if others else None
    for survey, wanted in parts.items():
        found = content["surveys"].setdefault(survey, {})
        pairs = None
        if again and survey != DECALS.name:
            do(config, run, sky.PAIRED, [survey])
            pairs = read_all_pairs(config, run, *again)
            found["pairs"] = {"train": int(pairs.fit.sum()), "test": int(pairs.test.sum())}
            found["questions"] = sky.counts(pairs.questions)
        for part in wanted:
            print(f"{survey}: {part}", flush=True)
            found[part] = measure_part(config, run, survey, part, pairs)
            content["minutes"] = round(before + (time.monotonic() - began) / 60, 1)
            write_json(path_of(config), content)
    shutil.rmtree(run.folder)


def measure_part(config: Config, run: Run, survey: str, part: str, pairs: Pairs | None) -> Content:
    """Return one experiment in a survey; pairs: of all but DECaLS itself."""
    kept = survey_search.path_of(path_of(config).parent, config.seed, survey)
    if pairs is None:
        least = {"min_test": config.min_test, "min_answer": config.min_answer}
        return survey_grid.measure(run, config.seed, effort_of(config), least, kept)
    if part == PREPARATION:
        return survey_networks.preparation(run, pairs, kept)
    if part == PUBLISHED:
        return survey_networks.published(run, pairs)
    return EXPERIMENTS[part](pairs)


if __name__ == "__main__":
    start(main, Config, __doc__)
