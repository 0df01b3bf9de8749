"""The questions of morphology of a run, and the answer of each galaxy.

They are the seven of Galaxy Zoo, or columns of the table that came with the images, or the marks
that a person gave on a page.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from VAE_model.data import galaxy_zoo
from VAE_model.evaluation.marks import read_marks
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.tables.labels import questions_in, read_answers

_MOST_LABELS = 10  # that are predicted if the user names none


def marks_file(label: Sequence[str]) -> list[Path]:
    """Return the file of marks among the labels, in a list; empty where there is none."""
    found = [Path(name).absolute() for name in label if name.lower().endswith(".csv")]
    if len(found) > 1:
        raise Problem(f"--label names {len(found)} files of marks: merge them, one is read")
    return found


def labels_of(run: Run, label: tuple[str, ...], key: int | str) -> tuple[str, ...]:
    """Return the labels that are the questions: of a run of one's own images all, if none is named.

    None: the questions are those of Galaxy Zoo. key: the number of latents, or the name of the
    features. Raises Problem for a run with labels and a catalogue of which no classes were made.
    """
    if label or not run.labels.exists():
        return label
    there, path = questions_in(run), run.class_latents(key)
    if not run.catalogue.exists():
        if len(there) > _MOST_LABELS:
            print(f"  the first {_MOST_LABELS} of {len(there)} labels: name others with --label")
        return tuple(there[:_MOST_LABELS])
    if there and not path.exists() and not run.classes.exists():
        raise Problem(
            f"{run.show(path)} is missing: run {run.made_by(run.class_latents(40))}, or name the "
            f"labels that are the questions with --label ({run.show(run.labels)} has "
            f"{', '.join(there)})"
        )
    return label


def inputs_of(run: Run, label: Sequence[str]) -> list[Path]:
    """Return the files that hold the labels, in addition to the table of the galaxies."""
    marks = marks_file(label)
    return [*([run.labels] if len(label) > len(marks) else []), *marks]


def read_questions(
    run: Run, label: Sequence[str], table: pd.DataFrame, source: Path
) -> tuple[dict[str, list[str]], pd.DataFrame, str]:
    """Return the answers of each question, the answer of each galaxy, and the origin of the labels.

    The second has one row per galaxy in the table's order and one column per question. label:
    columns of labels.parquet and a file of marks, none for the questions of Galaxy Zoo, whose
    answers are columns of the table; source: the file of the table.
    """
    if label:
        answers: dict[str, list[str]] = {}
        labels, origins = pd.DataFrame(index=range(len(table))), []
        named = [name for name in label if not name.lower().endswith(".csv")]
        if named:
            answers, labels = read_answers(run, named, table["path"].tolist())
            labels = labels.reset_index(drop=True)
            origins = [f"by the table that the images came with ({run.labels.name})"]
        for path in marks_file(label):
            marks = read_marks(path, table)["mark"].replace("", None)
            labels["mark"], answers["mark"] = marks, sorted(marks.dropna().unique())
            if len(answers["mark"]) < 2:
                what = f"has only the mark {answers['mark'][0]!r}"
                raise Problem(f"{path} {what}: two or more different marks make a question")
            origins.append(f"by a person's marks ({path.name})")
        return answers, labels, " and ".join(origins)
    answers = {name: list(of) for name, of in galaxy_zoo.questions().items()}
    columns = {galaxy_zoo.answer_column(name): name for name in answers}
    lacking = [name for name in columns if name not in table]
    if lacking:
        what = f"has no column {', '.join(lacking)}"
        raise Problem(f"{run.show(source)} {what}: run {run.made_by(source)}")
    labels = table[list(columns)].rename(columns=columns)
    return answers, labels, table.attrs.get("labels") or "of unknown origin"
