"""A full or read-only disk under every stage costs nothing but time.

Each stage runs on a small tmpfs: with some of the room that it needs, with none, and read-only. It
ends with exit code 1 and one line, and leaves every earlier file as it was; given room, the same
command ends with what an undisturbed run has.

sudo unshare -m python -m pytest -m long tests/faults/test_full_disk.py
"""

import subprocess
from pathlib import Path

import pytest
import small_run
from small_run import PIPELINE, Walk, contents, differing

from VAE_model.pipeline.run import Run

PAGE = 4096  # bytes that tmpfs gives at once
ROOM = (0.0, 0.3, 0.8, None)  # shares of what the stage writes; None: read-only
# A training's state changes with every epoch; pixels count for nothing until the index names them.
GROWING = ("model/", "packed/", "transfer/packed/")


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Walk:
    return Walk(tmp_path_factory.mktemp("full"))


@pytest.fixture
def disk(tmp_path):
    """An empty disk in memory, in place of a folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(folder)]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no right to mount: sudo unshare -m python -m pytest -m long ...")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def pages(folder: Path) -> int:
    return sum(-(-path.stat().st_size // PAGE) + 1 for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def around(walk):
    """The run before and after each stage."""
    found: dict[str, tuple[Run, Run]] = {}

    def of(stage: str) -> tuple[Run, Run]:
        if stage not in found:
            before, after = walk.through(stage)
            found[stage] = before, small_run.copy(after, walk.folder / f"after_{len(found)}")
        return found[stage]

    return of


@pytest.mark.long
@pytest.mark.parametrize("room", ROOM, ids=str)
@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_on_a_full_disk_says_so_and_resumes(around, disk, stage, room):
    before, after = around(stage)
    was, whole = contents(before), contents(after)
    need = max(0, pages(after.folder) - pages(before.folder))
    run = Run(disk / "run")
    subprocess.run(["cp", "-a", str(before.folder), str(run.folder)], check=True)
    used = int(subprocess.check_output(["df", "--output=used", "-B1", str(disk)]).split()[-1])
    remount(disk, "ro" if room is None else f"size={max(used + int(room * need) * PAGE, PAGE)}")
    code, said = small_run.finish(stage, run)
    if code:
        assert code == 1 and "Traceback" not in said, said
        assert said.strip().splitlines()[-1].startswith("error: ")
        now = contents(run)
        assert [name for name in was if now.get(name) != was[name]] == [], "lost"
        torn = [name for name in now if name not in was and now[name] != whole.get(name)]
        assert [name for name in torn if not name.startswith(GROWING)] == [], "half written"
    remount(disk, "rw,size=2g")
    code, said = small_run.finish(stage, run)
    assert code == 0, said
    assert differing(whole, contents(run)) == []
    assert small_run.leftovers(run) == []
