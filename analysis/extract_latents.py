"""Extract the latent variables of every image in train.txt, with how well each is reconstructed.

Reads:  train.txt (its packed images), model/vae_40.pt (or the constant `model`), labels.parquet
        where that gives a split
Writes: result/latents_40.parquet: a row an image in train.txt's order: iauname, ra, dec, path,
        survey, split, mu_00.., logvar_00.., residual (what the latents miss of the network's
        target), mse and ssim (of the image), pose_* (where the network takes the pose out: angle in
        radians, x, y and size in half-frames, ratio of the axes, share of the image that was hidden
        as neighbours' light), flux_g, flux_r, flux_z (the galaxy's own,
        nanomaggies), neighbours, unevenness (VAE_model/segmentation.py), flag_*

Example: python analysis/extract_latents.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.extraction.extract import encode
from VAE_model.files import count_rows, read_parquet, write_parquet
from VAE_model.labels import split_source
from VAE_model.packed import Packed
from VAE_model.paths import ROOT, Run
from VAE_model.stage import Problem, Stage, start
from VAE_model.training import distributed
from VAE_model.training.device import Precision
from VAE_model.training.model_file import TrainedVAE


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables of the model."""
    model: Path | None = None
    """A model of another run, or one that transfer/adapt.py adapted to a second survey; none:
    model/vae_<num_var>.pt of this run."""
    survey: str = ""
    """Survey of the images, for an adapted model and images whose headers do not say."""
    batch: int = 64
    """Images in a batch."""
    precision: Precision = "auto"
    """`auto`: bf16 on a GPU that has it, and on a CPU that has it for a network that gains from
    it (the published one); else float32."""
    device: str = "auto"
    """`auto`: CUDA when there is one, else the CPU."""
    workers: int = 0
    """Processes that pack images, where that is still to be done; 0: one a core."""


def own_rows(count: int, batch: int) -> NDArray[np.int64]:
    """The rows of this process: whole batches, so that their number changes no latent."""
    firsts = np.array_split(np.arange(0, count, batch), distributed.processes())
    own = firsts[distributed.number()]
    return np.arange(own[0], min(own[-1] + batch, count)) if len(own) else np.empty(0, int)


def merged(run: Run, table: pd.DataFrame, num_var: int) -> pd.DataFrame | None:
    """The tables of all processes in train.txt's order, for the first process."""
    if distributed.processes() == 1:
        return table
    parts = [run.latents_part(num_var, number) for number in range(distributed.processes())]
    write_parquet(parts[distributed.number()], table)
    distributed.wait()
    if distributed.number():
        return None
    whole = pd.concat([read_parquet(part) for part in parts if count_rows(part)])
    for part in parts:
        part.unlink()
    return whole.reset_index(drop=True)


def main(config: Config) -> None:
    run = Run(config.run)
    weights = ROOT / config.model if config.model else run.model(config.num_var)
    stage = Stage(
        __file__,
        run,
        config,
        inputs=[run.train_txt, weights, *split_source(run)],
        outputs=[run.latents(config.num_var)],
    )
    if stage.nothing_to_do():
        return
    model = TrainedVAE.load(weights, config.num_var, config.device, config.precision)
    with distributed.first_alone():
        packed = Packed.of(run, config.workers)
    identity = packed.index[["iauname", "ra", "dec", "path", "survey", "split"]]
    if model.maps and not config.survey and (identity["survey"] == "unknown").any():
        raise Problem(
            f"{run.show(weights)} treats {', '.join(model.maps)} apart, and images in "
            f"{run.show(run.train_txt)} do not say their survey: set the constant survey"
        )
    rows = own_rows(len(identity), config.batch)
    latents = encode(packed, model, config.batch, rows, config.survey)
    own, around, flags = (
        part.iloc[rows].reset_index(drop=True)
        for part in (identity, packed.surroundings, packed.flags)
    )
    table = merged(run, pd.concat([own, latents, around, flags], axis=1), config.num_var)
    if table is None:
        return stage.finish()
    write_parquet(run.latents(config.num_var), table)
    flagged = int(table.filter(regex="^flag_").any(axis=1).sum())
    print(f"  {len(table):,} images, {flagged:,} flagged, median SSIM {table['ssim'].median():.3f}")
    stage.finish(images=len(table), flagged=flagged, median_mse=float(table["mse"].median()))


if __name__ == "__main__":
    start(main, Config, __doc__, several=True)
