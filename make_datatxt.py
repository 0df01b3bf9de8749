"""List the good images: walk the image folders, check every file, write train.txt.

A file is good when it is readable, finite, 3x256x256, of a known unit, with signal in every band,
and not a second image of the same position in the same survey. Every refusal has a reason in
rejected.csv. Files that state no unit are taken to be in nanomaggies, and questioned where their
noise is far from any survey's.

Reads:  images/decals/, every folder of images/ where there is none, or the constant `folders`
Writes: train.txt (a path a line, relative to the run), rejected.csv (path, reason), packed/ (the
        pixels of the good images in one file, which every later stage reads)

Example: python make_datatxt.py --run data/demo
"""

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from VAE_model.data.cutouts import ENDINGS, BadCutout, read_cutout
from VAE_model.data.flux_units import doubt, noise_ratio
from VAE_model.data.packed import Packed
from VAE_model.data.packing import Pixels
from VAE_model.data.sky import close_pairs
from VAE_model.pipeline import parallel
from VAE_model.pipeline.files import atomic, list_files, write_text
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.pixel_noise import is_cut, sky_noise


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    folders: tuple[Path, ...] = ()
    """Image folders, with all that is below them; none: images/decals under the run, or, where
    there is no such folder, all that imports brought to images/."""
    duplicate_radius: float = 1.0
    """Two images of one survey nearer than this (arcsec) show the same galaxy: the one with
    fewer empty pixels stays, else the first."""
    pixels: Pixels = "float32"
    """Of the packed copy; float16 is half as large, and adds at most a tenth of the sky noise."""
    workers: int = 0
    """Processes that read images; 0: one a core."""


@dataclass(frozen=True)
class Verdict:
    """The result of reading one file: a position, a survey, the share of pixels that are zero
    (to a hundredth), the noise in terms of a survey's where the file states no unit (NaN where it
    does) and whether the sky is cut off, or the reason of its refusal.
    """

    ra: float = float("nan")
    dec: float = float("nan")
    survey: str = ""
    reason: str = ""
    empty: float = 0.0
    noise_ratio: float = float("nan")
    cut: bool = False


def check(path: Path) -> Verdict:
    """Read one file. Nothing in a file can stop the stage: what is wrong becomes the reason."""
    try:
        cutout = read_cutout(path)
        sky_noise(cutout.flux, cutout.display)
    except BadCutout as refusal:
        return Verdict(reason=str(refusal))
    empty = round(1 - np.count_nonzero(cutout.flux) / cutout.flux.size, 2)
    ratio = float("nan") if cutout.unit else noise_ratio(cutout.flux) / cutout.step**2
    cut = is_cut(cutout.flux)
    return Verdict(cutout.ra, cutout.dec, cutout.survey, "", empty, ratio, cut)


def image_folders(config: Config, run: Run) -> list[Path]:
    """The folders to walk. Their paths stay as they are spelled, through symbolic links too."""
    if config.folders:
        return [Path(os.path.abspath(ROOT / folder)) for folder in config.folders]
    if run.images().exists() or not run.images().parent.is_dir():
        return [run.images()]
    return sorted(path for path in run.images().parent.iterdir() if path.is_dir()) or [run.images()]


