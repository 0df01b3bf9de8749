"""Probe the latents: what each tells of a galaxy and of its image, and how far to trust it.

- How much they tell of flux, size, shape, position angle, and of what they should not know: PSF,
  noise, neighbours. R^2 of regressions that learn on the train split, on test galaxies; zero is
  what always saying the mean of the train split gives.
- Which latents are in use: KL divergence from the prior, and active units (Burda et al. 2016).
- How far they move when the image is turned or mirrored, beside the distance of two galaxies.
- Whether the posterior is as wide as its mean scatters between exposures of the same galaxy; only
  a simulated sky can be observed again.

Images with a defect flag are left out throughout.

Reads:  result/latents_40.parquet, model/vae_40.safetensors (or the constant `model`), train.txt
        (its packed images), truth.parquet (of a simulated sky)
Writes: result/probe_40.json; result/probe_40.parquet: a row a latent, that with the most KL first:
        latent, kl (nats), variance, active, sigma, r2_<quantity>, and of a simulated sky
        scatter_noise, ratio_noise, scatter_night, ratio_night; figures/probe_40.png

Example: python analysis/probe.py --num-var 40
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.pipeline.files import read_parquet, write_json, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.pixel_pca import pixel_components
from VAE_model.preparation.stretch import Stretch
from VAE_model.probe.calibration import Calibration, calibrate
from VAE_model.probe.encoded import Encoded, Encoder
from VAE_model.probe.exposures import observe
from VAE_model.probe.figure import draw_probe
from VAE_model.probe.invariance import changed_means, relative_moves
from VAE_model.probe.probing import Told, tell
from VAE_model.probe.quantities import Quantity, quantities
from VAE_model.scores import Estimate
from VAE_model.training.device import Precision
from VAE_model.training.losses import kl_divergence

ACTIVE = 0.01  # variance of a mean from which a latent is in use (Burda et al. 2016, section 5)
FEWEST = 5  # galaxies to learn from and as many to ask about that a quantity needs
EXPOSURES = {  # of exposures.py, as people read them
    "noise": "another exposure, same conditions",
    "night": "another exposure, another night",
}


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables."""
    model: Path | None = None
    """The model that the latents are of, where it is not model/vae_<num_var>.pt of this run."""
    survey: str = ""
    """Survey of the images, for an adapted model and images whose headers do not say."""
    galaxies: int = 4000
    """Most galaxies of either split that the regressions learn from, and are asked about."""
    changed: int = 200
    """Most test galaxies that are turned and mirrored, and observed again."""
    views: int = 2
    """Further exposures of each of them in the same conditions, and as many in others."""
    trees: int = 100
    """Trees of a forest."""
    draws: int = 1000
    """Bootstrap draws behind an interval."""
    seed: int = 0
    """Of the samples, the turns, the forests and the bootstrap."""
    batch: int = 50
    """Images that are encoded at a time."""
    precision: Precision = "auto"
    """As in analysis/extract_latents.py, with which the latents were made."""
    device: str = "auto"
    """`auto`: CUDA when there is one, else the CPU."""
    workers: int = 0
    """Processes that pack images where that is not done yet; 0: one a core."""


def in_use(encoded: Encoded, rows: NDArray[np.int64]) -> pd.DataFrame:
    """A row a latent, that with the most KL first, over some rows of the table: latent, kl (mean,
    nats), variance of the mean, active, sigma of the posterior (root mean square)."""
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


@dataclass(frozen=True)
class Answers:
    """told: what the latents, and what `components` principal components of the pixels, tell of
    each quantity; left_out: why others are not asked for."""

    told: dict[str, tuple[Quantity, Told, Told]]
    left_out: dict[str, str]
    components: int


def ask(config: Config, encoded: Encoded, truth: pd.DataFrame | None) -> Answers:
    """Learn each quantity on the train split and ask for it on the test split."""
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
    told = {}
    for quantity in tqdm(known, desc="asking the latents", unit="quantity"):
        defined = np.isfinite(quantity.values).all(axis=1)
        parts = [quantity.values[defined & split] for split in (train, ~train)]
        if min(map(len, parts)) < FEWEST or any(np.ptp(part) == 0 for part in parts):
            left_out[quantity.name] = f"fewer than {FEWEST} galaxies of a split differ in it"
            continue
        latents, pca = (
            tell(features, quantity.values, train, ~train, trees, config.draws, config.seed)
            for features, trees in ((encoded.means[both], config.trees), (components, 0))
        )
        told[quantity.name] = (quantity, latents, pca)
    return Answers(told, left_out, number)


