"""The report's chapters: the purpose of each stage of the pipeline, in the pipeline's order.

A chapter is data, in chapters.toml: the stages that make it, a title, a sentence or two for a
student, and the function that returns its tables. Its scripts, and the order of the chapters, come
from the list of stages. A stage without a chapter is shown under its own name.
"""

import importlib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from VAE_model.pipeline.stages import STAGES, command, for_own_images, place
from VAE_model.report import classification, transfer
from VAE_model.report.page import Block
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.report.tables import percent


@dataclass(frozen=True)
class Chapter:
    """A chapter of the report.

    stages: numbers of the list of stages, or scripts that are not in it; any of them makes the
    chapter; blocks: returns what the chapter shows above its figures.
    """

    stages: Sequence[str]
    title: str
    sentence: str
    blocks: Callable[[RunOutputs], list[Block]]
    own: Sequence[str] | None = None  # title and sentence for images of one's own

    @property
    def scripts(self) -> Sequence[str]:
        """The scripts of its stages."""
        return [e.script for e in STAGES if e.chapter in self.stages] or self.stages

    def heading(self, outputs: RunOutputs) -> Sequence[str]:
        """Return title and sentence, which for images of one's own may be others."""
        return self.own if self.own and outputs.own_images else (self.title, self.sentence)

    def is_shown(self, outputs: RunOutputs) -> bool:
        """Return True unless the run has images of one's own and they lack what it needs."""
        follows = {entry.script for entry in for_own_images()}
        wanted = not outputs.own_images or not follows.isdisjoint(self.scripts)
        return wanted or bool(self.outputs(outputs))

    def command(self, outputs: RunOutputs) -> str:
        """Return the command to run where the chapter has no output: the first of each stage."""
        commands = []
        for stage in self.stages:
            entry = next((e for e in STAGES if e.chapter == stage), None)
            numbered = entry is not None and any("40" in place(path) for path in entry.writes)
            number = ["--num-var", str(outputs.num_var)]
            words = number if numbered and outputs.num_var != 40 else []
            script = entry.script if entry else stage
            commands.append(command(script, outputs.run.folder, words))
        return " and ".join(commands)

    def outputs(self, outputs: RunOutputs) -> dict[Path, dict[str, Any]]:
        """Return the side-cars of the files that its scripts wrote."""
        return {p: r for p, r in outputs.records.items() if r["script"] in self.scripts}

    def figures(self, outputs: RunOutputs) -> list[Path]:
        """Return its image files, in the order of CAPTIONS."""
        order = [*CAPTIONS, ""]
        images = [path for path in self.outputs(outputs) if path.suffix == ".png"]
        if not outputs.json(outputs.run.classification(outputs.num_var)).get("mean_of"):
            images = [path for path in images if caption_key(path) not in _OF_SCORES]
        return sorted(images, key=lambda path: order.index(caption_key(path)))


def _blocks(name: str) -> Callable[[RunOutputs], list[Block]]:
    """Return the function that chapters.toml names as module.function; no name means no blocks."""
    if not name:
        return lambda _: []
    module, function = name.split(".")
    return getattr(importlib.import_module(f"VAE_model.report.{module}"), function)


_OF_SCORES = ("classification", "confusion", "reliability")  # figures that need a score
_TEXT = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
CHAPTERS = [Chapter(**of | {"blocks": _blocks(of["blocks"])}) for of in _TEXT["chapter"]]
_ORDER = [entry.chapter for entry in STAGES]
CHAPTERS.sort(key=lambda chapter: _ORDER.index(chapter.stages[0]))
CAPTIONS = {
    name: (of["text"], of["alt"], of.get("own", of["text"]))
    for name, of in _TEXT["caption"].items()
}


def caption_key(figure: Path) -> str:
    """Return the entry of CAPTIONS that a figure belongs to, or an empty string."""
    return max((name for name in CAPTIONS if figure.stem.startswith(name)), key=len, default="")


def caption(figure: Path, own_images: bool = False) -> tuple[str, str]:
    """Return caption and alternative text of a figure; of an unknown one its name."""
    name = figure.stem.replace("_", " ")
    text, alt, own = CAPTIONS.get(caption_key(figure), (name, f"figure: {name}", name))
    return own if own_images else text, alt


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
    table = outputs.parquet(run.latents(n), ["split", "ssim", "reduced_chi2"])
    test = None if table is None else table[table["split"] == "test"]
    if test is not None and len(test):
        chi2 = test["reduced_chi2"].median()
        note = f"median of {len(test):,} test images; reduced χ² per pixel {chi2:.2f}"
        found.append(("SSIM of reconstructions", f"{test['ssim'].median():.3f}", note))
    history = outputs.history(run.model_log(n))
    if history:
        best = min(history, key=lambda line: line["validation_loss"])
        note = f"nats per image, validation, best of {len(history)} epochs"
        found.append(("Loss", f"{best['validation_loss']:,.0f}", note))
    good, refused = (outputs.numbers(run.train_txt).get(name) for name in ("good", "refused"))
    if good is not None:
        found.append(("Good images", f"{good:,}", f"{refused:,} refused"))
    return found
