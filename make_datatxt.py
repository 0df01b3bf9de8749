"""List the good images: walk the image folders, check every file, write train.txt.

A file is good when it is readable, finite, 3x256x256, with signal in every band, and not a second
image of the same position in the same survey. Every refusal has a reason in rejected.csv.

Reads:  images/decals/ (or the constant `folders`)
Writes: train.txt (a path a line, relative to the run), rejected.csv (path, reason)

Example: python make_datatxt.py --run data/demo
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from VAE_model import parallel
from VAE_model.cutouts import ENDINGS, BadCutout, read_cutout
from VAE_model.files import atomic, list_files, write_text
from VAE_model.paths import ROOT, Run
from VAE_model.sky import close_pairs
from VAE_model.stage import Problem, Stage, start


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    folders: tuple[Path, ...] = ()
    """Image folders, with all that is below them; none: images/decals under the run."""
    duplicate_radius: float = 1.0
    """Two images of one survey nearer than this (arcsec) show the same galaxy: the first stays."""
    workers: int = 0
    """Processes that read images; 0: one a core."""


@dataclass(frozen=True)
class Verdict:
    """What reading one file gave: a position and survey, or the reason of its refusal."""

    ra: float = float("nan")
    dec: float = float("nan")
    survey: str = ""
    reason: str = ""


def check(path: Path) -> Verdict:
    """Read one file. Nothing in a file can stop the stage: what is wrong becomes the reason."""
    try:
        cutout = read_cutout(path)
    except BadCutout as refusal:
        return Verdict(reason=str(refusal))
    return Verdict(cutout.ra, cutout.dec, cutout.survey)


def refuse_duplicates(verdicts: list[Verdict], paths: list[Path], radius: float) -> list[str]:
    """The reason of each file, with duplicates of an earlier good file of the survey refused."""
    reasons = [verdict.reason for verdict in verdicts]
    for survey in sorted({verdict.survey for verdict in verdicts if not verdict.reason}):
        rows = [i for i, v in enumerate(verdicts) if v.survey == survey and not v.reason]
        ra, dec = np.array([(verdicts[i].ra, verdicts[i].dec) for i in rows]).T
        for first, second in close_pairs(ra, dec, radius):
            if not reasons[rows[first]]:
                reasons[rows[second]] = f"duplicate position: the same as {paths[rows[first]].name}"
    return reasons


def main(config: Config) -> None:
    run = Run(config.run)
    folders = [(ROOT / folder).resolve() for folder in config.folders] or [run.images()]
    outputs = [run.train_txt, run.rejected]
    stage = Stage(__file__, run, config, inputs=folders, outputs=outputs)
    if stage.nothing_to_do():
        return
    paths = [path for folder in folders for path in list_files(folder, ENDINGS)]
    others = [p for folder in folders for p in list_files(folder) if p not in set(paths)]
    if not paths:
        where = ", ".join(run.show(folder) for folder in folders)
        raise Problem(
            f"{where} holds no FITS file: put cutouts there, or turn JPEG, PNG and FITS of other "
            "sizes into cutouts with python data/import_images.py"
        )
    verdicts = list(parallel.each(check, paths, config.workers, "checking images"))
    reasons = refuse_duplicates(verdicts, paths, config.duplicate_radius)
    names = [str(p.relative_to(run.folder)) if p.is_relative_to(run.folder) else str(p)
             for p in paths]  # fmt: skip
    good = [name for name, reason in zip(names, reasons, strict=True) if not reason]
    refused = [(name, reason) for name, reason in zip(names, reasons, strict=True) if reason]
    refused += [(str(path), "not an image: the name does not end in .fits") for path in others]
    with atomic(run.rejected) as temporary, open(temporary, "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerows([("path", "reason"), *refused])
    for reason, count in Counter(reason.split(":")[0] for _, reason in refused).most_common():
        print(f"  refused {count:,}: {reason}")
    surveys = Counter(v.survey for v, r in zip(verdicts, reasons, strict=True) if not r)
    print(f"  good {len(good):,} of {len(paths):,}", dict(surveys))
    if not good:
        raise Problem(f"no good image among {len(paths)} files: see {run.show(run.rejected)}")
    write_text(run.train_txt, "".join(f"{name}\n" for name in good))
    stage.finish(good=len(good), refused=len(refused), surveys=dict(surveys))


if __name__ == "__main__":
    start(main, Config, __doc__)
