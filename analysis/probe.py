"""Probe the latents: the information in each about the galaxy and its image, and their errors.

- R^2 of regressions of flux, size, shape, position angle, and of properties that the latents should
  not depend on: PSF, noise, contaminants. Fitted on the train split, tested on test galaxies; zero
  is the prediction of the mean.
- The latents in use: KL divergence from the prior, and active units (Burda et al. 2016).
- The distance that the latents move when the image is rotated or mirrored, in units of the distance
  between two galaxies.
- The calibration of the posterior: its width against the standard deviation of its mean between
  exposures of the same galaxy, on a simulated sky, which can be observed again.

Images with a defect flag are left out throughout.

Reads:  result/latents_40.parquet, model/vae_40.safetensors (or the constant `model`), train.txt
        (its packed images), truth.parquet (of a simulated sky)
Writes: result/probe_40.json; result/probe_40.parquet: a row per latent, the largest KL first:
        latent, kl (nats), variance, active, sigma, r2_<quantity>, and of a simulated sky
        std_noise, ratio_noise, std_night, ratio_night; figures/probe_40.png

Example: python analysis/probe.py --num-var 40
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.evaluation.pca import pixel_components
from VAE_model.evaluation.probe.encoded import Encoded, Encoder
from VAE_model.evaluation.probe.exposures import observe
from VAE_model.evaluation.probe.invariance import changed_means, relative_moves
from VAE_model.evaluation.probe.posterior import Calibration, calibrate
from VAE_model.evaluation.probe.quantities import quantities
from VAE_model.evaluation.probe.regression import predict
from VAE_model.extraction.latent_table import model_of
from VAE_model.pipeline.files import read_parquet, write_json, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.stretch import Stretch
from VAE_model.report.probe import draw_probe
from VAE_model.training.device import Precision
from VAE_model.training.losses import kl_divergence

ACTIVE = 0.01  # least variance of the mean of an active latent (Burda et al. 2016, section 5)
MIN_GALAXIES = 5  # of each split, for a quantity
EXPOSURES = {
    "noise": "another exposure, same conditions",
    "night": "another exposure, another night",
}


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    model: Path | None = None
    """The model that the latents are of; none: the one that extract_latents.py took."""
    survey: str = ""
    """Survey of the images, for an adapted model and images whose headers do not say."""
    galaxies: int = 4000
    """Galaxies of either split in the regressions, at most."""
    changed: int = 200
    """Test galaxies that are rotated, mirrored and observed again, at most."""
    exposures: int = 2
    """Further exposures of each of them in the same conditions, and as many in others."""
    trees: int = 100
    """Trees per forest."""
    n_bootstrap: int = 1000
    """Bootstrap samples behind an interval."""
    seed: int = 0
    """Seed of samples, rotations, forests and bootstrap."""
    batch_size: int = 50
    """Images that are encoded at a time."""
    precision: Precision = "auto"
    """As in analysis/extract_latents.py, with which the latents were made."""
    device: str = "auto"
    """`auto`: CUDA when there is one, else the CPU."""
    workers: int = 0
    """Processes that pack images where that is not done yet; 0: one per core."""


def in_use(encoded: Encoded, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return one row per latent over some rows of the table, the largest KL first.

    Columns: latent, kl (mean, nats), variance (of the mean), active, sigma (of the posterior, root
    mean square).
    """
    means, log_variances = encoded.means[rows], encoded.log_variances[rows]
    kl = kl_divergence(torch.from_numpy(means), torch.from_numpy(log_variances)).numpy()
    variance = means.astype(np.float64).var(axis=0)
    sigma = np.sqrt(np.exp(log_variances.astype(np.float64)).mean(axis=0))
    table = pd.DataFrame(
        {
            "latent": np.arange(len(variance)), "kl": kl.astype(np.float64).mean(axis=0),
            "variance": variance, "active": variance > ACTIVE, "sigma": sigma,
        }
    )  # fmt: skip
    return table.sort_values("kl", ascending=False, kind="stable", ignore_index=True)


def predict_quantities(
    config: Config, encoded: Encoded, truth: pd.DataFrame | None
) -> dict[str, Any]:
    """Fit regressions of each quantity on the train split and test them on the test split.

    Returns `quantities`: the R^2 of each from all latents (`latents`, `forest`), from each alone
    (`single`) and from principal components of the pixels (`pca`); `left_out`: the others, with
    reasons; `components`: number of principal components.
    """
    rows = [encoded.some(split, config.galaxies, config.seed) for split in ("train", "test")]
    train = np.arange(sum(map(len, rows))) < len(rows[0])
    both = np.concatenate(rows)
    packed, images = encoded.packed, encoded.images(both)
    known, left_out = quantities(packed, images, truth)
    number = min(config.num_var, len(rows[0]) - 1)
    components = pixel_components(
        packed.images, images[train], images, number,
        seed=config.seed, stretch=Stretch.of(packed.index["display"]),
    )  # fmt: skip
    found = {}
    for quantity in tqdm(known, desc="fitting regressions", unit="quantity"):
        defined = np.isfinite(quantity.values).all(axis=1)
        parts = [quantity.values[defined & split] for split in (train, ~train)]
        if min(map(len, parts)) < MIN_GALAXIES or any(np.ptp(part) == 0 for part in parts):
            left_out[quantity.name] = f"fewer than {MIN_GALAXIES} galaxies of a split differ in it"
            continue
        sets = (quantity.values, train, ~train), (config.n_bootstrap, config.seed)
        latents = asdict(predict(encoded.means[both], *sets[0], config.trees, *sets[1]))
        pca = predict(components, *sets[0], 0, *sets[1])
        found[quantity.name] = {
            "unit": quantity.unit, "source": quantity.source, "latents": latents.pop("ridge"),
            **latents, "pca": asdict(pca.ridge),
        }  # fmt: skip
    return {"quantities": found, "left_out": left_out, "components": number}


