"""The supervised rival: ResNet-18 (He et al. 2016).

Trained from random weights on rotated and mirrored images, with a head per question; predictions
are means over eight rotations and mirror images.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from VAE_model.data.row_file import RowFile
from VAE_model.evaluation.classification import Question
from VAE_model.preparation.stretch import Stretch
from VAE_model.training.device import autocast, choose_device

HALF_WIDTH = 0.6  # of its input, a fraction of the image: a little more than the default network
SIDE = 96  # pixels of its input
RATE, DECAY, BATCH, EPOCHS = 1e-3, 0.05, 64, 30


class Network(nn.Module):
    """ResNet-18 up to its last features (N, 512), and a head per question."""

    FAST_IN_BF16 = True

    def __init__(self, answers: Sequence[int]) -> None:
        super().__init__()
        self.body = resnet18()
        self.body.fc = nn.Identity()
        self.heads = nn.ModuleList(nn.Linear(512, count) for count in answers)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, (N, 512)."""
        return self.body(images.contiguous(memory_format=torch.channels_last))


def fit_resnet(
    images: RowFile, stretch: Stretch, questions: Sequence[Question], epochs: int, seed: int
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Train the network.

    Return for all images the probabilities of the answers to each question, (N, answers), and the
    features, (N, 512).
    """
    device = choose_device()
    network = Network([len(q.answers) for q in questions]).to(device)
    network.to(memory_format=torch.channels_last)
    small = _small(images, stretch)
    codes = torch.full((len(images), len(questions)), -1)
    for column, q in enumerate(questions):
        codes[q.train, column] = torch.from_numpy(q.train_codes)
    weights = [  # of the answers, balanced as in the forests
        torch.tensor(len(q.train) / len(q.answers) / np.bincount(q.train_codes)).float().to(device)
        for q in questions
    ]
    rows = (codes >= 0).any(dim=1).nonzero().flatten()
    small = (small - small[rows].mean()) / small[rows].std()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    steps = epochs * math.ceil(len(rows) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        network.train()
        for part in rows[torch.randperm(len(rows), generator=generator)].split(BATCH):
            angle = 2 * math.pi * torch.rand(len(part), generator=generator)
            mirror = torch.randint(0, 2, (len(part),), generator=generator) * 2.0 - 1
            inputs = transformed(small[part], angle, mirror).to(device)
            with autocast(device, "auto", network):
                features = network(inputs)
            losses = []
            for column, head in enumerate(network.heads):
                truth = codes[part, column].to(device)
                if (truth >= 0).any():
                    logits = head(features.float())
                    losses.append(F.cross_entropy(logits, truth, weights[column], ignore_index=-1))
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
            schedule.step()
    features, probabilities = _predict(network, small, device)
    return {q.name: of.numpy() for q, of in zip(questions, probabilities, strict=True)}, features


def transformed(images: Tensor, angle: Tensor, mirror: Tensor) -> Tensor:
    """Return the centre of images (N, 3, y, x), rotated by `angle` (radians), mirrored where -1."""
    cos, sin = HALF_WIDTH * angle.cos(), HALF_WIDTH * angle.sin()
    none = torch.zeros_like(cos)
    rows = [torch.stack([mirror * cos, -sin, none], 1), torch.stack([mirror * sin, cos, none], 1)]
    shape = [len(images), images.shape[1], SIDE, SIDE]
    grid = F.affine_grid(torch.stack(rows, 1), shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@torch.inference_mode()
def _predict(
    network: Network, small: Tensor, device: torch.device
) -> tuple[NDArray[np.float32], list[Tensor]]:
    """Return features and probabilities of the answers, means over eight versions of an image."""
    network.eval()
    features, found = [], [[] for _ in network.heads]
    for part in small.split(256):
        each = []
        for number in range(8):
            angle = torch.full((len(part),), number % 4 * math.pi / 2)
            mirror = torch.full((len(part),), 1.0 if number < 4 else -1.0)
            with autocast(device, "auto", network):
                each.append(network(transformed(part, angle, mirror).to(device)).float())
        features.append(torch.stack(each).mean(dim=0).cpu())
        for column, head in enumerate(network.heads):
            classes = torch.stack([head(one).softmax(dim=1) for one in each])
            found[column].append(classes.mean(dim=0).cpu())
    return torch.cat(features).numpy(), [torch.cat(of) for of in found]


def _small(images: RowFile, stretch: Stretch) -> Tensor:
    """Return the stretched images at half the resolution, (N, 3, 128, 128)."""
    blocks = range(0, len(images), 64)
    parts = [stretch(torch.from_numpy(images[first : first + 64])) for first in blocks]
    return torch.cat([F.avg_pool2d(part, 2) for part in parts])
