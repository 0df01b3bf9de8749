"""The weights that travel with the project on real images of two surveys.

The protocol is the upper part of docs/REAL_PAIRS.md. Each result is kept in a file, so that the
same command resumes; results of other code or images are measured again.

Reads:  <real>/poss_pairs/plates.csv and plates/, <real>/gz_examples/, if something is to be
        measured
Writes: <folder>/<set>/ (a run each), <results>/<set>/, docs/REAL_PAIRS.md with --write

Example: python benchmarks/protocol/real_pairs.py --write
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from VAE_model import models, pretrained
from VAE_model.data.packed import Packed
from VAE_model.evaluation.classification import forest_predict
from VAE_model.evaluation.pca import pooled_pixels
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import read_json, read_parquet, sha256, write_json
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, start
from VAE_model.preparation.prepared_inputs import PreparedInputs

sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT))
from timing import write_below_the_line

from benchmarks.protocol import leave_one_out, real_sets, rivals
from benchmarks.protocol.leave_one_out import METHODS, Match
from benchmarks.protocol.real_pairs_page import PLATES, ROWS, page
from benchmarks.protocol.real_sets import EXAMPLES, RealSet, digits
from benchmarks.protocol.tasks import LATENTS, PIXELS, Task

FIRST, SECOND = "POSS-I", "POSS-II"
SEEDED = ("untrained", "random")  # rows that depend on a seed
SIDE = 64  # pixels of a band, for the rows of pixels
UNLABELLED = ("none", "standardise", "coral")  # adaptation in gz_examples


@dataclass(frozen=True)
class Config:
    """Constants of the protocol."""

    real: Path = Path(os.environ.get("GALAXY_VAE_REAL") or "../shared/real")
    """Folder of the real sets."""
    folder: Path = Path("data/real_pairs")
    """Folder of the runs."""
    results: Path = Path("benchmarks/protocol/results/real_pairs")
    """Folder of the results."""
    sets: tuple[str, ...] = (PLATES, EXAMPLES)
    """Sets to measure; none: only the page."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the untrained network and of random projections."""
    trees: int = 200
    """Trees per forest."""
    n_bootstrap: int = 1000
    """Resamples behind an interval."""
    write: bool = False
    """Write docs/REAL_PAIRS.md."""


# ---- opening the sets


def plate_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image: name (<survey>_<galaxy>), ra, dec, and the files of g and z.

    rows: file, ra, dec, survey, band (plates.csv). g is the blue plate, z the red one, so that the
    import makes r their mean. Galaxies without both in both surveys are left out.
    """
    rows = rows[rows["band"].isin(["blue", "red"])]
    galaxy = rows["file"].str.extract(r"^(.*)_dss", expand=False)
    complete = galaxy.map(galaxy.value_counts()) == 4
    named = rows.assign(name=rows["survey"] + "_" + galaxy)[complete]
    table = named.pivot(index=["name", "ra", "dec"], columns="band", values="file").reset_index()
    return table.rename(columns={"blue": "g", "red": "z"})[["name", "ra", "dec", "g", "z"]]


def open_plates(real: Path, folder: Path) -> Task:
    """Return the plates of the folder `real`, imported as a user does into a run under `folder`.

    make_datatxt.py would refuse the second image of a galaxy as a duplicate, so the images are
    packed without it, as those of pairs are.
    """
    source, run, table = real / PLATES, Run(folder / PLATES), folder / f"{PLATES}.csv"
    (ROOT / folder).mkdir(parents=True, exist_ok=True)
    plate_table(pd.read_csv(ROOT / source / "plates.csv")).to_csv(ROOT / table, index=False)
    given = ("--folder", str(source / "plates"), "--table", str(table), "--name", "plates")
    command = ("data/import_images.py", "--run", str(run.folder), *given, "--unit", "display")
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    listed = read_parquet(run.labels, ["path"]).sort_values("path", ignore_index=True)
    packed = Packed.of_list(run, listed, run.labels, run.packed, pixels=PIXELS)
    return Task.of(PLATES, run, packed, {}, pd.DataFrame(), min_test=0)


def pairs_of(task: Task) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Return the galaxies with images in both surveys, and their rows in the first and second."""
    stems = [Path(path).stem for path in task.packed.index["path"]]
    survey, galaxy = zip(*(stem.split("_", 1) for stem in stems), strict=True)
    rows = pd.DataFrame({"survey": survey, "galaxy": galaxy, "row": np.arange(len(stems))})
    wide = rows.pivot(index="galaxy", columns="survey", values="row").dropna().astype(int)
    return wide.index.tolist(), wide[FIRST].to_numpy(), wide[SECOND].to_numpy()


