"""Precision of the ranking that learns from marks, with simulated users.

A simulated user finds some images interesting: those with an injected defect (`defect`, of a
simulated sky), or with values of labels (`label=nongalaxy`, `Inner_Ring>=0.5|Outer_Ring>=0.5`). In
each repeat a random half of the images can be marked, up to 100 of them, chosen by the proposals of
the page or at random. The precision is that among the first 100 images of the other half, none of
which is ever marked. The ranks without labels (decals_4.py) are scored on the same halves.

Reads:  result/latents_40.parquet, result/outliers_40.parquet, and truth.parquet or labels.parquet
        of each run
Writes: prints the tables; with `write` also below the line in docs/MARKS.md

Example: python benchmarks/experiments/marks.py --sets data/demo:defect "data/efigi:bar>=0.5"
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.evaluation.marks import COLUMNS, Features, learn
from VAE_model.extraction.latent_table import read_means
from VAE_model.pipeline.command_line import start
from VAE_model.pipeline.files import read_parquet, write_text
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run

PAGE, LINE = ROOT / "docs" / "MARKS.md", "<!-- measured -->\n"
RANKS = {"rank": "rank of galaxies, no labels", "image_rank": "rank of images, no labels"}
PROPOSALS = {
    "random": "random images",
    "best": "the likeliest",
    "uncertain": "the most uncertain",
    "both": "both in turn",
}


@dataclass(frozen=True)
class Config:
    """Constants of the experiment."""

    sets: tuple[str, ...] = ("data/demo:defect",)
    """Runs, and after a colon what is interesting in each."""
    num_var: int = 40
    """Number of latent variables."""
    marks: tuple[int, ...] = (0, 20, 50, 100)
    """Numbers of marks after which the precision is measured."""
    first: int = 100
    """Highest ranked images among which it is measured."""
    repeats: int = 20
    """Random halves of the images."""
    seed: int = 0
    """Seed of the halves and of the random proposals."""
    write: bool = False
    """Replace the tables in docs/MARKS.md."""


def interesting(run: Run, what: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return whether each image of a table (iauname, path, survey) is interesting, (N,)."""
    if what == "defect":
        truth = read_parquet(run.truth).set_index("iauname").reindex(table["iauname"])
        defects = truth.filter(regex="^defect_").fillna("")
        survey = "defect_" + table["survey"]
        return np.array(
            [bool(row[s]) for s, (_, row) in zip(survey, defects.iterrows(), strict=True)]
        )
    found = np.zeros(len(table), bool)
    for one in what.split("|"):
        parts = re.fullmatch(r"(\w+)(=|>=)(.+)", one)
        if not parts:
            raise Problem(f"{one!r} is neither `defect`, `label=value` nor `label>=number`")
        labels = read_parquet(run.labels, ["path", parts[1]]).set_index("path")[parts[1]]
        values = labels.reindex(table["path"])
        if parts[2] == "=":
            found |= (values.astype(str) == parts[3]).to_numpy()
        else:
            found |= values.to_numpy(float) >= float(parts[3])
    return found


def session(
    features: Features, wanted: NDArray[np.bool_], pool: NDArray[np.bool_], by: str, most: int,
    rng: np.random.Generator,
) -> Iterator[tuple[NDArray[np.float64], int]]:  # fmt: skip
    """Yield the scores of all images, (N,), and the number of interesting ones that were found.

    They are yielded after 0, 1 to `most` marks. pool: images that are proposed; by: of PROPOSALS.
    """
    closed, rows = ~pool, []
    for count in range(most + 1):
        found = learn(features, rows, wanted[rows])
        yield found.score, int(wanted[rows].sum())
        if by == "random":
            row = int(rng.choice(np.flatnonzero(~closed)))
        else:
            row = found.next(closed, by == "uncertain" or (by == "both" and count % 2 == 1))
        rows.append(row)
        closed[row] = True


def precision(score: NDArray, wanted: NDArray[np.bool_], first: int) -> float:
    """Return the share of interesting images among the `first` of highest score."""
    return float(wanted[np.argsort(-score, kind="stable")[:first]].mean())


