"""A model of the demo on another simulated sky, beside a model that was trained there.

Both encode the same images. Reported are, on the test galaxies of the new sky with 95 % intervals
of resampled galaxies: the share of the variance of one model's latents that ridge regression,
fitted on the training galaxies, predicts from the other's, with as many principal components of the
pixels as the control; the overlap of the nearest neighbours; the mean score of the seven questions.

Reads:  the demo's model (make run)
Writes: data/other_sky/own/ and data/other_sky/demo/ (one run per model)

Example: python benchmarks/experiments/other_sky.py --galaxies 1200
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from VAE_model.data.packed import Packed
from VAE_model.evaluation.bootstrap import Estimate, bootstrap
from VAE_model.evaluation.pca import pixel_components
from VAE_model.evaluation.similarity import nearest
from VAE_model.extraction.latent_table import in_scatters, read_means
from VAE_model.pipeline import stages
from VAE_model.pipeline.files import read_json
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import start
from VAE_model.preparation.stretch import Stretch

NEIGHBOURS = 10


@dataclass(frozen=True)
class Config:
    """Constants of the experiment."""

    run: Path = Path("data/demo")
    """Run whose model is tested."""
    folder: Path = Path("data/other_sky")
    """Folder of the two runs."""
    galaxies: int = 1200
    """Galaxies of the new sky."""
    seed: int = 2
    """Seed of the new sky; that of the demo is 1."""
    num_var: int = 40
    """Number of latent variables."""


def do(script: str, run: Run, *options: str) -> None:
    """Run a stage."""
    command = [sys.executable, script, "--run", str(run.folder), *options]
    print("python", script, *options, flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def predicted(
    x: NDArray, y: NDArray, train: NDArray[np.bool_], test: NDArray[np.bool_]
) -> Estimate:
    """Return the share of the variance of y (N, d) on test galaxies that ridge predicts from x."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    left = np.square(model.fit(x[train], y[train]).predict(x[test]) - y[test]).sum(axis=1)
    whole = np.square(y[test] - y[train].mean(axis=0)).sum(axis=1)
    drawn = bootstrap(lambda w: 1 - (w @ left) / (w @ whole), int(test.sum()), 1000, 0)
    return Estimate.of(drawn)


def neighbours(latents: NDArray[np.float32]) -> list[set[int]]:
    """Return the nearest galaxies of each, without itself."""
    rows, _ = nearest(latents, latents, NEIGHBOURS + 1)
    return [set(of[1:].tolist()) for of in rows]


def main(config: Config) -> None:
    """Make both runs, and print the agreement of their latents."""
    n, demo = config.num_var, Run(config.run)
    own, there = Run(config.folder / "own"), Run(config.folder / "demo")
    chain = [entry.script for entry in stages.needed("take", "classify")]
    for script in chain:
        sky = ("--galaxies", str(config.galaxies), "--overlap", "0", "--seed", str(config.seed))
        do(script, own, *(sky if script == "data/simulate.py" else ()))
    there.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(own.catalogue, there.catalogue)
    for script in chain[1:]:
        if script == "Galaxy_VAE_n.py":
            continue
        options = {
            "make_datatxt.py": ("--folders", str(own.images())),
            "analysis/extract_latents.py": ("--model", str(demo.model(n))),
        }
        do(script, there, *options.get(script, ()))
    tables = [read_means(run, run.latents(n), n, ("survey",)) for run in (own, there)]
    (table, a), (other, b) = tables
    train, test = ((table["split"] == side).to_numpy() for side in ("train", "test"))
    assert [Path(p).name for p in table["path"]] == [Path(p).name for p in other["path"]]
    packed = Packed.of(own)
    pca = pixel_components(
        packed.images, packed.rows("train"), np.arange(len(a)), n, 64, 20_000, 0,
        Stretch.of(packed.index["display"]),
    )  # fmt: skip
    print(f"{int(test.sum()):,} test galaxies of {len(a):,}")
    for words, x, y in (
        ("own latents from the demo's", b, a), ("own latents from PCA", pca, a),
        ("the demo's latents from own", a, b), ("the demo's latents from PCA", pca, b),
    ):  # fmt: skip
        print(f"  R2 of {words}: {predicted(x, y, train, test)}")
    first, second, pixels = (
        neighbours(np.asarray(x[test], np.float32))
        for x in (in_scatters(table, a), in_scatters(other, b), pca)
    )
    for words, of in (("the demo's model", second), ("PCA", pixels)):
        shares = [len(f & s) / NEIGHBOURS for f, s in zip(first, of, strict=True)]
        drawn = bootstrap(lambda w, s=shares: (w @ s) / w.sum(axis=1), len(shares), 1000, 0)
        print(f"  shared of {NEIGHBOURS} neighbours, own model and {words}: {Estimate.of(drawn)}")
    for words, run in (("own model", own), ("the demo's model", there)):
        mean = Estimate.read(read_json(run.classification(n))["mean"]["latents"])
        print(f"  mean of the questions, {words}: {mean}")


if __name__ == "__main__":
    start(main, Config, __doc__)
