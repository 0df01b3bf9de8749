"""The report of a run: one page with every figure, every table and every number, stage by stage.

The page needs no other file and no network, and is readable on a phone. What has not been run is
named, with the command that runs it. Numbers come from the files of the run and from nowhere else.

Reads:  every output that the stages have left in the run so far
Writes: report.html

Example: python analysis/report.py --run data/demo
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from VAE_model.pages import page
from VAE_model.pages.chapters import CHAPTERS, Chapter, caption, key_numbers
from VAE_model.pages.material import Material
from VAE_model.pages.page import Html, element, facts, join
from VAE_model.pages.run_tables import anything
from VAE_model.pipeline.files import write_text
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start


@dataclass(frozen=True)
class Config:
    run: Path = Path("data/demo")
    """Folder of the run."""
    num_var: int = 40
    """Number of latent variables of the model that is reported on."""
    widest: int = 1600
    """Pixels; figures that are wider are scaled down to it, to keep the page small."""


STYLE = """
.layout { display: grid; gap: 0 3rem; grid-template-columns: minmax(0, 1fr); }
header p { color: var(--soft); margin: .2rem 0; }
nav { font-size: .92rem; margin: 1rem 0 0; }
nav ol { list-style: none; margin: .3rem 0; padding: 0; columns: 2; column-gap: 1.5rem; }
nav a { display: block; padding: .28rem 0; color: var(--ink); text-decoration: none; }
nav a:hover { text-decoration: underline; } nav .missing { color: var(--soft); }
nav .missing::after { content: " \\2013\\a0not\\a0run"; font-size: .85em; }
section { border-top: 1px solid var(--line); padding: 1.7rem 0 .6rem; }
.made { font-size: .86rem; color: var(--soft); }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--link); font-size: .9rem;
  padding: .3rem 0; }
.notice { border-left: 3px solid var(--accent); padding: .1rem 0 .1rem .9rem; }
@media (min-width: 66rem) { .layout { grid-template-columns: 12.5rem minmax(0, 1fr); }
  nav { position: sticky; top: 1rem; align-self: start; max-height: 96vh; overflow: auto; }
  nav ol { columns: 1; } }
