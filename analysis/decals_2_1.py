"""Match the galaxies of the classes to the images, by position on the sky.

A galaxy and an image match where each is the other's nearest within the radius, so that the match
is one to one.

Reads:  result/classes.parquet, train.txt (its packed images), rejected.csv where there is one
Writes: result/matches.parquet: class_row (row of classes.parquet), iauname, image_row (row of
        train.txt), path, separation (arcsec); figures/separations.png

Example: python analysis/decals_2_1.py --radius 1
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.galaxy_zoo import IDENTITY
from VAE_model.data.packed import Packed
from VAE_model.data.sky import cross_match, nearest_position, position_of_name
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.pipeline.stages import command
from VAE_model.report.figures import INDIGO, ROSE, new_figure, save_figure


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    radius: float = 1.0
    """Farthest that an image's centre may lie from the catalogue's position (arcsec)."""
    workers: int = 0
    """Processes that pack images where that is not done yet; 0: one per core."""


def why_dropped(
    dropped: pd.DataFrame, index: pd.DataFrame, run: Run, radius: float
) -> tuple[dict[str, int], Counter[str]]:
    """Return counts of the reasons why galaxies of the classes have no image.

    The second holds the reasons of refusal, of galaxies whose image was refused.
    """
    taken = nearest_position(dropped["ra"], dropped["dec"], index["ra"], index["dec"])[0] <= radius
    refused = np.zeros(len(dropped), bool)
    reasons: Counter[str] = Counter()
    if run.rejected.exists() and len(dropped):
        rejected = pd.read_csv(run.rejected, dtype=str, keep_default_na=False)
        ra, dec = np.array([position_of_name(path) for path in rejected["path"]]).reshape(-1, 2).T
        # A name gives the position to four decimals: up to 0.3 arcsec off.
        distance, row = nearest_position(dropped["ra"], dropped["dec"], ra, dec)
        refused = (distance <= radius + 0.3) & ~taken
        reasons.update(rejected["reason"].iloc[row[refused]].str.split(":").str[0])
    what = {
        "its image was refused (rejected.csv)": int(refused.sum()),
        "its image is nearer to another galaxy": int(taken.sum()),
        f"no image within {radius:g} arcsec": int((~taken & ~refused).sum()),
    }
    return what, reasons


def draw_separations(separations: NDArray[np.float64], radius: float, path: Path) -> None:
    """Draw a histogram of the separations of galaxies and images, in arcsec."""
    figure = new_figure(7, 4)
    axes = figure.subplots()
    axes.hist(separations, bins=np.linspace(0, radius, 51).tolist(), color=INDIGO)
    median = float(np.median(separations))
    axes.axvline(median, color=ROSE, label=f"median {median:.3f} arcsec")
    axes.axvline(radius, color="#888888", linestyle="--", label=f"radius {radius:g} arcsec")
    axes.set(xlabel="separation of catalogue and image (arcsec)", ylabel="matches")
    axes.set_title(f"{len(separations):,} galaxies matched to their images")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.legend()
    save_figure(figure, path)


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    inputs = [run.classes, run.train_txt, *([run.rejected] if run.rejected.exists() else [])]
    figure = run.figure("separations.png")
    stage = Stage(__file__, run, config, inputs=inputs, outputs=[run.matches, figure])
    if stage.is_up_to_date():
        return
    stage.begin()
    if not config.radius > 0:
        raise Problem(f"radius = {config.radius} arcsec: it must be greater than 0")
    classes = read_parquet(run.classes, IDENTITY)
    index = Packed.of(run, config.workers).index
    sky = (classes["ra"], classes["dec"], index["ra"], index["dec"])
    class_row, image_row, separations = cross_match(*sky, config.radius)
    if not len(class_row):
        if index[["ra", "dec"]].isna().any(axis=1).all():
            raise Problem(
                f"no image in {run.show(run.train_txt)} has a position: import them with a table "
                f"of ra and dec, or run {command('analysis/classify.py', run.folder)}"
            )
        distance, image = nearest_position(*sky)
        row = int(np.argmin(distance))
        galaxy, nearest = classes.iloc[row], index.iloc[image[row]]
        raise Problem(
            f"no galaxy of {run.show(run.classes)} has an image in {run.show(run.train_txt)} "
            f"within {config.radius:g} arcsec (the nearest is {distance[row]:.4g} arcsec away: "
            f"{galaxy['iauname']} and {nearest['path']} at {nearest['ra']:.5f} "
            f"{nearest['dec']:+.5f} degrees): take a catalogue of the same sky, or a greater radius"
        )
    matches = pd.DataFrame(
        {
            "class_row": class_row,
            "iauname": classes["iauname"].to_numpy()[class_row],
            "image_row": image_row,
            "path": index["path"].to_numpy()[image_row],
            "separation": separations,
        }
    )
    dropped = classes.drop(index=class_row)
    what, reasons = why_dropped(dropped, index, run, config.radius)
    print(f"  kept {len(matches):,} of {len(classes):,} galaxies, dropped {len(dropped):,}:")
    print(*(f"    {count:,}: {reason}" for reason, count in what.items()), sep="\n")
    for reason, count in reasons.most_common():
        print(f"      refused as {reason}: {count:,}")
    print(f"  images in no class: {len(index) - len(matches):,} of {len(index):,}")
    median = float(np.median(separations))
    print(f"  separation: median {median:.3f}, largest {separations.max():.3f} arcsec")
    draw_separations(separations, config.radius, figure)
    write_parquet(run.matches, matches)
    stage.finish(matched=len(matches), dropped=what, refused=dict(reasons), median=median)


if __name__ == "__main__":
    start(main, Config, __doc__)
