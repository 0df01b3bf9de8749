"""Choose the number of latent variables: train several alike and compare them on held-out images.

Each is trained with the constants of the model in model/, but more briefly and on fewer images: the
differences count, not the values. Everything is measured on validation images, and the random
forest is trained on training galaxies and scored on validation ones, so that the test galaxies have
no part in the choice.

Reads:  train.txt (its packed images), model/vae_40.safetensors (its constants); if they are there,
        result/classes.parquet and matches.parquet for the random forest
Writes: model/dimensions/vae_<n>.safetensors, result/dimensions.json and .csv,
        figures/dimensions.png

Example: python analysis/choose_dimension.py --num-var 5 10 20 40 80
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from VAE_model.data import galaxy_zoo
from VAE_model.data.packed import Packed
from VAE_model.evaluation import classification as scores
from VAE_model.extraction.extract import extract, extract_means
from VAE_model.pipeline.files import read_parquet, sha256, write_json
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report.figures import new_figure, save_figure
from VAE_model.report.tables import write_csv
from VAE_model.training import checkpoint
from VAE_model.training.device import choose_device
from VAE_model.training.loop import Files, ImageTask, Settings, Trainer
from VAE_model.training.model_file import TrainedVAE


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: tuple[int, ...] = (5, 10, 20, 40)
    """Numbers of latent variables to compare."""
    like: int = 40
    """The constants are those of the model in model/ with this number of latent variables."""
    epochs: int = 2
    """Passes over the training images."""
    train_images: int = 600
    """Training images, the same for every number of latents; 0: all."""
    batch_size: int = 64
    """Images per step; 0: as the model in model/."""
    trees: int = 200
    """Trees of the random forest."""
    min_scored: int = 20
    """Validation galaxies that a question needs for a score."""
    device: str = "auto"
    """`auto`: CUDA if there is a GPU, else the CPU."""
    workers: int = 0
    """Processes that pack the images; 0: one per core."""


def knee(dimensions: ArrayLike, quality: ArrayLike) -> int:
    """Return the dimension beyond which more latents improve little (Kneedle, Satopaa et al. 2011).

    Of the points (log dimension, quality), both scaled to 0..1, it is the one farthest above the
    straight line from the first to the last. quality: larger is better. With fewer than three
    dimensions, or none above the line, it is the best one.
    """
    x, y = np.log(np.asarray(dimensions, float)), np.asarray(quality, float)
    if len(x) < 3 or np.ptp(y) == 0:
        return int(np.asarray(dimensions)[y.argmax()])
    above = (y - y[0]) / (y[-1] - y[0] or 1) - (x - x[0]) / (x[-1] - x[0])
    best = above.argmax() if y[-1] > y[0] and above.max() > 1e-6 else y.argmax()
    return int(np.asarray(dimensions)[best])


def read_labels(run: Run, packed: Packed) -> pd.DataFrame | None:
    """Return the seven answers of each packed image, in their order; None without matches."""
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
    """Return the mean balanced accuracy of the questions with enough galaxies, and their number."""
    found, options = [], ("validation", 3, config.min_scored)
    for name, answers in galaxy_zoo.questions().items():
        column = labels[galaxy_zoo.answer_column(name)]
        question = scores.set_question(name, list(answers), column, split, *options)
        if not question.too_few:
            codes = scores.answer(question, latents, (0, 1), config.trees)
            confusion = scores.confusion_matrix(question.test_codes, codes, len(question.answers))
            found.append(float(scores.balanced_accuracy(confusion)))
    return {"forest": float(np.mean(found)) if found else None, "questions": len(found)}


def draw(table: pd.DataFrame, chosen: int, path: Path) -> None:
    """Draw the measures against the number of latents, with the knee."""
    panels = [
        ("validation_loss", "−ELBO (nats per image)", "lower is better"),
        ("reduced_chi2", "reduced χ² per pixel", "lower is better"),
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
    """Run the stage."""
    run = Run(config.run)
    tables = [path for path in (run.classes, run.matches) if path.exists()]
    outputs = [run.dimensions(), run.dimensions("csv"), run.figure("dimensions.png")]
    outputs += [run.dimension_model(number) for number in config.num_var]
    inputs = [run.train_txt, run.model(config.like), *tables]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    if len(set(config.num_var)) < 2 or min(config.num_var) < 1:
        raise Problem(f"num_var = {config.num_var}: give two or more different dimensions")
    base = checkpoint.load(run.model(config.like))["config"]
    try:
        like = Settings(**{**base, "softening": tuple(base["softening"])})
    except (TypeError, KeyError):
        again = f"run {run.remade_by(run.model(config.like))}"
        what = f"{run.show(run.model(config.like))} was trained by another version"
        raise Problem(f"{what}: {again}") from None
    packed = Packed.of(run, config.workers)
    labels = read_labels(run, packed)
    device = choose_device(config.device)
    measured: list[dict[str, Any]] = []
    for num_var in sorted(set(config.num_var)):
        settings = dataclasses.replace(
            like, num_var=num_var, epochs=config.epochs, train_images=config.train_images,
            batch_size=config.batch_size or like.batch_size,
        )  # fmt: skip
        best = run.dimension_model(num_var)
        task = ImageTask(packed, f"{sha256(run.train_txt)} {stage.code}", settings, device)
        record = Trainer(task, Files.of(best)).run(f"{num_var} latents")
        model = TrainedVAE.load(best, num_var, config.device)
        images = extract(packed, model, settings.batch_size, packed.rows("validation"))
        measure = {
            "num_var": num_var, "validation_loss": record["validation_loss"],
            "active": record["active"], "reduced_chi2": float(images["reduced_chi2"].median()),
            "ssim": float(images["ssim"].median()), "forest": None, "questions": 0,
        }  # fmt: skip
        if labels is not None:
            rows = np.flatnonzero(
                packed.index["split"].isin(("train", "validation")) & labels.notna().any(axis=1)
            )
            latents = extract_means(packed, model, settings.batch_size, rows)
            split = packed.index["split"].to_numpy()[rows]
            measure |= forest_score(labels.iloc[rows], latents, split, config)
        print("  " + ", ".join(f"{k} {v:.4g}" for k, v in measure.items() if v is not None))
        measured.append(measure)
    table = pd.DataFrame(measured)
    chosen = knee(table["num_var"], -table["validation_loss"])
    found = {"num_var": chosen, "of": "−ELBO of validation images against log dimension"}
    write_json(run.dimensions(), {"dimensions": measured, "knee": found})
    write_csv(run.dimensions("csv"), measured)
    draw(table, chosen, run.figure("dimensions.png"))
    print(f"  knee of the -ELBO: {chosen} latent variables")
    stage.finish(knee=chosen)


if __name__ == "__main__":
    start(main, Config, __doc__)
