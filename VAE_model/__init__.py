"""Galaxy_VAE: the morphology of galaxies without labels, and from one survey to the next."""

import os
import tempfile
from pathlib import Path

__version__ = "0.1.0"

try:
    Path.home()
except RuntimeError:  # a container's user, without a home or a name; astropy asks for one
    os.environ["HOME"] = tempfile.gettempdir()


def __getattr__(name: str) -> object:
    """Return `load` (pretrained.py), which needs torch: its import takes seconds."""
    if name == "load":
        from VAE_model.pretrained import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
