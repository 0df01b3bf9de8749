"""Trainers of small networks, as several tests need them."""

import torch

from VAE_model.data.packed import Packed
from VAE_model.training.exposure_task import task_of
from VAE_model.training.image_task import Settings
from VAE_model.training.loop import Files, Trainer


def settings_of(**changes) -> Settings:
    standard = dict(
        network="published", num_var=3, contaminants="masked", stretch="asinh", loss="gaussian",
        kl_weight=1.0, epochs=2, batch_size=16, learning_rate=1e-3, schedule="one-cycle",
        max_grad_norm=1e4, seed=0, precision="float32",
    )  # fmt: skip
    return Settings(**{**standard, **changes})


def trainer_of(packed: Packed, settings: Settings, where: Files, data: str = "x") -> Trainer:
    return Trainer(task_of(packed, data, settings, torch.device("cpu")), where)
