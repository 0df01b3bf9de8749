"""Export the encoder and the decoder of a model as ONNX, for programs without PyTorch.

The encoder's input is a prepared image. The networks `residual` and `structure` take the image in
the galaxy's frame and its structure vector, `published` the stretched image. The preparation stays
in Python (docs/WEIGHTS.md says which functions it is). The decoder returns images as flux, without
the pose: the galaxy is in the middle, its major axis along x.

Each file is compared with PyTorch, in batches of several sizes, on random numbers and on galaxies:
those of train.txt, or drawn ones where the run has none. It is kept only if no value differs by
more than 1e-4 (of values above 1: by that share). Needs the extra: pip install -e '.[onnx]'

Reads:  model/vae_40.safetensors (or the constant `model`); train.txt, if it is there (its packed
        images)
Writes: onnx/encoder_40.onnx, onnx/decoder_40.onnx: their metadata says what each array is

Example: python analysis/export_onnx.py --run data/onnx --model pretrained
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from VAE_model import __version__, pretrained
from VAE_model.data.cutouts import BANDS, SHAPE, SIZE
from VAE_model.data.packed import Packed
from VAE_model.models import VAE
from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.stretch import NOISE, Stretch
from VAE_model.training.model_file import TrainedVAE

TOLERANCE = 1e-4  # of a value below 1, and of the ratio above


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables of the model."""
    model: Path | None = None
    """A model of another run; `pretrained`: the weights that travel with the project; none:
    model/vae_<num_var>.safetensors of this run."""
    galaxies: int = 16
    """Galaxies that PyTorch and ONNX are compared on."""
    seed: int = 0
    """Seed of their choice and of the random numbers."""


class Encoder(nn.Module):
    """From prepared images (N, ...) to mean and log-variance of the posterior.

    names: of the input, and of the outputs.
    """

    names = ("inputs", ("mean", "log_variance"))

    def __init__(self, network: VAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, (N, latents) each."""
        return self.network.encode(inputs)


class Decoder(nn.Module):
    """From latents to the reconstruction of the network's target, and to flux; see Encoder."""

    names = ("latents", ("target", "flux"))

    def __init__(self, network: VAE, stretch: Stretch) -> None:
        super().__init__()
        self.network, self.stretch = network, stretch

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the target, (N, D), and flux without the pose, (N, 3, 256, 256)."""
        target = self.network.decode(latents)
        zero = latents.new_zeros(latents.shape[0])
        image = self.network.restore(target, Pose(zero, zero, zero, zero, zero, zero))
        return target, self.stretch.inverse(image)


def galaxies(run: Run, config: Config) -> Tensor:
    """Return flux of galaxies of the run, or of drawn discs in noise, (N, 3, 256, 256)."""
    rng = np.random.default_rng(config.seed)
    if run.train_txt.exists():
        images = Packed.of(run).images
        return torch.from_numpy(
            np.array(images[np.sort(rng.permutation(len(images)))[: config.galaxies]])
        )
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    drawn = rng.normal(size=(config.galaxies, *SHAPE)) * np.array(NOISE)[:, None, None]
    for image in drawn:
        angle, length, ratio = rng.uniform((0, 4, 0.2), (np.pi, 20, 1))
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        image += np.exp(-np.hypot(along, across / ratio) / length) * rng.uniform(0.1, 2, (3, 1, 1))
    return torch.from_numpy(drawn.astype(np.float32))


def export(part: Encoder | Decoder, example: Tensor, path: Path, facts: dict[str, object]) -> None:
    """Write a part of a network as ONNX, for any number of images.

    Raises Problem if an operation of the network has no ONNX form.
    """
    import onnx

    entry, results = part.names
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    try:
        # strict: the other mode takes len(images), which the layers use, for a constant
        traced = torch.export.export(part, (example,), dynamic_shapes=shapes, strict=True)
        program = torch.onnx.export(
            traced, (), input_names=[entry], output_names=results, verbose=False
        )
        assert program is not None  # noqa: S101  (it is None only if a file is written)
    except Exception as error:  # of several modules of torch, each with its own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Problem(
            f"{path.name} cannot be exported ({first}): the network "
            f"{type(part.network).__name__} has an operation that ONNX lacks"
        ) from error
    content = program.model_proto
    onnx.helper.set_model_props(content, {k: json.dumps(v) for k, v in facts.items()})
    onnx.save(content, str(path))


def difference(part: nn.Module, path: Path, batches: Sequence[Tensor]) -> float:
    """Return the largest difference between PyTorch and an ONNX file, absolute or relative."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in batches:
        with torch.inference_mode():
            expected = [value.numpy() for value in part(batch)]
        found = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        largest = max(largest, *(_apart(*both) for both in zip(found, expected, strict=True)))
    return largest


def _apart(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference; infinity for other shapes or values that are not finite."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return np.inf
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max())


def main(config: Config) -> None:
    """Run the stage."""
    run, number = Run(config.run), config.num_var
    weights = ROOT / config.model if config.model else run.model(number)
    if config.model == Path(pretrained.NAME):
        weights = pretrained.WEIGHTS
    outputs = [run.onnx(part, number) for part in ("encoder", "decoder")]
    listed = [run.train_txt] if run.train_txt.exists() else []
    stage = Stage(__file__, run, config, inputs=[weights, *listed], outputs=outputs)
    if stage.is_up_to_date():
        return
    stage.begin()
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise Problem(f"{error.name} is not installed: run pip install -e '.[onnx]'") from None
    onnxruntime.set_default_logger_severity(3)
    model = TrainedVAE.load(weights, number, "cpu")
    if model.maps:
        raise Problem(
            f"{run.show(weights)} moves latents of {', '.join(model.maps)} by a map that ONNX does "
            "not get: export the model before adaptation, or one of the methods mmd and paired"
        )
    network = model.network.to(memory_format=torch.contiguous_format)
    flux = galaxies(run, config)
    inputs, _ = network.prepare(model.stretch(flux))
    latents = network.encode(inputs)[0].detach()
    generator = torch.Generator().manual_seed(config.seed)
    facts = {
        "network": model.config["network"], "num_var": number, "bands": list(BANDS),
        "stretch": model.stretch.kind, "softening": list(model.stretch.softening),
        "preparation": "network.prepare(stretch(flux)): docs/WEIGHTS.md", "version": __version__,
        "latents": [f"mu_{k:02d}" for k in range(number)],
    }  # fmt: skip
    parts: tuple[tuple[Encoder | Decoder, Tensor], ...] = (
        (Encoder(network), inputs), (Decoder(network, model.stretch), latents)
    )  # fmt: skip
    largest = {}
    for (part, values), path in zip(parts, outputs, strict=True):
        noise = torch.randn((5, *values.shape[1:]), generator=generator)
        with atomic(path) as temporary:
            export(part.eval(), values[:7], temporary, facts)
            name = type(part).__name__.lower()
            largest[name] = difference(part, temporary, (values, values[:1], noise))
            if not largest[name] <= TOLERANCE:
                raise Problem(
                    f"the {name} differs by {largest[name]:.1e} between PyTorch and ONNX, more "
                    f"than {TOLERANCE:.0e}: no file is kept"
                )
        print(f"  {name}: PyTorch and ONNX differ by {largest[name]:.1e} at most")
    stage.finish(**largest)


if __name__ == "__main__":
    start(main, Config, __doc__)
