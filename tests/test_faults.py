"""Claims about trust: broken and hostile files, wrong order, two at once, and nothing lost."""

import io
import os
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from VAE_model import checkpoint
from VAE_model.files import read_json, read_parquet, write_parquet
from VAE_model.paths import ROOT
from VAE_model.problem import Problem

# Broken files


@pytest.fixture(scope="module")
def faults():
    """The modules under benchmarks/faults, which have no package."""
    sys.path.insert(0, str(ROOT / "benchmarks" / "faults"))
    import fuzz_readers

    yield fuzz_readers
    sys.path.remove(str(ROOT / "benchmarks" / "faults"))


@pytest.mark.parametrize(
    "name", ["FITS cutout", "JPEG", "PNG", "catalogue", "model file", "side-car", "train.txt"]
)
def test_a_broken_file_is_accepted_if_valid_and_else_refused(faults, name, tmp_path):
    """A small part of benchmarks/faults/fuzz_readers.py, without its bombs."""
    config, outcomes = faults.Config(memory=10**6), []
    reader = faults.READERS[name](tmp_path)
    for number in range(5, 25):
        content = reader.broken(np.random.default_rng([1, number]), number)
        outcomes.append(faults.judge(reader, content, config))
    assert {outcome.what for outcome in outcomes} <= {"accepted", "refused"}, outcomes
    assert any(outcome.what == "refused" for outcome in outcomes)


def test_a_flipped_bit_in_a_table_is_noticed(tmp_path):
    path = tmp_path / "t.parquet"
    write_parquet(path, pd.DataFrame({"mu_00": np.linspace(0, 1, 1000)}))
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(Problem, match=r"t\.parquet is no readable parquet table"):
        read_parquet(path)


def test_a_small_table_that_promises_a_billion_rows_is_refused_at_once(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.array(np.full(10**6, 0.5))
    path = tmp_path / "t.parquet"
    with pq.ParquetWriter(path, pa.schema([("ra", pa.float64())])) as writer:
        for _ in range(100):
            writer.write_table(pa.table({"ra": column}))
    with pytest.raises(Problem, match="promises 100,000,000 rows"):
        read_parquet(path, ["ra"])


# Poisoned files


class Runs:
    """Pickled, it runs a command when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def archive(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as made:
        made.writestr("archive/data.pkl", content)
        made.writestr("archive/version", b"3\n")
    return stream.getvalue()


@pytest.mark.parametrize("wrap", [archive, bytes], ids=["zip", "bare pickle"])
def test_a_model_file_that_wants_to_run_code_is_refused(tmp_path, wrap):
    path, mark = tmp_path / "vae_3.pt", tmp_path / "ran"
    path.write_bytes(wrap(pickle.dumps({"format": checkpoint.FORMAT, "x": Runs(mark)}, 2)))
    with pytest.raises(Problem, match="corrupt, or holds more than tensors"):
        checkpoint.load(path)
    assert not mark.exists()


def test_a_model_file_that_wants_all_memory_is_refused(tmp_path):
    path = tmp_path / "vae_3.pt"
    bomb = b"cbuiltins\nbytearray\n(I10000000000\ntR."  # torch.load would allocate it
    path.write_bytes(archive(bomb))
    with pytest.raises(Problem, match="it names builtins bytearray"):
        checkpoint.load(path)
    path.write_bytes(archive(bytes(2**24), zipfile.ZIP_DEFLATED))
    with pytest.raises(Problem, match="its members are compressed"):
        checkpoint.load(path)


def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path):
    path = tmp_path / "vae_3.pt"
    checkpoint.save(path, {"config": {}, "weights": {"w": torch.zeros(10_000)}})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Problem, match=r"corrupt, or holds more than tensors .*checksum of"):
        checkpoint.load(path)


def test_the_same_content_makes_the_same_model_file(tmp_path):
    content = {"config": {"a": 1}, "weights": {"w": torch.arange(10.0)}}
    for name in ("one.pt", "other.pt"):
        checkpoint.save(tmp_path / name, content)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "{", "\ud800", ""])
def test_a_json_file_that_is_no_object_gets_one_line(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(Problem, match=r"a\.json "):
        read_json(tmp_path / "a.json")
