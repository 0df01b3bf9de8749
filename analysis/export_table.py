"""Write a table of a run for other programs: FITS, VOTable, ECSV, or a HATS catalogue.

Every column gets its unit, UCD and description (VAE_model/tables/descriptions.py); positions are
ICRS, in degrees. TOPCAT, Aladin, DS9 and astropy read all but HATS, a folder of parquet files
divided by position, which LSDB and TOPCAT read; it needs the extra: pip install -e '.[hats]'. Rows
without a position are left out of a HATS catalogue, and counted.

Reads:  `table`, any parquet table of the run
Writes: `to`: a file that ends in .fits, .vot or .ecsv, or a folder (HATS); without it
        exports/<table>.vot

Example: python analysis/export_table.py --table result/outliers_40.parquet --to outliers.fits
"""

from dataclasses import dataclass
from pathlib import Path

from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.tables.hats_catalogue import write_hats
from VAE_model.tables.reading import read_table
from VAE_model.tables.writing import WRITERS, described


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    table: Path = Path("result/latents_40.parquet")
    """Table of the run, relative to its folder."""
    to: Path | None = None
    """File or folder to write; none: exports/<table>.vot in the run."""


def main(config: Config) -> None:
    """Write the table."""
    run = Run(config.run)
    source = run.folder / config.table
    target = ROOT / config.to if config.to else run.export(f"{source.stem}.vot")
    if target.suffix not in ("", *WRITERS):
        raise Problem(f"{target} ends in {target.suffix}: give {', '.join(WRITERS)}, or a folder")
    stage = Stage(__file__, run, config, [source], [target])
    if stage.is_up_to_date():
        return
    stage.begin()
    table = described(read_table(source), source.stem)
    unknown = [name for name in table.colnames if not table[name].description]
    if unknown:
        print(f"  {len(unknown)} columns have no description: {', '.join(unknown)}")
    rows = len(table)
    if target.suffix:
        with atomic(target) as temporary:
            WRITERS[target.suffix](table, temporary)
    else:
        rows = write_hats(table, target)
    stage.finish(columns=len(table.colnames), rows_written=rows)


if __name__ == "__main__":
    start(main, Config, __doc__)
