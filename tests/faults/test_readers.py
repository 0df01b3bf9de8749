"""Broken files for every reader: each is accepted if it is valid, and else refused in one line.

python -m pytest -m long tests/faults/test_readers.py --files 750 --seed 2
"""

from collections import Counter

import numpy as np
import pytest
from fuzzing import fuzz, judge
from readers import READERS

GOOD = {"accepted", "refused"}


@pytest.mark.parametrize("name", [name for name in READERS if name != "FITS import"])
def test_a_broken_file_is_accepted_if_valid_and_else_refused(name, tmp_path):
    """Twenty files, without the bombs with which a reader begins."""
    reader = READERS[name](tmp_path)
    contents = [reader.broken(np.random.default_rng([1, n]), n) for n in range(5, 25)]
    outcomes = [judge(reader, content, most=10**6) for content in contents]
    assert {outcome.what for outcome in outcomes} <= GOOD, outcomes
    assert any(outcome.what == "refused" for outcome in outcomes)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_no_broken_file_of_many_is_a_fault(name, request):
    count = request.config.getoption("files")
    outcomes = fuzz(request.config.getoption("seed"), name, count)
    slowest, most = max(o.seconds for o in outcomes), max(o.memory for o in outcomes)
    counts = Counter(outcome.what for outcome in outcomes)
    print(f"{name}: {dict(counts)}; slowest {slowest:.2f} s, most memory {most:.0f} MiB")
    faults = {n: o for n, o in enumerate(outcomes) if o.what not in GOOD}
    assert not faults, list(faults.items())[:3]
