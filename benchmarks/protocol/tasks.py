"""Tasks of the protocols: a run's packed images, the questions about them, and its splits."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data import galaxy_zoo
from VAE_model.data.packed import Packed
from VAE_model.evaluation.classification import Question, set_question
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem
from VAE_model.preparation.stretch import Stretch
from VAE_model.tables.labels import read_answers

LATENTS = 40


@dataclass(frozen=True)
class Task:
    """A set of images and its questions.

    packed: its images, N; rows: of the images outside the test split, the only ones that anything
    is fitted on.
    """

    name: str
    run: Run
    packed: Packed
    stretch: Stretch
    questions: tuple[Question, ...]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.packed.index)

    @classmethod
    def of(
        cls, name: str, run: Run, packed: Packed, answers: Mapping[str, Sequence[str]],
        labels: pd.DataFrame, min_test: int, min_answer: int = 5,
    ) -> "Task":  # fmt: skip
        """Return the task of the questions that have enough test galaxies.

        answers: of each question, in order; labels: one row per image, a column per question.
        Raises Problem if no question has `min_test` test galaxies.
        """
        tested = (packed.index["split"] == "test").to_numpy()
        side = np.where(tested, "test", "train")
        asked = [
            set_question(question, of, labels[question], side, "test", min_answer, min_test)
            for question, of in answers.items()
        ]
        scored = tuple(question for question in asked if not question.too_few)
        if asked and not scored:
            raise Problem(f"{name}: {asked[0].too_few}")
        stretch = Stretch.of(packed.index["display"])
        return cls(name, run, packed, stretch, scored, np.flatnonzero(~tested))


def import_set(source: Path, run: Run, table: Path | None = None) -> Run:
    """Import a real set as a user does (images/ and labels.csv in `source`), and list its images.

    table: in place of labels.csv.

    Raises Problem if the set is missing.
    """
    if not source.is_dir():
        raise Problem(f"{source} is missing: give the folder of the sets with --real")
    given = ("--folder", source / "images", "--table", table or source / "labels.csv")
    steps = (("data/import_images.py", *map(str, given)), ("make_datatxt.py",))
    for script, *arguments in steps:
        command = [sys.executable, script, "--run", str(run.folder), *arguments]
        subprocess.run(command, cwd=ROOT, check=True)
    return run


def labelled_task(
    name: str, run: Run, columns: Sequence[str], min_test: int = 40, min_answer: int = 5
) -> Task:
    """Return the task of imported images: the columns of their table are the questions."""
    packed = Packed.of(run, pixels="float16")
    paths = packed.index["path"].tolist()
    answers, labels = read_answers(run, columns, paths) if columns else ({}, pd.DataFrame())
    return Task.of(name, run, packed, answers, labels, min_test, min_answer)


def sky_task(run: Run, min_test: int = 50) -> Task:
    """Return the task of a simulated sky: the seven questions of Galaxy Zoo.

    Raises Problem if its galaxies have not been matched to the catalogue.
    """
    path = run.class_latents(LATENTS)
    if not path.exists():
        raise Problem(f"{run.show(path)} is missing: run {run.made_by(path)}")
    packed, table = Packed.of(run), read_parquet(path)
    answers = {name: list(of) for name, of in galaxy_zoo.questions().items()}
    columns = {galaxy_zoo.answer_column(name): name for name in answers}
    labels = table[list(columns)].rename(columns=columns).set_axis(table["path"])
    return Task.of("sky", run, packed, answers, labels.reindex(packed.index["path"]), min_test)
