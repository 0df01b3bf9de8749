"""Cut the Galaxy Zoo catalogue into eight classes, and into the answers to seven questions.

The cuts are the table in VAE_model/data/galaxy_zoo.py: classes may overlap, answers to one question
exclude each other.

Reads:  catalogue.parquet, or, where images were imported with its columns, labels.parquet
Writes: result/classes.parquet (galaxies in a class or with an answer: iauname, ra, dec, one boolean
        column per class, one text column per question, named by galaxy_zoo.answer_column),
        result/class_<name>.fits (one per class, with the fractions it is cut on, for TOPCAT)

Example: python analysis/decals_1.py --min-volunteers-asked 0.5 --drop-wrong-size
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from VAE_model.data import galaxy_zoo
from VAE_model.data.galaxy_zoo import CLASSES, IDENTITY, Cut, answer_column, asked
from VAE_model.pipeline.files import atomic, read_parquet, utf8, write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.pipeline.stages import command
from VAE_model.tables.columns import as_numbers, as_text, find_column
from VAE_model.tables.labels import columns_of, questions_in
from VAE_model.tables.reading import read_table

_WRONG_SIZE = "wrong_size_warning"


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    gate: float = 0.5
    """Fraction that the answers leading to one of the seven questions must exceed."""
    answer: float = 0.6
    """Fraction that an answer must exceed to be a galaxy's answer; from 0.5 on answers exclude
    each other. (The thresholds of the eight classes stand in VAE_model/data/galaxy_zoo.py.)"""
    min_volunteers_asked: float = 0.0
    """Share of volunteers who must have been asked every question of a cut; 0: no such gate."""
    drop_wrong_size: bool = False
    """Leave out galaxies whose catalogue size is wrong (wrong_size_warning)."""
    labels: str = ""
    """Description of the fractions, printed wherever they serve as labels; empty: by the catalogue
    itself (simulated votes beside a truth.parquet, what data/download.py wrote into it, a network's
    posteriors beside concentrations)."""


def catalogue_of(run: Run, columns: list[str]) -> Path:
    """Return the table with the fractions: the catalogue, or the labels of imported images.

    Raises Problem where there are labels only, and others.
    """
    if run.catalogue.exists() or not (there := columns_of(run)):
        return run.catalogue
    lacking = [name for name in columns if not find_column(name, (*IDENTITY, *there), run.labels)]
    if lacking:
        label = ["--label", *questions_in(run)]
        other = f", or run {command('analysis/classify.py', run.folder, label)}"
        other = other if len(label) > 1 else ""
        raise Problem(
            f"{run.show(run.catalogue)} is missing, and {run.show(run.labels)} has no column "
            f"{lacking[0]}: bring a Galaxy Zoo catalogue{other}"
        )
    return run.labels


def describe_labels(config: Config, run: Run, path: Path) -> str:
    """Return a description of the labels: votes, simulated votes, or what a network predicts."""
    if config.labels:
        return config.labels
    if run.truth.exists():
        return "simulated votes, drawn from the truth of the simulated sky"
    schema = pq.read_schema(utf8(path))
    if said := (schema.metadata or {}).get(b"labels"):
        return said.decode("utf-8", "replace")
    if any(name.endswith("_concentration") for name in schema.names):
        return "posteriors of a network (Walmsley et al. 2022), not votes of volunteers"
    return "fractions that the catalogue does not describe: votes, or what a network predicts"


def columns_read(config: Config, cuts: list[Cut]) -> list[str]:
    """Return the columns of the catalogue that the cuts and the gates of the constants need."""
    columns = galaxy_zoo.columns_needed(cuts)
    if config.min_volunteers_asked > 0:
        columns += sorted({asked(question) for cut in cuts for question in _questions_of(cut)})
    if config.drop_wrong_size:
        columns.append(_WRONG_SIZE)
    return columns


def read_catalogue(run: Run, path: Path, columns: list[str]) -> pd.DataFrame:
    """Return the columns of the catalogue: iauname as text, ra and dec in degrees, fractions.

    Raises Problem naming the file and the column that is missing, or holds no such numbers.
    """
    catalogue = read_table(path, columns)
    catalogue[IDENTITY[0]] = catalogue[IDENTITY[0]].map(as_text).fillna("")
    for name in columns[len(IDENTITY) :]:
        try:
            catalogue[name] = as_numbers(catalogue[name])
        except ValueError as error:
            what = f"column {name} does not hold numbers ({error})"
            raise Problem(f"{run.show(path)}: {what}") from None
        # A missing fraction passes no cut.
        wrong = catalogue[name].notna() & ~catalogue[name].between(0, 1)
        if name != _WRONG_SIZE and wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise Problem(
                f"{run.show(path)}: {name} in row {row + 1} is {catalogue[name].iloc[row]:g}, "
                "outside 0 to 1: correct it, or make the table again"
            )
    return catalogue


def select(catalogue: pd.DataFrame, cut: Cut, config: Config) -> np.ndarray:
    """Return where galaxies pass a cut and the gates of the constants: boolean (N,)."""
    chosen = cut.select(catalogue)
    if config.min_volunteers_asked > 0:
        for question in _questions_of(cut):
            chosen &= (catalogue[asked(question)] > config.min_volunteers_asked).to_numpy()
    if config.drop_wrong_size:
        chosen &= ~(catalogue[_WRONG_SIZE] > 0).to_numpy()
    return chosen


def _questions_of(cut: Cut) -> set[str]:
    return {question for question, _, _ in cut.all_of + cut.any_of}


def take_answers(catalogue: pd.DataFrame, answers: dict[str, Cut], config: Config) -> pd.Series:
    """Return the answer of each galaxy to one question: text, null for none or more than one."""
    passed = pd.DataFrame({name: select(catalogue, cut, config) for name, cut in answers.items()})
    answer = pd.Series(pd.NA, index=catalogue.index, dtype="string")
    for name in answers:
        answer[passed[name] & (passed.sum(axis=1) == 1)] = name
    return answer


def write_class(path: Path, name: str, galaxies: pd.DataFrame, labels: str) -> None:
    """Write one class as a FITS table: iauname, ra, dec and the fractions that it is cut on."""
    from astropy.table import Table  # after VAE_model, which finds a home that astropy needs

    table = Table.from_pandas(galaxies)
    table["iauname"] = galaxies["iauname"].to_numpy(dtype="U32")
    table["ra"].unit = table["dec"].unit = "deg"
    cut = CLASSES[name]
    lines = [f"{question} {answer} > {threshold}" for question, answer, threshold in cut.all_of]
    either = [f"{question} {answer} > {threshold}" for question, answer, threshold in cut.any_of]
    lines += [" or ".join(either)] if either else []
    table.meta = {"EXTNAME": name, "comments": [*lines, f"labels: {labels}"]}
    with atomic(path) as temporary:
        table.write(temporary, format="fits", overwrite=True)


def print_counts(classes: pd.DataFrame, questions: dict[str, dict[str, Cut]]) -> None:
    """Print the number of galaxies in each class, in each two of them, and with each answer."""
    members = classes[list(CLASSES)].astype(int)
    print("  galaxies in each class (diagonal) and in each two of them:")
    print("   ", (members.T @ members).to_string().replace("\n", "\n    "))
    for name, answers in questions.items():
        counts = classes[answer_column(name)].value_counts()
        shown = ", ".join(f"{answer} {counts.get(answer, 0):,}" for answer in answers)
        print(f"  {name}: {shown}")


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    questions = galaxy_zoo.questions(config.gate, config.answer)
    cuts = [*CLASSES.values(), *(cut for of in questions.values() for cut in of.values())]
    columns = columns_read(config, cuts)
    path = catalogue_of(run, columns)
    if path.exists():
        read_parquet(path, [])  # a file of another kind is refused in one line
    tables = {name: run.class_table(name) for name in CLASSES}
    outputs = [run.classes, *tables.values()]
    stage = Stage(__file__, run, config, inputs=[path], outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    if not (0 <= config.gate < 1 and 0.5 <= config.answer < 1):
        limits = "gate must be in [0, 1) and answer in [0.5, 1), so that answers exclude each other"
        raise Problem(f"gate = {config.gate} and answer = {config.answer}: {limits}")
    catalogue = read_catalogue(run, path, columns)
    labels = describe_labels(config, run, path)
    classes = catalogue[IDENTITY].copy()
    for name, cut in CLASSES.items():
        classes[name] = select(catalogue, cut, config)
    for name, answers in questions.items():
        classes[answer_column(name)] = take_answers(catalogue, answers, config)
    for name, table in tables.items():
        columns = [*IDENTITY, *sorted(CLASSES[name].columns())]
        write_class(table, name, catalogue.loc[classes[name], columns], labels)
    answered = classes[[answer_column(name) for name in questions]].notna().any(axis=1)
    kept = classes[list(CLASSES)].any(axis=1) | answered
    classes = classes[kept].reset_index(drop=True)
    classes.attrs["labels"] = labels
    print(f"  labels: {labels}")
    print(f"  kept {len(classes):,} of {len(catalogue):,} galaxies: in a class or with an answer")
    if classes.empty:
        raise Problem(f"{run.show(path)}: no galaxy passes a cut: lower the thresholds")
    print_counts(classes, questions)
    write_parquet(run.classes, classes)
    counts = {name: int(classes[name].sum()) for name in CLASSES}
    answers = {name: classes[answer_column(name)].value_counts().to_dict() for name in questions}
    stage.finish(labels=labels, galaxies=len(classes), classes=counts, answers=answers)


if __name__ == "__main__":
    start(main, Config, __doc__)
