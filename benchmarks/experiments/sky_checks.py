"""Check that the simulated sky shows no trace of how it is drawn.

Prints how well the structure numbers of the default network tell spirals at neighbouring steps of
inclination apart (AUC of logistic regression on their principal components, cross-validated), the
largest gap in the parameters of each answer, and the galaxies with each answer to the seven
questions. Writes histograms of the parameters and one galaxy at nine inclinations.

Example: python benchmarks/experiments/sky_checks.py --per-step 150
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import tyro
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from VAE_model.data.galaxy_zoo import questions
from VAE_model.models import StructureBaseline
from VAE_model.preparation.stretch import Stretch
from VAE_model.report.figures import new_figure, save_figure, show_image, thumbnail
from VAE_model.simulation import Purpose, random_stream
from VAE_model.simulation.camera import observe
from VAE_model.simulation.conditions import draw_conditions
from VAE_model.simulation.drawing import draw_scene
from VAE_model.simulation.population import Galaxy, draw_galaxy, projected_axis_ratio
from VAE_model.simulation.votes import apparent_axis_ratio, vote_fractions
from VAE_model.surveys import DECALS

WIDE = ((70, 74), (74, 78), (78, 82))
NARROW = ((74, 76), (76, 78), (78, 80), (80, 82))
SHOWN = (0, 30, 60, 70, 76, 78, 80, 85, 90)


@dataclass(frozen=True)
class Config:
    """Constants of the check."""

    seed: int = 21
    """Seed of the random numbers; a development seed."""
    per_step: int = 150
    """Galaxies in each step of inclination."""
    draws: int = 5000
    """Galaxies whose parameters are drawn."""
    figures: Path = Path("data/sky_checks")
    """Folder of the figures."""


def at(galaxy: Galaxy, inclination: float) -> Galaxy:
    """Return a disc galaxy seen at another inclination, degrees."""
    ratio = projected_axis_ratio(galaxy.thickness, inclination)
    return replace(galaxy, inclination=inclination, axis_ratio=ratio)


def spirals(seed: int) -> Iterator[tuple[int, Galaxy]]:
    """Yield undisturbed spirals of a sky with their indices."""
    for index in itertools.count():
        galaxy = draw_galaxy(random_stream(seed, index, Purpose.POPULATION))
        if galaxy.kind == "spiral" and galaxy.companion is None and galaxy.disturbance < 0.2:
            yield index, galaxy


def image_of(galaxy: Galaxy, seed: int, index: int) -> NDArray[np.float32]:
    """Return the DECaLS image of a galaxy without its field, nanomaggies."""
    scene = draw_scene(galaxy, random_stream(seed, index, Purpose.DRAWING))
    rng = random_stream(seed, index, DECALS.stream)
    return observe(scene.fourier(), DECALS, draw_conditions(DECALS, rng), rng)


def structure(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the structure vectors (N, features) of images (N, 3, 256, 256)."""
    network = StructureBaseline(40)
    with torch.no_grad():
        prepared, _ = network.prepare(Stretch()(torch.from_numpy(images)))
    return prepared[:, network.PIXELS :].numpy()


