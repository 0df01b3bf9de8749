"""The report of a run: one page with every figure, every table and every number, stage by stage.

The page needs no other file and no network, and is readable on a phone. Stages that have not been
run are listed with their command. All numbers come from the files of the run; beside those of a
simulated sky stands their range on the skies of the protocol (docs/PROTOCOL.md). While another
script is at work on the run the page says so, with the epochs of a training so far and the time
that is left.

Reads:  every output that the stages have left in the run so far; of a simulated sky also
        benchmarks/protocol/results/
Writes: report.html

Example: python analysis/report.py --run data/demo
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from VAE_model.pipeline.files import write_text
from VAE_model.pipeline.provenance import whole_sidecar
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.report import skies
from VAE_model.report.at_work import AtWork
from VAE_model.report.chapters import CHAPTERS, Chapter, caption, key_numbers
from VAE_model.report.classification import LATENTS
from VAE_model.report.page import Block, Details, Paragraph, Picture, Tiles, facts, render
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.report.run_tables import anything, warnings
from VAE_model.report.tables import Table


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables of the model that is reported on."""
    widest: int = 1600
    """Pixels; figures that are wider are scaled down to it, to keep the page small."""


def report(outputs: RunOutputs, widest: int, left_out: list[str], going_on: AtWork) -> str:
    """Return the page. left_out: a line for each output that is not shown."""
    known = {script for chapter in CHAPTERS for script in chapter.scripts}
    others = dict.fromkeys(record["script"] for record in outputs.records.values())
    unlisted = [
        Chapter((script,), script, "", partial(anything, script=script))
        for script in others
        if script not in known
    ]
    name = outputs.run.folder.name
    return render(
        "report.html", title=f"{name} – Galaxy_VAE report", name=name, summary=summary(outputs),
        opening=[*going_on.blocks(), *opening(outputs), *map(Paragraph, left_out)],
        sections=[
            section(chapter, outputs, widest)
            for chapter in (*CHAPTERS, *unlisted)
            if chapter.is_shown(outputs)
        ],
    )  # fmt: skip


def summary(outputs: RunOutputs) -> str:
    """Return images, splits, versions and date of the run in one line."""
    last = list(outputs.records.values())[-1]
    good = outputs.numbers(outputs.run.train_txt).get("good")
    sky = " of a simulated sky" if outputs.run.truth.exists() else ""
    parts = [f"{good:,} images{sky}"] if good else []
    parts += [f"{split} {count:,}" for split, count in outputs.splits().items()]
    versions = last.get("versions", {})
    parts += [f"{name} {versions[name]}" for name in ("Galaxy_VAE", "torch") if name in versions]
    parts.append(f"finished {str(last.get('finished', ''))[:16].replace('T', ' ')} UTC")
    return " · ".join(parts)


def opening(outputs: RunOutputs) -> list[Block]:
    """Return the main results, and the seconds of each stage."""
    seconds = {r["script"]: r.get("seconds", 0.0) for r in outputs.records.values()}
    total = sum(seconds.values())
    times = Table(["stage", "seconds"], [*seconds.items(), ("all", total)], total=True)
    versions = list(outputs.records.values())[-1].get("versions", {})
    return [
        Tiles(key_numbers(outputs)),
        *map(Paragraph, demonstration(outputs)),
        *map(Paragraph, warnings(outputs)),
        Details(f"{total:,.0f} seconds in all: time of each stage", [times]),
        Details("Versions", [Table(["package", "version"], list(versions.items()))]),
    ]


def demonstration(outputs: RunOutputs) -> list[str]:
    """Return the range of the main score on the skies of the protocol, for a simulated sky."""
    if not outputs.run.truth.exists():
        return []
    mean = outputs.json(outputs.run.classification(outputs.num_var)).get("mean") or {}
    score = mean.get(LATENTS, {}).get("value")
    return [skies.demonstration(score, skies.read_skies())]


def section(chapter: Chapter, outputs: RunOutputs, widest: int) -> dict[str, Any]:
    """Return what the page shows of a chapter.

    Its scripts and their seconds, the pages that they wrote, tables, figures, constants.
    """
    records = chapter.outputs(outputs)
    title, sentence = chapter.heading(outputs)
    content = {"title": title, "sentence": sentence, "command": chapter.command(outputs)}
    if not records:
        return {**content, "made": {}}
    own = outputs.own_images
    figures = [Picture(path, *caption(path, own), widest) for path in chapter.figures(outputs)]
    origins = Details("Constants, inputs and outputs", origin(outputs, records))
    return {
        **content,
        "made": {record["script"]: record.get("seconds", 0.0) for record in records.values()},
        "pages": [name_of(path, outputs) for path in records if path.suffix == ".html"],
        "blocks": [*chapter.blocks(outputs), *figures, origins],
    }


def name_of(path: Path, outputs: RunOutputs) -> str:
    """Return the name of a file under the run."""
    return path.relative_to(outputs.run.folder).as_posix()


def origin(outputs: RunOutputs, records: dict[Path, dict[str, Any]]) -> list[Block]:
    """Return constants, inputs and outputs, from the side-cars."""
    parts: list[Block] = []
    for script in dict.fromkeys(record["script"] for record in records.values()):
        last = [record for record in records.values() if record["script"] == script][-1]
        parts += facts(last.get("config", {}), (f"constant of {script}", "value"))
        if inputs := last.get("inputs", {}):
            parts.append(files_table("input", inputs))
    made = {name_of(path, outputs): record["output"] for path, record in records.items()}
    return [*parts, files_table("output", made)]


def files_table(what: str, entries: dict[str, dict[str, Any]]) -> Table:
    """Return a row per file: its rows, and the beginning of its SHA-256."""
    rows = [(name, of.get("rows"), str(of.get("sha256", ""))[:12]) for name, of in entries.items()]
    return Table([what, "rows", "SHA-256"], rows)


def main(config: Config) -> None:
    """Run the stage."""
    run = Run(config.run)
    outputs, left_out = RunOutputs.of(run, config.num_var).without_stale()
    inputs = [path for path in outputs.records if path.is_file()]
    others = skies.files() if run.truth.exists() else []
    stage = Stage(__file__, run, config, [*inputs, *others], [run.report], alone=False)
    if not inputs and not stage.dry_run:
        begin = "run make run, or begin with python data/simulate.py and python make_datatxt.py"
        raise Problem(f"{run.show(run.folder)} has no output of any stage: {begin}")
    going_on = AtWork.of(run)
    before = whole_sidecar(run.report).get("numbers", {})
    if stage.is_up_to_date(unfinished=bool(going_on.script or before.get("at_work"))):
        return
    stage.begin()
    for line in (*going_on.sentences(), *left_out):
        print(f"  {line}")
    numbers = key_numbers(outputs)
    write_text(run.report, report(outputs, config.widest, left_out, going_on))
    shown = {label: value for label, value, _ in numbers}
    stage.finish(bytes=run.report.stat().st_size, at_work=going_on.script, **shown)
    width = max((len(label) for label, _, _ in numbers), default=0)
    for label, value, note in numbers:
        print(f"  {label:<{width}}  {value}  ({note})")
    print(f"  {'report':<{width}}  {run.show(run.report)}")


if __name__ == "__main__":
    start(main, Config, __doc__)
