"""A small set of images of one's own with a table of labels, and the stages that follow on it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import MORPHOLOGIES, draw_galaxy, run_script, succeeded
from filelock import FileLock
from PIL import Image

from VAE_model.pipeline.run import Run

COUNT = 42
NUM_VAR = 3  # not the default, so that a command that leaves the number out fails


def write_own_images(folder: Path, count: int = COUNT, unlabelled: int = 5) -> tuple[Path, Path]:
    """Write `count` JPEGs and a table; return the folder of images and the table.

    The table has file, kind (text), size (a number) and type (1, 2, 3); each `unlabelled`-th row
    has no label.
    """
    images, rng, rows = folder / "images", np.random.default_rng(3), []
    images.mkdir(parents=True)
    for number in range(count):
        kind = MORPHOLOGIES[number % len(MORPHOLOGIES)]
        flux = draw_galaxy(kind, rng.uniform(0, np.pi), rng)
        grey = np.clip(255 * (0.1 + np.arcsinh(flux / 0.02) / 5), 0, 255).astype(np.uint8)
        Image.fromarray(np.moveaxis(grey[::-1], 0, -1)).save(images / f"ngc_{number:03d}.jpg")
        label = {"kind": kind, "size": round(rng.uniform(5, 30), 2), "type": number % 3 + 1}
        rows.append({"file": f"ngc_{number:03d}.jpg"} | (label if number % unlabelled else {}))
    table = folder / "labels.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return images, table


def import_own_images(run: Run, folder: Path) -> None:
    """Import such a set into a run under the name `mine`, and list it."""
    images, table = write_own_images(folder)
    (images / "broken.jpg").write_bytes(b"no image")
    for script, options in (
        (
            "data/import_images.py",
            ("--folder", str(images), "--table", str(table), "--name", "mine"),
        ),
        ("make_datatxt.py", ()),
    ):
        succeeded(run_script(script, run, *options))


def encoded_run(factory: pytest.TempPathFactory, folder: Path) -> Run:
    """Return a copy, in `folder`, of a run of own images with a network of one epoch and latents.

    The run is made once for all test processes.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "own images"
    with FileLock(f"{made}.lock"):
        if not (made / "whole").exists():
            import_own_images(Run(made / "run"), made)
            for script, *options in (
                ("Galaxy_VAE_n.py", "--epochs", "1"), ("analysis/extract_latents.py",),
            ):  # fmt: skip
                done = run_script(script, Run(made / "run"), "--num-var", str(NUM_VAR), *options)
                assert done.returncode == 0, (script, done.stderr)
            (made / "whole").touch()
    shutil.copytree(made / "run", folder)
    return Run(folder)
