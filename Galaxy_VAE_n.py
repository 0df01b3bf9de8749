"""Train the variational auto-encoder, for one or several numbers of latent variables.

The same command resumes an interrupted run, which ends with the same weights as an undisturbed one.
The best model is the best on validation images.

Reads:  train.txt and the images it lists (packed once into packed/), labels.parquet if that gives
        a split: images of its test split are never trained on; the exposures of
        data/simulate_exposures.py, if there are some
Writes: model/vae_40.safetensors (best on validation), vae_40_last.safetensors (to resume),
        vae_40_log.jsonl

Example: python Galaxy_VAE_n.py --num-var 40
         torchrun --nproc-per-node 8 -- Galaxy_VAE_n.py --num-var 40 (docs/SCALE.md)
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from VAE_model import models, pretrained
from VAE_model.data.packed import Packed
from VAE_model.pipeline.files import sha256
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.stretch import Stretch
from VAE_model.tables.labels import split_source
from VAE_model.training import distributed
from VAE_model.training.device import Precision, choose_device
from VAE_model.training.exposure_task import task_of
from VAE_model.training.image_task import Settings, Start
from VAE_model.training.loop import Files, Trainer
from VAE_model.training.losses import LossKind


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: tuple[int, ...] = (40,)
    """Numbers of latent variables; a model is trained for each."""
    network: str = "residual"
    """A name in VAE_model.models.NETWORKS. `residual`: convolutions on each galaxy in its own
    frame, and its structure vector; `structure`: averages of that vector, a baseline that does not
    learn; `published`: Xu et al. 2023."""
    start: Start = "pretrained"
    """`pretrained`: the weights in VAE_model/weights, which exist for `residual`; `trunk`: the
    same, but the layers next to the latents are random; `random`: all are."""
    contaminants: models.Contaminants = "masked"
    """`masked`: the light of other sources is removed (VAE_model/preparation/segmentation.py), but
    not by the published network; `kept`: it stays."""
    stretch: Literal["auto", "asinh", "linear", "display"] = "auto"
    """`linear`: nanomaggies, as published; `asinh`: arcsinh(flux / noise of the survey);
    `display`: brightness of 8-bit images; `auto`: asinh for flux, display for 8-bit images."""
    loss: LossKind = "gaussian"
    """`published`: sum of squares + KL; `gaussian`: its sigma is learned."""
    kl_weight: float = 1.0
    """Weight of the KL term beside the reconstruction term."""
    epochs: int = 5
    """Passes over the training images."""
    batch_size: int = 64
    """Images per step."""
    learning_rate: float = 3e-4
    """Largest learning rate of Adam."""
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    """Learning rate as a function of the step; the published one is constant."""
    max_grad_norm: float = 1e4
    """Largest norm of the gradient."""
    seed: int = 0
    """Determines the initial weights, the order of the images, and every random draw."""
    precision: Precision = "auto"
    """`auto`: bf16 on a GPU that has it, and on a CPU that has it for a network that is faster in
    it (the published one); else float32."""
    block: int = 0
    """Consecutive lines of train.txt that are read at once, for a set larger than the memory (for
    example 64); 0: images are read one by one."""
    device: str = "auto"
    """`auto`: CUDA if there is a GPU, else the CPU."""
    workers: int = 0
    """Processes that pack the images; 0: one per core."""


def start_of(config: Config) -> Start:
    """Return where the training starts: weights exist for one network only."""
    return config.start if config.network == pretrained.NETWORK else "random"


def settings_of(config: Config, num_var: int, stretch: Stretch) -> Settings:
    """Return the constants of this script that determine the weights."""
    shared = {one.name for one in fields(Settings)} & {one.name for one in fields(Config)}
    constants = {name: getattr(config, name) for name in shared}
    chosen = {
        "num_var": num_var, "stretch": stretch.kind, "softening": stretch.softening,
        "start": start_of(config),
    }  # fmt: skip
    return Settings(**constants | chosen)


def main(config: Config) -> None:
    """Train a model for each number of latent variables."""
    run = Run(config.run)
    outputs = [path for n in config.num_var for path in (run.model(n), run.model_log(n))]
    further = [run.exposures] if run.exposures.exists() else []
    weights = [pretrained.WEIGHTS] if start_of(config) != "random" else []
    inputs = [run.train_txt, *split_source(run), *further, *weights]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if config.network not in models.NETWORKS:
        raise Problem(
            f"there is no network {config.network!r}: set network to one of "
            f"{', '.join(models.NETWORKS)}"
        )
    masks = models.NETWORKS[config.network].masks_contaminants and config.contaminants == "masked"
    if config.stretch == "linear" and masks:
        raise Problem(
            "contaminants are found in stretched images: set contaminants to kept, or stretch to "
            "auto"
        )
    if stage.is_up_to_date():
        return
    stage.begin()
    with distributed.rank_0_first():
        packed = Packed.of(run, config.workers)
    print(f"  split: {packed.sides()}", flush=True)
    device = choose_device(config.device)
    stretch = Stretch.of(packed.index["display"], config.stretch)
    best = {}
    for num_var in config.num_var:
        settings = settings_of(config, num_var, stretch)
        data = " ".join([*map(sha256, (run.train_txt, *further, *weights)), stage.code])
        files = Files.of(run.model(num_var))
        if stage.again:
            files.forget()
        trainer = Trainer(task_of(packed, data, settings, device, further=further), files)
        best[num_var] = trainer.run(f"{num_var} latents on {device}")
        distributed.say(
            f"  {num_var} latents: best epoch {best[num_var]['epoch']}, "
            f"validation loss {best[num_var]['validation_loss']:.1f} nats per image, "
            f"{best[num_var]['active']} active"
        )
    stage.finish(best=best, split_by=packed.split_by)


if __name__ == "__main__":
    start(main, Config, __doc__, several=True)
