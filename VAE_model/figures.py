"""What the figures of all stages share: the look, the colours of the classes, the thumbnails.

Figures are made without pyplot, so that no window opens, nothing is left in memory, and a
notebook shows them by naming them.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from VAE_model.colour import survey_colours
from VAE_model.files import atomic
from VAE_model.galaxy_zoo import CLASSES
from VAE_model.plotting import Axes, Axis, Figure, NullFormatter, use_style

# Paul Tol's "muted" colours (https://personal.sron.nl/~pault/), safe for the colour-blind. Where
# two things are compared, what is looked at is indigo, and what it is compared with rose.
INDIGO, ROSE, GREEN, WINE = "#332288", "#CC6677", "#117733", "#882255"
CYAN, TEAL, SAND = "#88CCEE", "#44AA99", "#DDCC77"
NO_CLASS = "none"


@dataclass(frozen=True)
class ClassStyle:
    """How a class is drawn: its name for people, colour and marker."""

    label: str
    colour: str
    marker: str


# The smooth in warm tones with round markers, the discs in cool tones with angular ones, so that
# neither colour nor shape alone has to carry the distinction.
CLASS_STYLES = {
    "smoothRounded": ClassStyle("smooth, round", ROSE, "o"),
    "smoothInBetween": ClassStyle("smooth, in between", SAND, "o"),
    "smoothCigarShaped": ClassStyle("smooth, cigar-shaped", WINE, "o"),
    "edgeOn": ClassStyle("edge-on disc", INDIGO, "D"),
    "diskNoBar": ClassStyle("disc, no bar", CYAN, "s"),
    "diskWeakBar": ClassStyle("disc, weak bar", TEAL, "s"),
    "diskStrongBar": ClassStyle("disc, strong bar", GREEN, "s"),
    "merger": ClassStyle("merger", "#111111", "^"),
    NO_CLASS: ClassStyle("in no class", "#C4C4C4", "o"),
}


def shown_class(table: pd.DataFrame) -> NDArray[np.str_]:
    """The one class that a galaxy is drawn as, (N,): merger where it is one, as most mergers are
    in another class too, else the first it is in by the order of galaxy_zoo.CLASSES, else none."""
    names = np.full(len(table), NO_CLASS, dtype="<U20")
    present = [name for name in CLASSES if name in table]
    for name in sorted(reversed(present), key=lambda name: name == "merger"):
        names[table[name].to_numpy(bool)] = name
    return names


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty figure in the project's style; width and height in inches."""
    use_style()
    return Figure(figsize=(width, height), **options)


def log_scale(axis: Axis, linear_to: float | None = None) -> None:
    """A logarithmic axis, or one that is linear from -linear_to to linear_to, with plain numbers.

    Matplotlib would write them as mathematics, which the style does not read: names of galaxies
    and answers may hold a $.
    """
    of_axes = axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale
    if linear_to is None:
        of_axes("log")
    else:
        of_axes("symlog", linthresh=linear_to)
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(NullFormatter())


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure whole or not at all; the same figure gives the same bytes."""
    bare = {"Software": None} if Path(path).suffix == ".png" else {}
    with atomic(path) as temporary:
        figure.savefig(temporary, metadata=bare, **options)


def thumbnail(
    flux: NDArray[np.floating], size: int = 128, crop: int = 0, display: bool = False
) -> NDArray[np.uint8]:
    """A small colour image, (size, size, 3), north up, from one cutout (3, y, x).

    flux: nanomaggies, shown by the Legacy Survey's recipe; or, where `display`, an imported 8-bit
    image, brightness from 0 to 1, shown as it is;
    crop: only the central `crop` pixels of the cutout, 0 for all of it.
    """
    if crop:
        first = (flux.shape[-1] - crop) // 2
        flux = flux[:, first : first + crop, first : first + crop]
    if display:
        colours = np.clip(flux, 0, 1)[::-1].transpose(1, 2, 0)[::-1]
    else:
        colours = survey_colours(flux)
    image = Image.fromarray(np.round(colours * 255).astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def jpeg_uri(colours: NDArray[np.uint8], quality: int = 85) -> str:
    """A colour image (y, x, 3) as a `data:` address, for pages that need no other file."""
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def show_image(axes: Axes, colours: NDArray, edge: str = "") -> None:
    """Fill axes with a colour image, without ticks; `edge` is the colour of a frame around it."""
    axes.imshow(colours, origin="upper", interpolation="lanczos")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=bool(edge), color=edge or "none", linewidth=2)


def contact_sheet(
    figure: Any, images: Sequence[NDArray], titles: Sequence[str], columns: int, edge: str = ""
) -> None:
    """Images in rows in a figure or subfigure, a title of one or two lines above each."""
    rows = -(-max(len(images), 1) // columns)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, colours, title in zip(panels, images, titles, strict=False):
        axes.axis("on")
        show_image(axes, colours, edge)
        axes.set_title(title, fontsize=9, fontweight="normal", loc="center", pad=3)
