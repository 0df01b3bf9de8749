"""The report's chapters: the purpose of each stage of the pipeline, in the pipeline's order.

A chapter is data: a title, a sentence or two for a student, the scripts that make it, and the
function that returns its tables. A stage without a chapter is shown under its own name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from VAE_model.report import classification, probe, run_tables, transfer
from VAE_model.report.page import Block
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.report.tables import percent


@dataclass(frozen=True)
class Chapter:
    """A chapter of the report.

    scripts: any of them makes the chapter; command: the one to run when none has run; blocks:
    returns what the chapter shows above its figures.
    """

    title: str
    sentence: str
    scripts: tuple[str, ...]
    command: str
    blocks: Callable[[RunOutputs], list[Block]]

    def outputs(self, outputs: RunOutputs) -> dict[Path, dict[str, Any]]:
        """Return the side-cars of the files that its scripts wrote."""
        return {p: r for p, r in outputs.records.items() if r["script"] in self.scripts}

    def figures(self, outputs: RunOutputs) -> list[Path]:
        """Return its image files, in the order of CAPTIONS."""
        order = [*CAPTIONS, ""]
        images = [path for path in self.outputs(outputs) if path.suffix == ".png"]
        return sorted(images, key=lambda path: order.index(caption_key(path)))


CHAPTERS = [
    Chapter(
        "The sky",
        "The source of the images. On the simulated sky the truth about every galaxy is known, so "
        "that every claim below can be tested.",
        ("data/simulate.py", "data/download.py", "data/import_images.py"),
        "python data/simulate.py",
        run_tables.sky,
    ),
    Chapter(
        "1 Input validation",
        "Every file is opened and checked; files that are unreadable, have the wrong shape or no "
        "signal in a band are listed with the reason and are not used.",
        ("make_datatxt.py",),
        "python make_datatxt.py",
        run_tables.refusals,
    ),
    Chapter(
        "2 Training the network",
        "A variational auto-encoder compresses each image into a few numbers, the latent "
        "variables, and learns to reconstruct the galaxy from them alone: they describe how "
        "galaxies differ.",
        ("Galaxy_VAE_n.py", "outline/network_diagram.py"),
        "python Galaxy_VAE_n.py",
        run_tables.training,
    ),
    Chapter(
        "3 The latent variables",
        "The trained network encodes every image: the latent variables describe the galaxy from "
        "now on, and the quality of the reconstruction tells how much they capture.",
        ("analysis/extract_latents.py",),
        "python analysis/extract_latents.py",
        run_tables.latents,
    ),
    Chapter(
        "A1 Classes from the catalogue",
        "Galaxy Zoo asked volunteers about the appearance of each galaxy; a galaxy belongs to a "
        "class where enough of them agree. The network is not trained on these labels: they only "
        "test what it has learned.",
        ("analysis/decals_1.py",),
        "python analysis/decals_1.py",
        run_tables.classes,
    ),
    Chapter(
        "A2 From the catalogue to the images",
        "A galaxy of the catalogue and an image are matched where they are each other's nearest "
        "neighbours on the sky.",
        ("analysis/decals_2_1.py", "analysis/decals_2_2.py"),
        "python analysis/decals_2_1.py",
        run_tables.matches,
    ),
    Chapter(
        "A3 The map of the latent space",
        "A projection of the latent variables to two dimensions: galaxies that lie close together "
        "look alike to the network. Do the classes form groups?",
        ("analysis/decals_3.py", "analysis/map.py"),
        "python analysis/decals_3.py",
        run_tables.latent_map,
    ),
    Chapter(
        "A4 Outliers: rare galaxies, bad images",
        "An outlier is a rare galaxy or a bad image. Flags on the pixels mark broken images, the "
        "sky beside the galaxy marks suspect ones; of the others, the galaxies farthest from all "
        "are rare.",
        ("analysis/decals_4.py",),
        "python analysis/decals_4.py",
        run_tables.outliers,
    ),
    Chapter(
        "A5 Questions of morphology",
        "A random forest is trained to predict the answer to each question from the latents, and "
        "tested on galaxies that neither it nor the network was trained on. It is compared with "
        "PCA at the same dimension and with predicting the majority class.",
        ("analysis/classify.py",),
        "python analysis/classify.py",
        classification.blocks,
    ),
    Chapter(
        "A6 Number of latent variables",
        "Too few lose the spiral arms, too many store the noise: quality against dimension shows "
        "a knee.",
        ("analysis/choose_dimension.py",),
        "python analysis/choose_dimension.py",
        classification.dimension_blocks,
    ),
    Chapter(
        "A7 Similar galaxies",
        "Galaxies that are close in the latent space look alike: each row shows a query galaxy and "
        "its nearest neighbours.",
        ("analysis/similar.py",),
        "python analysis/similar.py",
        lambda _: [],
    ),
    Chapter(
        "A8 Latent traversal",
        "The meaning of single latent variables: the decoder draws the mean galaxy with one latent "
        "decreased and increased, and the correlated latents with it. The effect on the mean "
        "galaxy need not be the effect on another one.",
        ("outline/traversal.py",),
        "python outline/traversal.py",
        run_tables.traversal,
    ),
    Chapter(
        "A9 Information in the latents",
        "What does each latent encode of a galaxy, and what of properties that it should not "
        "depend on, such as the seeing, the noise, or the orientation of the galaxy in the image? "
        "And is its error bar as large as its error?",
        ("analysis/probe.py",),
        "python analysis/probe.py",
        probe.blocks,
    ),
    Chapter(
        "T1 The same galaxies in a second survey",
        "Where two surveys overlap, they have imaged the same galaxies. Each pair of images is "
        "audited: the camera in its header, a common centre, no defect in either.",
        ("transfer/make_pairs.py",),
        "python transfer/make_pairs.py",
        transfer.pair_blocks,
    ),
    Chapter(
        "T2, T3 Adapting the model",
        "The network was trained on images of one survey. On the training pairs it is adapted so "
        "that a galaxy has the same latent variables in both surveys; controls show the effect of "
        "more training, or of a simple rescaling.",
        ("transfer/encode_pairs.py", "transfer/adapt.py"),
        "python transfer/encode_pairs.py and python transfer/adapt.py",
        transfer.adaptation_blocks,
    ),
    Chapter(
        "T4 Before and after",
        "A forest that was trained on the volunteers' answers in one survey is tested on the "
        "other, on galaxies that no adaptation was fitted on. Where its score holds, the latents "
        "mean the same in both.",
        ("transfer/compare.py",),
        "python transfer/compare.py",
        transfer.comparison_blocks,
    ),
]


# beginning of a figure's file name: (caption, description for those who cannot see it)
CAPTIONS = {
    "sky": (
        "Simulated galaxies in survey colours, 67 arcsec a side, the brightest at the left; above "
        "each its r magnitude.",
        "colour images of simulated galaxies of all kinds",
    ),
    "network": (
        "The network, drawn from the model itself: the height of a block is the root of its "
        "image's side, its width that of the number of channels; below each its output, its "
        "layers and its parameters.",
        "blocks of the encoder, the latent variables and the decoder",
    ),
    "separations": (
        "Distance between the image's centre and the catalogue's position. A second peak far from "
        "zero would mean wrong matches.",
        "histogram of separations in arcsec",
    ),
    "classification": (
        "Each question with its 95 % interval: the latents, as many principal components, and the "
        "majority class.",
        "balanced accuracy of each question for latents, PCA and the majority class",
    ),
    "confusion": (
        "The forest's prediction (columns) for galaxies with each label (rows): correct ones are "
        "on the diagonal.",
        "confusion matrix of each question",
    ),
    "reliability": (
        "Accuracy of the forest against the probability of its answer (bars: 95 % binomial "
        "intervals). On the line it is calibrated; below it, it is overconfident. Squares: the "
        "forest with balanced class weights; dots: corrected for the shares of the answers among "
        "the training galaxies. Below each title their calibration errors.",
        "share of correct answers against the forest's probability for each question",
    ),
    "pca_pairs": (
        "The principal components of the latents against each other, by class; on the diagonal "
        "the distribution of each class along one of them.",
        "scatter plots of principal components by class",
    ),
    "map": (
        "Every galaxy on the map: galaxies that are close look alike to the network. Large "
        "distances, and the axes, have no meaning.",
        "map of the latent space in two dimensions by class",
    ),
    "map_thumbnails": (
        "The same map in images, in each cell the galaxy nearest to its centre.",
        "colour images of galaxies at their places on the map",
    ),
    "outliers": (
        "The most unusual galaxies in ordinary images, then images with an unusually uneven sky, "
        "then those with a defect flag.",
        "colour images of rare galaxies, of suspect and of broken images",
    ),
    "similar": (
        "In a frame the query galaxies; beside each its nearest neighbours, with their distance in "
        "posterior widths, the error bars of the latents.",
        "colour images of query galaxies and of their nearest neighbours",
    ),
    "traversal": (
        "One row per latent, the one with the largest KL divergence first. In the middle the mean "
        "galaxy of the training images; to the sides that latent changes in steps of its standard "
        "deviation, and the others take their mean values given it. Below each image its r "
        "magnitude, g−r and half-light radius.",
        "images decoded from single latents decreased and increased",
    ),
    "probe": (
        "Above, R² of each quantity from all latents together, beside as many principal components "
        "of the pixels; below, from each latent alone. Left, the KL divergence of each latent "
        "(grey: not active); right, the standard deviation of its mean between exposures of the "
        "same galaxy, in units of the posterior's sigma: 1 is correct.",
        "R squared of each latent and quantity, KL divergence and calibration of each latent",
    ),
    "pairs": (
        "The same galaxies in two surveys, the first above, the second below; 34 arcsec a side.",
        "colour images of the same galaxies in two surveys",
    ),
    "pairs_separations": (
        "Left, distance between the centres of the two images of a galaxy; right, distance between "
        "the centres of its light once the images share a centre.",
        "histograms of the separations of the pairs' centres",
    ),
    "comparison": (
        "On test pairs, with 95 % intervals. Left, the two marks of a method should agree; in the "
        "middle, 0.5 means that the surveys cannot be told apart; right, less is better.",
        "scores, AUC and distances of each method of adaptation",
    ),
    "dimensions": (
        "Quality against the number of latent variables, on validation images; dotted, the knee.",
        "quality measures against the number of latent variables",
    ),
}


def caption_key(figure: Path) -> str:
    """Return the entry of CAPTIONS that a figure belongs to, or an empty string."""
    return max((name for name in CAPTIONS if figure.stem.startswith(name)), key=len, default="")


def caption(figure: Path) -> tuple[str, str]:
    """Return caption and alternative text of a figure; of an unknown one its name."""
    name = figure.stem.replace("_", " ")
    return CAPTIONS.get(caption_key(figure), (name, f"figure: {name}"))


def key_numbers(outputs: RunOutputs) -> list[tuple[str, object, str]]:
    """Return the main results: name, number, and a note on it."""
    run, n = outputs.run, outputs.num_var
    found = classification.headline(outputs.json(run.classification(n)), n)
    recovery = outputs.json(run.result(f"outliers_{n}.json")).get("recovery")
    if recovery:
        injected, clean = recovery["injected"], recovery["clean"]
        interval = f"95 % interval {' to '.join(map(percent, injected['interval_95']))}"
        note = f"{interval}; {clean['flagged']:,} of {clean['n']:,} clean images flagged"
        found.append(("Injected defects found", f"{injected['either']} of {injected['n']}", note))
    found += transfer.headline(outputs)
    table = outputs.parquet(run.latents(n), ["split", "ssim", "mse"])
    test = None if table is None else table[table["split"] == "test"]
    if test is not None and len(test):
        note = (
            f"median of {len(test):,} test images; reduced χ² per pixel {test['mse'].median():.2f}"
        )
        found.append(("SSIM of reconstructions", f"{test['ssim'].median():.3f}", note))
    history = outputs.history(run.model_log(n))
    if history:
        best = min(history, key=lambda line: line["validation_loss"])
        note = f"nats per image, validation, best of {len(history)} epochs"
        found.append(("−ELBO", f"{best['validation_loss']:,.0f}", note))
    good, refused = (outputs.numbers(run.train_txt).get(name) for name in ("good", "refused"))
    if good is not None:
        found.append(("Good images", f"{good:,}", f"{refused:,} refused"))
    return found
