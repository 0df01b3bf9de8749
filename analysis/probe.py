"""Probe the latents: what each tells of a galaxy and of its image, and how far to trust it.

- How much they tell of flux, size, shape, position angle, and of what they should not know: PSF,
  noise, neighbours. R^2 of regressions that learn on the train split, on test galaxies; zero is
  what always saying the mean of the train split gives.
- Which latents are in use: KL divergence from the prior, and active units (Burda et al. 2016).
- How far they move when the image is turned or mirrored, beside the distance of two galaxies.
- Whether the posterior is as wide as its mean scatters between exposures of the same galaxy; only
  a simulated sky can be observed again.

Images with a defect flag are left out throughout.

Reads:  result/latents_40.parquet, model/vae_40.pt (or the constant `model`), train.txt (its packed
        images), truth.parquet (of a simulated sky)
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

from VAE_model import parallel
from VAE_model.batches import batches
from VAE_model.calibration import Calibration, calibrate
from VAE_model.cutouts import BANDS
from VAE_model.device import Precision
from VAE_model.elbo import kl_divergence
from VAE_model.files import read_parquet, write_json, write_parquet
from VAE_model.invariance import CHANGES, relative_moves
from VAE_model.latents import read_means
from VAE_model.packed import Packed
from VAE_model.paths import ROOT, Run
from VAE_model.pixel_pca import pixel_components
from VAE_model.probe_figure import draw_probe
from VAE_model.probing import Told, tell
from VAE_model.quantities import Quantity, quantities
from VAE_model.scores import Estimate
from VAE_model.simulation.repeats import as_observed, observe_again
from VAE_model.stage import Problem, Stage, read_sidecar, start
from VAE_model.stretch import Stretch
from VAE_model.trained import TrainedVAE

ACTIVE = 0.01  # variance of a mean from which a latent is in use (Burda et al. 2016, section 5)
FEWEST = 5  # galaxies to learn from and as many to ask about that a quantity needs
SAME = 0.1  # of the scatter or the noise: less than that apart is the same, rounded otherwise
AGAIN = {  # kinds of further exposures
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
    """Processes that draw further exposures; 0: one a core."""


@dataclass(frozen=True)
class Material:
    """table: of the latents, with a column row: of the image in `packed`; means, log_variances:
    (N, num_var) of the same images; good: without a defect flag, (N,)."""

    table: pd.DataFrame
    means: NDArray[np.float32]
    log_variances: NDArray[np.float32]
    packed: Packed
    good: NDArray[np.bool_]

    @classmethod
    def of(cls, run: Run, num_var: int, workers: int) -> "Material":
        """Raises Problem where the latents have no widths, or are of other images."""
        path = run.latents(num_var)
        table, means = read_means(run, path, num_var, ("logvar_", "flag_"))
        widths = table[sorted(name for name in table if name.startswith("logvar_"))]
        packed = Packed.of(run, workers)
        rows = pd.Index(packed.index["path"]).get_indexer(table["path"])
        again = f"delete it and run {run.made_by(path)} --num-var {num_var}"
        if widths.shape[1] != num_var:
            raise Problem(f"{run.show(path)} has no logvar_* for each latent: {again}")
        if (rows < 0).any():
            raise Problem(
                f"{run.show(path)} names images not in {run.show(run.train_txt)}: {again}"
            )
        good = ~table.filter(regex="^flag_").to_numpy(bool).any(axis=1)
        return cls(table.assign(row=rows), means, widths.to_numpy(np.float32), packed, good)

    def some(self, split: str, most: int, seed: int) -> NDArray[np.int64]:
        """Rows of at most `most` good images of a split, in the table's order."""
        rows = np.flatnonzero(self.good & (self.table["split"] == split).to_numpy())
        return np.sort(np.random.default_rng(seed).permutation(rows)[:most])


def in_use(material: Material, rows: NDArray[np.int64]) -> pd.DataFrame:
    """A row a latent, that with the most KL first, over the images `rows`: latent, kl (mean,
    nats), variance of the mean, active, sigma of the posterior (root mean square)."""
    means, log_variances = material.means[rows], material.log_variances[rows]
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


def ask(
    config: Config, material: Material, truth: pd.DataFrame | None
) -> tuple[dict[str, tuple[Quantity, Told, Told]], dict[str, str], int]:
    """What the latents, and principal components of the pixels, tell of each quantity; why others
    were left out; the number of components."""
    rows = [material.some(split, config.galaxies, config.seed) for split in ("train", "test")]
    train = np.arange(sum(map(len, rows))) < len(rows[0])
    both = np.concatenate(rows)
    images = material.table["row"].to_numpy()[both]
    known, left_out = quantities(material.packed, images, truth)
    packed, number = material.packed, min(config.num_var, int(train.sum()) - 1)
    components = pixel_components(
        packed.images, images[train], images, number,
        seed=config.seed, stretch=Stretch.of(packed.index["display"]),
    )  # fmt: skip
    found = {}
    for quantity in tqdm(known, desc="asking the latents", unit="quantity"):
        values = quantity.values
        defined = np.isfinite(values).all(axis=1)
        parts = [values[defined & split] for split in (train, ~train)]
        if min(map(len, parts)) < FEWEST or any(np.ptp(part) == 0 for part in parts):
            left_out[quantity.name] = f"fewer than {FEWEST} galaxies of a split differ in it"
            continue
        latents, pca = (
            tell(features, values, train, ~train, trees, config.draws, config.seed)
            for features, trees in ((material.means[both], config.trees), (components, 0))
        )
        found[quantity.name] = (quantity, latents, pca)
    return found, left_out, number