@media print { nav { display: none; } .layout { display: block; } }
"""


def report(material: Material, widest: int) -> str:
    """The page as text."""
    chapters = [*CHAPTERS, *unforeseen(material)]
    entries = []
    for place, chapter in enumerate(chapters):
        state = None if chapter.outputs(material) else "missing"
        entries.append(element("li", element("a", chapter.title, href=f"#c{place}", class_=state)))
    sections = [section(chapter, f"c{i}", material, widest) for i, chapter in enumerate(chapters)]
    name = material.run.folder.name
    contents = element("nav", element("ol", *entries), aria_label="contents")
    body = element("main", element("div", *opening(material)), *sections)
    top = element(
        "header",
        element("p", "Galaxy_VAE, report of a run"),
        element("h1", name),
        element("p", what_was_run(material)),
    )
    layout = element("div", contents, body, class_="layout")
    return page.document(f"{name} – Galaxy_VAE report", top, layout, style=STYLE)


def unforeseen(material: Material) -> list[Chapter]:
    """A chapter for each script that has written something and has none."""
    known = {script for chapter in CHAPTERS for script in chapter.scripts}
    scripts = dict.fromkeys(record["script"] for record in material.records.values())
    return [
        Chapter((script,), script, "", partial(anything, script=script))
        for script in scripts
        if script not in known
    ]


def what_was_run(material: Material) -> str:
    """On which images, in which splits, with which versions, when: in one line."""
    records = list(material.records.values())
    good = material.numbers(material.run.train_txt).get("good")
    sky = " of a simulated sky" if material.run.truth.exists() else ""
    parts = [f"{good:,} images{sky}"] if good else []
    parts += [f"{split} {count:,}" for split, count in material.splits().items()]
    versions = records[-1].get("versions", {})
    parts += [f"{name} {versions[name]}" for name in ("Galaxy_VAE", "torch") if name in versions]
    finished = str(records[-1].get("finished", ""))[:16].replace("T", " ")
    parts.append(f"finished {finished} UTC")
    return " · ".join(parts)


def opening(material: Material) -> list[Html]:
    """The numbers that matter, and the seconds of each stage."""
    seconds: dict[str, float] = {}
    for record in material.records.values():
        seconds[record["script"]] = record.get("seconds", 0.0)
    total = sum(seconds.values())
    rows = [*seconds.items(), ("all", total)]
    versions = list(material.records.values())[-1].get("versions", {})
    times = page.table(["stage", "seconds"], rows, total=True)
    used = page.table(["package", "version"], versions.items())
    return [
        page.tiles(key_numbers(material)),
        page.details(f"{total:,.0f} seconds in all: how long each stage took", times),
        page.details("Versions", used),
    ]


def section(chapter: Chapter, name: str, material: Material, widest: int) -> Html:
    """A stage: why, what it read and wrote, its tables, its figures, its constants."""
    outputs = chapter.outputs(material)
    why = [element("h2", chapter.title)]
    why += [element("p", chapter.sentence)] if chapter.sentence else []
    if not outputs:
        missing = element("p", "Not run yet: ", element("code", chapter.command), class_="notice")
        return element("section", *why, missing, id=name)
    pictures = [page.picture(path, *caption(path), widest) for path in chapter.figures(material)]
    return element(
        "section", *why, made(material, outputs), *chapter.tables(material), *pictures,
        page.details("Constants, inputs and outputs", *origin(material, outputs)), id=name,
    )  # fmt: skip


def made(material: Material, outputs: dict[Path, dict[str, Any]]) -> Html:
    """What was run, how long it took, and the pages of its own that it has left."""
    scripts = {record["script"]: record.get("seconds", 0.0) for record in outputs.values()}
    parts = [join([element("code", f"python {s}"), f" {t:,.1f} s"]) for s, t in scripts.items()]
    for path in outputs:
        if path.suffix == ".html":
            name = path.relative_to(material.run.folder).as_posix()
            parts.append(join(["opens ", element("a", name, href=quote(name))]))
    return element("p", join(parts, " · "), class_="made")


def origin(material: Material, outputs: dict[Path, dict[str, Any]]) -> list[Html]:
    """Constants, inputs and outputs, as the side-cars have them."""
    parts = []
    for script in dict.fromkeys(record["script"] for record in outputs.values()):
        records = [record for record in outputs.values() if record["script"] == script]
        parts += facts(records[-1].get("config", {}), (f"constant of {script}", "value"))
        inputs = records[-1].get("inputs", {}).items()
        rows = [(name, entry.get("rows"), digest(entry)) for name, entry in inputs]
        if rows:
            parts.append(page.table(["input", "rows", "SHA-256"], rows))
    rows = []
    for path, record in outputs.items():
        name = path.relative_to(material.run.folder).as_posix()
        rows.append((name, record["output"].get("rows"), digest(record["output"])))
    return [*parts, page.table(["output", "rows", "SHA-256"], rows)]


def digest(entry: dict[str, Any]) -> Html:
    """The first digits of a file's SHA-256: enough to tell versions apart."""
    return element("code", str(entry.get("sha256", ""))[:12])


def main(config: Config) -> None:
    run = Run(config.run)
    material = Material.of(run, config.num_var)
    inputs = [path for path in material.records if path.is_file()]
    stage = Stage(__file__, run, config, inputs=inputs, outputs=[run.report])
    if not inputs and not stage.dry_run:
        raise Problem(
            f"{run.show(run.folder)} has no output of any stage: run make run, or begin with "
            "python data/simulate.py and python make_datatxt.py"
        )
    if stage.is_up_to_date():
        return
    stage.begin()
    numbers = key_numbers(material)
    write_text(run.report, report(material, config.widest))
    stage.finish(bytes=run.report.stat().st_size, **{label: value for label, value, _ in numbers})
    width = max((len(label) for label, _, _ in numbers), default=0)
    for label, value, note in numbers:
        print(f"  {label:<{width}}  {value}  ({note})" if note else f"  {label:<{width}}  {value}")
    print(f"  {'report':<{width}}  {run.show(run.report)}")


if __name__ == "__main__":
    start(main, Config, __doc__)
