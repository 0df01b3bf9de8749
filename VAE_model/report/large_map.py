"""The map of many galaxies: one HTML file of some 20 MB for a million, which works offline.

A million galaxies are too many for the page of latent_map.py, which has a thumbnail, votes and the
most similar galaxies of each. This page has, of each galaxy, its place (two 16-bit numbers), the
codes of its colours (one byte each) and its name, in base64, the names compressed and read when
they are first asked for. Thumbnails are those of a sample. Where galaxies are dense, the colour of
a pixel is the mean of theirs.
"""

import base64
import gzip
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from VAE_model.pipeline.problem import Problem
from VAE_model.report.latent_map import TILE, TILES, sheets
from VAE_model.report.map_data import Scheme
from VAE_model.report.page import in_script, render, script_of


def large_map_page(
    title: str,
    lead: str,
    places: NDArray[np.floating],
    names: Sequence[str],
    schemes: Sequence[Scheme],
    sample: NDArray[np.int64],
    thumbnails: Iterator[NDArray[np.uint8]],
) -> str:
    """Return the page.

    places: (N, 2), any unit; names: (N,); schemes: the first is shown first; sample: rows of the
    galaxies with a thumbnail; thumbnails: colours (TILE, TILE, 3), in their order. Raises Problem
    where a scheme has more than 256 answers.
    """
    if any(len(scheme.answers) > 256 for scheme in schemes):
        raise Problem("a colouring of the map has more than 256 answers")
    extent = np.ptp(places, axis=0)
    longer = max(float(extent.max()), 1e-12)
    whole = np.round((places - places.min(axis=0)) / longer * 65535).astype("<u2")
    lines = "\n".join(" ".join(name.split()) for name in names)
    data = {
        "count": len(places), "size": np.round(extent / longer, 5), "tile": TILE, "tiles": TILES,
        "sample": sample, "schemes": [{"title": s.title, "answers": s.answers} for s in schemes],
    }  # fmt: skip
    arrays = {"x": whole[:, 0], "y": whole[:, 1]}
    arrays |= {f"codes-{k}": scheme.codes.astype(np.uint8) for k, scheme in enumerate(schemes)}
    coded = {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()}
    coded["names"] = base64.b64encode(gzip.compress(lines.encode(), 6, mtime=0)).decode()
    return render(
        "large_map.html", title=title, lead=lead, data=in_script(data), arrays=coded,
        sheets=sheets(thumbnails), **script_of("large_map.js"),
    )  # fmt: skip