def main(config: Config) -> None:
    """Run the stage."""
    run, number = Run(config.run), config.num_var
    weights = ROOT / config.model if config.model else model_of(run, number)
    outputs = [run.probe(number), run.probe(number, "parquet"), run.figure(f"probe_{number}.png")]
    there = [run.truth] if run.truth.exists() else []
    inputs = [run.latents(number), weights, run.train_txt, *there]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    least = (config.galaxies, config.changed, config.exposures, config.trees, config.batch_size)
    if min(least) < 1:
        raise Problem("galaxies, changed, exposures, trees and batch_size must be at least 1")
    encoded = Encoded.of(run, number, config.workers)
    test = encoded.some("test", config.galaxies, config.seed)
    chosen = encoded.some("test", config.changed, config.seed)
    if min(len(chosen), len(encoded.some("train", MIN_GALAXIES, 0))) < MIN_GALAXIES:
        few = f"fewer than {MIN_GALAXIES} good images in the train or the test split"
        raise Problem(f"{few}: add images")
    table = in_use(encoded, test)
    if not table["active"].any():
        raise Problem(f"{run.show(weights)} has no active latent: it has learned nothing yet")
    encode = Encoder(encoded, weights, config.survey, config.device, config.precision)
    encode.check(chosen[: config.batch_size])
    truth = read_parquet(run.truth) if there else None
    moved = changed_means(encoded, encode, chosen, config.batch_size, config.seed)
    moves = measured(moved, encoded, chosen, config)
    again = observe(run, encoded, encode, chosen, config.exposures, MIN_GALAXIES)
    content: dict[str, Any] = {
        "dimension": number, "test_images": len(test),
        "active": int(table["active"].sum()), "kl": float(table["kl"].sum()),
        **predict_quantities(config, encoded, truth), "moves": moves, "calibration": {},
    }  # fmt: skip
    if again.why:
        content["left_out"]["further exposures"] = again.why
    order = table["latent"].to_numpy()
    for name, of in content["quantities"].items():
        table["r2_" + name.replace(" ", "_")] = [of["single"][i]["value"] for i in order]
    active = table.sort_values("latent")["active"].to_numpy(bool)
    for kind, (means, log_variances) in again.latents.items():
        found = calibrate(means, log_variances, active, config.n_bootstrap, config.seed)
        table[f"std_{kind}"] = found.deviation[order]
        table[f"ratio_{kind}"] = [found.ratio[i].value for i in order]
        counts = {"n": means.shape[1], "exposures": means.shape[0]}
        content["calibration"][kind] = counts | calibration_values(found, active)
        moves |= measured({EXPOSURES[kind]: means[1]}, encoded, again.rows, config)
    content["latents"] = table.to_dict("records")
    write_json(outputs[0], content)
    write_parquet(outputs[1], table)
    draw_probe(content, outputs[2])
    report(content)
    r2 = {f"r2 of {name}": of["latents"]["value"] for name, of in content["quantities"].items()}
    stage.finish(active=content["active"], kl=content["kl"], **r2)


def measured(
    moved: dict[str, NDArray], encoded: Encoded, rows: NDArray[np.int64], config: Config
) -> dict[str, dict[str, float]]:
    """Return the distances that the latents of rows of the table have moved, and n, as values."""
    moves = relative_moves(moved, encoded.means[rows], config.n_bootstrap, config.seed)
    return {name: {"n": len(rows), **asdict(of)} for name, of in moves.items()}


def calibration_values(found: Calibration, active: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the calibration as plain values; min and max: ratios of the active latents."""
    ratios = np.array([one.value for one in found.ratio])[active]
    return {
        "median": asdict(found.median), "min": float(ratios.min()), "max": float(ratios.max()),
        "expected": float(np.median(found.expected[active])), "within": asdict(found.within),
        "ratio": [asdict(one) for one in found.ratio],
    }  # fmt: skip


def report(content: dict[str, Any]) -> None:
    """Print the main numbers."""
    print(f"  {content['active']} of {content['dimension']} latents active, {content['kl']:.1f} "
          f"nats per image ({content['test_images']:,} test images)")  # fmt: skip
    for name, of in content["quantities"].items():
        latents, forest, pca = (Estimate.read(of[by]) for by in ("latents", "forest", "pca"))
        print(f"  R2 of {name} ({of['n_test']:,} test galaxies): {latents}, forest {forest}, "
              f"PCA {pca}")  # fmt: skip
    for name, of in content["moves"].items():
        print(f"  {name}: latents move by {Estimate.read(of)} of the distance between galaxies")
    for kind, of in content["calibration"].items():
        print(f"  {EXPOSURES[kind]}: standard deviation {Estimate.read(of['median'])} sigma")
    for name, why in content["left_out"].items():
        print(f"  left out: {name}: {why}")


if __name__ == "__main__":
    start(main, Config, __doc__)
