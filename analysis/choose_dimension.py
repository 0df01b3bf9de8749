"""Choose the number of latent variables: train several models of each and compare them.

All are trained with the constants of the model in model/, from the same data-dependent
initialisation. Where that model started from the weights that travel with the project, these do
without the layers next to the latents, whose weights exist for one number only. The seeds differ in
the initial weights of the networks, the order of the images, the draws from the posterior, and the
choice of the training images if these are a part. Everything is measured on validation images, and
the random forest is trained on training galaxies and scored on validation ones, so that the test
galaxies have no part in the choice.

The rule: the smallest dimension whose mean validation loss lies within one standard error of the
best (the one-standard-error rule of Breiman et al. 1984). It may name the smallest or the largest
dimension; then the range is too short.

By default the range and the training are short, as a stage of `make run`; `make dimensions`
compares 2 to 160 latents, trained like the model itself.

Reads:  train.txt (its packed images), model/vae_40.safetensors (its constants); if they are there,
        result/classes.parquet and matches.parquet for the random forest
Writes: model/dimensions/seed_<seed>/vae_<n>.safetensors, result/dimensions.json and .csv,
        figures/dimensions.png

Example: python analysis/choose_dimension.py --num-var 2 5 10 20 40 80 160 --epochs 15
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from VAE_model import pretrained
from VAE_model.data import galaxy_zoo
from VAE_model.data.packed import Packed
from VAE_model.evaluation import classification as scores
from VAE_model.extraction.extract import extract, extract_means
from VAE_model.pipeline.files import read_parquet, sha256, write_json
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report.figures import INDIGO, new_figure, save_figure
from VAE_model.report.tables import write_csv
from VAE_model.training import checkpoint
from VAE_model.training.device import choose_device
from VAE_model.training.exposure_task import task_of
from VAE_model.training.image_task import Sample, Settings
from VAE_model.training.loop import Files, Trainer
from VAE_model.training.model_file import TrainedVAE


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: tuple[int, ...] = (2, 10, 40, 160)
    """Numbers of latent variables to compare."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Models of each number of latents; two or more, for the standard error."""
    like: int = 40
    """The constants are those of the model in model/ with this number of latent variables."""
    epochs: int = 2
    """Passes over the training images; 0: as the model in model/."""
    learning_rate: float = 3e-3
    """Largest learning rate of Adam; 0: as the model in model/, whose layers next to the latents
    may not have started at random."""
    train_images: int = 600
    """Training images, for each seed the same; 0: all."""
    batch_size: int = 64
    """Images per step; 0: as the model in model/."""
    trees: int = 100
    """Trees of the random forest."""
    min_scored: int = 20
    """Validation galaxies that a question needs for a score."""
    device: str = "auto"
    """`auto`: CUDA if there is a GPU, else the CPU."""
    workers: int = 0
    """Processes that pack the images; 0: one per core."""


MEASURES = {  # column: label in the figure, lower is better
    "validation_loss": ("loss (nats per image)", True),
    "reduced_chi2": ("reduced χ² per pixel", True),
    "ssim": ("SSIM", False),
    "forest": ("balanced accuracy of a forest", False),
    "active": ("active latents", False),
}
RULE = "validation_loss"


def chosen(dimensions: Sequence[int], values: ArrayLike, lower: bool) -> int:
    """Return the smallest dimension within one standard error of the best.

    values: of each dimension and seed, (dimensions, seeds); lower: the smallest mean is the best,
    else the largest. The standard error is that of the best dimension.
    """
    quality = -np.asarray(values, float) if lower else np.asarray(values, float)
    mean = quality.mean(axis=1)
    best = mean.argmax()
    error = quality[best].std(ddof=1) / quality.shape[1] ** 0.5
    return min(n for n, value in zip(dimensions, mean, strict=True) if value >= mean[best] - error)


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
            codes = scores.answer(question, latents, (0,), config.trees)
            confusion = scores.confusion_matrix(question.test_codes, codes, len(question.answers))
            found.append(float(scores.balanced_accuracy(confusion)))
    return {"forest": float(np.mean(found)) if found else None, "questions": len(found)}


def measure(
    config: Config, packed: Packed, labels: pd.DataFrame | None, model: TrainedVAE, batch_size: int
) -> dict[str, Any]:
    """Return reconstruction and forest score of a model on validation images."""
    images = extract(packed, model, batch_size, packed.rows("validation"))
    found = {name: float(images[name].median()) for name in ("reduced_chi2", "ssim")}
    if labels is None:
        return found | {"forest": None, "questions": 0}
    rows = np.flatnonzero(
        packed.index["split"].isin(("train", "validation")) & labels.notna().any(axis=1)
    )
    latents = extract_means(packed, model, batch_size, rows)
    split = packed.index["split"].to_numpy()[rows]
    return found | forest_score(labels.iloc[rows], latents, split, config)


