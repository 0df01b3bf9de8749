"""Vary the latents that carry most information, and draw what the decoder makes of it.

From the mean galaxy of the training images one latent at a time goes from -3 to +3 standard
deviations of its means over these galaxies. The other latents take the values that they have on
average in galaxies with that value of it (linear regression): latents are correlated, and one that
moves alone soon leaves the galaxies. Latents are ordered by their KL divergence from the prior.
Galaxies are drawn centred, with the major axis along x. Magnitude, colour and radius are measured
on the images.

Reads:  model/vae_40.safetensors, result/latents_40.parquet
Writes: figures/traversal_40.png, result/traversal_40.parquet: one row per image: latent, kl (nats),
        std (of the latent), step (in units of std), mag_r, colour (g-r), half_light (arcsec); NaN
        for 8-bit images

Example: python analysis/traversal.py --latents 6
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from VAE_model.data.cutouts import PIXEL_SCALE, SIZE
from VAE_model.extraction.latent_table import log_variance_columns, model_of, read_means
from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.pose import Pose
from VAE_model.report.figures import new_figure, save_figure, show_image, thumbnail
from VAE_model.training.losses import kl_divergence
from VAE_model.training.model_file import TrainedVAE

APERTURE = 15.0  # arcsec, radius of the photometry; the decoder's frame is 34 arcsec across


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables of the model."""
    latents: int = 8
    """Number of latents that are drawn, those of the largest KL divergence first."""
    steps: tuple[float, ...] = (-3, -2, -1, 0, 1, 2, 3)
    """Values at which each is drawn, in standard deviations from the mean."""
    crop: int = 128
    """Side of the central part that is shown, pixels of 0.262 arcsec."""
    device: str = "auto"
    """`auto`: CUDA if there is a GPU, else the CPU."""


@dataclass(frozen=True)
class Distribution:
    """The distribution of the latents of the training galaxies.

    mean, kl: mean and KL divergence of each latent, (d,); covariance: (d, d); has_pose: True where
    the network removes the pose from the image.
    """

    mean: NDArray[np.float32]
    covariance: NDArray[np.float32]
    kl: NDArray[np.float32]
    has_pose: bool = False

    @property
    def std(self) -> NDArray[np.float32]:
        """Standard deviation of each latent, (d,)."""
        return np.sqrt(np.diag(self.covariance))


def measure_distribution(run: Run, num_var: int) -> Distribution:
    """Measure the distribution of the training images without a defect flag.

    Raises Problem if there are fewer than two, or no variances of the posterior.
    """
    source, names = run.latents(num_var), log_variance_columns(num_var)
    table, means = read_means(run, source, num_var, ("flag_", "image_angle"), names)
    flagged = table.filter(regex="^flag_").to_numpy(bool).any(axis=1)
    chosen = (table["split"] == "train").to_numpy() & ~flagged
    if (count := int(chosen.sum())) < 2:
        what = f"has {count} training images without a flag, and 2 are needed: add images"
        raise Problem(f"{run.show(source)} {what}")
    means, log_variances = means[chosen], table.loc[chosen, names].to_numpy(np.float32)
    kl = kl_divergence(torch.tensor(means), torch.tensor(log_variances)).mean(dim=0).numpy()
    covariance = np.atleast_2d(np.cov(means, rowvar=False, bias=True)).astype(np.float32)
    return Distribution(means.mean(axis=0), covariance, kl, "image_angle" in table)


