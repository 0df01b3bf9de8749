"""Extract the latent variables of every image in train.txt, with how well each is reconstructed.

Reads:  train.txt (its packed images), model/vae_40.pt
Writes: result/latents_40.parquet: a row an image in train.txt's order: iauname, ra, dec, path,
        survey, split, mu_00.., logvar_00.., mse, ssim, pose_* (where the network takes the pose
        out: angle in radians, x, y and size in half-frames, ratio of the axes), flag_*

Example: python analysis/extract_latents.py --num-var 40
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from VAE_model import parallel
from VAE_model.batches import batches
from VAE_model.cutouts import BANDS
from VAE_model.defects import defect_flags
from VAE_model.device import Precision
from VAE_model.files import write_parquet
from VAE_model.likeness import quality
from VAE_model.packed import Packed
from VAE_model.paths import Run
from VAE_model.pose import Pose
from VAE_model.prepared import Prepared
from VAE_model.stage import Stage, start
from VAE_model.trained import TrainedVAE


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables of the model."""
    batch: int = 64
    """Images in a batch."""
    precision: Precision = "auto"
    """`auto`: bf16 on a GPU that has it, else float32."""
    device: str = "auto"
    """`auto`: CUDA when there is one, else the CPU."""
    workers: int = 0
    """Processes that look for defects; 0: one a core."""


def encode_all(packed: Packed, model: TrainedVAE, batch: int) -> pd.DataFrame:
    """mu_*, logvar_*, mse, ssim and pose_* of every packed image, in their order.

    mse, ssim: of the central 34 arcsec, see likeness.py.
    """
    rows = np.arange(len(packed.images))
    sigma = packed.index[[f"noise_{band}" for band in BANDS]].to_numpy(np.float32)
    prepared = Prepared(packed, model.network, model.stretch, model.device)
    parts = []
    progress = tqdm(total=len(rows), desc="extracting latents", unit="image")
    for (chunk, flux), (_, inputs, where) in zip(
        batches(packed.images, rows, batch, model.device),
        prepared.batches(rows, batch),
        strict=True,
    ):
        mean, log_variance = model.encode_inputs(inputs)
        sky = model.decode(mean, where)
        error, likeness = quality(sky, flux, torch.from_numpy(sigma[chunk]))
        found = [mean, log_variance, error[:, None], likeness[:, None]]
        found += [torch.stack(where, dim=1)] if where is not None else []
        parts.append(torch.cat(found, dim=1).cpu().numpy())
        progress.update(len(chunk))
    progress.close()
    names = [f"{kind}_{i:02d}" for kind in ("mu", "logvar") for i in range(mean.shape[1])]
    names += ["mse", "ssim"]
    names += [f"pose_{name}" for name in Pose._fields] if where is not None else []
    return pd.DataFrame(np.concatenate(parts), columns=names)


def find_defects(packed: Packed, run: Run, workers: int) -> pd.DataFrame:
    """The flag_* columns of every packed image, in their order."""
    display = packed.index["display"].to_numpy(bool)
    jobs = [(run, row, bool(display[row])) for row in range(len(packed.images))]
    return pd.DataFrame(list(parallel.each(_defects_of, jobs, workers, "looking for defects")))


def _defects_of(job: tuple[Run, int, bool]) -> dict[str, bool]:
    run, row, display = job
    return defect_flags(np.array(Packed.images_of(run)[row]), display=display)


def main(config: Config) -> None:
    run = Run(config.run)
    stage = Stage(
        __file__,
        run,
        config,
        inputs=[run.train_txt, run.model(config.num_var)],
        outputs=[run.latents(config.num_var)],
    )
    if stage.nothing_to_do():
        return
    model = TrainedVAE.load(
        run.model(config.num_var), config.num_var, config.device, config.precision
    )
    packed = Packed.of(run, config.workers)
    identity = packed.index[["iauname", "ra", "dec", "path", "survey", "split"]]
    latents = encode_all(packed, model, config.batch)
    defects = find_defects(packed, run, config.workers)
    table = pd.concat([identity, latents, defects], axis=1)
    write_parquet(run.latents(config.num_var), table)
    flagged = int(defects.any(axis=1).sum())
    print(f"  {len(table):,} images, {flagged:,} flagged, median SSIM {table['ssim'].median():.3f}")
    stage.finish(images=len(table), flagged=flagged, median_mse=float(table["mse"].median()))


if __name__ == "__main__":
    start(main, Config, __doc__)
