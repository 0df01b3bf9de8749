"""Claims about the loader: every row in its order, few batches in memory, batches that stay."""

import numpy as np
import torch

from VAE_model.data.row_file import RowFile
from VAE_model.training.loader import batches


def row_file(folder, count: int) -> tuple[RowFile, np.ndarray]:
    values = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)
    (folder / "rows.float32").write_bytes(values.tobytes())
    return RowFile(folder / "rows.float32", (2, 3), np.arange(count)), values


def test_batches_that_are_kept_are_not_overwritten(tmp_path):
    images, values = row_file(tmp_path, 40)
    rows = np.random.default_rng(0).permutation(40)
    kept = list(batches(images, rows, 3, torch.device("cpu")))
    assert [len(part) for part, _ in kept] == [3] * 13 + [1]
    assert np.concatenate([part for part, _ in kept]).tolist() == rows.tolist()
    for part, batch in kept:
        assert torch.equal(batch, torch.from_numpy(values[part]))


def test_few_batches_are_read_ahead(tmp_path, monkeypatch):
    images, _ = row_file(tmp_path, 100)
    read, do = [], RowFile.read
    monkeypatch.setattr(RowFile, "read", lambda *a: (read.append(a[1]), do(*a))[1])
    for number, _ in enumerate(batches(images, np.arange(100), 2, torch.device("cpu"))):
        assert len(read) <= number + 4
    assert len(read) == 50


def test_processes_share_each_batch(tmp_path, monkeypatch):
    images, _ = row_file(tmp_path, 11)
    found = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        monkeypatch.setenv("MASTER_ADDR", "localhost")
        monkeypatch.setenv("MASTER_PORT", "1")
        shares = batches(images, np.arange(11), 4, torch.device("cpu"), shared=True)
        found.append([part.tolist() for part, _ in shares])
    assert found == [[[0, 1], [4, 5], [8]], [[2], [6], [9]], [[3], [7], [10]]]