def name_in_list(path: Path, run: Run) -> str:
    """Return the name of a file in train.txt: from the run's folder where it lies there."""
    folder = os.path.abspath(run.folder)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def fits_a_line(name: str) -> bool:
    """Return True where a name can be a line of a UTF-8 text file."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return name.splitlines() == [name] and name == name.strip()


def refuse_duplicates(verdicts: list[Verdict], paths: list[Path], radius: float) -> list[str]:
    """The reason of each file, with duplicates of another good file of the survey refused.

    Of files of one galaxy the fullest stays, and among equals the first.
    """
    reasons = [verdict.reason for verdict in verdicts]
    order = sorted(range(len(verdicts)), key=lambda row: (verdicts[row].empty, row))

    def duplicate_of(kept: int, row: int) -> str:
        more = verdicts[row].empty - verdicts[kept].empty
        why = f", of which {more:.0%} more is empty here" if more else ""
        return f"duplicate position: the same as {paths[kept].name}{why}"

    first_at: dict[tuple[str, float, float], int] = {}
    for row in order:  # the very same position: no need to compare pairs
        verdict = verdicts[row]
        if not verdict.reason and np.isfinite(verdict.ra):
            first = first_at.setdefault((verdict.survey, verdict.ra, verdict.dec), row)
            if first != row:
                reasons[row] = duplicate_of(first, row)
    for survey in sorted({verdict.survey for verdict in verdicts if not verdict.reason}):
        rows = [i for i in order if verdicts[i].survey == survey and not reasons[i]]
        ra, dec = np.array([(verdicts[i].ra, verdicts[i].dec) for i in rows]).T
        for first, second in close_pairs(ra, dec, radius):
            if not reasons[rows[first]]:
                reasons[rows[second]] = duplicate_of(rows[first], rows[second])
    return reasons


def main(config: Config) -> None:
    run = Run(config.run)
    folders = image_folders(config, run)
    outputs = [run.train_txt, run.rejected]
    stage = Stage(__file__, run, config, inputs=folders, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    files = list(dict.fromkeys(path for folder in folders for path in list_files(folder)))
    paths = [path for path in files if path.name.lower().endswith(ENDINGS)]
    others = [path for path in files if not path.name.lower().endswith(ENDINGS)]
    if not paths:
        where = ", ".join(run.show(folder) for folder in folders)
        raise Problem(
            f"{where} holds no FITS file: put cutouts there, or turn JPEG, PNG and FITS of other "
            "sizes into cutouts with python data/import_images.py"
        )
    verdicts = list(parallel.each(check, paths, config.workers, "checking images"))
    names = [name_in_list(path, run) for path in paths]
    for row, name in enumerate(names):
        if not fits_a_line(name):
            verdicts[row] = Verdict(reason="unreadable: its name does not fit on a line of text")
    reasons = refuse_duplicates(verdicts, paths, config.duplicate_radius)
    good = [name for name, reason in zip(names, reasons, strict=True) if not reason]
    refused = [(name, reason) for name, reason in zip(names, reasons, strict=True) if reason]
    refused += [
        (name_in_list(path, run), "not an image: the name does not end in .fits") for path in others
    ]
    with (
        atomic(run.rejected) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        csv.writer(stream).writerows([("path", "reason"), *refused])
    for reason, count in Counter(reason.split(":")[0] for _, reason in refused).most_common():
        sizes = reason in ("wrong shape", "wrong bands")
        print(f"  refused {count:,}: {reason}" + " (data/import_images.py brings it in)" * sizes)
    surveys = Counter(v.survey for v, r in zip(verdicts, reasons, strict=True) if not r)
    print(f"  good {len(good):,} of {len(paths):,}", dict(surveys))
    if question := doubt([v.noise_ratio for v, r in zip(verdicts, reasons, strict=True) if not r]):
        print(f"  {question}")
    cut = [n for n, v, r in zip(names, verdicts, reasons, strict=True) if v.cut and not r]
    if cut:
        print(
            f"  {len(cut):,} of them have a sky of one value, or cut off at one (black, white, "
            f"clipped, a border), {cut[0]} first: its noise is that of their other pixels"
        )
    if not good:
        raise Problem(f"no good image among {len(paths)} files: see {run.show(run.rejected)}")
    write_text(run.train_txt, "".join(f"{name}\n" for name in good))
    Packed.of(run, config.workers, config.pixels)
    stage.finish(good=len(good), refused=len(refused), surveys=dict(surveys), cut_sky=len(cut))


if __name__ == "__main__":
    start(main, Config, __doc__)
