"""Marks on the pages: what the gallery and the map need to learn from the marks of a person.

The script (marks.js) is the same on both. The features of the galaxies on the page are int8 numbers
in base64, some 70 bytes per galaxy, so that the page ranks as evaluation/marks.py does. Marks are
kept in the browser under the key of the run, which both pages share where the browser lets files
share their storage.
"""

import base64
import hashlib
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from VAE_model.evaluation.marks import MARKS, STEP, Features
from VAE_model.pipeline.run import Run


def marking_content(
    run: Run,
    images: pd.DataFrame,
    features: Features,
    rows: ArrayLike,
    marks: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Return the content of a page that lets a person mark galaxies.

    images: all images of the run: iauname, path, ra, dec (degrees); features: theirs; rows: of the
    galaxies on the page, in its order; marks: mark and time of each image, "" for none, with which
    the page begins.
    """
    known: dict[str, dict[str, Any]] = {}
    if marks is not None:
        some = pd.concat([images[["iauname", "path", "ra", "dec"]], marks], axis=1)
        some = some[some["mark"] != ""].astype({"ra": object, "dec": object})
        some = some.where(some.notna(), None).rename(columns={"iauname": "name"})
        known = some.set_index("path").to_dict("index")
    chosen = features.values[np.asarray(rows, np.int64)]
    name = run.folder.name
    digest = hashlib.sha256("\n".join(images["path"]).encode()).hexdigest()
    return {
        "values": base64.b64encode(chosen.tobytes()).decode("ascii"),
        "step": STEP,
        "mean": features.mean,
        "variance": features.variance,
        "key": f"{name} {digest[:12]}",
        "file": f"marks_{name}.csv",
        "labels": list(dict.fromkeys([*MARKS, *(mark["mark"] for mark in known.values())])),
        "marks": known,
    }
