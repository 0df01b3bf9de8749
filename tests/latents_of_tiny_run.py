"""Latent variables for a tiny run without training a network: principal components of pixels."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.galaxy_zoo import CLASSES
from VAE_model.data.packed import Packed
from VAE_model.extraction.repeatability import SCATTER
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.run import Run

NUM_VAR = 5
DEFECTS = {3: "half_empty", 11: "dead_columns", 29: "satellite_trail"}  # row of train.txt: kind


def spoil(flux: np.ndarray, kind: str) -> np.ndarray:
    if kind == "half_empty":
        flux[:, 128:] = 0
    elif kind == "dead_columns":
        flux[:, :, 60:66] = 0
    else:
        y, x = np.mgrid[:256, :256]
        flux[1] += 0.1 * (abs(x - y) < 4)
    return flux


def with_latents(source: Run, folder: Path) -> Run:
    """A copy of a tiny run with three spoiled images, their truth, latents and class latents."""

    def place(old: str, new: str) -> str:
        return os.link(old, new) if old.endswith(".fits") else shutil.copy2(old, new)

    run = Run(shutil.copytree(source.folder, folder, copy_function=place))
    before = Packed.of(run)
    for row, kind in DEFECTS.items():
        image = before.index.iloc[row]
        flux = spoil(np.array(before.images[row]), kind)
        write_cutout(run.folder / image["path"], flux, image["ra"], image["dec"])
    packed = Packed.of(run)
    small = packed.images[:].reshape(len(packed.images), 3, 32, 8, 32, 8).mean(axis=(3, 5))
    pixels = np.arcsinh(small / 0.01).reshape(len(small), -1)
    model = PCA(NUM_VAR, random_state=0).fit(pixels)
    means = model.transform(pixels)
    table = packed.index[["iauname", "ra", "dec", "path", "survey", "split"]].copy()
    for number in range(NUM_VAR):
        table[f"mu_{number:02d}"] = means[:, number].astype(np.float32)
    table["residual"] = np.square(model.inverse_transform(means) - pixels).mean(axis=1)
    table["reduced_chi2"] = table["residual"]
    latents = pd.concat([table, packed.surroundings, packed.flags], axis=1)
    latents.attrs[SCATTER] = [NUM_VAR**-0.5] * NUM_VAR  # distances are those of the means
    write_parquet(run.latents(NUM_VAR), latents)
    catalogue = read_parquet(run.catalogue)
    classes = {name: cut.select(catalogue) for name, cut in CLASSES.items()}
    classes = pd.DataFrame({"iauname": catalogue["iauname"], **classes})
    classes = table.drop(columns="survey").merge(classes, on="iauname", validate="one_to_one")
    write_parquet(run.class_latents(NUM_VAR), classes.sample(frac=1, random_state=0))
    truth = catalogue[["iauname", "ra", "dec"]].assign(defect_decals="", defect_bassmzls="")
    for row, kind in DEFECTS.items():
        truth.loc[truth["iauname"] == table["iauname"][row], "defect_decals"] = kind
    write_parquet(run.truth, truth)
    return run