def main(config: Config) -> None:
    run, number = Run(config.run), config.num_var
    weights = ROOT / config.model if config.model else run.model(number)
    outputs = [run.probe(number), run.probe(number, "parquet"), run.figure(f"probe_{number}.png")]
    inputs = [run.latents(number), weights, run.train_txt]
    inputs += [run.truth] if run.truth.exists() else []
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    if min(config.galaxies, config.changed, config.views, config.trees, config.batch) < 1:
        raise Problem("galaxies, changed, views, trees and batch must be at least 1")
    encoded = Encoded.of(run, number, config.workers)
    test = encoded.some("test", config.galaxies, config.seed)
    chosen = encoded.some("test", config.changed, config.seed)
    if min(len(chosen), len(encoded.some("train", FEWEST, 0))) < FEWEST:
        raise Problem(f"fewer than {FEWEST} good images in the train or the test split: add images")
    table = in_use(encoded, test)
    if not table["active"].any():
        raise Problem(f"{run.show(weights)} has no active latent: it has learned nothing yet")
    encode = Encoder(encoded, weights, config.survey, config.device, config.precision)
    encode.check(chosen[: config.batch])
    answers = ask(config, encoded, read_parquet(run.truth) if run.truth.exists() else None)
    moved = changed_means(encoded, encode, chosen, config.batch, config.seed)
    moves = measured(moved, encoded, chosen, config)
    again = observe(run, encoded, encode, chosen, config.views, FEWEST)
    content: dict[str, Any] = {
        "dimension": number, "components": answers.components, "test_images": len(test),
        "active": int(table["active"].sum()), "kl": float(table["kl"].sum()),
        "quantities": {name: as_values(*of) for name, of in answers.told.items()},
        "left_out": answers.left_out | ({"further exposures": again.why} if again.why else {}),
        "moves": moves, "calibration": {},
    }  # fmt: skip
    order = table["latent"].to_numpy()
    for name, (_, latents, _) in answers.told.items():
        table["r2_" + name.replace(" ", "_")] = [latents.single[i].value for i in order]
    active = table.sort_values("latent")["active"].to_numpy(bool)
    for kind, (means, log_variances) in again.views.items():
        found = calibrate(means, log_variances, active, config.draws, config.seed)
        table[f"scatter_{kind}"] = found.scatter[order]
        table[f"ratio_{kind}"] = [found.ratio[i].value for i in order]
        content["calibration"][kind] = calibration_values(found, active, *means.shape[:2])
        moves |= measured({EXPOSURES[kind]: means[1]}, encoded, again.rows, config)
    content["latents"] = table.to_dict("records")
    write_json(outputs[0], content)
    write_parquet(outputs[1], table)
    draw_probe(content, outputs[2])
    say(content)
    told = {f"r2 of {name}": of["latents"]["value"] for name, of in content["quantities"].items()}
    stage.finish(active=content["active"], kl=content["kl"], **told)


def measured(
    moved: dict[str, NDArray], encoded: Encoded, rows: NDArray[np.int64], config: Config
) -> dict[str, dict[str, float]]:
    """How far the latents of some rows of the table have moved, and n, as plain values."""
    moves = relative_moves(moved, encoded.means[rows], config.draws, config.seed)
    return {name: {"n": len(rows), **dataclasses.asdict(of)} for name, of in moves.items()}


def as_values(quantity: Quantity, latents: Told, pca: Told) -> dict[str, Any]:
    """What is told of a quantity, as plain values; single: by latent, in their own order."""
    return {
        "unit": quantity.unit, "source": quantity.source,
        "n_train": latents.n_train, "n_test": latents.n_test,
        "latents": dataclasses.asdict(latents.ridge),
        "forest": dataclasses.asdict(latents.forest) if latents.forest else None,
        "pca": dataclasses.asdict(pca.ridge), "best": latents.best,
        "single": [dataclasses.asdict(one) for one in latents.single],
    }  # fmt: skip


def calibration_values(
    found: Calibration, active: NDArray[np.bool_], views: int, galaxies: int
) -> dict[str, Any]:
    """The calibration as plain values; least and most: of the ratios of the active latents."""
    ratios = [one.value for one, used in zip(found.ratio, active, strict=True) if used]
    return {
        "n": galaxies, "views": views,
        "median": dataclasses.asdict(found.median), "least": min(ratios), "most": max(ratios),
        "expected": float(np.median(found.expected[active])),
        "within": dataclasses.asdict(found.within),
        "ratio": [dataclasses.asdict(one) for one in found.ratio],
    }  # fmt: skip


def say(content: dict[str, Any]) -> None:
    """Print the numbers that matter."""
    number = content["dimension"]
    print(f"  {content['active']} of {number} latents active, {content['kl']:.1f} nats an image "
          f"({content['test_images']:,} test images)")  # fmt: skip
    for name, of in content["quantities"].items():
        latents, forest, pca = (Estimate(**of[by]) for by in ("latents", "forest", "pca"))
        print(f"  R2 of {name} ({of['n_test']:,} test galaxies): {latents}, forest {forest}, "
              f"PCA {pca}")  # fmt: skip
    for name, of in content["moves"].items():
        ratio = Estimate(of["value"], of["low"], of["high"])
        print(f"  {name}: the latents of {of['n']:,} galaxies move by {ratio} of the distance of "
              "two of them")  # fmt: skip
    for kind, of in content["calibration"].items():
        median, within = Estimate(**of["median"]), Estimate(**of["within"])
        print(f"  {EXPOSURES[kind]}: scatter {median} sigma (median latent), {of['least']:.2f} to "
              f"{of['most']:.2f}; {within} within one sigma")  # fmt: skip
    for name, why in content["left_out"].items():
        print(f"  left out: {name}: {why}")


if __name__ == "__main__":
    start(main, Config, __doc__)