def measure(
    features: Features, wanted: NDArray[np.bool_], ranks: pd.DataFrame, config: Config
) -> dict[str, NDArray[np.float64]]:
    """Return, by proposal, the precision in each repeat after each number of marks, (R, M).

    With `found <proposal>` the interesting images among the marked ones, and by the columns of
    `ranks` the precision without labels, (R, 1).
    """
    scores = {name: np.zeros((config.repeats, len(config.marks))) for name in PROPOSALS}
    scores |= {f"found {name}": np.zeros_like(scores[name]) for name in PROPOSALS}
    scores |= {name: np.zeros((config.repeats, 1)) for name in ranks}
    for repeat in tqdm(range(config.repeats), desc="simulated users", unit="user"):
        rng = np.random.default_rng([config.seed, repeat])
        pool = rng.permutation(len(wanted)) < len(wanted) // 2
        for name in ranks:
            rank = -ranks[name].to_numpy()[~pool]
            scores[name][repeat] = precision(rank, wanted[~pool], config.first)
        for by in PROPOSALS:
            steps = session(features, wanted, pool, by, max(config.marks), rng)
            for count, (score, found) in enumerate(steps):
                for place in np.flatnonzero(np.array(config.marks) == count):
                    share = precision(score[~pool], wanted[~pool], config.first)
                    scores[by][repeat, place] = share
                    scores[f"found {by}"][repeat, place] = found
    return scores


def spread(values: NDArray[np.float64], digits: int = 2) -> str:
    """Return the mean of the repeats and the range of 95 % of them, as text."""
    found = Estimate.of([values.mean(), *values])
    low, high = (f"{value:.{digits}f}" for value in (found.low, found.high))
    return f"{found.value:.{digits}f} ({low} to {high})"


def table_of(
    what: str, wanted: NDArray[np.bool_], scores: dict[str, NDArray], config: Config
) -> str:
    """Return the section of a set in Markdown."""
    count, rate = len(wanted), wanted.mean()
    best = min(1.0, wanted.sum() / 2 / config.first)
    lines = [
        f"### {what}: {count:,} images, {int(wanted.sum()):,} interesting", "",
        f"By chance {rate:.2f}; at best about {best:.2f}.", "",
        "| marked | " + " | ".join(f"after {n}" for n in config.marks)
        + f" | interesting among the {config.marks[-1]} | minus random, after {config.marks[-1]} |",
        "| --- |" + " --- |" * (len(config.marks) + 2),
    ]  # fmt: skip
    for name, words in (RANKS | PROPOSALS).items():
        if name in PROPOSALS:
            cells = [spread(column) for column in scores[name].T]
            ahead = scores[name][:, -1] - scores["random"][:, -1]
            cells += [spread(scores[f"found {name}"][:, -1], 0)]
            cells += [spread(ahead) if name != "random" else "–"]
        else:
            cells = [spread(scores[name][:, 0]), *["–"] * (len(config.marks) + 1)]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(config: Config) -> None:
    """Measure each set, and print the tables."""
    sections = []
    for one in config.sets:
        folder, _, what = one.rpartition(":")
        run = Run(folder)
        source = run.latents(config.num_var)
        table, latents = read_means(run, source, config.num_var, ("logvar_",), ("survey", *COLUMNS))
        ranks = read_parquet(run.outliers(config.num_var), ["path", *RANKS])
        ranks = ranks.set_index("path").loc[table["path"], list(RANKS)]
        wanted = interesting(run, what, table)
        if len(wanted) < 4 * config.first or not 0 < wanted.sum() < len(wanted):
            counts = f"{int(wanted.sum()):,} of {len(wanted):,} images are interesting"
            needed = f"at least {4 * config.first} images, of both kinds, are needed"
            raise Problem(f"{one}: {counts}: {needed}")
        scores = measure(Features.of(table, latents), wanted, ranks, config)
        sections.append(table_of(f"{run.folder.name}, {what}", wanted, scores, config))
        print(sections[-1], flush=True)
    if config.write:
        before = PAGE.read_text(encoding="utf-8").partition(LINE)[0]
        write_text(PAGE, before + LINE + "\n" + "\n".join(sections))


if __name__ == "__main__":
    start(main, Config, __doc__)
