"""Model files: safetensors with the plain values, as JSON, in the file's metadata.

The content is a nested dictionary: {"config": {...}, "weights": {name: tensor}}, for example. A
tensor's name in the file is the path to it, "weights/encoder.0.weight". The file has a hash of its
content. A model file holds data and never code.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run

FORMAT = "Galaxy_VAE 2"


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values to a model file, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_take_tensors(content, "", tensors), sort_keys=True)
    # The only key: safetensors writes several in any order.
    metadata = {FORMAT: json.dumps({"sha256": _hash(text, tensors), "values": text})}
    whole = to_bytes(tensors, metadata)
    with atomic(path) as temporary:
        temporary.write_bytes(whole)


def load(path: str | Path, needs: tuple[str, ...] = ("config", "weights")) -> dict[str, Any]:
    """Read a model file onto the CPU.

    needs: keys that it must have. Raises Problem if the file is missing, corrupt, or not a model
    file of this project.
    """
    path = Path(path)
    remedy = f"run {trained_by(path)} --again"
    if not path.exists():
        raise Problem(f"{path} is missing: run {trained_by(path)}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # on damaged bytes the readers raise nearly any exception
        raise Problem(f"{path} is corrupt, or no safetensors file ({error}): {remedy}") from None
    if FORMAT not in metadata:
        raise Problem(f"{path} is not a model file of this project ({FORMAT}): {remedy}")
    try:
        record = json.loads(metadata[FORMAT])
        if record["sha256"] != _hash(record["values"], tensors):
            raise ValueError("its hash differs")
        content = json.loads(record["values"])
        if not isinstance(content, dict):
            raise ValueError("its values are not a dictionary")
        for name, tensor in tensors.items():
            *parents, last = name.split("/")
            place = content
            for key in parents:
                place = place[key]
            place[last] = tensor
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise Problem(f"{path} is corrupt ({error}): {remedy}") from None
    if missing := [key for key in needs if key not in content]:
        raise Problem(f"{path} has no {', '.join(missing)}: {remedy}")
    for key in {"config", "weights"} & set(needs):
        if not isinstance(content[key], dict):
            raise Problem(f"{path}: its {key} is not a dictionary: {remedy}")
    return content


def trained_by(path: Path) -> str:
    """Return the command that trains the model of a file, which lies in the folder of its run."""
    return Run(path.absolute().parent.parent).made_by(path.absolute()) or "python Galaxy_VAE_n.py"


def _take_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a nested dictionary without its tensors, which go to `tensors` under their paths."""
    if not isinstance(value, dict):
        return value
    rest = {}
    for key, inner in value.items():
        path = f"{name}/{key}" if name else str(key)
        if isinstance(inner, Tensor):
            tensors[path] = inner.detach().contiguous()
        else:
            rest[str(key)] = _take_tensors(inner, path, tensors)
    return rest


def _hash(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
