"""Every stage gives the same outputs with one and with four worker processes.

Two skies are simulated and gone through: list, split, weights, tables, pictures and pages do not
depend on how the work was shared out.

python -m pytest -m long tests/faults/test_workers.py
"""

import pytest
import small_run
from small_run import PIPELINE, Walk

from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.run import Run


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> list[Walk]:
    return [Walk(tmp_path_factory.mktemp("workers"), workers) for workers in (1, 4)]


def contents(run: Run) -> dict[str, object]:
    """As in small_run; of an index of packed images all but the times of the files."""
    found: dict[str, object] = dict(small_run.contents(run))
    for path in run.folder.rglob("index.parquet"):
        index = read_parquet(path).drop(columns="modified")
        found[path.relative_to(run.folder).as_posix()] = index.to_csv(index=False)
    return found


@pytest.mark.long
@pytest.mark.parametrize("stage", PIPELINE)
def test_the_number_of_workers_changes_nothing(walks, stage):
    (before, one), (_, other) = (walk.through(stage) for walk in walks)
    new = set(small_run.contents(one)) - set(small_run.contents(before))
    changed = small_run.differing(contents(one), contents(other))
    assert [name for name in changed if name in new] == []
