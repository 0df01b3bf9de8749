"""Galaxy_VAE: the morphology of galaxies without labels, and from one survey to the next.

The names in `__all__` are the calls of a notebook (docs/PYTHON.md). Each is imported when it is
first used, because torch takes seconds to import.
"""

import importlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from VAE_model.api import (
        encode,
        neighbours,
        rank_outliers,
        read_images,
        read_latents,
        show_galaxies,
    )
    from VAE_model.pipeline.files import read_parquet
    from VAE_model.pipeline.run import Run
    from VAE_model.pretrained import load
    from VAE_model.tables.lookup import find_row

__version__ = "0.1.0"
__all__ = [
    "Run", "encode", "find_row", "load", "neighbours", "rank_outliers", "read_images",
    "read_latents", "read_parquet", "show_galaxies",
]  # fmt: skip

# The modules of the calls that are not in api.py
_MODULES = {
    "Run": "pipeline.run", "find_row": "tables.lookup", "load": "pretrained",
    "read_parquet": "pipeline.files",
}  # fmt: skip

try:
    Path.home()
except RuntimeError:  # a container's user, without a home or a name; astropy asks for one
    os.environ["HOME"] = tempfile.gettempdir()


def __getattr__(name: str) -> object:
    """Return one of the calls in `__all__`, from its module."""
    if name in __all__:
        return getattr(importlib.import_module(f"VAE_model.{_MODULES.get(name, 'api')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names that a notebook completes, with the calls that are not imported yet."""
    return sorted({*globals(), *__all__})