def summary(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return mean and standard error over the seeds of each measure, one record per dimension.

    table: one row per model.
    """
    records = []
    for num_var, models in table.groupby("num_var"):
        record: dict[str, Any] = {"num_var": int(str(num_var)), "seeds": len(models)}
        for name in MEASURES:
            values = models[name].astype(float)
            known = bool(values.notna().all())
            record[name] = float(values.mean()) if known else None
            record[f"{name}_error"] = float(values.sem()) if known else None
        records.append(record | {"questions": int(models["questions"].min())})
    return records


def choices(table: pd.DataFrame) -> dict[str, int]:
    """Return the dimension that the rule chooses by each measure. table: one row per model."""
    found = {}
    for name in ("validation_loss", "reduced_chi2", "ssim", "forest"):
        values = table.pivot(index="num_var", columns="seed", values=name).astype(float)
        if values.notna().all(axis=None):
            dimensions = [int(n) for n in values.index]
            found[name] = chosen(dimensions, values.to_numpy(), MEASURES[name][1])
    return found


def draw(records: list[dict[str, Any]], choice: dict[str, int], path: Path) -> None:
    """Draw mean and standard error of each measure against the number of latents."""
    table = pd.DataFrame(records)
    panels = [name for name in MEASURES if table[name].notna().all()]
    rows = -(-len(panels) // 3)
    figure = new_figure(10, 3.1 * rows + 0.4, layout="constrained")
    figure.suptitle(
        "Chosen: the smallest number within one standard error of the best", fontsize=11
    )
    places = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.axis("off")
    for axes, name in zip(places, panels, strict=False):
        label, lower = MEASURES[name]
        axes.errorbar(table["num_var"], table[name], table[f"{name}_error"], fmt="o-",
                      color=INDIGO, capsize=3)  # fmt: skip
        if name in choice:
            axes.axvline(choice[name], linestyle=":", color="0.5")
            axes.set_title(f"{'lower' if lower else 'higher'} is better; chosen: {choice[name]}",
                           fontsize=10, fontweight="normal")  # fmt: skip
        axes.set(xscale="log", xlabel="latent variables", ylabel=label)
        axes.set_xticks(table["num_var"], [str(n) for n in table["num_var"]])
        axes.minorticks_off()
    places[0].yaxis.set_major_formatter("{x:,.10g}")
    save_figure(figure, path)


def verdict(choice: int, dimensions: Sequence[int]) -> str:
    """Return the sentence that says what the rule chose, and whether the range is too short."""
    end = {min(dimensions): "smallest", max(dimensions): "largest"}.get(choice)
    found = (
        f"{choice} latent variables: the smallest number within one standard error of the lowest "
        "loss on validation images."
    )
    return found + (f" It is the {end} of the range, which should be extended." if end else "")


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    tables = [path for path in (run.classes, run.matches) if path.exists()]
    dimensions, seeds = sorted(set(config.num_var)), sorted(set(config.seeds))
    outputs = [run.dimensions(), run.dimensions("csv"), run.figure("dimensions.png")]
    outputs += [run.dimension_model(number, seed) for seed in seeds for number in dimensions]
    inputs = [run.train_txt, run.model(config.like), *tables, pretrained.WEIGHTS]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    if len(dimensions) < 2 or dimensions[0] < 1:
        raise Problem(f"num_var = {config.num_var}: give two or more different dimensions")
    if len(seeds) < 2:
        raise Problem(f"seeds = {config.seeds}: give two or more, for the standard error")
    base = checkpoint.load(run.model(config.like))["config"]
    try:
        like = Settings(**{**base, "softening": tuple(base["softening"])})
    except (TypeError, KeyError):
        again = f"run {run.remade_by(run.model(config.like))}"
        what = f"{run.show(run.model(config.like))} was trained by another version"
        raise Problem(f"{what}: {again}") from None
    like = dataclasses.replace(
        like, epochs=config.epochs or like.epochs, train_images=config.train_images,
        batch_size=config.batch_size or like.batch_size,
        learning_rate=config.learning_rate or like.learning_rate,
        start="trunk" if like.start == pretrained.NAME else like.start,
    )  # fmt: skip
    packed = Packed.of(run, config.workers)
    labels, device = read_labels(run, packed), choose_device(config.device)
    data = f"{sha256(run.train_txt)} {stage.code}"
    sample: Sample | None = None
    measured: list[dict[str, Any]] = []
    for seed in seeds:
        for num_var in reversed(dimensions):
            settings = dataclasses.replace(like, num_var=num_var, seed=seed)
            best = run.dimension_model(num_var, seed)
            task = task_of(packed, data, settings, device, sample)
            record = Trainer(task, Files.of(best)).run(f"{num_var} latents, seed {seed}")
            sample = task.sample
            model = TrainedVAE.load(best, num_var, config.device)
            named = {"num_var": num_var, "seed": seed}
            named |= {name: record[name] for name in ("validation_loss", "active")}
            measured.append(named | measure(config, packed, labels, model, settings.batch_size))
            print(
                "  " + ", ".join(f"{k} {v:.4g}" for k, v in measured[-1].items() if v is not None)
            )
    table = pd.DataFrame(measured)
    records, choice = summary(table), choices(table)
    said = verdict(choice[RULE], dimensions)
    write_json(run.dimensions(), {"dimensions": records, "choice": choice, "verdict": said})
    write_csv(run.dimensions("csv"), measured)
    draw(records, choice, run.figure("dimensions.png"))
    print(f"  {said}")
    stage.finish(choice=choice)


if __name__ == "__main__":
    start(main, Config, __doc__)
