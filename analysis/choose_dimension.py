"""How many latent variables? Train a list of dimensions alike and compare them on held-out images.

Each dimension is trained with the same constants, more briefly than Galaxy_VAE_n.py trains: the
differences count, not the values. Errors and the ELBO are those of validation images; the forest
is trained on the training galaxies and scored on the validation ones, so that the test galaxies
have no part in the choice.

Reads:  train.txt (its packed images); result/classes.parquet and matches.parquet for the forest
Writes: model/dimensions/vae_<n>.pt, result/dimensions.json and .csv, figures/dimensions.png

Example: python analysis/choose_dimension.py --num-var 5 10 20 40 80
"""

import dataclasses
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_msssim import ssim

from VAE_model import scores
from VAE_model.batches import batches
from VAE_model.device import choose_device
from VAE_model.figures import save_figure, style
from VAE_model.files import atomic, read_parquet, sha256, write_json
from VAE_model.packed import Packed
from VAE_model.paths import ROOT, Run
from VAE_model.stage import Problem, Stage, start
from VAE_model.trained import TrainedVAE
from VAE_model.training import Files, Trainer
