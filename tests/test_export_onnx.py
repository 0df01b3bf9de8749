"""Claims about the ONNX files of encoder and decoder."""

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import load_script, run_script

from VAE_model import models
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.preparation.stretch import Stretch

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
STAGE = "analysis/export_onnx.py"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with the weights that travel with the project as ONNX."""
    run = Run(tmp_path_factory.mktemp("onnx") / "run")
    done = run_script(STAGE, run, "--model", "pretrained", "--galaxies", "8")
    assert done.returncode == 0, done.stderr
    assert all(float(x) < 1e-4 for x in re.findall(r"differ by (\S+) at most", done.stdout))
    return run


def test_the_files_say_what_they_are(exported: Run):
    shapes = {
        "encoder": ([[13578]], [[40], [40]]),
        "decoder": ([[40]], [[13578], [3, 256, 256]]),
    }
    for part, expected in shapes.items():
        session = onnxruntime.InferenceSession(str(exported.onnx(part, 40)))
        given = session.get_inputs(), session.get_outputs()
        assert tuple([list(value.shape[1:]) for value in values] for values in given) == expected
        facts = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
        assert facts["latents"][:2] == ["mu_00", "mu_01"] and facts["bands"] == ["g", "r", "z"]
        assert facts["stretch"] == "asinh" and len(facts["softening"]) == 3


def test_the_example_of_the_page_gives_what_pytorch_gives(exported: Run, tmp_path):
    """On a galaxy that the export did not see, and in another number."""
    page = (ROOT / "docs" / "WEIGHTS.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(import onnxruntime.*?)```", page, re.DOTALL)[1]
    y, x = np.mgrid[:256, :256] - 127.5
    disc = np.exp(-np.hypot(x / 9, y / 5)).astype(np.float32)
    flux = torch.from_numpy(np.stack([[disc, disc, disc], [disc, 2 * disc, 3 * disc]]))
    script = tmp_path / "example.py"
    script.write_text(example.replace("data/mine", str(exported.folder)), encoding="utf-8")
    names = runpy.run_path(str(script), {"flux": flux})
    mean, _ = names["model"].encode(names["flux"])
    np.testing.assert_allclose(names["mean"], mean, atol=1e-4)
    flat = names["pose"]._replace(angle=torch.zeros(2), x=torch.zeros(2), y=torch.zeros(2))
    image = names["model"].decode(mean, flat)
    np.testing.assert_allclose(names["image"], image, rtol=1e-4, atol=1e-4)


def test_a_file_of_other_weights_is_noticed(exported: Run):
    script = load_script(STAGE)
    other = script.Decoder(models.build("residual", 40), Stretch()).eval()
    path, latents = exported.onnx("decoder", 40), torch.zeros(1, 40)
    assert script.difference(other, path, [latents]) > script.TOLERANCE


@pytest.mark.long
@pytest.mark.parametrize("name", ["structure", "published"])
def test_the_other_networks_are_exported(name: str, tmp_path: Path):
    script, network = load_script(STAGE), models.build(name, 6).eval()
    generator = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        weight.data.copy_(0.02 * torch.randn(weight.shape, generator=generator))
    inputs, _ = network.prepare(0.3 * torch.randn(7, 3, 256, 256, generator=generator))
    latents = torch.randn(7, 6, generator=generator)
    parts = (script.Encoder(network), inputs), (script.Decoder(network, Stretch()), latents)
    for part, values in parts:
        script.export(part.eval(), values, tmp_path / "part.onnx", {})
        assert script.difference(part, tmp_path / "part.onnx", [values, values[:1]]) < 1e-4
