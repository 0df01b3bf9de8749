"""Extract the latent variables of every image in train.txt, and how well they reconstruct it.

Reads:  train.txt (its packed images), model/vae_40.safetensors (or the constant `model`),
        labels.parquet if that gives a split
Writes: result/latents_40.parquet: one row per image in train.txt's order: iauname, ra, dec, path,
        survey, split, mu_00.., logvar_00.., residual, reduced_chi2, ssim, and
        the pose, if the network takes it out of the image (VAE_model/extraction/extract.py says
        what each means); flux_g, flux_r, flux_z (the
        galaxy's own, nanomaggies), n_sources, background_rms_over_flux
        (VAE_model/preparation/segmentation.py), flag_*

Example: python analysis/extract_latents.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model import pretrained
from VAE_model.data.packed import Packed
from VAE_model.extraction.extract import extract
from VAE_model.extraction.repeatability import SCATTER, exposure_scatter
from VAE_model.pipeline.files import count_rows, read_parquet, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.tables.labels import split_source
from VAE_model.training import distributed
from VAE_model.training.device import Precision
from VAE_model.training.model_file import TrainedVAE


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables of the model."""
    model: Path | None = None
    """A model of another run, or one that transfer/adapt.py adapted to a second survey;
    `pretrained`: the weights in VAE_model/weights, no training is needed; none:
    model/vae_<num_var>.safetensors of this run."""
    any_unit: bool = False
    """Encode 8-bit images with a model that was trained on flux, and the reverse."""
    survey: str = ""
    """Survey of the images, for an adapted model and images whose headers do not say."""
    batch_size: int = 64
    """Images per batch."""
    precision: Precision = "auto"
    """`auto`: bf16 on a GPU that has it, and on a CPU that has it for a network that is faster
    in it (the published one); else float32."""
    device: str = "auto"
    """`auto`: CUDA if there is a GPU, else the CPU."""
    workers: int = 0
    """Processes that pack images, if that is still to be done; 0: one per core."""


def own_rows(count: int, batch_size: int) -> NDArray[np.int64]:
    """Return the rows of this process.

    They are whole batches, so that the number of processes changes no latent.
    """
    starts = np.array_split(np.arange(0, count, batch_size), distributed.world_size())
    own = starts[distributed.rank()]
    return np.arange(own[0], min(own[-1] + batch_size, count)) if len(own) else np.empty(0, int)


def merged(run: Run, table: pd.DataFrame, num_var: int) -> pd.DataFrame | None:
    """Return the tables of all processes in train.txt's order, on rank 0; None on the others."""
    if distributed.world_size() == 1:
        return table
    parts = [run.latents_part(num_var, number) for number in range(distributed.world_size())]
    write_parquet(parts[distributed.rank()], table)
    distributed.barrier()
    if distributed.rank():
        return None
    whole = pd.concat([read_parquet(part) for part in parts if count_rows(part)])
    for part in parts:
        part.unlink()
    return whole.reset_index(drop=True)


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    weights = ROOT / config.model if config.model else run.model(config.num_var)
    if config.model == Path(pretrained.NAME):
        weights = pretrained.WEIGHTS
    inputs, target = [run.train_txt, weights, *split_source(run)], run.latents(config.num_var)
    stage = Stage(__file__, run, config, inputs=inputs, outputs=[target])
    if stage.is_up_to_date():
        return
    stage.begin()
    model = TrainedVAE.load(weights, config.num_var, config.device, config.precision)
    with distributed.rank_0_first():
        packed = Packed.of(run, config.workers)
    model = model.for_images(packed.index["display"].to_numpy(bool), config.any_unit)
    identity = packed.index[["iauname", "ra", "dec", "path", "survey", "split"]]
    if model.maps and not config.survey and (identity["survey"] == "unknown").any():
        raise Problem(
            f"{run.show(weights)} treats {', '.join(model.maps)} apart, and images in "
            f"{run.show(run.train_txt)} do not say their survey: add --survey with its name"
        )
    rows = own_rows(len(identity), config.batch_size)
    latents = extract(packed, model, config.batch_size, rows, config.survey)
    own, around, flags = (
        part.iloc[rows].reset_index(drop=True)
        for part in (identity, packed.surroundings, packed.flags)
    )
    table = merged(run, pd.concat([own, latents, around, flags], axis=1), config.num_var)
    if table is None:
        return stage.finish()
    scatter = exposure_scatter(packed, model, config.batch_size, survey=config.survey)
    table.attrs[SCATTER] = scatter.tolist()
    write_parquet(target, table)
    flagged = int(table.filter(regex="^flag_").any(axis=1).sum())
    print(f"  {len(table):,} images, {flagged:,} flagged, median SSIM {table['ssim'].median():.3f}")
    chi2 = float(table["reduced_chi2"].median())
    stage.finish(images=len(table), flagged=flagged, median_reduced_chi2=chi2)


if __name__ == "__main__":
    start(main, Config, __doc__, several=True)
