"""How many latent variables? Train a list of dimensions alike and compare them on held-out images.

Each dimension is trained with the constants of the model in model/, but more briefly and on fewer
images: the differences count, not the values. Everything is measured on validation images, and
the forest is trained on training galaxies and scored on validation ones, so that the test
galaxies have no part in the choice.

Reads:  train.txt (its packed images), model/vae_40.pt (its constants); where they are there,
        result/classes.parquet and matches.parquet for the forest
Writes: model/dimensions/vae_<n>.pt, result/dimensions.json and .csv, figures/dimensions.png

Example: python analysis/choose_dimension.py --num-var 5 10 20 40 80
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from VAE_model import galaxy_zoo, scores
from VAE_model.evaluation.reconstruction import quality
from VAE_model.figures import new_figure, save_figure
from VAE_model.files import atomic, read_parquet, sha256, write_json
from VAE_model.packed import Packed
from VAE_model.paths import Run
from VAE_model.preparation.prepared_inputs import Prepared
from VAE_model.stage import Problem, Stage, start
from VAE_model.training import checkpoint
from VAE_model.training.device import choose_device
from VAE_model.training.image_training import Files, Recipe, Trainer
from VAE_model.training.loader import batches
from VAE_model.training.model_file import TrainedVAE


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: tuple[int, ...] = (5, 10, 20, 40)
    """Numbers of latent variables to compare."""
    like: int = 40
    """The constants are those of the model in model/ with this number of latent variables."""
    epochs: int = 2
    """Passes over the training images."""
    train_images: int = 600
    """Training images, the same for all dimensions; 0: all."""
    batch: int = 64
    """Images in a step; 0: as the model in model/."""
    trees: int = 200
    """Trees of a forest."""
    min_scored: int = 20
    """Validation galaxies that a question needs for a score."""
    device: str = "auto"
    """`auto`: CUDA when there is one, else the CPU."""
    workers: int = 0
    """Processes that pack the images; 0: one a core."""


def knee(dimensions: ArrayLike, quality: ArrayLike) -> int:
    """The dimension at which more latents stop paying (Satopaa et al. 2011, Kneedle).

    Of the points (log dimension, quality), both scaled to 0..1, the one farthest above the
    straight line from the first to the last. quality: larger is better. With fewer than three
    dimensions, or none above the line, the best one.
    """
    x, y = np.log(np.asarray(dimensions, float)), np.asarray(quality, float)
    if len(x) < 3 or np.ptp(y) == 0:
        return int(np.asarray(dimensions)[y.argmax()])
    above = (y - y[0]) / (y[-1] - y[0] or 1) - (x - x[0]) / (x[-1] - x[0])
    best = above.argmax() if y[-1] > y[0] and above.max() > 1e-6 else y.argmax()
    return int(np.asarray(dimensions)[best])


def reconstruction(packed: Packed, model: TrainedVAE, batch: int) -> dict[str, float]:
    """Median over validation images of the mean squared error (sky variances) and of SSIM."""
    noise = packed.noise
    errors, likenesses = [], []
    for rows, flux in batches(packed.images, packed.rows("validation"), batch, model.device):
        _, _, sky = model.reconstruct(flux)
        error, likeness = quality(sky, flux, torch.from_numpy(noise[rows]))
        errors.append(error.cpu().numpy())
        likenesses.append(likeness.cpu().numpy())
    return {
        "mse": float(np.median(np.concatenate(errors))),
        "ssim": float(np.median(np.concatenate(likenesses))),
    }


def encode(packed: Packed, model: TrainedVAE, rows: NDArray[np.int64], batch: int) -> NDArray:
    """Means of the posterior of the given rows, (len(rows), latents)."""
    prepared = Prepared(packed, model.network, model.stretch, model.device)
    parts = prepared.batches(rows, batch)
    return np.concatenate([model.encode_inputs(inputs)[0].cpu().numpy() for _, inputs, _ in parts])


def read_labels(run: Run, packed: Packed) -> pd.DataFrame | None:
    """The seven answers of each packed image, in their order; None where there are no matches."""
    if not run.classes.exists() or not run.matches.exists():
        return None
    columns = [galaxy_zoo.answer_column(name) for name in galaxy_zoo.questions()]
    classes = read_parquet(run.classes, columns)
    matches = read_parquet(run.matches, ["class_row", "path"])
    labels = classes.iloc[matches["class_row"]].set_axis(matches["path"], axis=0)
    return labels.reindex(packed.index["path"]).reset_index(drop=True)


def forest_score(
    labels: pd.DataFrame, latents: NDArray, split: ArrayLike, config: Config
) -> dict[str, Any]:
    """Balanced accuracy, averaged over the questions with galaxies enough, and their number."""
    found = []
    for name, answers in galaxy_zoo.questions().items():
        column = labels[galaxy_zoo.answer_column(name)]
        question = scores.set_question(
            name, list(answers), column, split, "validation", 3, config.min_scored
        )
        if not question.too_few:
            codes = scores.answer(question, latents, (0, 1), config.trees)
            confusion = scores.confusion_matrix(question.test_codes, codes, len(question.answers))
            found.append(float(scores.balanced_accuracy(confusion)))
    return {"forest": float(np.mean(found)) if found else None, "questions": len(found)}


def draw(table: pd.DataFrame, chosen: int, path: Path) -> None:
    """The five measures against the dimension, the knee marked."""
    panels = [
        ("validation_loss", "−ELBO (nats an image)", "lower is better"),
        ("mse", "squared error (sky variances)", "lower is better"),
        ("ssim", "SSIM", "higher is better"),
        ("forest", "balanced accuracy of a forest", "higher is better"),
        ("active", "active latents", "latents that vary from image to image"),
    ]
    panels = [panel for panel in panels if table[panel[0]].notna().any()]
    rows = -(-len(panels) // 3)
    figure = new_figure(10, 3.1 * rows, layout="constrained")
    places = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.axis("off")
    for axes, (column, label, note) in zip(places, panels, strict=False):
        axes.plot(table["num_var"], table[column], "o-")
        axes.axvline(chosen, linestyle=":", color="0.5", label=f"knee: {chosen}")
        axes.set(xscale="log", xlabel="latent variables", ylabel=label)
        axes.set_title(note, fontsize=10, fontweight="normal")
        axes.set_xticks(table["num_var"], [str(n) for n in table["num_var"]])
        axes.minorticks_off()
    places[0].yaxis.set_major_formatter("{x:,.10g}")
    places[0].legend()
    save_figure(figure, path)


def main(config: Config) -> None:
    run = Run(config.run)
    tables = [path for path in (run.classes, run.matches) if path.exists()]
    outputs = [run.dimensions(), run.dimensions("csv"), run.figure("dimensions.png")]
    stage = Stage(
        __file__,
        run,
        config,
        inputs=[run.train_txt, run.model(config.like), *tables],
        outputs=[*outputs, *(run.dimension_model(n) for n in config.num_var)],
    )
    if stage.nothing_to_do():
        return
    if len(set(config.num_var)) < 2 or min(config.num_var) < 1:
        raise Problem(f"num_var = {config.num_var}: give two or more different dimensions")
    base = checkpoint.load(run.model(config.like))["config"]
    try:
        like = Recipe(**{**base, "softening": tuple(base["softening"])})
    except (TypeError, KeyError):
        raise Problem(
            f"{run.show(run.model(config.like))} was trained by another version: train it anew"
        ) from None
    packed = Packed.of(run, config.workers)
    labels = read_labels(run, packed)
    device = choose_device(config.device)
    measured = []
    for num_var in sorted(set(config.num_var)):
        recipe = dataclasses.replace(
            like,
            num_var=num_var,
            epochs=config.epochs,
            train_images=config.train_images,
            batch=config.batch or like.batch,
        )
        best = run.dimension_model(num_var)
        files = Files(
            best,
            best.with_name(f"{best.stem}_last.pt"),
            best.with_name(f"{best.stem}_log.jsonl"),
        )
        record = Trainer(packed, sha256(run.train_txt), recipe, files, device).run(
            f"{num_var} latents"
        )
        model = TrainedVAE.load(best, num_var, config.device)
        measure = {"num_var": num_var, "validation_loss": record["validation_loss"]}
        measure |= {"active": record["active"], **reconstruction(packed, model, recipe.batch)}
        measure |= {"forest": None, "questions": 0}
        if labels is not None:
            rows = np.flatnonzero(
                packed.index["split"].isin(("train", "validation")) & labels.notna().any(axis=1)
            )
            latents = encode(packed, model, rows, recipe.batch)
            split = packed.index["split"].to_numpy()[rows]
            measure |= forest_score(labels.iloc[rows], latents, split, config)
        print("  " + ", ".join(f"{k} {v:.4g}" for k, v in measure.items() if v is not None))
        measured.append(measure)
    table = pd.DataFrame(measured)
    chosen = knee(table["num_var"], -table["validation_loss"])
    found = {"num_var": chosen, "of": "−ELBO of validation images against log dimension"}
    write_json(run.dimensions(), {"dimensions": measured, "knee": found})
    with atomic(run.dimensions("csv")) as temporary:
        table.to_csv(temporary, index=False)
    draw(table, chosen, run.figure("dimensions.png"))
    print(f"  knee of the -ELBO: {chosen} latent variables")
    stage.finish(knee=chosen)


if __name__ == "__main__":
    start(main, Config, __doc__)