# ---- the numbers of all images of a task, (N, d)


def untrained(seed: int) -> models.FramedVAE:
    """Return the network of the weights with its fixed maps, and with random layers."""
    torch.manual_seed(seed)
    network = models.ResidualVAE(LATENTS)
    network.load_state_dict(dict(pretrained.load().network.named_buffers()), strict=False)
    return network.eval()


def numbers(row: str, task: Task, examples: Task, seed: int) -> NDArray[np.floating]:
    """Return the numbers of a row of the tables; of `components` the pixels that they are made of.

    examples: gz_examples, whose training images set the maps of the baseline.
    """
    every = np.arange(len(task))
    if row == "weights":
        return rivals.weights(task, seed, 0).features
    if row == "baseline":
        model = rivals.load(rivals.train(examples, seed, rivals.BASELINE))
        return rivals.means(task, model).features
    if row in ("untrained", "structure"):
        network = untrained(seed)
        inputs = PreparedInputs(task.packed, network, task.stretch, torch.device("cpu"))
        with torch.inference_mode():
            parts = [
                network.encode(part)[0] if row == "untrained"
                else network.split(network.target(part))[1]
                for _, part, _ in inputs.batches(every, 64)
            ]  # fmt: skip
        return torch.cat(parts).numpy()
    pixels = pooled_pixels(task.packed.images, every, SIDE, task.stretch)
    if row == "random":
        directions = np.random.default_rng(seed).standard_normal((pixels.shape[1], LATENTS))
        return (pixels - pixels[task.rows].mean(axis=0)) @ directions
    return pixels


