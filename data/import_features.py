"""Import features of another program: the analysis then works on them as on the latents.

The table has a row for each image of the run, in any order: a name (iauname, or the file's name) or
a position, and columns of numbers. Features are scaled by the median and the robust standard
deviation of the train split. The scripts of the analysis import by themselves (`--features`).

Reads:  the table: CSV, FITS, VOTable, parquet and others; train.txt (its packed images); where they
        are there: result/classes.parquet and matches.parquet, labels.parquet if that gives a split
Writes: result/latents_<table>.parquet: iauname, ra, dec, path, survey, split, mu_00.. (the
        features), residual (empty), flag_* and more, as in result/latents_40.parquet; in a run with
        classes result/class_latents_<table>.parquet

Example: python data/import_features.py --features statmorph.parquet --columns gini m20 "sersic_*"
"""

from dataclasses import dataclass
from pathlib import Path

from VAE_model.extraction.features import import_features
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, start


@dataclass(frozen=True)
class Config:
    """The constants of this script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    features: Path | None = None
    """The table."""
    columns: tuple[str, ...] = ()
    """Columns that are features, by names or patterns ("feat_*"); none: all columns of numbers
    whose names do not say that they are an identity, a position, an error or a flag."""


def main(config: Config) -> None:
    """Import the features of a table."""
    if config.features is None:
        raise Problem("no table is named: add --features with its path")
    import_features(Run(config.run), config.features, config.columns)


if __name__ == "__main__":
    start(main, Config, __doc__)
