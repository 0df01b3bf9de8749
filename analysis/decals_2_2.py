"""Join the classes of the catalogue with the latent variables, by the path of the image.

Reads:  result/classes.parquet, result/matches.parquet, result/latents_40.parquet
Writes: result/class_latents_40.parquet: the columns of classes.parquet, then image_row, path,
        separation, survey, split, mu_00.., logvar_00.., flag_*

Example: python analysis/decals_2_2.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from VAE_model.pipeline.files import parquet_columns, read_parquet, write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.tables.joins import check_unique, join_rows


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""


def read_latents(run: Run, num_var: int) -> pd.DataFrame:
    """Return path, survey, split, mu_00.., logvar_00.., flag_*, a row per image."""
    path = run.latents(num_var)
    means = [f"mu_{i:02d}" for i in range(num_var)]
    needed = ["path", "survey", "split", *means]
    found = [name for name in parquet_columns(path) if name.startswith(("logvar_", "flag_"))]
    return read_parquet(path, needed + found)


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    source, target = run.latents(config.num_var), run.class_latents(config.num_var)
    inputs = [run.classes, run.matches, source]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=[target])
    if stage.is_up_to_date():
        return
    stage.begin()
    classes = read_parquet(run.classes)
    matches = read_parquet(run.matches, ["class_row", "iauname", "image_row", "path", "separation"])
    latents = read_latents(run, config.num_var)
    shown, again = run.show(run.matches), f"run {run.remade_by(run.matches)}"
    check_unique(matches["class_row"], shown, "class_row", again)
    check_unique(matches["path"], shown, "path", again)
    labels = classes.attrs.get("labels", "")
    if not matches["class_row"].between(0, len(classes) - 1).all():
        raise Problem(f"{shown} has rows beyond the end of {run.show(run.classes)}: {again}")
    matched = classes.iloc[matches["class_row"].to_numpy()].reset_index(drop=True)
    if (matched["iauname"].to_numpy() != matches["iauname"].to_numpy()).any():
        raise Problem(f"{shown} names other galaxies than {run.show(run.classes)}: {again}")
    matched = pd.concat([matched, matches[["image_row", "path", "separation"]]], axis=1)
    print(f"  kept {len(matches):,} of {len(classes):,} galaxies of {run.show(run.classes)}; "
          f"dropped {len(classes) - len(matches):,}: without an image")  # fmt: skip
    again = f"run {run.remade_by(source)}"
    rows = join_rows(matches["path"], latents["path"], (shown, run.show(source)), mend=again)
    found = rows >= 0
    if not found.any():
        raise Problem(
            f"{run.show(source)} has none of the {len(matches):,} matched images (the first is "
            f"{matches['path'].iloc[0]}, its own first {next(iter(latents['path']), 'none')}): "
            f"{again}"
        )
    own = latents.drop(columns="path").iloc[rows[found]].reset_index(drop=True)
    table = pd.concat([matched[found].reset_index(drop=True), own], axis=1)
    table.attrs["labels"] = labels
    sides = table["split"].value_counts().to_dict()
    print("  " + ", ".join(f"{side} {count:,}" for side, count in sides.items()))
    write_parquet(target, table)
    stage.finish(galaxies=len(table), splits=sides, labels=labels)


if __name__ == "__main__":
    start(main, Config, __doc__)
