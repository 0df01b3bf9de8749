"""Fill the disk under every stage, and take the right to write from it.

Each stage runs on a small tmpfs (mounted by root, inside this process's own mount namespace): with
no room at all, with some of what it needs, and read-only. It must end with exit code 1 and one
line, and leave every earlier file as it was; given room, the same command must end with what an
undisturbed run has.

Reads:  nothing
Writes: nothing but its own temporary folder; prints the counts, ends with 1 on a fault

Example: sudo unshare -m python benchmarks/faults/full_disk.py
"""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import stages as pipeline

from VAE_model.pipeline.command_line import start
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run

_PAGE = 4096  # bytes that tmpfs gives at once

# A training's state changes with every epoch; pixels count for nothing until the index names them.
_GROWING = ("model/", "packed/", "transfer/packed/")


@dataclass(frozen=True)
class Config:
    room: tuple[float, ...] = (0.0, 0.3, 0.8)
    """Shares of what the stage's outputs need that the disk still has."""
    stages: tuple[str, ...] = ()
    """Which stages; none: all of `make run`."""


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def pages(folder: Path) -> int:
    return sum(-(-path.stat().st_size // _PAGE) + 1 for path in folder.rglob("*"))


def one_line(code: int, said: str) -> str:
    """Why the end of a stage was not one clear line; empty where it was."""
    lines = [line for line in said.splitlines() if line.strip()]
    if code != 1 or "Traceback" in said:
        return f"exit code {code}: {lines[-1] if lines else 'nothing said'}"
    return "" if lines and lines[-1].startswith("error: ") else f"no clear line: {lines[-1:]}"


def disturb(
    stage: str, before: Run, after: Run, disk: Path, room: float | None
) -> tuple[bool, list[str]]:
    """Whether the disk was too small for the stage, and what was wrong. room None: read-only."""
    was, whole = pipeline.contents(before), pipeline.contents(after)
    need = max(0, pages(after.folder) - pages(before.folder))
    mount(disk, "size=2g")
    try:
        run = Run(disk / "run")
        subprocess.run(["cp", "-a", str(before.folder), str(run.folder)], check=True)
        used = int(subprocess.check_output(["df", "--output=used", "-B1", str(disk)]).split()[-1])
        size = used + int((room or 0) * need) * _PAGE
        options = "ro" if room is None else f"size={max(size, _PAGE)}"
        subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)
        code, said = pipeline.finish(stage, run)
        wrong = [] if code == 0 else [one_line(code, said)]
        now = pipeline.contents(run)
        lost = [name for name, content in was.items() if now.get(name) != content]
        torn = [name for name in now if name not in was and now[name] != whole.get(name)]
        wrong += [f"{name} lost" for name in lost if code]
        wrong += [f"{name} half written" for name in torn if not name.startswith(_GROWING)]
        subprocess.run(["mount", "-o", "remount,rw,size=2g", str(disk)], check=True)
        again, said_again = pipeline.finish(stage, run)
        if again:
            wrong.append(f"does not go on: {said_again.strip().splitlines()[-1]}")
        now = pipeline.contents(run)
        wrong += [f"{n} differs" for n in sorted({*whole, *now}) if whole.get(n) != now.get(n)]
        wrong += [f"{name} left behind" for name in pipeline.leftovers(run)]
        return code != 0, [one for one in wrong if one]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def main(config: Config) -> None:
    wanted, faults = config.stages or tuple(pipeline.names()), 0
    with tempfile.TemporaryDirectory() as name:
        disk = Path(name) / "disk"
        disk.mkdir()
        for stage, before, after in pipeline.walk(Path(name), wanted):
            refused, wrong = 0, []
            for room in (*config.room, None):
                too_small, faulty = disturb(stage, before, after, disk, room)
                refused += too_small
                where = "read-only" if room is None else f"room for {room:.0%}"
                wrong += [f"{where}: {one}" for one in faulty]
            same = "yes" if not wrong else "NO"
            faults += pipeline.tally(
                f"{stage:<30} {len(config.room) + 1} disks, {refused} too small and refused in "
                f"one line, the same outputs after: {same}",
                wrong,
            )
    if faults:
        raise Problem(f"{faults} faults")


if __name__ == "__main__":
    start(main, Config, __doc__)
