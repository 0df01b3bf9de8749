"""Take the latent variables of the galaxies that have a class and an image.

Joined by the path of the image, never by the order of rows.

Reads:  result/classes.parquet, result/matches.parquet, result/latents_40.parquet
Writes: result/class_latents_40.parquet: the columns of classes.parquet, then image_row, path,
        separation, survey, split, mu_00.., logvar_00.., flag_*

Example: python analysis/decals_2_2.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from VAE_model.files import parquet_columns, read_parquet, write_parquet
from VAE_model.paths import Run
from VAE_model.stage import Problem, Stage, start


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""


def read_latents(run: Run, num_var: int) -> pd.DataFrame:
    """path, survey, split, mu_00.., logvar_00.., flag_*: a row an image."""
    path = run.latents(num_var)
    means = [f"mu_{i:02d}" for i in range(num_var)]
    needed = ["path", "survey", "split", *means]
    found = [name for name in parquet_columns(path) if name.startswith(("logvar_", "flag_"))]
    return read_parquet(path, needed + found)


def check_unique(table: pd.DataFrame, column: str, shown: str, command: str) -> None:
    """Raises Problem where a value of the column stands in two rows."""
    twice = table[column][table[column].duplicated()]
    if len(twice):
        raise Problem(
            f"{shown} has {len(twice):,} rows too many for one {column} "
            f"(first: {twice.iloc[0]}): delete it and run {command}"
        )


def main(config: Config) -> None:
    run = Run(config.run)
    source, target = run.latents(config.num_var), run.class_latents(config.num_var)
    inputs = [run.classes, run.matches, source]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=[target])
    if stage.nothing_to_do():
        return
    classes = read_parquet(run.classes)
    matches = read_parquet(run.matches, ["class_row", "iauname", "image_row", "path", "separation"])
    latents = read_latents(run, config.num_var)
    for column in ("class_row", "path"):
        check_unique(matches, column, run.show(run.matches), run.made_by(run.matches))
    check_unique(latents, "path", run.show(source), run.made_by(source))
    labels = classes.attrs.get("labels", "")
    if not matches["class_row"].between(0, len(classes) - 1).all():
        raise Problem(
            f"{run.show(run.matches)} points beyond the {len(classes):,} rows of "
            f"{run.show(run.classes)}: delete it and run {run.made_by(run.matches)}"
        )
    matched = classes.iloc[matches["class_row"].to_numpy()].reset_index(drop=True)
    if (matched["iauname"].to_numpy() != matches["iauname"].to_numpy()).any():
        raise Problem(
            f"{run.show(run.matches)} names other galaxies than {run.show(run.classes)}: "
            f"delete it and run {run.made_by(run.matches)}"
        )
    matched = pd.concat([matched, matches[["image_row", "path", "separation"]]], axis=1)
    table = matched.merge(latents, on="path", how="inner", validate="one_to_one")
    if table.empty:
        raise Problem(
            f"{run.show(source)} has none of the {len(matches):,} matched images (the first is "
            f"{matches['path'].iloc[0]}, its own first {next(iter(latents['path']), 'none')}): "
            f"delete it and run {run.made_by(source)}"
        )
    table.attrs["labels"] = labels
    print(f"  kept {len(table):,} galaxies with latents")
    print(f"    dropped {len(classes) - len(matches):,} of the classes: without an image")
    print(f"    dropped {len(matches) - len(table):,} matches: the image has no latents")
    print(f"    left {len(latents) - len(table):,} images: in no class")
    sides = table["split"].value_counts().to_dict()
    print("  " + ", ".join(f"{side} {count:,}" for side, count in sides.items()))
    write_parquet(target, table)
    stage.finish(galaxies=len(table), splits=sides, labels=labels)


if __name__ == "__main__":
    start(main, Config, __doc__)
