"""Model files: a dict of tensors and plain values that carries its own config.

Loaded with weights_only=True, so that a model file can hold data and never code.
"""

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from VAE_model.files import atomic
from VAE_model.problem import Problem

FORMAT = "Galaxy_VAE 1"


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all."""
    with atomic(path) as temporary:
        torch.save({"format": FORMAT, **content}, temporary)


def load(path: Path, needs: tuple[str, ...] = ("config", "weights")) -> dict[str, Any]:
    """Read a model file onto the CPU.

    Raises Problem where it is missing, corrupt, or no model file of this project.
    """
    again = "delete it and run python Galaxy_VAE_n.py"
    if not path.exists():
        raise Problem(f"{path} is missing: run python Galaxy_VAE_n.py")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        raise Problem(
            f"{path} is corrupt, or holds more than tensors and plain values: {again}"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Problem(f"{path} is no model file of this project ({FORMAT}): {again}")
    lacking = [key for key in needs if key not in content]
    if lacking:
        raise Problem(f"{path} lacks {', '.join(lacking)}: {again}")
    return content
