"""matplotlib as the project draws with it, whatever settings the user has: import it from here.

A matplotlibrc (in the working directory, the home, or where MATPLOTLIBRC says) may ask for LaTeX,
for fonts that are not there, or be no text at all, and MPLBACKEND may name what is not installed.
None of it is read when matplotlib is imported here, and `use_style` sets every value that decides
how a figure looks. The backend remains what MPLBACKEND says, so that notebooks show figures.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

STYLE = Path(__file__).with_name("galaxy_vae.mplstyle")


@contextlib.contextmanager
def _without_the_users_settings() -> Iterator[None]:
    """Let matplotlib find no matplotlibrc but the style, and no MPLBACKEND.

    MATPLOTLIBRC comes before the home's matplotlibrc, but after the working directory's.
    """
    before = {name: os.environ.pop(name, None) for name in ("MATPLOTLIBRC", "MPLBACKEND")}
    here = os.getcwd() if os.path.exists("matplotlibrc") else None
    os.environ["MATPLOTLIBRC"] = str(STYLE)
    if here:
        os.chdir(STYLE.parent)
    try:
        yield
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ.update({name: value for name, value in before.items() if value is not None})
        if here:
            os.chdir(here)


with _without_the_users_settings():
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import AsinhNorm, PowerNorm, to_hex, to_rgb
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

with contextlib.suppress(ValueError):  # of a backend that matplotlib does not know
    if backend := os.environ.get("MPLBACKEND"):
        matplotlib.rcParams["backend"] = backend

__all__ = [
    "AsinhNorm", "Axes", "AxesImage", "Axis", "Figure", "FixedLocator", "Line2D", "MaxNLocator",
    "NullFormatter", "NullLocator", "PowerNorm", "Rectangle", "matplotlib", "to_hex", "to_rgb",
    "use_style",
]  # fmt: skip

_OF_THE_SCREEN = ("backend", "backend_fallback", "interactive", "toolbar")
_SETTINGS = {
    name: value
    for name, value in matplotlib.rc_params_from_file(STYLE, fail_on_error=True).items()
    if name not in _OF_THE_SCREEN
}


def use_style() -> None:
    """Draw from now on in the project's style (notebooks that use pyplot call it too)."""
    matplotlib.rcParams.update(_SETTINGS)
