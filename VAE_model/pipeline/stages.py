"""The stages of the pipeline, in order: the list from which everything else is derived.

From it come the targets of `make`, the order of the report, the stage tables of both READMEs, the
commands in error messages, and the stages in the tests of faults. To add a stage, add an entry
here; `python -m VAE_model.pipeline` then writes the tables of the READMEs.

Files are named by the attributes of a Run; 40 stands for any number of latents, * for any name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from VAE_model.pipeline.run import DEFAULT, ROOT, Run


@dataclass(frozen=True)
class Entry:
    """One stage of the pipeline; number 0: it adds images to a run."""

    number: str
    target: str  # of make
    script: str
    does: str  # one line, for `make help`
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    optional: tuple[Path, ...] = ()  # inputs that it reads if they exist
    options: str = ""  # that `make` adds to the command
    in_chapter: str = ""  # of the report; empty: the chapter of its number

    @property
    def chapter(self) -> str:
        """The chapter of the report: A2 for the stages A2.1 and A2.2."""
        return self.in_chapter or self.number.split(".")[0]


run = Run()
IMAGES = (run.images("decals"), run.images("bassmzls"))

# fmt: off
STAGES = (
    Entry(
        "0", "simulate", "data/simulate.py", "the simulated sky: images, catalogue, truth",
        writes=(*IMAGES, run.catalogue, run.truth, run.figure("sky.png")),
        options="--galaxies $(N) --overlap $(OVERLAP)",
    ),
    Entry(
        "0", "download", "data/download.py", 'the real surveys (DOWNLOAD="--first 500")',
        writes=(*IMAGES, run.catalogue, run.manifest), options="$(DOWNLOAD)",
    ),
    Entry(
        "0", "import", "data/import_images.py", 'your own images (IMPORT="--folder path")',
        writes=(run.images("*"), run.import_refused("*"), run.labels), options="$(IMPORT)",
    ),
    Entry(
        "0", "exposures", "data/simulate_exposures.py",
        "simulated galaxies in several exposures, to train on (EXPOSURES=\"--galaxies 6000\")",
        writes=(run.exposures,), options="$(EXPOSURES)",
    ),
    Entry(
        "1", "datatxt", "make_datatxt.py", "check the images, list the good in train.txt",
        reads=(run.images("*"),), writes=(run.train_txt, run.rejected, run.packed),
    ),
    Entry(
        "2", "train", "Galaxy_VAE_n.py", "train the VAE",
        reads=(run.train_txt,), optional=(run.labels, run.exposures),
        writes=(run.model(40), run.model_last(40), run.model_log(40)),
    ),
    Entry(
        "3", "latents", "analysis/extract_latents.py", "extract the latent variables",
        reads=(run.train_txt, run.model(40)), optional=(run.labels,), writes=(run.latents(40),),
    ),
    Entry(
        "A1", "classes", "analysis/decals_1.py", "cut the catalogue into classes and questions",
        reads=(run.catalogue,), optional=(run.labels,),
        writes=(run.classes, run.class_table("*")),
    ),
    Entry(
        "A2.1", "match", "analysis/decals_2_1.py", "match the classes to the images on the sky",
        reads=(run.classes, run.train_txt), optional=(run.rejected,),
        writes=(run.matches, run.figure("separations.png")),
    ),
    Entry(
        "A2.2", "take", "analysis/decals_2_2.py", "take the latents of the matched galaxies",
        reads=(run.classes, run.matches, run.latents(40)), writes=(run.class_latents(40),),
    ),
    Entry(
        "A3", "project", "analysis/decals_3.py", "PCA pair plot and map of the latent space",
        reads=(run.latents(40), run.train_txt), optional=(run.class_latents(40), run.labels),
        writes=(run.map(40), run.figure("pca_pairs_40.png"), run.figure("map_40.png"),
                run.figure("map_thumbnails_40.png")),
    ),
    Entry(
        "A3", "map", "analysis/map.py", "the interactive map: one HTML file",
        reads=(run.map(40), run.latents(40), run.train_txt),
        optional=(run.class_latents(40), run.catalogue, run.labels),
        writes=(run.map_page(40),),
    ),
    Entry(
        "A4", "outliers", "analysis/decals_4.py", "rank the outliers: rare galaxies, bad frames",
        reads=(run.latents(40), run.train_txt), optional=(run.class_latents(40), run.truth),
        writes=(run.outliers(40), run.result("outliers_40.json"), run.figure("outliers_40.png"),
                run.outliers_page(40)),
    ),
    Entry(
        "A5", "classify", "analysis/classify.py", "the seven questions by a forest on the latents",
        reads=(run.latents(40), run.train_txt), optional=(run.class_latents(40), run.labels),
        writes=(*(run.classification(40, ending) for ending in ("json", "csv", "md")),
                run.predictions(40),
                *(run.figure(f"{name}_40.png")
                  for name in ("classification", "confusion", "reliability"))),
    ),
    Entry(
        "A6", "dimension", "analysis/choose_dimension.py",
        "quality against the number of latent variables",
        reads=(run.train_txt, run.model(40)), optional=(run.classes, run.matches),
        writes=(run.dimensions("json"), run.dimensions("csv"), run.figure("dimensions.png"),
                run.dimension_model(40, "*")),
    ),
    Entry(
        "A7", "similar", "analysis/similar.py",
        'the most similar galaxies (SIMILAR="--query J112953.88-000427.4")',
        reads=(run.latents(40), run.train_txt),
        writes=(run.similar(40), run.figure("similar_40.png")), options="$(SIMILAR)",
    ),
    Entry(
        "A8", "traversal", "analysis/traversal.py", "images along the strongest latents",
        reads=(run.model(40), run.latents(40)),
        writes=(run.traversal(40), run.figure("traversal_40.png")),
    ),
    Entry(
        "A9", "probe", "analysis/probe.py",
        "what each latent tells, of the galaxy and of its image",
        reads=(run.latents(40), run.model(40), run.train_txt),
        optional=(run.truth, run.catalogue, run.matches),
        writes=(run.probe(40, "json"), run.probe(40, "parquet"), run.figure("probe_40.png")),
    ),
    Entry(
        "T1", "pairs", "transfer/make_pairs.py",
        "pair and audit the cutouts of the same galaxies in two surveys",
        reads=(run.train_txt, run.images("bassmzls")),
        writes=(run.pairs, run.pairs_refused, run.pairs_packed, run.figure("pairs.png"),
                run.figure("pairs_separations.png")),
    ),
    Entry(
        "T2", "encode", "transfer/encode_pairs.py",
        "encode both images of each pair with the model as it is",
        reads=(run.pairs, run.model(40)), writes=(run.pair_latents("no_tf"),),
    ),
    Entry(
        "T3", "adapt", "transfer/adapt.py", "adapt the model to the second survey",
        reads=(run.pairs, run.pair_latents("no_tf"), run.model(40)),
        writes=(run.model(40, "*"), run.model_last(40, "*"), run.model_log(40, "*"),
                run.pair_latents("*")),
    ),
    Entry(
        "T4", "compare", "transfer/compare.py", "before and after, on the test pairs",
        reads=(run.pairs, run.pair_latents("*")), optional=(run.class_latents(40),),
        writes=(*(run.comparison(ending) for ending in ("json", "csv", "md")),
                run.transfer("comparison_questions.csv"), run.figure("comparison.png")),
    ),
    Entry(
        "", "diagram", "outline/network_diagram.py",
        "a drawing of the network, made from the model itself", in_chapter="2",
        writes=(run.figure("network_*.png"), run.figure("network_*.svg")),
    ),
    Entry(
        "", "report", "analysis/report.py", "the page with every figure and number of the run",
        reads=(run.folder / "*",), writes=(run.report,),
    ),
)
# fmt: on


def place(path: Path) -> str:
    """Return the name of an entry's file under the run."""
    return path.relative_to(run.folder).as_posix()


