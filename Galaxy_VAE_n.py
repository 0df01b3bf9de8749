"""Train the variational auto-encoder, for one or several numbers of latent variables.

The same command goes on where a killed training stopped, and ends with the same weights as one
that was not. The best model is the best on validation images.

Reads:  train.txt and the images it lists (packed once into packed/), labels.parquet where that
        gives a split: what it gives to test is never trained on
Writes: model/vae_40.pt (best on validation), vae_40_last.pt (to resume), vae_40_log.jsonl

Example: python Galaxy_VAE_n.py --num-var 40
         torchrun --nproc-per-node 8 -- Galaxy_VAE_n.py --num-var 40 (docs/SCALE.md)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from VAE_model import distributed, models
from VAE_model.device import Precision, choose_device
from VAE_model.files import sha256
from VAE_model.labels import split_source
from VAE_model.packed import Packed
from VAE_model.paths import Run
from VAE_model.stage import Problem, Stage, start
from VAE_model.stretch import Stretch
from VAE_model.training import Files, Recipe, Trainer


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: tuple[int, ...] = (40,)
    """Numbers of latent variables; a model is trained for each."""
    network: str = "structured"
    """A name in VAE_model.models.NETWORKS. `structured`: sees each galaxy in its own frame and must
    predict its structure; `published`: Xu et al. 2023."""
    neighbours: models.Neighbours = "hidden"
    """`hidden`: the light of other sources is taken out before the galaxy is described
    (VAE_model/segmentation.py); `kept`: it stays, as it always does for the published network."""
    stretch: Literal["auto", "asinh", "linear", "display"] = "auto"
    """`linear`: nanomaggies, as published; `asinh`: arcsinh(flux / noise of the survey);
    `display`: brightness of 8-bit images; `auto`: asinh for flux, display for 8-bit images."""
    loss: Literal["gaussian", "published"] = "gaussian"
    """`published`: sum of squares + KL; `gaussian`: its sigma is learned."""
    kl_weight: float = 1.0
    """Weight of the KL term beside the reconstruction term."""
    epochs: int = 15
    """Passes over the training images."""
    batch: int = 64
    """Images in a step."""
    learning_rate: float = 1e-3
    """Largest learning rate of Adam."""
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    """Learning rate against step; the published one is constant."""
    clip: float = 1e4
    """Largest norm of the gradient."""
    seed: int = 0
    """Decides the first weights, the order of the images, and every random draw."""
    precision: Precision = "auto"
    """`auto`: bf16 on a GPU that has it, and on a CPU that has it for a network that gains from
    it (the published one); else float32."""
    pixels: Literal["float32", "float16"] = "float32"
    """Of the packed copy; float16 is half as large, and adds at most a tenth of the sky noise."""
    block: int = 0
    """Neighbours in train.txt that are read as one, for a set larger than the memory (64, say);
    0: every image by itself."""
    device: str = "auto"
    """`auto`: CUDA when there is one, else the CPU."""
    workers: int = 0
    """Processes that pack the images; 0: one a core."""


def recipe(config: Config, num_var: int, stretch: Stretch) -> Recipe:
    """The constants of this script, with the stretch that they come to, as what decides the
    weights."""
    return Recipe(
        network=config.network,
        num_var=num_var,
        stretch=stretch.kind,
        softening=stretch.softening,
        loss=config.loss,
        kl_weight=config.kl_weight,
        epochs=config.epochs,
        batch=config.batch,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        clip=config.clip,
        seed=config.seed,
        precision=config.precision,
        block=config.block,
        neighbours=config.neighbours,
    )


def main(config: Config) -> None:
    run = Run(config.run)
    outputs = [path for n in config.num_var for path in (run.model(n), run.model_log(n))]
    inputs = [run.train_txt, *split_source(run)]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if config.network not in models.NETWORKS:
        raise Problem(
            f"there is no network {config.network!r}: set network to one of "
            f"{', '.join(models.NETWORKS)}"
        )
    if config.stretch == "linear" and models.build(config.network, 1, config.neighbours).hides:
        raise Problem(
            "neighbours are found in stretched images: set neighbours to kept, or stretch to auto"
        )
    if stage.nothing_to_do():
        return
    with distributed.first_alone():
        packed = Packed.of(run, config.workers, config.pixels)
    print(f"  split: {packed.sides()}", flush=True)
    device = choose_device(config.device)
    stretch = Stretch.of(packed.index["display"], config.stretch)
    best = {}
    for num_var in config.num_var:
        files = Files(run.model(num_var), run.model_last(num_var), run.model_log(num_var))
        trainer = Trainer(
            packed, sha256(run.train_txt), recipe(config, num_var, stretch), files, device
        )
        best[num_var] = trainer.run(f"{num_var} latents on {device}")
        print(
            f"  {num_var} latents: best epoch {best[num_var]['epoch']}, "
            f"-ELBO {best[num_var]['validation_loss']:.1f} nats an image, "
            f"{best[num_var]['active']} active"
        )
    stage.finish(best=best, split_by=packed.split_by)


if __name__ == "__main__":
    start(main, Config, __doc__, several=True)
