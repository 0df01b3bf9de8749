"""The map of the latent space with every galaxy of the table, up to some millions.

decals_3.py places `most` galaxies by t-SNE. Every other galaxy is placed here at the mean of the
places of the five that are most similar to it among those, weighted by the inverse of their squared
distance. This is no t-SNE of all: structure finer than the placed galaxies is lost. Where galaxies
are dense the page shows the mean of their colours. Hover shows the name and the groups of a galaxy,
and the thumbnail of those of a sample; search by a part of the name. Marks, votes and the most
similar galaxies are on the page of map.py.

Reads:  result/map_40.parquet, result/class_latents_40.parquet, or, in a run without classes,
        result/latents_40.parquet; train.txt (its packed images); where it is there: labels.parquet
Writes: result/map_all_40.parquet: iauname, path, x, y, placed (by t-SNE); figures/map_all_40.html

Example: python analysis/map_all.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from VAE_model.data.galaxy_zoo import CLASSES
from VAE_model.data.packed import Packed
from VAE_model.evaluation.placing import NEIGHBOURS, place_among
from VAE_model.extraction.latent_table import posterior_widths, read_means
from VAE_model.pipeline.files import read_parquet, write_parquet, write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Stage, start
from VAE_model.report.figures import packed_thumbnail, shown_class
from VAE_model.report.large_map import large_map_page
from VAE_model.report.latent_map import TILE, sheet_order
from VAE_model.report.map_data import crop_of, map_inputs, map_source, schemes
from VAE_model.tables.joins import image_rows, join_rows


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    thumbnails: int = 2000
    """Galaxies with a thumbnail at most: a random sample of those that t-SNE has placed."""
    colourings: int = 2
    """Ways to colour the map at most; each takes 1.3 MB per million galaxies."""
    crop: int = 0
    """Side of the central part of a cutout that a thumbnail shows, pixels; 0: 140, or all of an
    image whose scale is unknown."""
    colour: tuple[str, ...] = ()
    """Columns of labels.parquet to colour by, the first one first."""
    seed: int = 1
    """Seed of the sample."""


def main(config: Config) -> None:
    """Place all galaxies, and write the table and the page."""
    run, number = Run(config.run), config.num_var
    source = map_source(run, number)
    target = run.result(f"map_all_{number}.parquet")
    page = run.figure(f"map_all_{number}.html")
    inputs = [run.map(number), *map_inputs(run, number)]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=[target, page])
    if stage.is_up_to_date():
        return
    stage.begin()
    table, latents = read_means(run, source, number, (*CLASSES, "logvar_"))
    latents = latents / posterior_widths(table)  # as decals_3.py has them
    of_map = read_parquet(run.map(number))
    placed = join_rows(
        of_map["path"], table["path"], (run.show(run.map(number)), run.show(source)),
        required=f"run {run.made_by(run.map(number))}",
    )  # fmt: skip
    places = place_among(latents, latents[placed], of_map[["x", "y"]].to_numpy(float))
    made = table[["iauname", "path"]].assign(x=places[:, 0], y=places[:, 1], placed=False)
    made.iloc[placed, made.columns.get_loc("placed")] = True
    if source == run.class_latents(number):
        made["class"] = shown_class(table)
    made = made.iloc[sheet_order(places)].reset_index(drop=True)  # neighbours share a sheet
    write_parquet(target, made.drop(columns="class", errors="ignore"))
    packed = Packed.of(run)
    rows = image_rows(run, packed, made["path"], source, f"run {run.remade_by(source)}")
    surveys = packed.index["survey"].to_numpy(object)[rows]
    colours = schemes(run, made, surveys, config.colour)
    sample = np.random.default_rng(config.seed).permutation(np.flatnonzero(made["placed"]))
    sample = np.sort(sample[: config.thumbnails])
    crop = crop_of(run, made["path"], config.crop)
    lead = (
        f"{len(made):,} galaxies by {number} latent variables. {len(of_map):,} are placed by "
        f"t-SNE, each other one at the weighted mean of the {NEIGHBOURS} of them that are most "
        "similar to it. Galaxies that are close look alike to the network; large distances and "
        f"the axes have no meaning. {len(sample):,} have a thumbnail."
    )
    text = large_map_page(
        "Map of the latent space", lead, made[["x", "y"]].to_numpy(), made["iauname"].astype(str),
        colours[: config.colourings], sample,
        (packed_thumbnail(packed, row, TILE, crop) for row in rows[sample]),
    )  # fmt: skip
    write_text(page, text)
    size = page.stat().st_size
    print(f"  {len(made):,} galaxies, {len(of_map):,} placed by t-SNE, {size / 1e6:.1f} MB")
    stage.finish(galaxies=len(made), placed=len(of_map), bytes=size)


if __name__ == "__main__":
    start(main, Config, __doc__)
