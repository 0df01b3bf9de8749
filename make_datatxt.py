"""Check the images, list the good ones in train.txt, and pack their pixels.

An image is good if it is readable, finite, 3x256x256, of a known unit, has signal in every band,
and is not a second image of the same position in the same survey. The reason of each refusal is in
rejected.csv. Files without a unit are assumed to be in nanomaggies; a warning is printed if their
noise differs greatly from that of every survey.

Reads:  images/decals/, else every folder in images/, or the constant `folders`
Writes: train.txt (one path per line, relative to the run), rejected.csv (path, reason), packed/
        (the pixels of the good images in one file, which every later stage reads)

Example: python make_datatxt.py --run data/demo
"""

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
from VAE_model.pipeline.files import list_files, write_text
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.pixel_noise import is_cut, sky_noise
from VAE_model.tables.text import write_csv


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    folders: tuple[Path, ...] = ()
    """Image folders, searched with their subfolders; none: images/decals under the run, or, if it
    does not exist, all folders in images/."""
    duplicate_radius: float = 1.0
    """Images of one survey closer than this (arcsec) show the same galaxy: the one with the fewest
    empty pixels is used, else the first."""
    pixels: Pixels = "float32"
    """Type of the packed pixels; float16 is half as large, with errors of at most a tenth of the
    sky noise."""
    workers: int = 0
    """Processes that read images; 0: one per core."""


@dataclass(frozen=True)
class Verdict:
    """The result of checking one file.

    ra, dec: degrees; reason: of a refusal, else empty; empty: fraction of pixels that are zero, to
    0.01; noise_ratio: see flux_units, NaN if the file states a unit; cut: the sky is clipped.
    """

    ra: float = float("nan")
    dec: float = float("nan")
    survey: str = ""
    reason: str = ""
    empty: float = 0.0
    noise_ratio: float = float("nan")
    cut: bool = False


def check(path: Path) -> Verdict:
    """Read one file; any defect of it becomes the reason of its refusal."""
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
    """Return the folders to search, with symbolic links unresolved."""
    if config.folders:
        return [Path(os.path.abspath(ROOT / folder)) for folder in config.folders]
    if run.images().exists() or not run.images().parent.is_dir():
        return [run.images()]
    return sorted(path for path in run.images().parent.iterdir() if path.is_dir()) or [run.images()]


def say_left_out(folders: list[Path], run: Run) -> None:
    """Print which folders of the run's images are not listed."""
    there = sorted(path for path in run.images().parent.glob("*") if path.is_dir())
    others = [path for path in there if path not in folders]
    if others:
        names = ", ".join(f"{run.show(path)} ({len(list_files(path)):,} files)" for path in others)
        print(f"  left out: {names}; --folders lists what you name")


def name_in_list(path: Path, run: Run) -> str:
    """Return the name of a file in train.txt, relative to the run if it lies in its folder."""
    folder = os.path.abspath(run.folder)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def fits_a_line(name: str) -> bool:
    """Return True if a name can be a line of a UTF-8 text file."""
    encodable = name.encode("utf-8", "ignore").decode() == name
    return encodable and name.splitlines() == [name] and name == name.strip()


def refuse_duplicates(verdicts: list[Verdict], paths: list[Path], radius: float) -> list[str]:
    """Return the reason of each file's refusal, including duplicates in the same survey.

    Of the files of one galaxy, the one with the fewest empty pixels is kept, else the first.
    """
    reasons = [verdict.reason for verdict in verdicts]
    order = sorted(range(len(verdicts)), key=lambda row: (verdicts[row].empty, row))

    def duplicate_of(kept: int, row: int) -> str:
        more = verdicts[row].empty - verdicts[kept].empty
        why = f", of which {more:.0%} more is empty here" if more else ""
        return f"duplicate position: the same as {paths[kept].name}{why}"

    first_at: dict[tuple[str, float, float], int] = {}
    for row in order:  # equal positions, before the comparison of all pairs
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
    """Check the images, write train.txt and rejected.csv, and pack the pixels."""
    run = Run(config.run)
    folders = image_folders(config, run)
    outputs = [run.train_txt, run.rejected]
    stage = Stage(__file__, run, config, inputs=folders, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    say_left_out(folders, run)
    files = list(dict.fromkeys(path for folder in folders for path in list_files(folder)))
    paths = [path for path in files if path.name.lower().endswith(ENDINGS)]
    others = [path for path in files if not path.name.lower().endswith(ENDINGS)]
    if not paths:
        where = ", ".join(run.show(folder) for folder in folders)
        raise Problem(
            f"{where} holds no FITS file: put cutouts there, or convert JPEG, PNG and FITS of "
            "other sizes with python data/import_images.py"
        )
    verdicts = list(parallel.each(check, paths, config.workers, "checking images"))
    names = [name_in_list(path, run) for path in paths]
    for row, name in enumerate(names):
        if not fits_a_line(name):
            verdicts[row] = Verdict(reason="unreadable: its name is not one line of UTF-8 text")
    reasons = refuse_duplicates(verdicts, paths, config.duplicate_radius)
    checked = list(zip(names, verdicts, reasons, strict=True))
    good = [(name, verdict) for name, verdict, reason in checked if not reason]
    refused = [(name, reason) for name, _, reason in checked if reason]
    refused += [
        (name_in_list(path, run), "not an image: the name does not end in .fits") for path in others
    ]
    write_csv(run.rejected, [("path", "reason"), *refused])
    for reason, count in Counter(reason.split(":")[0] for _, reason in refused).most_common():
        sizes = reason in ("wrong shape", "wrong bands")
        print(f"  refused {count:,}: {reason}" + " (data/import_images.py converts it)" * sizes)
    surveys = Counter(verdict.survey for _, verdict in good)
    print(f"  good {len(good):,} of {len(paths):,}", dict(surveys))
    if question := doubt([verdict.noise_ratio for _, verdict in good]):
        print(f"  {question}")
    if cut := [name for name, verdict in good if verdict.cut]:
        print(
            f"  {len(cut):,} of them have a constant or clipped sky (black, white, a border), "
            f"{cut[0]} first: the noise is measured on the other pixels"
        )
    if not good:
        raise Problem(f"no good image among {len(paths)} files: see {run.show(run.rejected)}")
    write_text(run.train_txt, "".join(f"{name}\n" for name, _ in good))
    Packed.of(run, config.workers, config.pixels)
    stage.finish(good=len(good), refused=len(refused), surveys=dict(surveys), cut_sky=len(cut))


if __name__ == "__main__":
    start(main, Config, __doc__)
