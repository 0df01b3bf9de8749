"""A contact sheet of the simulated sky, in the survey's colours, a row a type."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from VAE_model.colour import survey_colours
from VAE_model.cutouts import read_cutout
from VAE_model.files import atomic
from VAE_model.paths import Run
from VAE_model.simulation.sky import file_name


def _types(truth: pd.DataFrame) -> dict[str, pd.Series]:
    calm = (truth.disturbance == "none") & (truth.defect_decals == "")
    disc = calm & (truth.kind == "disc")
    face_on = disc & (truth.inclination < 65)
    arms = face_on & (truth.arms > 0)
    smooth = calm & (truth.kind == "smooth")
    return {
        "smooth, round": smooth & (truth.axis_ratio > 0.8),
        "smooth, in-between": smooth & truth.axis_ratio.between(0.42, 0.8),
        "smooth, cigar": smooth & (truth.axis_ratio < 0.4),
        "edge-on": disc & (truth.inclination > 78),
        "disc, no arms": face_on & (truth.arms == 0),
        "arms, tight": arms & (truth.pitch < 15),
        "arms, medium": arms & truth.pitch.between(16, 24),
        "arms, loose": arms & (truth.pitch > 26),
        "strong bar": face_on & (truth.bar_kind == "strong"),
        "minor disturbance": truth.disturbance == "minor-disturbance",
        "major disturbance": truth.disturbance == "major-disturbance",
        "merger": truth.disturbance == "merger",
        "defect": (truth.defect_decals != "") & (truth.defect_decals != "missing_band"),
    }


def contact_sheet(path: Path, run: Run, truth: pd.DataFrame, columns: int = 10) -> None:
    """Write a PNG with up to `columns` DECaLS cutouts of each type, brightest first."""
    types = _types(truth)
    figure, axes = plt.subplots(len(types), columns, figsize=(1.25 * columns, 1.25 * len(types)))
    for row, (label, chosen) in zip(axes, types.items(), strict=True):
        found = truth[chosen].sort_values("mag_r")
        found = found.iloc[:: max(1, len(found) // columns)]
        for axis in row:
            axis.set_axis_off()
        for axis, galaxy in zip(row, found.itertuples(), strict=False):
            cutout = read_cutout(run.images("decals") / file_name(galaxy.ra, galaxy.dec))
            axis.imshow(survey_colours(cutout.flux), interpolation="none")
            axis.set_title(f"r {galaxy.mag_r:.1f}", fontsize=6, pad=2)
        row[0].text(-0.08, 0.5, label, transform=row[0].transAxes, fontsize=7, rotation=90,
                    ha="right", va="center")  # fmt: skip
    figure.subplots_adjust(
        left=0.03, right=0.995, bottom=0.005, top=0.985, wspace=0.03, hspace=0.14
    )
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
