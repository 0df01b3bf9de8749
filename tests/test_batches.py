"""Batches of the packed copy: what is held stays as it is, what is let go is used again."""

import numpy as np
import torch

from VAE_model.data.row_file import RowFile
from VAE_model.training.loader import _Buffers, batches


def test_batches_that_are_kept_are_not_overwritten(tmp_path):
    values = np.arange(40 * 6, dtype=np.float32).reshape(40, 2, 3)
    (tmp_path / "rows.float32").write_bytes(values.tobytes())
    images = RowFile(tmp_path / "rows.float32", (2, 3), np.arange(40))
    rows = np.random.default_rng(0).permutation(40)
    kept = list(batches(images, rows, 3, torch.device("cpu")))
    assert [len(chunk) for chunk, _ in kept] == [3] * 13 + [1]
    for chunk, batch in kept:
        assert torch.equal(batch, torch.from_numpy(values[chunk]))


def test_memory_of_a_batch_is_used_again_once_no_view_of_it_is_left():
    buffers = _Buffers()
    first = buffers.take((4, 5))
    place, view = first.data_ptr(), first[2:].T
    del first
    assert buffers.take((4, 5)).data_ptr() != place
    del view
    assert buffers.take((2, 5)).data_ptr() == place  # the last batch of an epoch is smaller
