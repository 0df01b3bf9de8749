"""Adapt the model to the second survey on the training pairs, by one or several methods.

Each starts from the model that was trained on the first survey alone. `paired` brings the two
images of a galaxy closest, `mmd` is the published method; controls are `continue`, the same epochs
without alignment, and `coral` and `standardise`, maps that need no training. The same command
resumes an interrupted adaptation.

Reads:  transfer/pairs.parquet, transfer/latents_no_tf.parquet, model/vae_40.safetensors
Writes: model/vae_40_<method>.safetensors (best on validation pairs), if it trains also
        vae_40_<method>_last.safetensors and vae_40_<method>_log.jsonl;
        transfer/latents_<method>.parquet

Example: python transfer/adapt.py --methods paired --epochs 10
"""

from dataclasses import dataclass, fields
from pathlib import Path

from VAE_model.pipeline.files import sha256, write_parquet
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.training.device import Precision, choose_device
from VAE_model.training.loop import Files, LoopSettings, Trainer
from VAE_model.training.model_file import TrainedVAE
from VAE_model.transfer.adaptation import BEFORE, METHODS, PairTask, save_mapped, settings_of
from VAE_model.transfer.pair_latents import encode_pairs, read_sides
from VAE_model.transfer.pairs import images_in_both, read_pairs


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Entries of METHODS in VAE_model/transfer/adaptation.py: standardise, coral, continue, mmd,
    paired."""
    num_var: int = 40
    """Number of latent variables of the model."""
    epochs: int = 5
    """Passes over the training pairs."""
    batch_size: int = 64
    """Pairs per step."""
    learning_rate: float = 3e-4
    """Largest learning rate of Adam (one cycle)."""
    max_grad_norm: float = 1e4
    """Largest norm of the gradient."""
    seed: int = 0
    """Determines the order of the pairs and every random draw."""
    precision: Precision = "auto"
    """`auto`: bf16 on a GPU that has it, and on a CPU that has it for a network that is faster
    in it (the published one); else float32."""
    device: str = "auto"
    """`auto`: CUDA if there is a GPU, else the CPU."""
    workers: int = 0
    """Processes that pack images if that is still to be done; 0: one per core."""


def main(config: Config) -> None:
    """Adapt the model by each method, and encode the pairs with it."""
    run, n = Run(config.run), config.num_var
    unknown = [name for name in config.methods if name not in METHODS]
    if unknown or not config.methods:
        raise Problem(f"methods = {config.methods}: choose among {', '.join(METHODS)}")
    outputs = [path for m in config.methods for path in (run.model(n, m), run.pair_latents(m))]
    inputs = [run.pairs, run.pair_latents(BEFORE), run.model(n)]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    pairs = read_pairs(run)
    before = read_sides(run, run.pair_latents(BEFORE), n)
    fit = (before.pairs["usable"] & (before.pairs["split"] == "train")).to_numpy(bool)
    if fit.sum() < 2:
        raise Problem(
            f"{int(fit.sum())} usable training pairs of {len(pairs)} in {run.show(run.pairs)}: at "
            f"least 2 are needed; add images of both surveys and run {run.made_by(run.pairs)}"
        )
    both = images_in_both(run, pairs, config.workers)
    device = choose_device(config.device)
    best = {}
    for method in config.methods:
        target = run.model(n, method)
        if METHODS[method].map:
            save_mapped(method, run.model(n), target, before.surveys[1],
                        before.second[fit], before.first[fit])  # fmt: skip
        else:
            names = [f.name for f in fields(LoopSettings) if hasattr(config, f.name)]
            settings = settings_of(method, **{name: getattr(config, name) for name in names})
            data = f"{sha256(run.pairs)} {stage.code}"
            task = PairTask(both, pairs, run.model(n), data, settings, n, device)
            files = Files.of(target)
            if stage.again:
                files.forget()
            trainer = Trainer(task, files)
            best[method] = trainer.run(f"{method} on {device}") | task.results
        model = TrainedVAE.load(target, n, config.device, config.precision)
        write_parquet(run.pair_latents(method), encode_pairs(pairs, both, model, config.batch_size))
        print(f"  {method}: {METHODS[method].sentence}{words(best.get(method))}")
    stage.finish(training_pairs=int(fit.sum()), best=best)


def words(record: dict | None) -> str:
    """Return the best epoch's log in words."""
    if record is None:
        return ""
    distance = record["validation_pair"] ** 0.5
    return (
        f"; best epoch {record['epoch']}, on validation pairs: images {distance:.3f} standard "
        f"deviations apart, MMD {record['validation_mmd']:.4f}"
    )


if __name__ == "__main__":
    start(main, Config, __doc__)
