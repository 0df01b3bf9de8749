"""Model files: a dict of tensors and plain values that carries its own config.

Loaded with weights_only=True, so that a model file can hold data and never code.
"""

import io
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch

from VAE_model.files import atomic
from VAE_model.problem import Problem

FORMAT = "Galaxy_VAE 1"

# All that the pickle in a model file may name: tensors, their kinds, and ordered dictionaries.
_KINDS = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Byte", "Bool")
_NAMED = {
    "collections OrderedDict",
    "torch Size",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in _KINDS),
}


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all."""
    whole = io.BytesIO()  # torch's own writing to a full disk ends in an error of torch's own
    torch.save({"format": FORMAT, **content}, whole)
    with atomic(path) as temporary:
        temporary.write_bytes(whole.getbuffer())


def load(path: Path, needs: tuple[str, ...] = ("config", "weights")) -> dict[str, Any]:
    """Read a model file onto the CPU.

    Raises Problem where it is missing, corrupt, or no model file of this project.
    """
    again = "delete it and run python Galaxy_VAE_n.py"
    if not path.exists():
        raise Problem(f"{path} is missing: run python Galaxy_VAE_n.py")
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on mangled bytes the unpickler raises nearly anything
        why = f" ({error})" if isinstance(error, _Refused) else ""
        raise Problem(
            f"{path} is corrupt, or holds more than tensors and plain values{why}: {again}"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Problem(f"{path} is no model file of this project ({FORMAT}): {again}")
    lacking = [key for key in needs if key not in content]
    if lacking:
        raise Problem(f"{path} lacks {', '.join(lacking)}: {again}")
    for key in {"config", "weights"} & set(needs):
        if not isinstance(content[key], dict):
            raise Problem(f"{path}: its {key} is no table of names: {again}")
    return content


class _Refused(Exception):
    """Why an archive is not even given to the unpickler."""


def _check_archive(path: Path) -> None:
    """What torch does not look at: the checksums, compressed members (bombs), and what else than
    tensors the pickle names, before anything of it is run.

    weights_only=True has the last word, but lets bytearray(10**10) through.
    """
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise _Refused("its members are compressed")
        if (damaged := archive.testzip()) is not None:
            raise _Refused(f"checksum of {damaged}")
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
    for content in pickles:
        for code, argument, _ in pickletools.genops(content):
            named = code.name in ("GLOBAL", "INST")
            if (named and argument not in _NAMED) or code.name == "STACK_GLOBAL":
                raise _Refused(f"it names {argument}")
