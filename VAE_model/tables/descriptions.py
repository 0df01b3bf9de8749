"""Unit, UCD and description of the columns that the stages write.

The list is used by analysis/export_table.py, and `python -m VAE_model.tables.descriptions` writes
its rows for the table of latents into docs/OWN_IMAGES.md.

Units are in the spelling of astropy; a nanomaggy is 3.631e-6 Jy. UCDs are of the controlled
vocabulary of the IVOA (https://www.ivoa.net/documents/UCD1+/), which astropy carries.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from VAE_model.data import galaxy_zoo
from VAE_model.pipeline.run import ROOT
from VAE_model.preparation.defects import FLAGS

PAGE = ROOT / "docs" / "OWN_IMAGES.md"
_BANDS = {"g": "em.opt.B", "r": "em.opt.R", "z": "em.opt.I"}  # 398-548, 568-716, 850-1000 nm
_MARKS = ("<!-- columns -->\n", "<!-- end of columns -->")


@dataclass(frozen=True)
class Described:
    """Unit ("": none), UCD ("": none fits) and description of a column."""

    unit: str
    ucd: str
    description: str


# Regular expression for a whole name -> unit, UCD, description; the first that fits counts.
_COMMON = {
    "iauname": ("", "meta.id;meta.main", "IAU name from the position; without one the file name"),
    "ra": ("deg", "pos.eq.ra;meta.main", "right ascension, ICRS; NaN where unknown"),
    "dec": ("deg", "pos.eq.dec;meta.main", "declination, ICRS; NaN where unknown"),
    "path": ("", "meta.id;meta.file",
             "the image, relative to the run: the key that all tables share"),
    "survey": ("", "meta.dataset", "survey by the header, or unknown"),
    "split": ("", "meta.code", "train, validation or test"),
    r"mu_\d+": ("", "stat.param;stat.mean",
                "mean of the latent's posterior, in standard deviations of the prior: the latent "
                "variable"),
    r"logvar_\d+": ("", "stat.variance;stat.param",
                    "natural logarithm of the variance of the latent's posterior"),
    "residual": ("", "stat.fit.residual",
                 "mean squared error of the reconstructed target, in units of the target"),
    "reduced_chi2": ("", "stat.fit.chi2",
                     "squared error per pixel over the variance of the sky, central half of the "
                     "image"),
    "ssim": ("", "stat.fit.goodness",
             "structural similarity of image and reconstruction, central half of the image"),
    "image_angle": ("deg", "pos.posAng;instr.det",
                    "angle of the major axis in the image, from +x towards +y"),
    "centre_(x|y)": ("arcsec", "pos.cartesian.{0};instr.det",
                     "position of the galaxy along {0} from the middle of the image, at 0.262 "
                     "arcsec per pixel"),
    "rms_radius": ("arcsec", "phys.angSize",
                   "root mean square radius, at 0.262 arcsec per pixel"),
    "axis_ratio": ("", "phys.size.axisRatio", "b/a"),
    "masked_fraction": ("", "meta.code.qual",
                        "share of the galaxy's frame that contaminants covered; NaN without a "
                        "galaxy in the middle"),
    "flux_(g|r|z)": ("nanomaggy", "phot.flux.density;{band}",
                     "flux of the galaxy in {0} without contaminants (8-bit images: brightness)"),
    "n_sources": ("", "meta.number", "sources in the image beside the galaxy"),
    "background_rms_over_flux": ("", "instr.background;stat.stdev",
                                 "unevenness of the sky over the flux of the galaxy"),
    **{name: ("", "meta.code.qual", said) for name, said in FLAGS.items()},
    # classes and matches
    **{name: ("", "meta.code.class", f"True for galaxies of the class {name}")
       for name in galaxy_zoo.CLASSES},
    "|".join(map(re.escape, map(galaxy_zoo.answer_column, galaxy_zoo.questions()))): (
        "", "meta.code.class", "answer to the question {name}; empty: none by the cuts"),
    "class": ("", "meta.code.class", "class of the galaxy"),
    "(class|image)_row": ("", "meta.record", "row of {0} from 0: classes.parquet or train.txt"),
    "separation": ("arcsec", "pos.angDistance", "distance on the sky of the two matched positions"),
    # of the transfer
    "pair": ("", "meta.record", "number of the pair from 0"),
    "usable": ("", "meta.code.qual", "True where both images are without defects"),
    "pixel_scale": ("arcsec", "instr.scale", "width of a pixel of the cutout; NaN unknown"),
    "enlarged": ("", "instr.scale", "pixels of the cutout per pixel of the original"),
    "redshift": ("", "src.redshift", "redshift"),
    "mag_r": ("mag", "phot.mag;em.opt.R", "AB magnitude in r"),
}  # fmt: skip

# Columns that have their own meaning in one table, by the start of its name.
_OF_TABLE = {
    "outliers": {
        "distance": ("", "stat.value", "Mahalanobis distance from all galaxies, in latent space"),
        "class_distance": ("", "stat.value",
                           "Mahalanobis distance from the own class, in latent space; NaN: none"),
        "isolation": ("", "stat.value", "isolation-forest score: 0.5 usual, 1 isolated"),
        "combined": ("", "stat.rank", "mean percentile rank of the four scores"),
        "rank": ("", "stat.rank", "rank by combined, 1 for the most unusual galaxy"),
        "image_rank": ("", "stat.rank", "rank of the image's defects, 1 for the worst"),
        "kind": ("", "meta.code.class", "broken, suspect, rare or ordinary"),
        "mark": ("", "meta.code.class", "mark by a person; empty: none"),
        "mark_score": ("", "stat.likelihood", "log-odds of the mark that the model learned"),
        "mark_error": ("", "stat.error", "standard deviation of mark_score"),
        "mark_rank": ("", "stat.rank", "rank by mark_score, 1 for the highest"),
    },
    "predictions": {
        "flagged": ("", "meta.code.qual", "True where the image has a defect flag"),
        "(.+)_predicted": ("", "meta.code.class", "the most probable answer to {0}"),
        "(.+)_label": ("", "meta.code.class",
                       "the answer to {0} in the table of labels; empty: none"),
        "(.+)_p_(.+)": ("", "stat.probability", "probability of the answer {1} to {0}"),
        "(.+)_reliability": ("", "stat.probability",
                             "accuracy of the answer to {0} on test galaxies of a similar "
                             "probability; NaN: fewer than five"),
    },
    "catalogue": {
        "elpetro_absmag_r": ("mag", "phys.magAbs;em.opt.R",
                             "absolute magnitude in r, elliptical Petrosian"),
        "sersic_nmgy_r": ("nanomaggy", "phot.flux.density;em.opt.R",
                          "flux in r of the Sersic model"),
        "petro_th(50|90)": ("arcsec", "phys.angSize", "radius with {0} % of the Petrosian flux"),
        "petro_theta": ("arcsec", "phys.angSize", "Petrosian radius"),
        "(.+)_proportion_volunteers_asked": ("", "stat.value",
                                             "share of the volunteers who were asked {0}"),
        "(.+)_fraction": ("", "stat.probability", "share of the votes: {0}"),
    },
    "pairs": {
        "separation": ("arcsec", "pos.angDistance", "distance of the two centres on the sky"),
        "separation_pixels": ("pixel", "pos.angDistance;instr.det", "distance of the centres"),
        "other_ra": ("deg", "pos.eq.ra", "right ascension in the second survey, ICRS"),
        "other_dec": ("deg", "pos.eq.dec", "declination in the second survey, ICRS"),
        "other_path": ("", "meta.id.assoc;meta.file", "the image of the second survey"),
        "other_survey": ("", "meta.dataset", "the second survey"),
        "(other_)?release": ("", "meta.version", "VERSION of the image"),
        "shift_(x|y)": ("pixel", "pos.cartesian.{0};instr.det",
                        "shift of the second image along {0}"),
        "defect": ("", "meta.code.qual", "why the pair is not used; empty: it is"),
        "offset_pixels": ("pixel", "pos.angDistance;instr.det", "offset of the light's centres"),
    },
    "similar": {
        "order": ("", "stat.rank", "1 for the most similar galaxy"),
        "similar_iauname": ("", "meta.id.assoc", "IAU name of the similar galaxy"),
        "similar_path": ("", "meta.id.assoc;meta.file", "image of the similar galaxy"),
        "similar_ra": ("deg", "pos.eq.ra", "right ascension of the similar galaxy, ICRS"),
        "similar_dec": ("deg", "pos.eq.dec", "declination of the similar galaxy, ICRS"),
        "similar_survey": ("", "meta.dataset", "survey of the similar galaxy"),
        "distance": ("", "stat.value",
                     "distance in latent space: two exposures of one galaxy are 1 apart"),
    },
    "map": {
        "(x|y)": ("", "pos.cartesian.{0}", "place on the map of the latent space, along {0}"),
    },
    "probe": {
        "latent": ("", "meta.record", "number of the latent from 0"),
        "kl": ("", "stat.value", "KL divergence of the posterior from the prior, nats"),
        "variance": ("", "stat.variance", "variance of the posterior's mean over galaxies"),
        "active": ("", "meta.code", "True for a latent that the network uses"),
        "sigma": ("", "stat.stdev", "width of the posterior"),
        "r2_(.+)": ("", "stat.correlation", "R^2 of the regression of {0} on the latent"),
        "std_(.+)": ("", "stat.stdev", "deviation of the mean between exposures: {0}"),
        "ratio_(.+)": ("", "stat.value", "that deviation over the posterior's width: {0}"),
    },
    "traversal": {
        "latent": ("", "meta.record", "number of the latent from 0"),
        "kl": ("", "stat.value", "KL divergence of the posterior from the prior, nats"),
        "std": ("", "stat.stdev", "standard deviation of the latent over galaxies"),
        "step": ("", "stat.value", "value of the latent, in units of std"),
        "colour": ("mag", "phot.color;em.opt.B;em.opt.R", "g - r"),
        "half_light": ("arcsec", "phys.angSize", "half-light radius"),
    },
}  # fmt: skip


def describe(column: str, table: str = "") -> Described | None:
    """Return what is known of a column of a table (its file name without ending); None: nothing."""
    own = next((of for start, of in _OF_TABLE.items() if table.startswith(start)), {})
    for pattern, (unit, ucd, said) in chain(own.items(), _COMMON.items()):
        if found := re.fullmatch(pattern, column):
            groups = [group or "" for group in found.groups()]
            band = _BANDS.get(groups[0], "") if groups else ""
            ucd = ucd.format(*groups, band=band)
            return Described(unit, ucd, said.format(*groups, name=column))
    return None


def latents_rows() -> Iterator[str]:
    """Yield the rows of the table of latents in docs/OWN_IMAGES.md."""
    yield "| column | unit | UCD | meaning |"
    yield "|---|---|---|---|"
    names = ["iauname", "ra", "dec", "path", "survey", "split", "mu_00", "logvar_00", "residual",
             "reduced_chi2", "ssim", "image_angle", "centre_x", "centre_y", "rms_radius",
             "axis_ratio", "masked_fraction", "flux_g", "flux_r", "flux_z", "n_sources",
             "background_rms_over_flux", *FLAGS]  # fmt: skip
    for name in names:
        if known := describe(name, "latents"):
            more = " ..." if name.endswith("_00") else ""
            cells = (f"`{name}`{more}", known.unit, known.ucd, known.description)
            yield f"| {' | '.join(cells)} |"


def write_page(page: Path = PAGE) -> str:
    """Write these rows between their marks in a page; return its text."""
    head, rest = page.read_text(encoding="utf-8").split(_MARKS[0])
    tail = rest.split(_MARKS[1])[1]
    text = "".join([head, _MARKS[0], "\n".join(latents_rows()), "\n", _MARKS[1], tail])
    page.write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    write_page()
