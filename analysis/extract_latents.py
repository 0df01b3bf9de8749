"""Extract the latent variables of every image in train.txt, with how well each is reconstructed.

Reads:  train.txt (its packed images), model/vae_40.pt (or the constant `model`), labels.parquet
        where that gives a split
Writes: result/latents_40.parquet: a row an image in train.txt's order: iauname, ra, dec, path,
        survey, split, mu_00.., logvar_00.., mse, ssim, pose_* (where the network takes the pose
        out: angle in radians, x, y and size in half-frames, ratio of the axes), flag_*

Example: python analysis/extract_latents.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from VAE_model import parallel
from VAE_model.defects import defect_flags
from VAE_model.device import Precision
from VAE_model.encoding import encode
from VAE_model.files import write_parquet
from VAE_model.labels import split_source
from VAE_model.packed import Packed
from VAE_model.paths import ROOT, Run
from VAE_model.stage import Problem, Stage, start
from VAE_model.trained import TrainedVAE


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
    """Processes that look for defects; 0: one a core."""


def find_defects(packed: Packed, run: Run, workers: int) -> pd.DataFrame:
    """The flag_* columns of every packed image, in their order."""
    display = packed.index["display"].to_numpy(bool)
    jobs = [(run, row, bool(display[row])) for row in range(len(packed.images))]
    return pd.DataFrame(list(parallel.each(_defects_of, jobs, workers, "looking for defects")))


def _defects_of(job: tuple[Run, int, bool]) -> dict[str, bool]:
    run, row, display = job
    return defect_flags(Packed.images_of(run)[row], display=display)


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
    packed = Packed.of(run, config.workers)
    identity = packed.index[["iauname", "ra", "dec", "path", "survey", "split"]]
    if model.maps and not config.survey and (identity["survey"] == "unknown").any():
        raise Problem(
            f"{run.show(weights)} treats {', '.join(model.maps)} apart, and images in "
            f"{run.show(run.train_txt)} do not say their survey: set the constant survey"
        )
    latents = encode(packed, model, config.batch, survey=config.survey)
    defects = find_defects(packed, run, config.workers)
    table = pd.concat([identity, latents, defects], axis=1)
    write_parquet(run.latents(config.num_var), table)
    flagged = int(defects.any(axis=1).sum())
    print(f"  {len(table):,} images, {flagged:,} flagged, median SSIM {table['ssim'].median():.3f}")
    stage.finish(images=len(table), flagged=flagged, median_mse=float(table["mse"].median()))


if __name__ == "__main__":
    start(main, Config, __doc__)
