"""Cross-match the images of a run with a HATS catalogue, which may be larger than memory.

LSDB divides the sky and reads the parts of the catalogue that hold images of the run, `workers` at
a time. Each image gets the nearest row of the catalogue within `radius`; two images may get the
same one. Needs the extra: pip install -e '.[hats]'

Reads:  result/latents_40.parquet (iauname, path, ra, dec); `catalogue`, a folder with
        hats.properties or collection.properties
Writes: result/crossmatch_<name>.parquet: iauname, path, ra, dec, the catalogue's columns (those
        that share a name with the suffix _catalogue), separation (arcsec)

Example: python analysis/crossmatch.py --catalogue hats/gaia_dr3 --columns parallax phot_g_mean_mag
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.tables.hats_catalogue import DISTANCE, cross_match


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    catalogue: Path = Path("hats/catalogue")
    """Folder of the HATS catalogue."""
    name: str = ""
    """Of the result; none: that of the folder."""
    radius: float = 1.0
    """Largest separation, arcsec."""
    columns: tuple[str, ...] = ()
    """Columns of the catalogue to keep; none: its default columns."""
    workers: int = 2
    """Partitions of the catalogue that are in memory at a time."""


def main(config: Config) -> None:
    """Match the positions, and write the matches."""
    run, folder = Run(config.run), ROOT / config.catalogue
    name = re.sub(r"[^A-Za-z0-9_+-]", "_", config.name or folder.name)
    source, target = run.latents(config.num_var), run.crossmatch(name)
    if not 0 < config.radius <= 600 or config.workers < 1:
        raise Problem("--radius must be from 0 to 600 arcsec, --workers at least 1")
    stage = Stage(__file__, run, config, [source, folder], [target])
    if stage.is_up_to_date():
        return
    stage.begin()
    table = read_parquet(source, ["iauname", "path", "ra", "dec"])
    placed = table[np.isfinite(table["ra"]) & np.isfinite(table["dec"])]
    if not len(placed):
        raise Problem(f"{run.show(source)} has no positions: nothing to match on the sky")
    matches = cross_match(placed, folder, config.radius, config.columns, config.workers)
    print(
        f"  kept {len(matches):,} of {len(table):,} images with a match within {config.radius:g} "
        f"arcsec; dropped {len(placed) - len(matches):,}: no match, "
        f"{len(table) - len(placed):,}: no position"
    )
    if len(matches):
        print(f"  median separation {matches[DISTANCE].median():.3f} arcsec")
    write_parquet(target, matches)
    stage.finish(matched=len(matches), images=len(table))


if __name__ == "__main__":
    start(main, Config, __doc__)