def fits(path: Path, name: str) -> bool:
    """Return True if a file under a run is one of those that an entry's path stands for."""
    pattern = re.escape(place(path)).replace(r"\*", "[^/]*").replace("40", r"\d+")
    return re.fullmatch(pattern, name) is not None


def pipeline() -> list[Entry]:
    """Return the stages of `make run`."""
    return [STAGES[0], *after("simulate")]


def after(target: str) -> list[Entry]:
    """Return the stages that can follow the one that added the images, in order.

    Those are the stages that read only what it or another of them writes: your own images, for
    example, come without a catalogue and without a second survey.
    """
    first = next(entry for entry in STAGES if entry.target == target)
    there, chain = list(first.writes), []
    for entry in STAGES:
        if entry.number != "0" and all(_is_among(path, there) for path in entry.reads):
            there += entry.writes
            chain.append(entry)
    return chain


def for_own_images() -> list[Entry]:
    """Return the stages of `make mine`: those that can follow an import, and take little time."""
    return [entry for entry in after("import") if entry.target not in ("dimension", "probe")]


def needed(*targets: str) -> list[Entry]:
    """Return these stages of `make run`, and all stages that they need, in order."""
    reads: list[Path] = []
    chain = []
    for entry in reversed(pipeline()):
        if entry.target in targets or any(_is_among(path, entry.writes) for path in reads):
            reads += entry.reads
            chain.append(entry)
    return chain[::-1]