def in_their_span(pixels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return pixels (N, d) as coordinates (N, at most N): distances and components stay."""
    centred = pixels.astype(float) - pixels.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes.T


def components(pixels: NDArray[np.floating], fit: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 40 principal components of pixels (N, d), fitted on the rows `fit`; fewer of few."""
    centred = pixels.astype(float) - pixels[fit].mean(axis=0)
    _, _, axes = np.linalg.svd(centred[fit], full_matrices=False)
    return centred @ axes[: min(LATENTS, len(fit) - 1)].T


# ---- measuring


def code_of() -> str:
    """Return the version of the code that measures, and of the weights."""
    own = (__file__, leave_one_out.__file__, real_sets.__file__)
    code = code_version(*map(Path, own))
    return f"{code} {rivals.RIVALS['baseline'].code} {sha256(pretrained.WEIGHTS)[:8]}"


def measure_plates(row: str, task: Task, examples: Task, seed: int) -> dict[str, Any]:
    """Return by adaptation what is found, a value per galaxy, as values of JSON."""
    names, first, second = pairs_of(task)
    every = numbers(row, task, examples, seed)
    every = in_their_span(every) if row == "components" else every

    def source(others: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
        of = components(every, first[others]) if row == "components" else every
        return of[first], of[second]

    adapted = row == "components" or every.shape[1] <= LATENTS
    found = {}
    for name, method in METHODS.items() if adapted else [("none", None)]:
        of = leave_one_out.match(source, len(names), method)
        found[name] = _as_json(of)
        if adapted and row != "components":  # those of different pairs cannot be put together
            scores = leave_one_out.survey_scores(every[first], of.moved)
            found[name]["survey"] = np.round(scores, 4).tolist()
    return {"numbers": LATENTS if adapted else every.shape[1], "methods": found}


def _as_json(of: Match) -> dict[str, Any]:
    values = {name: getattr(of, name).tolist() for name in ("rank", "nearest")}
    rounded = {name: np.round(getattr(of, name), 4).tolist() for name in ("distance", "other")}
    return values | rounded


def measure_examples(row: str, task: Task, seed: int, trees: int) -> dict[str, Any]:
    """Return by adaptation, head and question the answers to the test images, as digits."""
    every = numbers(row, task, task, seed)
    every = components(every, task.rows) if row == "components" else every
    trained = np.isin(np.arange(len(task)), task.rows)
    answered = np.zeros(len(task), bool)
    for q in task.questions:
        answered[q.train] = answered[q.test] = True
    scaler = StandardScaler().fit(every[trained])
    linear = LogisticRegression(class_weight="balanced", max_iter=2000)
    sides = {}
    for name in UNLABELLED if every.shape[1] <= LATENTS else ("none",):
        sides[name] = every
        if method := METHODS[name]:
            source, target = every[~trained & ~answered], every[trained & ~answered]
            matrix, offset = method(source, target)
            sides[name] = every @ matrix.T + offset
    said: dict[str, dict[str, dict[str, str]]] = {
        name: {"forest": {}, "logistic": {}} for name in sides
    }
    for q in task.questions:
        tested = np.concatenate([of[q.test] for of in sides.values()])
        likely, _ = forest_predict(every[q.train], q.train_codes, tested, [seed], trees)
        linear.fit(scaler.transform(every[q.train]), q.train_codes)
        heads = {"forest": likely.argmax(axis=1),
                 "logistic": linear.predict(scaler.transform(tested))}  # fmt: skip
        for head, codes in heads.items():
            for name, part in zip(sides, np.split(codes, len(sides)), strict=True):
                said[name][head][q.name] = digits(part)
    return {"numbers": every.shape[1], "methods": said}


def todo(config: Config) -> Iterator[tuple[str, str, int]]:
    """Yield set, row and seed of all results; all pixels are of the plates only."""
    for name in config.sets:
        for row in ROWS:
            if not (name == EXAMPLES and row == "pixels"):
                seeds = config.seeds if row in SEEDED else config.seeds[:1]
                yield from ((name, row, seed) for seed in seeds)


def measure_all(config: Config) -> None:
    """Measure what is missing or not up to date. Raises Problem for an unknown or missing set."""
    if unknown := [name for name in config.sets if name not in (PLATES, EXAMPLES)]:
        raise Problem(f"unknown: {', '.join(unknown)}; choose from {PLATES}, {EXAMPLES}")
    if not config.sets:
        return
    real, folder = ROOT / config.real, ROOT / config.results
    for name in (PLATES, EXAMPLES):  # before anything is imported
        if not (real / name).is_dir():
            raise Problem(f"{real / name} is missing: give the folder of the sets with --real")
    plates = open_plates(config.real, config.folder)
    examples = real_sets.open_set(real, config.folder, EXAMPLES)
    hashes = {PLATES: RealSet(plates).describe()["hash"], EXAMPLES: examples.describe()["hash"]}
    about = {"hash": hashes[PLATES], "galaxies": pairs_of(plates)[0]}
    write_json(folder / PLATES / "set.json", about)
    write_json(folder / EXAMPLES / "set.json", examples.describe())
    made_by = {"constants": {"images": hashes, "trees": config.trees}, "code": code_of()}
    for name, row, seed in todo(config):
        path = folder / name / f"{row}_{seed}.json"
        if path.exists() and made_by.items() <= read_json(path).items():
            continue
        print(f"{name}: {row}, seed {seed}", flush=True)
        if name == PLATES:
            found = measure_plates(row, plates, examples.task, seed)
        else:
            found = measure_examples(row, examples.task, seed, config.trees)
        write_json(path, made_by | found)


def main(config: Config) -> None:
    """Measure, print the tables, and write them if wanted."""
    measure_all(config)
    text = page(ROOT / config.results, config.seeds, config.n_bootstrap)
    print(text)
    if config.write:
        write_below_the_line(ROOT / "docs" / "REAL_PAIRS.md", text)


if __name__ == "__main__":
    start(main, Config, __doc__)