class Encoder:
    """The model and the survey of each packed image: flux into latents."""

    def __init__(self, config: Config, run: Run, packed: Packed) -> None:
        weights = ROOT / config.model if config.model else run.model(config.num_var)
        self.model = TrainedVAE.load(weights, config.num_var, config.device, config.precision)
        surveys = packed.index["survey"].to_numpy(object)
        self.surveys = np.full(len(surveys), config.survey, object) if config.survey else surveys

    def __call__(
        self, flux: torch.Tensor, images: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Means and log-variances, each (N, latents), of flux (N, 3, 256, 256), which shows the
        galaxies of the packed images `images`."""
        mean, log_variance = self.model.encode(flux, self.surveys[images])
        return mean.cpu().numpy(), log_variance.cpu().numpy()


def move(
    config: Config, material: Material, encode: Encoder, rows: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """Means of the latents of each change of the images `rows`, (n, latents).

    Raises Problem where the unchanged images have other latents than the table: it is of another
    model.
    """
    images = material.table["row"].to_numpy()[rows]
    rng = np.random.default_rng(config.seed)
    parts: dict[str, list[NDArray]] = {name: [] for name in CHANGES}
    cpu, first = torch.device("cpu"), True
    with tqdm(total=len(images), desc="turning images", unit="image") as progress:
        for chunk, flux in batches(material.packed.images, images, config.batch, cpu):
            if first:
                apart = np.abs(encode(flux, chunk)[0] - material.means[rows[: len(chunk)]])
                if np.median(apart) > SAME * material.means[rows].std():
                    raise Problem(
                        "the latents are not of this model: name it with --model, or run "
                        "python analysis/extract_latents.py again"
                    )
            for name, change in CHANGES.items():
                parts[name].append(encode(change(flux, rng), chunk)[0])
            first = False
            progress.update(len(chunk))
    return {name: np.concatenate(of) for name, of in parts.items()}


@dataclass(frozen=True)
class Exposures:
    """rows: of the galaxies that were observed again; views: by the kind, means and log-variances,
    each (views, n, latents), that in the run first; why: there are none, or empty."""

    rows: NDArray[np.int64]
    views: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    why: str = ""


def observe(
    config: Config, run: Run, material: Material, encode: Encoder,
    rows: NDArray[np.int64], truth: pd.DataFrame | None,
) -> Exposures:  # fmt: skip
    """Further exposures of those of the galaxies `rows` whose image has no defect."""
    sky = read_sidecar(run.truth) if truth is not None else {}
    if truth is None or sky.get("script") != "data/simulate.py":
        return Exposures(rows[:0], {}, "only a simulated sky can be observed again")
    known = truth.set_index("iauname").reindex(material.table["iauname"].iloc[rows])
    images = material.table["row"].to_numpy()[rows]
    south = (material.packed.index["survey"].iloc[images] == "decals").to_numpy()
    kept = south & (known["defect_decals"] == "").to_numpy()
    rows, images, indices = rows[kept], images[kept], known["index"].to_numpy()[kept]
    if len(rows) < FEWEST:
        return Exposures(rows, {}, f"{len(rows)} test galaxies without a defect are too few")
    seed = int(sky["config"]["seed"])
    if not _is(as_observed(seed, int(indices[0])), material.packed, int(images[0])):
        return Exposures(rows, {}, "the images are not those that this version draws")
    items = [(seed, int(index), config.views) for index in indices]
    parts: dict[str, list[tuple[NDArray, NDArray]]] = {kind: [] for kind in AGAIN}
    drawn = parallel.each(observe_again, items, config.workers, "observing again")
    for row, image, views in zip(rows, images, drawn, strict=True):
        flux = torch.from_numpy(np.concatenate(views))
        means, widths = encode(flux, np.full(len(flux), image))
        own = material.means[row], material.log_variances[row]
        for kind, of in zip(AGAIN, (slice(0, config.views), slice(config.views, None)), strict=True):
            parts[kind].append(
                (np.vstack([own[0], means[of]]), np.vstack([own[1], widths[of]]))
            )
    views = {}
    for kind, of in parts.items():
        means, widths = zip(*of, strict=True)
        views[kind] = (np.stack(means, axis=1), np.stack(widths, axis=1))
    return Exposures(rows, views)


def _is(image: NDArray[np.float32], packed: Packed, row: int) -> bool:
    """An image is the one in the run, up to the rounding of half precision."""
    noise = packed.index[[f"noise_{band}" for band in BANDS]].to_numpy(float)[row]
    return bool((np.abs(image - packed.images[row]).mean(axis=(1, 2)) < SAME * noise).all())


def main(config: Config) -> None:
    run, number = Run(config.run), config.num_var
    weights = ROOT / config.model if config.model else run.model(number)
    outputs = [run.probe(number), run.probe(number, "parquet"), run.figure(f"probe_{number}.png")]
    inputs = [run.latents(number), weights, run.train_txt]
    stage = Stage(
        __file__, run, config, inputs=[*inputs, *([run.truth] if run.truth.exists() else [])],
        outputs=outputs,
    )  # fmt: skip
    if stage.nothing_to_do():
        return
    if min(config.galaxies, config.changed, config.views, config.trees, config.batch) < 1:
        raise Problem("galaxies, changed, views, trees and batch must be at least 1")
    material = Material.of(run, number, config.workers)
    truth = read_parquet(run.truth) if run.truth.exists() else None
    asked = material.some("test", config.galaxies, config.seed)
    chosen = material.some("test", config.changed, config.seed)
    if min(len(chosen), len(material.some("train", FEWEST, 0))) < FEWEST:
        raise Problem(f"fewer than {FEWEST} good images in the train or the test split: add images")
    encode = Encoder(config, run, material.packed)
    told, left_out, components = ask(config, material, truth)
    table = in_use(material, asked)
    moved = move(config, material, encode, chosen)
    exposures = observe(config, run, material, encode, chosen, truth)
    if exposures.why:
        left_out["further exposures"] = exposures.why
    active = table.sort_values("latent")["active"].to_numpy(bool)
    if not active.any():
        raise Problem(f"{run.show(weights)} has no active latent: it has learned nothing yet")
    calibrations = {
        kind: calibrate(*of, active, config.draws, config.seed)
        for kind, of in exposures.views.items()
    }
    order = table["latent"].to_numpy()
    for name, (_, latents, _) in told.items():
        table["r2_" + name.replace(" ", "_")] = [latents.single[i].value for i in order]
    for kind, found in calibrations.items():
        table[f"scatter_{kind}"] = found.scatter[order]
        table[f"ratio_{kind}"] = [found.ratio[i].value for i in order]
    moves = relative_moves(moved, material.means[chosen], config.draws, config.seed)
    seen, again = exposures.rows, {AGAIN[kind]: of[0][1] for kind, of in exposures.views.items()}
    if again:
        moves |= relative_moves(again, material.means[seen], config.draws, config.seed)
    content = {
        "dimension": number,
        "components": components,
        "quantities": {name: as_values(*of) for name, of in told.items()},
        "left_out": left_out,
        "latents": table.to_dict("records"),
        "test_images": len(asked),
        "active": int(active.sum()),
        "kl": float(table["kl"].sum()),
        "moves": {
            name: {"n": len(seen) if name in again else len(chosen), **dataclasses.asdict(of)}
            for name, of in moves.items()
        },
        "calibration": {
            kind: calibration_values(of, active, len(seen), config.views + 1)
            for kind, of in calibrations.items()
        },
    }
    write_json(outputs[0], content)
    write_parquet(outputs[1], table)
    draw_probe(content, outputs[2])
    say(content)
    stage.finish(
        active=content["active"], kl=content["kl"],
        **{f"r2_{name}": of["latents"]["value"] for name, of in content["quantities"].items()},
    )  # fmt: skip


def as_values(quantity: Quantity, latents: Told, pca: Told) -> dict[str, Any]:
    """What is told of a quantity, as plain values; single: by latent, in their own order."""
    return {
        "unit": quantity.unit, "source": quantity.source,
        "n_train": latents.n_train, "n_test": latents.n_test,
        "latents": dataclasses.asdict(latents.ridge),
        "forest": dataclasses.asdict(latents.forest) if latents.forest else None,
        "pca": dataclasses.asdict(pca.ridge),
        "single": [dataclasses.asdict(one) for one in latents.single],
    }  # fmt: skip


def calibration_values(
    found: Calibration, active: NDArray[np.bool_], galaxies: int, views: int
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
        best = max(range(number), key=lambda i: of["single"][i]["value"])
        print(
            f"  R^2 of {name} ({of['source']}, {of['n_test']:,} test): {Estimate(**of['latents'])}, "
            f"forest {Estimate(**of['forest'])}, best single latent {best}: "
            f"{Estimate(**of['single'][best])}; PCA {Estimate(**of['pca'])}"
        )
    for name, of in content["moves"].items():
        ratio = Estimate(of["value"], of["low"], of["high"])
        print(f"  moved by {name} ({of['n']:,} galaxies): {ratio} of two galaxies' distance")
    for kind, of in content["calibration"].items():
        print(
            f"  scatter over sigma, {AGAIN[kind]} ({of['n']:,} galaxies, {of['views']} views): "
            f"median {Estimate(**of['median'])}, {of['least']:.2f} to {of['most']:.2f}, "
            f"of a posterior that is right {of['expected']:.2f}; "
            f"within one sigma {Estimate(**of['within'])}, of one that is right 0.68"
        )
    for name, why in content["left_out"].items():
        print(f"  left out: {name}, as {why}")


if __name__ == "__main__":
    start(main, Config, __doc__)
