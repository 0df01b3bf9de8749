"""The report's chapters: what each stage of the pipeline is for, in the pipeline's order.

A chapter is data: the stages that make it, a title, one sentence for a student, the function that
tells its numbers. Its scripts, and the order of the chapters, come from the list of stages. A stage
without a chapter is shown under its own name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from VAE_model.pages import probe_tables, run_tables, score_tables, transfer_tables
from VAE_model.pages.material import Material
from VAE_model.pages.page import Html, percent
from VAE_model.pipeline.stages import STAGES


@dataclass(frozen=True)
class Chapter:
    """stages: numbers of the list of stages, or scripts that are not in it; any of them makes the
    chapter."""

    stages: tuple[str, ...]
    title: str
    sentence: str
    tables: Callable[[Material], list[Html]]

    @property
    def scripts(self) -> tuple[str, ...]:
        return tuple(e.script for e in STAGES if e.chapter in self.stages) or self.stages

    @property
    def command(self) -> str:
        """The command to run where the chapter has no output: the first of each stage."""
        return " and ".join(
            next((f"python {e.script}" for e in STAGES if e.chapter == stage), f"python {stage}")
            for stage in self.stages
        )

    def outputs(self, material: Material) -> dict[Path, dict[str, Any]]:
        """The side-cars of what its scripts wrote."""
        return {p: r for p, r in material.records.items() if r["script"] in self.scripts}

    def figures(self, material: Material) -> list[Path]:
        """Its pictures, in the order of CAPTIONS."""
        order = [*CAPTIONS, ""]
        pictures = [path for path in self.outputs(material) if path.suffix == ".png"]
        return sorted(pictures, key=lambda path: order.index(begins_with(path)))


CHAPTERS = [
    Chapter(
        ("0",),
        "The sky",
        "Where the images come from. On the simulated sky the truth about every galaxy is known, "
        "so that every claim below can be checked against it.",
        run_tables.sky,
    ),
    Chapter(
        ("1",),
        "1 Which images are good",
        "Every file is opened and checked; what is unreadable, of the wrong shape or without "
        "signal in a band never reaches the network, and is listed with the reason.",
        run_tables.refusals,
    ),
    Chapter(
        ("2",),
        "2 Training the network",
        "A variational auto-encoder squeezes each image through a few numbers, the latent "
        "variables, and learns to draw the galaxy again from them alone: what survives is what "
        "galaxies differ in.",
        run_tables.training,
    ),
    Chapter(
        ("3",),
        "3 The latent variables",
        "The trained network reads every image once: its latent variables are from now on the "
        "galaxy's description, and how well it draws the image again says how far to trust them.",
        run_tables.latents,
    ),
    Chapter(
        ("A1",),
        "A1 Classes from the catalogue",
        "Galaxy Zoo asked people what they see; a galaxy belongs to a class where enough of them "
        "agree. The network has never seen these labels: they only test what it found.",
        run_tables.classes,
    ),
    Chapter(
        ("A2",),
        "A2 From the catalogue to the images",
        "A galaxy of the catalogue and an image belong together where they lie at the same "
        "position on the sky, each the other's nearest.",
        run_tables.matches,
    ),
    Chapter(
        ("A3",),
        "A3 The map of the latent space",
        "Nobody can look at so many numbers, but at two one can: galaxies that lie close together "
        "here look alike to the network. Do the classes keep together?",
        run_tables.latent_map,
    ),
    Chapter(
        ("A4",),
        "A4 Outliers: rare galaxies, bad frames",
        "What is least like all others is a discovery or a bad frame. Flags on the pixels tell "
        "which frames are broken, the sky beside the galaxy which are suspect; of the others, the "
        "galaxies farthest from the crowd are rare.",
        run_tables.outliers,
    ),
    Chapter(
        ("A5",),
        "A5 Questions of morphology",
        "A random forest learns the answers to each question from the latents of the training "
        "galaxies and is asked about galaxies that neither it nor the network has seen. PCA at the "
        "same dimension is what the latents have to beat; the majority rate is what guessing "
        "gives.",
        score_tables.classification,
    ),
    Chapter(
        ("A6",),
        "A6 How many latent variables",
        "Too few lose the arms, too many store the noise: quality against dimension shows a knee.",
        score_tables.dimensions,
    ),
    Chapter(
        ("A7",),
        "A7 Galaxies like this one",
        "Close together in the latent space means alike: each row begins with a galaxy and goes on "
        "with those nearest to it.",
        lambda _: [],
    ),
    Chapter(
        ("A8",),
        "A8 Along a latent variable",
        "What does one latent variable mean? The decoder draws the mean galaxy with that one "
        "turned down and up, and those that vary with it along. Only the numbers are measured; "
        "what changes in form is for you to see, and what one latent does to the mean galaxy it "
        "need not do to another.",
        run_tables.traversal,
    ),
    Chapter(
        ("A9",),
        "A9 What the latents tell",
        "What does each latent know of a galaxy, and what of things it should not know, such as "
        "the seeing, the noise, or how the galaxy happens to lie in the image? And is the error "
        "bar that it comes with as large as its error?",
        probe_tables.probe,
    ),
    Chapter(
        ("T1",),
        "T1 The same galaxies in a second survey",
        "Where two surveys overlap, they have photographed the same galaxies. Each pair of images "
        "is audited: the right camera by its header, the same centre, no defect in either.",
        transfer_tables.pairs,
    ),
    Chapter(
        ("T2", "T3"),
        "T2, T3 Adapting the model",
        "The network was trained on one survey's images. On the training pairs it learns to read "
        "the other's so that a galaxy has the same latent variables in both; controls show what "
        "more training, or a simple rescaling, would have done.",
        transfer_tables.adaptation,
    ),
    Chapter(
        ("T4",),
        "T4 Before and after",
        "A forest that learned the volunteers' answers in one survey is asked about the other, on "
        "galaxies that no adaptation has seen. Where its score holds, the latents mean the same "
        "in both.",
        transfer_tables.comparison,
    ),
]

_ORDER = [entry.chapter for entry in STAGES]
CHAPTERS.sort(key=lambda chapter: _ORDER.index(chapter.stages[0]))


# file name of a figure begins with: (caption, what it shows for those who cannot see it)
CAPTIONS = {
    "sky": (
        "Simulated galaxies in survey colours, 67 arcsec a side, the brightest left; above each "
        "its r magnitude.",
        "colour images of simulated galaxies of all kinds",
    ),
    "network": (
        "The network, drawn from the model itself: blocks as high as the root of their image's "
        "side and as wide as that of its channels; below each what comes out of it, its layers "
        "and its parameters.",
        "blocks of the encoder, the latent variables and the decoder",
    ),
    "separations": (
        "How far the image's centre lies from the catalogue's position. A second hump far from "
        "zero would mean wrong matches.",
        "histogram of separations in arcsec",
    ),
    "classification": (
        "Each question with its 95 % interval: the latents, as many principal components, and what "
        "always giving the commonest answer scores. Intervals that overlap much tell little.",
        "balanced accuracy of each question for latents, PCA and the commonest answer",
    ),
    "confusion": (
        "What the forest says (columns) of galaxies with each label (rows): the diagonal is right.",
        "confusion matrix of each question",
    ),
    "reliability": (
        "How often the forest is right where it claims a probability (bars: 95 % binomial "
        "intervals). On the line it keeps its word; below it, it promises too much. Squares: the "
        "forest as grown, which speaks as if all answers were equally common; dots: corrected for "
        "how common they are among the training galaxies. Below each title their calibration "
        "errors.",
        "share of right answers against the forest's probability for each question",
    ),
    "pca_pairs": (
        "The directions in which the latents vary most, against each other, by class; on the "
        "diagonal how each class is spread along one of them.",
        "scatter plots of principal components by class",
    ),
    "map": (
        "Every galaxy at its place: neighbours are alike to the network. Distances between far "
        "ones, and the axes, mean nothing.",
        "map of the latent space in two dimensions by class",
    ),
    "map_thumbnails": (
        "The same map in images, in each cell the galaxy nearest to its middle: wander through it "
        "and see what changes.",
        "colour images of galaxies at their places on the map",
    ),
    "outliers": (
        "The most unusual galaxies in frames like the others, then frames whose sky is more uneven "
        "than is usual, then those with a defect flag.",
        "colour images of rare galaxies, of suspect and of broken frames",
    ),
    "similar": (
        "Framed, the galaxies asked about; beside each the most similar ones, and how far they are "
        "in posterior widths, the error bars of the latents.",
        "colour images of galaxies and of those most like them",
    ),
    "traversal": (
        "A row a latent, the one that tells most of an image (the largest KL divergence) first. In "
        "the middle the mean galaxy of the training images; to the sides that latent is turned "
        "down and up in steps of its scatter from galaxy to galaxy, and the others go where they "
        "are on average then. Below each image its r magnitude, g−r and half-light radius.",
        "images decoded from single latents turned down and up",
    ),
    "probe": (
        "Above, what all latents together tell of each quantity, beside as many principal "
        "components of the pixels; below, each latent alone. Left, how much of the image a latent "
        "carries (grey: not active); right, how far its mean scatters when the same galaxy is "
        "observed again, in units of the posterior's sigma: 1 would be right.",
        "R squared of each latent and quantity, KL divergence and calibration of each latent",
    ),
    "pairs": (
        "The same galaxies in two surveys, the first above, the second below; 34 arcsec a side.",
        "colour images of the same galaxies in two surveys",
    ),
    "pairs_separations": (
        "Left, how far apart the two frames of a galaxy were cut; right, how far apart its light "
        "is in them once they share a centre.",
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


def begins_with(figure: Path) -> str:
    """The entry of CAPTIONS that a figure belongs to; empty where there is none."""
    return max((name for name in CAPTIONS if figure.stem.startswith(name)), key=len, default="")


def caption(figure: Path) -> tuple[str, str]:
    """Caption and alternative text of a figure; of an unknown one its name."""
    beginning = begins_with(figure)
    if beginning:
        return CAPTIONS[beginning]
    name = figure.stem.replace("_", " ")
    return name, f"figure: {name}"


def key_numbers(material: Material) -> list[tuple[str, str, str]]:
    """The handful that matters: what it is, the number, what it rests on."""
    run, n = material.run, material.num_var
    found = score_tables.headline(material.json(run.classification(n)), n)
    recovery = material.json(run.result(f"outliers_{n}.json")).get("recovery")
    if recovery:
        injected, clean = recovery["injected"], recovery["clean"]
        low, high = injected["interval_95"]
        interval = f"95 % interval {percent(low)} to {percent(high)}"
        note = f"{interval}; {clean['flagged']:,} of {clean['n']:,} clean images flagged"
        found.append(("Injected defects found", f"{injected['either']} of {injected['n']}", note))
    found += transfer_tables.headline(material)
    table = material.parquet(run.latents(n), ["split", "ssim", "mse"])
    test = None if table is None else table[table["split"] == "test"]
    if test is not None and len(test):
        likeness, error = test["ssim"].median(), test["mse"].median()
        note = f"median of {len(test):,} test images; squared error {error:.2f} sky variances"
        found.append(("SSIM of reconstructions", f"{likeness:.3f}", note))
    history = material.history(run.model_log(n))
    if history:
        best = min(history, key=lambda line: line["validation_loss"])
        note = f"nats an image, validation, best of {len(history)} epochs"
        found.append(("−ELBO", f"{best['validation_loss']:,.0f}", note))
    good, refused = (material.numbers(run.train_txt).get(name) for name in ("good", "refused"))
    if good is not None:
        found.append(("Good images", f"{good:,}", f"{refused:,} refused"))
    return found