def makers(name: str) -> list[Entry]:
    """Return the stages that can make a file or folder, given by its name under a run.

    Of several matching patterns the longest counts; the stages that add images are alternatives.
    """
    fitting = [
        (len(place(path).replace("*", "")) if entry.number != "0" else 0, entry)
        for entry in STAGES
        for path in entry.writes
        if fits(path, name) or fits(path.parent, name) or place(path).startswith(f"{name}/")
    ]
    best = max((score for score, _ in fitting), default=0)
    return list(dict.fromkeys(entry for score, entry in fitting if score == best))


def made_by(name: str, folder: Path) -> str:
    """Return the commands that make a file, given by its name under the run `folder`."""
    commands = [command(entry.script, folder, _options(name, entry)) for entry in makers(name)]
    return ", or ".join(commands)


def number_of(name: str) -> str:
    """Return the number of latents in a file's name, as latents_40.parquet; else nothing."""
    found = re.search(r"_(\d+)(?=[_.])", name)
    return found[1] if found else ""


def _options(name: str, entry: Entry) -> list[str]:
    """Return the options by which a stage makes the file of this name, where it needs any."""
    number, options = number_of(name), []
    if number not in ("", "40") and entry.target != "dimension":
        options += ["--num-var", number]
    if entry.target == "adapt":
        stem = name.split(".")[0].removesuffix("_last").removesuffix("_log")
        options += ["--methods", stem.rsplit("_", 1)[-1]]
    return options


def command(script: str, folder: Path, constants: Sequence[str] = ()) -> str:
    """Return the command that runs a script on the run `folder`.

    constants: more words of the command line, quoted where the shell needs it.
    """
    words = ["python", script]
    if folder != ROOT / _default_run(script):
        shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
        words += ["--run", shlex.quote(str(shown))]
    return " ".join([*words, *map(shlex.quote, constants)])


def _default_run(script: str) -> str:
    """Return the run that a script works on if the command line names none."""
    path = ROOT / script
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r'^    run: Path = Path\("(.+?)"\)', text, re.MULTILINE)
    return found[1] if found else DEFAULT


def _is_among(path: Path, there: Sequence[Path]) -> bool:
    return any(fnmatch(place(one), place(path)) for one in there)