def traverse(
    latents: Distribution, chosen: NDArray[np.int64], steps: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return latents along each chosen one, (len(chosen) * len(steps), d).

    The mean plus `steps` standard deviations of that latent, with the conditional mean of the
    others.
    """
    std = np.maximum(latents.std[chosen], 1e-12)
    slope = latents.covariance[chosen] / std[:, None]
    values = latents.mean + steps[:, None] * slope[:, None, :]
    return values.reshape(-1, len(latents.mean)).astype(np.float32)


def measure(flux: NDArray[np.floating]) -> tuple[float, float, float]:
    """Measure the magnitude in r, g-r, and the half-light radius in r (arcsec).

    flux: (3, y, x), nanomaggies, of which the circle of radius APERTURE about the middle counts;
    NaN where there is no light.
    """
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    radius = np.hypot(x, y) * PIXEL_SCALE
    order = np.argsort(radius, axis=None)
    order = order[radius.ravel()[order] <= APERTURE]
    g, r = (float(flux[band].ravel()[order].sum()) for band in (0, 1))
    magnitude = 22.5 - 2.5 * np.log10(r) if r > 0 else np.nan
    colour = -2.5 * np.log10(g / r) if g > 0 and r > 0 else np.nan
    growth = np.cumsum(flux[1].ravel()[order])
    half_light = radius.ravel()[order][np.argmax(growth >= r / 2)] if r > 0 else np.nan
    return float(magnitude), float(colour), float(half_light)


def describe(row: pd.Series) -> str:
    """Return what was measured on an image, in two lines."""
    if not np.isfinite(row["mag_r"]):
        return f"no light in r\nwithin {APERTURE:.0f} arcsec"
    colour = f"g−r {row['colour']:.2f}" if np.isfinite(row["colour"]) else "no light in g"
    return f"r {row['mag_r']:.2f}  {colour}\n{row['half_light']:.1f} arcsec"


def draw(
    table: pd.DataFrame, images: NDArray[np.float32], config: Config, path: Path, display: bool
) -> None:
    """Draw one row per latent, one column per step.

    display: the images are 8-bit, without magnitudes and a known scale.
    """
    rows = table.groupby("latent", sort=False)
    figure = new_figure(1.55 * len(config.steps) + 1.3, 1.9 * len(rows) + 0.7, layout="constrained")
    panels = figure.subplots(len(rows), len(config.steps), squeeze=False)
    for line, (number, group) in zip(panels, rows, strict=True):
        for axes, (place, row) in zip(line, group.iterrows(), strict=True):
            show_image(axes, thumbnail(images[place], 160, config.crop, display))
            axes.set_xlabel("" if display else describe(row), fontsize=8, labelpad=2)
        first = group.iloc[0]
        line[0].set_ylabel(
            f"latent {number}\nKL {first['kl']:.2f} nats\nstd {first['std']:.2f}",
            rotation=0, ha="right", va="center", fontsize=10,
        )  # fmt: skip
    for axes, step in zip(panels[0], config.steps, strict=True):
        title = f"{step:+g} std".replace("-", "−") if step else "mean galaxy"
        axes.set_title(title, fontsize=10, loc="center", fontweight="normal", pad=4)
    figure.suptitle(
        f"The {len(rows)} latents of {config.num_var} with the largest KL divergence"
        + ("" if display else ": r magnitude, colour, half-light radius"),
        fontsize=13, fontweight="bold",
    )  # fmt: skip
    save_figure(figure, path, dpi=110)


def main(config: Config) -> None:
    """Run the stage."""
    run, n = Run(config.run), config.num_var
    outputs = [run.figure(f"traversal_{n}.png"), run.traversal(n)]
    weights = model_of(run, n)
    stage = Stage(__file__, run, config, inputs=[weights, run.latents(n)], outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    if not config.latents >= 1 or not config.steps:
        raise Problem("latents and steps: at least one of each is needed")
    distribution = measure_distribution(run, n)
    model = TrainedVAE.load(weights, n, config.device)
    chosen = np.argsort(-distribution.kl, kind="stable")[: config.latents]
    steps = np.array(config.steps, np.float32)
    latents = torch.from_numpy(traverse(distribution, chosen, steps)).to(model.device)
    zero = torch.zeros(len(latents), device=model.device)
    where = Pose(zero, zero, zero, zero, zero + 1, zero) if distribution.has_pose else None
    images = model.decode(latents, where).cpu().numpy()
    kl, std = distribution.kl[chosen], distribution.std[chosen]
    table = pd.DataFrame({"latent": chosen, "kl": kl, "std": std})
    table = table.loc[table.index.repeat(len(steps))].reset_index(drop=True)
    table["step"] = np.tile(steps, len(chosen))
    display = model.stretch.kind == "display"
    unknown = (np.nan, np.nan, np.nan)
    measured = [unknown if display else measure(image) for image in images]
    table[["mag_r", "colour", "half_light"]] = measured
    draw(table, images, config, outputs[0], display)
    write_parquet(run.traversal(n), table)
    total = float(distribution.kl.sum())
    share = float(kl.sum()) / total
    print(f"  {len(chosen)} of {n} latents carry {share:.0%} of the {total:.1f} nats per image")
    stage.finish(latents=chosen.tolist(), share_of_kl=share, kl=total)


if __name__ == "__main__":
    start(main, Config, __doc__)
