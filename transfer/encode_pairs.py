"""Encode both images of each pair by the model that was trained on the first survey alone.

Reads:  transfer/pairs.parquet, model/vae_40.safetensors
Writes: transfer/latents_no_tf.parquet: two rows per pair, one per survey: pair, survey,
        iauname, ra, dec, path, split, usable, mu_00.., logvar_00.., residual, reduced_chi2, ssim
        and the pose (VAE_model/extraction/extract.py)

Example: python transfer/encode_pairs.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path

from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Stage, start
from VAE_model.training.device import Precision
from VAE_model.training.model_file import TrainedVAE
from VAE_model.transfer.adaptation import BEFORE
from VAE_model.transfer.pair_latents import encode_pairs
from VAE_model.transfer.pairs import images_in_both, read_pairs


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables of the model."""
    batch_size: int = 64
    """Images per batch."""
    precision: Precision = "auto"
    """`auto`: bf16 on a GPU that has it, and on a CPU that has it for a network that is faster
    in it (the published one); else float32."""
    device: str = "auto"
    """`auto`: CUDA if there is a GPU, else the CPU."""
    workers: int = 0
    """Processes that pack images if that is still to be done; 0: one per core."""


def main(config: Config) -> None:
    """Encode the pairs and write the table."""
    run = Run(config.run)
    weights, target = run.model(config.num_var), run.pair_latents(BEFORE)
    stage = Stage(__file__, run, config, inputs=[run.pairs, weights], outputs=[target])
    if stage.is_up_to_date():
        return
    stage.begin()
    pairs = read_pairs(run)
    model = TrainedVAE.load(weights, config.num_var, config.device, config.precision)
    both = images_in_both(run, pairs, config.workers)
    table = encode_pairs(pairs, both, model, config.batch_size)
    write_parquet(target, table)
    scores = table.groupby("survey", sort=False)["ssim"].median().to_dict()
    words = ", ".join(f"{survey} {value:.3f}" for survey, value in scores.items())
    print(f"  {len(pairs):,} pairs; median SSIM of the reconstructions: {words}")
    stage.finish(pairs=len(pairs), median_ssim=scores)


if __name__ == "__main__":
    start(main, Config, __doc__)
