"""Run the stages in order, or write what is derived from their list.

python -m VAE_model.pipeline                            the stage tables and command lists of both
                                                        READMEs
python -m VAE_model.pipeline rules                      rules for make, on stdout (needs no package)
python -m VAE_model.pipeline after simulate data/demo   the stages that can follow the simulation
                                                        (or download, import), on a run
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stages import STAGES, Entry, after, for_own_images, pipeline, place

READMES = ("README.md", "README_zh.md")


def rules() -> str:
    """Return a target for each stage."""
    lines = [f".PHONY: {' '.join(entry.target for entry in STAGES)}"]
    for entry in STAGES:
        does = f"{entry.number} {entry.does}".strip()
        lines.append(f"{entry.target}: setup  ## {does}")
        lines.append(f"\t$(PY) {entry.script} --run $(RUN) {entry.options}".rstrip())
    return "\n".join(lines) + "\n"


def write_tables(text: str) -> str:
    """Return a README with updated stage table and list of commands.

    The first four columns come from the list of stages; the others (seconds, what to see) are kept.
    """
    head, body, tail = _between(text, "stages")
    titles, *old = body.strip().splitlines()
    kept = {
        match[1]: line.split(" | ", 4)[4:]
        for line in old
        if (match := re.search(r"\]\((.+?)\)", line))
    }
    rows = [_row(entry, kept.get(entry.script, ["– | – |"])) for entry in STAGES]
    text = head + "\n".join([titles, re.sub(r"[^|]+", "---", titles), *rows]) + tail
    head, _, tail = _between(text, "commands")
    commands = [f"python {entry.script}" for entry in pipeline()]
    return head + "\n".join(["```bash", "source .venv/bin/activate", *commands, "```"]) + tail


def _row(entry: Entry, kept: list[str]) -> str:
    shown = [path for path in entry.writes if place(path.parent) != "figures"] or entry.writes
    script = f"[{Path(entry.script).name}]({entry.script})"
    cells = [entry.number, script, _files(entry.reads), _files(shown), *kept]
    return "| " + " | ".join(cells)


def _files(paths: Sequence[Path]) -> str:
    """Return names for a cell; of files that differ only in their ending, the endings."""
    cell: list[str] = []
    for before, path in zip([None, *paths], paths, strict=False):
        same = before is not None and before.with_suffix("") == path.with_suffix("")
        name = path.suffix if same else place(path)
        cell.append(f"`{name}`" if path.suffix or "*" in name else f"`{name}/`")
    return ", ".join(cell) or "–"


def _between(text: str, name: str) -> tuple[str, str, str]:
    """Return the text before, between and after the two marks of this name."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    head, rest = text.split(begin)
    body, tail = rest.split(end)
    return head + begin, body, end + tail


def run_after(first: str, folder: str) -> int:
    """Run the stages that can follow the one that added the images; return their exit code."""
    from VAE_model.pipeline.script_server import ScriptServer  # needs all packages

    print(f"meanwhile, python analysis/report.py --run {folder} shows what is there so far")
    with ScriptServer() as server:
        for entry in for_own_images() if first == "import" else after(first):
            command = [entry.script, "--run", folder]
            print("python", *command, flush=True)
            if code := server.run(command):
                return code
    return 0


def main() -> None:
    """Run stages, print the rules, or update the READMEs."""
    if sys.argv[1:] == ["rules"]:
        print(rules(), end="")
        return
    if sys.argv[1:2] == ["after"]:
        try:
            sys.exit(run_after(*sys.argv[2:]))
        except KeyboardInterrupt:  # the stage has said what to do
            sys.exit(130)
    for name in READMES:
        readme = ROOT / name
        readme.write_text(write_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
