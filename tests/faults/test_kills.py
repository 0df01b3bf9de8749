"""Every stage is killed with SIGKILL at random moments; what it leaves in the end is the same.

A kill that comes after the stage has ended does not count: its run begins again from the files
before it. After every kill each file with its final name is whole; after the last one the same
command ends with what an undisturbed run has, and leaves no temporary file.

python -m pytest -m long tests/faults/test_kills.py --kills 20 -k Galaxy_VAE
"""

import shutil
import subprocess
import time

import numpy as np
import pytest
import small_run
from small_run import PIPELINE, Walk, contents, differing

LONG = ("Galaxy_VAE_n.py", "transfer/adapt.py")  # are killed twice as often
# State of a training changes in every epoch; packed pixels and images may come at any time.
GROWING = ("model/", "packed/", "transfer/packed/", "images/")


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Walk:
    return Walk(tmp_path_factory.mktemp("killed"))


@pytest.mark.long
@pytest.mark.parametrize("stage", PIPELINE)
def test_a_killed_stage_ends_like_an_undisturbed_one(walk, stage, tmp_path, request):
    before, after = walk.through(stage)
    was, whole, folder = contents(before), contents(after), tmp_path / "run"
    rng = np.random.default_rng([request.config.getoption("seed"), PIPELINE.index(stage)])
    kills, met, late = request.config.getoption("kills") * (1 + (stage in LONG)), 0, 0
    run = small_run.copy(before, folder)
    began = time.monotonic()
    small_run.finish(stage, run)
    longest = time.monotonic() - began
    shutil.rmtree(folder)
    run = small_run.copy(before, folder)
    while met < kills and late < 3 * kills:
        began = time.monotonic()
        with small_run.begin(stage, run) as process:
            try:
                process.communicate(timeout=rng.uniform(0.2, 1.0) * longest)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                met += 1
                for name, content in contents(run).items():
                    torn = content not in (was.get(name), whole.get(name))
                    assert not torn or name.startswith(GROWING), f"{name} is half written"
                continue
        late, longest = late + 1, time.monotonic() - began
        shutil.rmtree(folder)
        run = small_run.copy(before, folder)
    code, said = small_run.finish(stage, run)
    assert code == 0, said
    assert differing(whole, contents(run)) == []
    assert small_run.leftovers(run) == []
    print(f"{stage}: {met} kills at work, {late} too late")
