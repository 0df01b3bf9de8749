"""A contact sheet of the simulated sky: colour images, one row per type."""

import textwrap
from pathlib import Path

import pandas as pd

from VAE_model.data.cutouts import read_cutout
from VAE_model.pipeline.run import Run
from VAE_model.report.figures import new_figure, save_figure, show_image, thumbnail
from VAE_model.simulation.sky import file_name


def _types(truth: pd.DataFrame) -> dict[str, pd.Series]:
    whole = truth.defect_decals == ""
    calm = whole & (truth.disturbance < 0.2)
    smooth = calm & truth.kind.isin(["spheroid", "lenticular"])
    spiral = calm & (truth.kind == "spiral")
    face_on = spiral & (truth.inclination < 60)
    arms = face_on & (truth.arm_strength > 0.5)
    odd, alone = whole & (truth.disturbance > 0.25), truth.companion_kind == ""
    return {
        "smooth, round": smooth & (truth.axis_ratio > 0.8),
        "smooth, in-between": smooth & truth.axis_ratio.between(0.45, 0.75),
        "smooth, cigar": smooth & (truth.axis_ratio < 0.4),
        "spiral at 60 to 78 degrees": spiral & truth.inclination.between(60, 78),
        "spiral, edge-on": spiral & (truth.inclination > 80),
        "disc, weak arms": face_on & (truth.arm_strength < 0.3),
        "arms, tight": arms & (truth.pitch < 16),
        "arms, medium": arms & truth.pitch.between(18, 25),
        "arms, loose": arms & (truth.pitch > 28),
        "weak bar": face_on & truth.bar_strength.between(0.3, 0.5),
        "strong bar": face_on & (truth.bar_strength > 0.7),
        "irregular": calm & (truth.kind == "irregular"),
        "slightly disturbed": odd & alone & (truth.disturbance < 0.55),
        "strongly disturbed": odd & alone & (truth.disturbance > 0.6),
        "merger": odd & ~alone,
        "cluster": calm & (truth.cluster_galaxies > 8),
        "defect": ~whole & (truth.defect_decals != "missing_band"),
    }


def contact_sheet(path: Path, run: Run, truth: pd.DataFrame, columns: int = 10) -> None:
    """Write a PNG with up to `columns` DECaLS cutouts of each type, brightest first."""
    types = {label: chosen for label, chosen in _types(truth).items() if chosen.any()}
    figure = new_figure(1.25 * columns + 0.9, 1.42 * max(len(types), 1), layout="constrained")
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01)
    panels = figure.subplots(max(len(types), 1), columns, squeeze=False)
    for row, (label, chosen) in zip(panels, types.items(), strict=False):
        found = truth[chosen].sort_values("mag_r")
        found = found.iloc[:: max(1, len(found) // columns)]
        for axes in row[len(found) :]:
            axes.set_axis_off()
        for axes, galaxy in zip(row, found.itertuples(), strict=False):
            cutout = read_cutout(run.images("decals") / file_name(galaxy.ra, galaxy.dec))
            show_image(axes, thumbnail(cutout.flux, 160))
            axes.set_title(
                f"r {galaxy.mag_r:.1f}", fontsize=8, fontweight="normal", loc="center", pad=2
            )
        words = textwrap.fill(label, 12, break_on_hyphens=False)
        row[0].set_ylabel(words, fontsize=9, rotation=0, ha="right", va="center")
    save_figure(figure, path, dpi=110)