def separability(one: NDArray, other: NDArray) -> float:
    """Return the cross-validated AUC of logistic regression between two sets of vectors."""
    features = np.concatenate([one, other])
    features = np.sign(features) * np.log1p(np.abs(features) / features.std(axis=0).clip(1e-6))
    which = np.repeat([0, 1], [len(one), len(other)])
    model = make_pipeline(
        StandardScaler(), PCA(30, random_state=0), LogisticRegression(C=0.1, max_iter=2000)
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    chance = cross_val_predict(model, features, which, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(which, chance))


def neighbouring_steps(
    seed: int, per_step: int, steps: tuple[tuple[int, int], ...]
) -> dict[str, float]:
    """Return the AUC of each step of inclination against the next."""
    source, found = spirals(seed), []
    for low, high in steps:
        vectors = []
        for start in tqdm(range(0, per_step, 25), desc=f"{low} to {high} degrees"):
            images = []
            for _ in range(min(25, per_step - start)):
                index, galaxy = next(source)
                tilt = random_stream(seed, index, Purpose.REPEATS).uniform(low, high)
                images.append(image_of(at(galaxy, float(tilt)), seed, index))
            vectors.append(structure(np.stack(images)))
        found.append(np.concatenate(vectors))
    names = [f"{low}-{high}" for low, high in steps]
    return {
        f"{names[k]} / {names[k + 1]}": separability(found[k], found[k + 1])
        for k in range(len(steps) - 1)
    }


def parameters(seed: int, draws: int) -> dict[str, NDArray[np.float64]]:
    """Return the parameters that answers depend on, of the galaxies to which they apply."""
    galaxies = [draw_galaxy(random_stream(seed, i, Purpose.POPULATION)) for i in range(draws)]
    seen = [draw_conditions(DECALS, random_stream(seed, i, DECALS.stream)) for i in range(draws)]
    smooth = [g.kind in ("spheroid", "lenticular") for g in galaxies]
    disc = [g.kind != "spheroid" for g in galaxies]
    spiral = [g.kind == "spiral" for g in galaxies]

    def of(values: list[float], chosen: list[bool]) -> NDArray[np.float64]:
        return np.array(values)[np.array(chosen)]

    apparent = [apparent_axis_ratio(g, s) for g, s in zip(galaxies, seen, strict=True)]
    return {
        "axis ratio, smooth": of([g.axis_ratio for g in galaxies], smooth),
        "axis ratio after seeing": np.array(apparent),
        "inclination of discs": of([g.inclination for g in galaxies], disc),
        "bar strength": of([g.bar_strength for g in galaxies], spiral),
        "arm strength": of([g.arm_strength for g in galaxies], spiral),
        "pitch angle": of([g.pitch for g in galaxies], spiral),
        "log bulge fraction": of([np.log10(g.bulge_fraction) for g in galaxies], disc),
        "disturbance": np.array([g.disturbance for g in galaxies]),
        "dust": of([np.log10(max(g.dust, 1e-3)) for g in galaxies], disc),
    }


def largest_gap(values: NDArray[np.float64]) -> float:
    """Return the largest gap between neighbours, of the central 98 %, over the range of these."""
    ordered = np.sort(values)
    ordered = ordered[len(ordered) // 100 : -(len(ordered) // 100)]
    return float(np.diff(ordered).max() / (ordered[-1] - ordered[0]))


def votes(seed: int, galaxies: int) -> pd.DataFrame:
    """Return the vote fractions of the galaxies of a sky, one row each, without defects."""
    rows = []
    for index in range(galaxies):
        galaxy = draw_galaxy(random_stream(seed, index, Purpose.POPULATION))
        conditions = draw_conditions(DECALS, random_stream(seed, index, DECALS.stream))
        voters = random_stream(seed, index, Purpose.VOTES)
        rows.append(vote_fractions(galaxy, conditions, "", voters))
    return pd.DataFrame(rows)


def counts(seed: int, galaxies: int = 2000) -> dict[str, dict[str, int]]:
    """Return the number of galaxies with each answer to the seven questions."""
    table = votes(seed, galaxies)
    return {
        question: {answer: int(cut.select(table).sum()) for answer, cut in cuts.items()}
        for question, cuts in questions().items()
    }


def draw_histograms(found: dict[str, NDArray[np.float64]], path: Path) -> None:
    """Draw a histogram of each parameter."""
    figure = new_figure(11, 7.5, layout="constrained")
    for axes, (name, values) in zip(figure.subplots(3, 3).flat, found.items(), strict=True):
        axes.hist(values, bins=80)
        axes.set_xlabel(name)
    save_figure(figure, path, dpi=110)


def draw_inclinations(seed: int, path: Path, rows: int = 6) -> None:
    """Draw bright spirals at nine inclinations, one row each."""
    source = spirals(seed)
    chosen: list[tuple[int, Galaxy]] = []
    while len(chosen) < rows:
        index, galaxy = next(source)
        if galaxy.mag_r < 15.3 and 6 < galaxy.half_light_radius < 10:
            chosen.append((index, replace(galaxy, position_angle=110.0)))
    figure = new_figure(1.5 * len(SHOWN), 1.6 * rows, layout="constrained")
    for row, (index, galaxy) in zip(figure.subplots(rows, len(SHOWN)), chosen, strict=True):
        for axes, inclination in zip(row, SHOWN, strict=True):
            image = image_of(at(galaxy, float(inclination)), seed, index)
            show_image(axes, thumbnail(image, 150))
            axes.set_title(f"{inclination}°", fontsize=8, loc="center", pad=2)
    save_figure(figure, path, dpi=120)


def main(config: Config) -> None:
    """Print the checks and write the figures."""
    config.figures.mkdir(parents=True, exist_ok=True)
    found = parameters(config.seed, config.draws)
    for name, values in found.items():
        print(f"{name}: largest gap {largest_gap(values):.4f} of the range, n = {len(values)}")
    draw_histograms(found, config.figures / "parameters.png")
    draw_inclinations(config.seed, config.figures / "inclinations.png")
    for question, answers in counts(config.seed).items():
        print(f"{question}: {answers}")
    for steps in (WIDE, NARROW):
        for name, auc in neighbouring_steps(config.seed, config.per_step, steps).items():
            print(f"AUC {name} degrees: {auc:.3f}, n = {config.per_step} each")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Config, description=__doc__))
