"""Images are found as people name them: parts of names, file stems, positions of either form."""

import numpy as np
import pandas as pd
import pytest

from VAE_model.pipeline.problem import Problem
from VAE_model.tables.lookup import find_row, position_in

TABLE = pd.DataFrame(
    {
        "iauname": ["J101905.01+462713.3", "ngc_001", "ngc_002"],
        "path": [f"images/a/{n}.fits" for n in ("154.7709_46.4537", "ngc_001", "ngc_002")],
        "ra": [154.770875, np.nan, 10.0],
        "dec": [46.453694, np.nan, -5.0],
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("J101905.01+462713.3", 0),
        ("j101905", 0),  # a part, in other letters
        ("154.7709_46.4537", 0),  # a file stem
        ("ngc_001", 1),
        ("NGC_002.fits", 2),
        ("images/a/ngc_002.fits", 2),
        ("154.7709 46.4537", 0),
        ("154.7709, 46.4537", 0),
        ("10:19:05.0 +46:27:13", 0),
        ("10h19m05s +46d27m13s", 0),
        ("00:40:00 -05:00:00", 2),
        ("J101905.1+462713", 0),  # of another catalogue: by its position
    ],
)  # fmt: skip
def test_one_image_is_found(query: str, row: int) -> None:
    assert find_row(TABLE, query) == row


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("ngc", "'ngc' is in the names of 2 images: ngc_001 (images/a/ngc_001.fits), ngc_002"),
        ("hello", "no image is called 'hello'"),
        ("", "no image is called ''"),
        ("154.7709 46.50", "no image lies within 30 arcsec of '154.7709 46.50': the nearest, J1"),
        ("12:99:00 +5:0:0", "no image is called"),
    ],
)  # fmt: skip
def test_no_image_or_several_is_one_clear_line(query: str, says: str) -> None:
    with pytest.raises(Problem, match="^" + says.translate({40: r"\(", 41: r"\)"})):
        find_row(TABLE, query)


def test_two_decimal_numbers_are_degrees_and_colons_are_hours() -> None:
    assert position_in("10.5 20.25") == (10.5, 20.25)
    assert position_in("10:30:00 20:15:00") == pytest.approx((157.5, 20.25))
    assert position_in("400 10") is None and position_in("galaxy 7") is None
