"""Claims about files: whole or absent, and nothing left lying about."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from VAE_model.pipeline import provenance
from VAE_model.pipeline.files import atomic, read_parquet, sweep, write_parquet
from VAE_model.pipeline.problem import Problem


def test_an_error_while_writing_leaves_the_file_as_it_was(tmp_path):
    target = tmp_path / "table.txt"
    target.write_text("before")
    with pytest.raises(RuntimeError), atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["table.txt"]


def test_leftovers_of_a_dead_process_are_swept_and_those_of_a_living_one_stay(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    dead, living = (tmp_path / f".partial-{pid}-x.npy" for pid in (process.pid, os.getpid()))
    for path in (dead, living):
        path.write_text("half")
    sweep(tmp_path)
    assert not dead.exists()
    assert living.exists()


def test_a_table_without_a_column_is_named_with_it(tmp_path):
    write_parquet(tmp_path / "t.parquet", pd.DataFrame({"ra": [1.0]}))
    with pytest.raises(Problem, match=r"t\.parquet has no column dec"):
        read_parquet(tmp_path / "t.parquet", ["ra", "dec"])


def test_a_large_file_is_hashed_anew_only_where_its_size_or_time_has_changed(tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(provenance, "sha256", lambda path: hashed.append(path.name) or "a hash")
    monkeypatch.setattr(provenance, "_LARGE", 10)
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_text("0123456789")
    small.write_text("012345678")
    records = {path: provenance.identify(path) for path in (large, small)}
    assert hashed == ["large", "small"]
    for path, record in records.items():
        assert provenance.identify(path, record) == record
    assert hashed == ["large", "small", "small"]
    os.utime(large, ns=(0, 1))
    assert provenance.identify(large, records[large])["modified"] == 1
    large.write_text("0123456789x")
    provenance.identify(large, records[large])
    provenance.identify(large, {"sha256": "of an older version"})
    assert hashed == ["large", "small", "small", *["large"] * 3]
