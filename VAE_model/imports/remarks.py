"""The lines that an import prints on its images."""

from collections import Counter

import numpy as np
import pandas as pd

from VAE_model.data.flux_units import doubt
from VAE_model.imports.importing import Outcome
from VAE_model.imports.matching import Rows

REMARKS = {  # on images with these fields of Outcome
    "cut": "are not square: the central square was taken",
    "mirrored": "are mirrored on the sky by their WCS, and stay so",
    "converted": "were converted to nanomaggies",
    "unnamed": "do not name their bands: taken as g, r, z in this order (--bands 210 reverses it)",
    "grey": "are grey: all three bands are the same, and colours mean nothing",
}


def report(
    outcomes: list[Outcome],
    refused: list[tuple[str, str]],
    rows: Rows,
    table: pd.DataFrame | None,
) -> None:
    """Print the outcomes of the images, and the rows and images without a match.

    refused: file and reason; rows: of the table, for each image.
    """
    good = [outcome for outcome in outcomes if not outcome.reason]
    print(f"  imported {len(good):,} of {len(outcomes):,} images")
    for reason, count in Counter(reason.split(":")[0] for _, reason in refused).most_common():
        print(f"  refused {count:,}: {reason}")
    if table is not None:
        matched = sum(isinstance(row, int) for row in rows)
        print(
            f"  table: {matched:,} rows have an image, {len(table) - matched:,} have none; "
            f"{rows.count(None):,} images have no row"
        )
    enlarged = [outcome.enlarged for outcome in good if outcome.enlarged > 1]
    left_out = Counter(outcome.left_out for outcome in good if outcome.left_out)
    remarks = [
        (sum(np.isnan(outcome.ra) for outcome in good), "have no position"),
        *((sum(getattr(o, flag) for o in good), remark) for flag, remark in REMARKS.items()),
        *((n, f"lost their bands {b}: only g, r, z are taken") for b, n in left_out.items()),
        (
            len(enlarged),
            f"were enlarged, up to {max(enlarged, default=1):.3g} times (column enlarged): their "
            "latents lack the finest structure, compare them with images of the same resolution",
        ),
    ]
    for count, remark in remarks:
        if count:
            print(f"  {count:,} {remark}")
    if question := doubt([outcome.noise_ratio for outcome in good]):
        print(f"  {question}")
