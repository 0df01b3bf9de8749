"""HATS catalogues, tables divided by position on the sky, written and matched by LSDB.

LSDB (Caplar et al. 2025, arXiv:2501.02103) is the extra `hats`. It reads a catalogue a partition at
a time, so that catalogues may be larger than memory.
"""

from pathlib import Path
from types import ModuleType

from VAE_model.pipeline.problem import Problem


def load_lsdb() -> ModuleType:
    """Return the package. Raises Problem where it is not installed."""
    try:
        import lsdb
    except ImportError:
        raise Problem("HATS catalogues need the package lsdb: pip install -e '.[hats]'") from None
    return lsdb


def write_hats(table: object, target: Path) -> None:
    load_lsdb()
