"""The style of all figures, the colours of the classes, colour images and thumbnails.

Figures are made without pyplot, so that no window opens, nothing stays in memory, and a notebook
shows a figure that a cell ends with.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from VAE_model.data.galaxy_zoo import CLASSES
from VAE_model.pipeline.files import atomic
from VAE_model.report.plotting import Axes, Axis, Figure, NullFormatter, use_style

if TYPE_CHECKING:  # a script that needs no torch does not wait for its import
    from VAE_model.data.packed import Packed

# Paul Tol's "muted" colours (https://personal.sron.nl/~pault/), safe for the colour-blind. In a
# comparison the main series is indigo, its rival rose.
INDIGO, ROSE, GREEN, WINE = "#332288", "#CC6677", "#117733", "#882255"
CYAN, TEAL, SAND, GREY = "#88CCEE", "#44AA99", "#DDCC77", "#999999"
NO_CLASS = "none"


@dataclass(frozen=True)
class ClassStyle:
    """The label, colour and marker (o, s, D or ^) of a class, or of another group of galaxies.

    none: they are in no group; the interactive map draws them small, below the others.
    """

    label: str
    colour: str
    marker: str
    none: bool = False


# Smooth galaxies: warm tones, round markers; discs: cool tones, angular markers.
CLASS_STYLES = {
    "smoothRounded": ClassStyle("smooth, round", ROSE, "o"),
    "smoothInBetween": ClassStyle("smooth, in between", SAND, "o"),
    "smoothCigarShaped": ClassStyle("smooth, cigar-shaped", WINE, "o"),
    "edgeOn": ClassStyle("edge-on disc", INDIGO, "D"),
    "diskNoBar": ClassStyle("disc, no bar", CYAN, "s"),
    "diskWeakBar": ClassStyle("disc, weak bar", TEAL, "s"),
    "diskStrongBar": ClassStyle("disc, strong bar", GREEN, "s"),
    "merger": ClassStyle("merger", "#111111", "^"),
    NO_CLASS: ClassStyle("in no class", "#C4C4C4", "o", none=True),
}


def shown_class(table: pd.DataFrame) -> NDArray[np.str_]:
    """Return the class that each galaxy is drawn as, (N,).

    Merger where it is one (most are in another class too), else its first class in the order of
    galaxy_zoo.CLASSES, else none.
    """
    names = np.full(len(table), NO_CLASS, dtype="<U20")
    present = [name for name in CLASSES if name in table]
    for name in sorted(reversed(present), key=lambda name: name == "merger"):
        names[table[name].to_numpy(bool)] = name
    return names


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """Return an empty figure in the project's style; width and height in inches."""
    use_style()
    return Figure(figsize=(width, height), **options)


def log_scale(axis: Axis, linear_to: float | None = None) -> None:
    """Make an axis logarithmic, or linear from -linear_to to linear_to, with plain numbers.

    Matplotlib would write them as mathematics, which the style switches off because names of
    galaxies and answers may contain a $.
    """
    set_scale = axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale
    if linear_to is None:
        set_scale("log")
    else:
        set_scale("symlog", linthresh=linear_to)
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(NullFormatter())


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure atomically; the same figure gives the same bytes."""
    bare = {"Software": None} if Path(path).suffix == ".png" else {}
    with atomic(path) as temporary:
        figure.savefig(temporary, metadata=bare, **options)


# Scales of g, r, z, which are shown as blue, green, red; softening and stretch (survey_colours)
_SCALES = np.array([6.0, 3.4, 2.2], dtype=np.float32)
_M, _Q = 0.03, 20.0


def survey_colours(flux: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return RGB in 0..1, (y, x, 3), from flux in nanomaggies, (3, y, x), bands g, r, z.

    The recipe of the Legacy Surveys viewer (https://github.com/legacysurvey/imagine), `sdss_rgb`
    with its grz scales, after Lupton et al. 2004, PASP 116, 133. Row 0 of the result is the top of
    the image as a viewer shows it, north up: FITS rows are reversed for display here and nowhere
    else.
    """
    scaled = np.maximum(np.nan_to_num(flux) * _SCALES[:, None, None] + _M, 0)
    intensity = scaled.mean(axis=0)
    stretch = np.arcsinh(_Q * intensity) / np.sqrt(_Q)
    channels = scaled * stretch / np.maximum(intensity, 1e-6)
    return np.clip(channels[::-1], 0, 1).transpose(1, 2, 0)[::-1].astype(np.float32)


def thumbnail(
    flux: NDArray[np.floating], size: int = 128, crop: int = 0, display: bool = False
) -> NDArray[np.uint8]:
    """Return a small colour image, (size, size, 3), north up, from one cutout (3, y, x).

    flux: nanomaggies, shown in survey_colours; or, where `display`, an imported 8-bit image,
    brightness from 0 to 1, shown unchanged;
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


def packed_thumbnail(packed: Packed, row: int, size: int, crop: int = 0) -> NDArray[np.uint8]:
    """Return the thumbnail of one packed image."""
    display = bool(packed.index["display"].iloc[row])
    return thumbnail(np.array(packed.images[row]), size, crop, display)


def jpeg(colours: NDArray[np.uint8], quality: int = 85) -> str:
    """Return a colour image (y, x, 3) as JPEG in base64, for pages without other files."""
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "JPEG", quality=quality)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def show_image(axes: Axes, colours: NDArray, edge: str = "") -> None:
    """Show a colour image in axes without ticks; `edge` is the colour of a frame around it."""
    axes.imshow(colours, origin="upper", interpolation="lanczos")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=bool(edge), color=edge or "none", linewidth=2)


def draw_interval(
    axes: Axes, values: Mapping[str, float], y: float, colour: str, marker: str, size: float = 7
) -> None:
    """Draw an estimate (`value`, `low`, `high`) as a marker with a horizontal 95 % interval."""
    axes.plot([values["low"], values["high"]], [y, y], color=colour, linewidth=size / 3)
    axes.plot(values["value"], y, marker, color=colour, markersize=size)


def contact_sheet(
    figure: Any, images: Sequence[NDArray], titles: Sequence[str], columns: int, edge: str = ""
) -> None:
    """Show images in rows of a figure or subfigure, a title of one or two lines above each."""
    rows = -(-max(len(images), 1) // columns)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, colours, title in zip(panels, images, titles, strict=False):
        axes.axis("on")
        show_image(axes, colours, edge)
        axes.set_title(title, fontsize=9, fontweight="normal", loc="center", pad=3)
