"""Claims about the command of the feature benchmark."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
from conftest import draw_galaxy, load_script
from PIL import Image

from VAE_model.pipeline.run import ROOT, Run

features = load_script("benchmarks/experiments/features.py")


def run_features(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """The command, which names its runs itself."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/experiments/features.py"), *arguments],
        capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1",
             "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "offline"), str(ROOT)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_command_goes_from_images_to_a_table_and_keeps_its_results(tmp_path, monkeypatch, capsys):
    rng, images = np.random.default_rng(0), tmp_path / "real" / "gzdecals_ring" / "images"
    images.mkdir(parents=True)
    rows = []
    for number in range(64):
        kind = ("round", "edge-on")[number % 2]
        flux = np.clip(draw_galaxy(kind, rng.uniform(0, np.pi), rng)[::-1] * 400 + 12, 0, 255)
        name = f"g{number:02d}.png"
        Image.fromarray(flux.astype(np.uint8).transpose(1, 2, 0)).save(images / name)
        rows.append((name, number % 2, "test" if number % 4 > 1 and number < 40 else "train"))
    table = pd.DataFrame(rows, columns=["file", "ring", "split"])
    table.to_csv(images.parent / "labels.csv", index=False)
    arguments = [
        "--real", str(tmp_path / "real"), "--folder", str(tmp_path / "runs"), "--sets",
        "gzdecals_ring", "--variants", "pixels", "structured", "--seeds", "0", "--min-test", "10",
        "--quick", "--n-bootstrap", "50",
    ]  # fmt: skip
    done = run_features(arguments)
    assert "| **default network** | 1 | forest |" in done.stdout
    results = tmp_path / "runs" / "results" / "gzdecals_ring"
    kept = json.loads((results / "structured_0.json").read_text())
    assert len(kept["answers"]["forest"]["ring"]) == 20
    assert np.mean(np.array(kept["answers"]["forest"]["ring"]) == table["ring"][
        table["split"] == "test"]) > 0.9  # fmt: skip
    pixels = json.loads((results / "pixels_0.json").read_text())
    (results / "pixels_0.json").write_text(json.dumps({**pixels, "same_label": 0.123}))
    monkeypatch.setattr(features, "import_set", lambda config, name: Run(config.folder / name))
    features.main(features.Config(folder=tmp_path / "runs", sets=("gzdecals_ring",), seeds=(0,),
                                  variants=("pixels", "structured"), min_test=10, quick=True,
                                  n_bootstrap=50))  # fmt: skip
    said = capsys.readouterr().out
    assert "structured, seed 0" not in said
    assert "| 0.123 |" in said
