"""Tasks of the protocols: a run's packed images, the questions about them, and its splits."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data import galaxy_zoo
from VAE_model.data.packed import Packed
from VAE_model.data.packing import Pixels
from VAE_model.evaluation.classification import Question, set_question
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem
from VAE_model.preparation.stretch import Stretch
from VAE_model.tables.labels import read_answers

LATENTS = 40
PIXELS: Pixels = "float16"  # of the packed real images


@dataclass(frozen=True)
class Task:
    """A set of images and its questions.

    packed: its images, N; rows: of the images that everything is fitted on; model: of the default
    network, where a stage has trained it.
    """

    name: str
    run: Run
    packed: Packed
    stretch: Stretch
    questions: tuple[Question, ...]
    rows: NDArray[np.int64]
    model: Path | None = None

    def __len__(self) -> int:
        return len(self.packed.index)

    @classmethod
    def of(
        cls,
        name: str,
        run: Run,
        packed: Packed,
        answers: Mapping[str, Sequence[str]],
        labels: pd.DataFrame,
        min_test: int,
        min_answer: int = 5,
        fit: tuple[str, ...] = ("train", "validation"),
    ) -> "Task":
        """Return the task of the questions that have enough test galaxies.

        answers: of each question, in order; labels: one row per image, a column per question; fit:
        the splits that everything is fitted on. Raises Problem if no question has `min_test` test
        galaxies.
        """
        split = packed.index["split"]
        side = split.where(~split.isin(fit), "train")
        asked = [
            set_question(
                question, of, labels[question], side, min_answer=min_answer, min_test=min_test
            )
            for question, of in answers.items()
        ]
        scored = tuple(question for question in asked if not question.too_few)
        if asked and not scored:
            raise Problem(f"{name}: {asked[0].too_few}")
        stretch = Stretch.of(packed.index["display"])
        return cls(name, run, packed, stretch, scored, np.flatnonzero(side == "train"))


def import_set(source: Path, run: Run, table: Path | None = None) -> Run:
    """Import a real set as a user does (images/ and labels.csv in `source`), and list its images.

    table: in place of labels.csv.
    Raises Problem if the set is missing.
    """
    if not source.is_dir():
        raise Problem(f"{source} is missing: give the folder of the sets with --real")
    given = ("--folder", source / "images", "--table", table or source / "labels.csv")
    steps = (
        ("data/import_images.py", *map(str, given)), ("make_datatxt.py", "--pixels", PIXELS),
    )  # fmt: skip
    for script, *arguments in steps:
        command = [sys.executable, script, "--run", str(run.folder), *arguments]
        subprocess.run(command, cwd=ROOT, check=True)
    return run


def labelled_task(
    name: str, run: Run, columns: Sequence[str], min_test: int = 40, min_answer: int = 5
) -> Task:
    """Return the task of imported images: the columns of their table are the questions."""
    packed = Packed.of(run, pixels=PIXELS)
    paths = packed.index["path"].tolist()
    answers, labels = read_answers(run, columns, paths) if columns else ({}, pd.DataFrame())
    return Task.of(name, run, packed, answers, labels, min_test, min_answer)


def sky_labels(run: Run) -> tuple[dict[str, list[str]], pd.DataFrame]:
    """Return the answers of the seven questions of Galaxy Zoo, and the labels by path of the image.

    Raises Problem if the galaxies of the run have not been matched to the catalogue.
    """
    path = run.class_latents(LATENTS)
    if not path.exists():
        raise Problem(f"{run.show(path)} is missing: run {run.made_by(path)}")
    answers = {name: list(of) for name, of in galaxy_zoo.questions().items()}
    columns = {galaxy_zoo.answer_column(name): name for name in answers}
    table = read_parquet(path, ["path", *columns]).set_index("path")
    return answers, table.rename(columns=columns)


def sky_task(run: Run, min_test: int = 50, min_answer: int = 5) -> Task:
    """Return the task of a simulated sky, fitted on its training split as by analysis/classify.py.

    The default network is the one that the stage has trained.
    """
    answers, labels = sky_labels(run)
    packed = Packed.of(run)
    labels = labels.reindex(packed.index["path"])
    task = Task.of("sky", run, packed, answers, labels, min_test, min_answer, ("train",))
    return replace(task, model=run.model(LATENTS))
