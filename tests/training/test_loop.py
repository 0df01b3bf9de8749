"""Claims about training: resuming, best on validation, guards, packed images, splits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import succeeded
from trainers import settings_of, trainer_of

from VAE_model.data import splits
from VAE_model.data.packed import Packed
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.preparation import prepared_inputs
from VAE_model.training import checkpoint, image_task
from VAE_model.training.exposure_task import task_of
from VAE_model.training.loader import shuffled
from VAE_model.training.loop import Files

QUICK = ("--num-var", "3", "--network", "published", "--epochs", "3", "--batch-size", "16")


def files(folder) -> Files:
    return Files.of(folder / "best.safetensors")


def weights(path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path)["weights"]


def same(one: dict, two: dict) -> bool:
    return list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)


def test_killed_and_resumed_training_ends_with_identical_weights(
    copy_of_tiny_run: Run, script, tmp_path
):
    """SIGKILL in the middle, the same command again: bit for bit the weights of one go."""
    whole = files(tmp_path)
    settings = settings_of(epochs=6, precision="auto")
    torch.set_num_threads(1)
    packed = Packed.of(copy_of_tiny_run)
    trainer_of(packed, settings, whole, _data(copy_of_tiny_run)).run()
    run = copy_of_tiny_run
    command = [
        sys.executable, str(ROOT / "Galaxy_VAE_n.py"), "--run", str(run.folder), "--num-var", "3",
        "--network", "published", "--epochs", "6", "--batch-size", "16", "--learning-rate", "1e-3",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as killed:
        deadline = time.monotonic() + 120
        while not run.model_log(3).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
    epochs = len(run.model_log(3).read_text().splitlines())
    assert 1 <= epochs < 6, "killed before the first or after the last epoch"
    done = succeeded(script("Galaxy_VAE_n.py", run, *command[4:], OMP_NUM_THREADS="1"))
    assert "resumes after epoch" in done.stdout
    assert same(weights(whole.last), weights(run.model_last(3)))
    assert same(weights(whole.best), weights(run.model(3)))


def _data(run: Run) -> str:
    from VAE_model.pipeline.files import sha256

    return sha256(run.train_txt)


def test_a_batch_in_parts_has_the_gradient_of_the_whole_batch(tiny_run: Run, tmp_path):
    task = task_of(Packed.of(tiny_run), "x", settings_of(), torch.device("cpu"))
    task.initialise()
    task.network.double()  # in single precision rounding gives up to 2e-5
    found, counts = [], []
    for task.microbatch_size in (3, 16):
        torch.manual_seed(1)
        _, microbatches = next(task.batches(task.train_rows))
        task.network.zero_grad()
        for share, inputs in microbatches:
            exact = [x.double() if x.is_floating_point() else x for x in inputs]
            (share * task.compute_loss(*exact)[0]).backward()
        counts.append(len(microbatches))
        found.append(torch.cat([p.grad.flatten() for p in task.network.parameters()]))
    assert counts == [6, 1]
    assert float((found[0] - found[1]).norm()) < 1e-5 * float(found[1].norm())


def test_best_model_is_the_best_on_validation(tiny_run: Run, tmp_path):
    best = trainer_of(Packed.of(tiny_run), settings_of(epochs=4), files(tmp_path)).run()
    log = [json.loads(line) for line in (tmp_path / "best_log.jsonl").read_text().splitlines()]
    assert best["validation_loss"] == min(line["validation_loss"] for line in log)
    saved = checkpoint.load(tmp_path / "best.safetensors")
    assert len(saved["history"]) == best["epoch"]


def test_validation_images_have_no_part_in_the_training(tiny_run: Run, tmp_path):
    """Other validation images, the same weights."""
    packed = Packed.of(tiny_run)
    one, two = (files(tmp_path / name) for name in ("a", "b"))
    trainer_of(packed, settings_of(), one).run()
    other = trainer_of(packed, settings_of(), two)
    other.task.validation_rows = packed.rows("test")
    other.run()
    assert same(weights(one.last), weights(two.last))


def test_changed_constant_trains_anew_and_keeps_the_model_before(tiny_run: Run, tmp_path, capsys):
    packed = Packed.of(tiny_run)
    trainer_of(packed, settings_of(), files(tmp_path)).run()
    before = weights(tmp_path / "best.safetensors")
    trainer_of(packed, settings_of(learning_rate=1e-4), files(tmp_path)).run()
    assert "learning_rate: 0.001 -> 0.0001" in capsys.readouterr().out
    assert same(before, weights(tmp_path / "best_previous.safetensors"))
    assert not same(before, weights(tmp_path / "best.safetensors"))


def test_diverging_training_stops_and_saves_nothing_that_is_not_finite(tiny_run: Run, tmp_path):
    settings = settings_of(learning_rate=1e12, max_grad_norm=1e30, schedule="constant", epochs=4)
    trainer = trainer_of(Packed.of(tiny_run), settings, files(tmp_path))
    with pytest.raises(Problem, match=r"diverged in epoch .*lower learning_rate"):
        trainer.run()
    for path in tmp_path.glob("*.safetensors"):
        assert all(torch.isfinite(tensor).all() for tensor in weights(path).values())


def test_structured_network_trains_and_its_validation_loss_falls(tiny_run: Run, tmp_path):
    settings = settings_of(network="residual", epochs=4, batch_size=8)
    trainer = trainer_of(Packed.of(tiny_run), settings, files(tmp_path))
    trainer.run()
    losses = [record["validation_loss"] for record in trainer.history]
    assert losses[-1] < losses[0]


def test_several_dimensions_in_one_command_and_nothing_to_do_after(copy_of_tiny_run: Run, script):
    arguments = ("--num-var", "2", "3", *QUICK[2:])
    succeeded(script("Galaxy_VAE_n.py", copy_of_tiny_run, *arguments))
    shapes = [checkpoint.load(copy_of_tiny_run.model(n))["config"]["num_var"] for n in (2, 3)]
    assert shapes == [2, 3]
    again = script("Galaxy_VAE_n.py", copy_of_tiny_run, *arguments)
    assert "nothing to do" in again.stdout


def test_packed_images_equal_the_files_and_follow_train_txt(copy_of_tiny_run: Run):
    from VAE_model.data.cutouts import read_cutout

    run = copy_of_tiny_run
    lines = run.train_txt.read_text().splitlines()
    packed = Packed.of(run)
    assert packed.index["path"].tolist() == lines
    assert np.array_equal(packed.images[5], read_cutout(run.folder / lines[5]).flux)
    run.train_txt.write_text("".join(f"{line}\n" for line in reversed(lines[:-3])))
    again = Packed.of(run)
    assert again.index["path"].tolist() == lines[:-3][::-1]
    assert np.array_equal(again.images[0], packed_copy(run, lines[-4]))


def test_float16_adds_at_most_a_tenth_of_the_sky_noise(copy_of_tiny_run: Run):
    """To any pixel: star cores of a thousand nanomaggies, and beyond float16, are kept apart."""
    from VAE_model.data.cutout_writer import write_cutout
    from VAE_model.data.cutouts import read_cutout
    from VAE_model.data.packing import sky_noise

    run = copy_of_tiny_run
    path = run.folder / run.train_txt.read_text().splitlines()[7]
    cutout = read_cutout(path)
    cutout.flux[:, 100:120, 100:120] += 1234.567
    cutout.flux[1, 30, 40] = 9e4
    path.unlink()  # a hard link
    write_cutout(path, cutout.flux, cutout.ra, cutout.dec, cutout.release)
    packed = Packed.of(run, pixels="float16")
    for row, name in enumerate(packed.index["path"]):
        flux = read_cutout(run.folder / name).flux
        limit = 0.1 * sky_noise(flux)[:, None, None]
        assert (np.abs(packed.images[row] - flux) <= limit).all(), name
    size = (packed.folder / packed.index["file"][0]).stat().st_size
    assert size == len(packed.images) * 3 * 256 * 256 * 2
    assert packed.index["bright"].max() >= 1200 and packed.index["bright"].median() < 1000


def test_only_what_changed_is_packed_anew_and_a_touched_file_has_not_changed(
    copy_of_tiny_run: Run, tmp_path, monkeypatch
):
    from VAE_model.data import packing as module

    run = copy_of_tiny_run
    before = Packed.of(run)
    lines = run.train_txt.read_text().splitlines()
    (run.folder / lines[2]).rename(run.folder / "images/decals/renamed.fits")
    touched = run.folder / lines[4]
    shutil.copy(touched, tmp_path / "copy.fits")  # of another time
    (tmp_path / "copy.fits").replace(touched)
    lines = ["images/decals/renamed.fits" if n == 2 else line for n, line in enumerate(lines)]
    run.train_txt.write_text("".join(f"{line}\n" for line in lines[1:]))
    monkeypatch.setattr(module, "_pack_one", lambda job: pytest.fail(f"{job[2]} packed anew"))
    after = Packed.of(run)
    assert after.index["path"].tolist() == lines[1:]
    assert np.array_equal(after.images[:], before.images[1:])


def test_a_killed_packing_goes_on_and_ends_as_one_that_was_not(
    copy_of_tiny_run: Run, tmp_path, monkeypatch
):
    """SIGKILL while the tenth image is packed, saving every fourth."""
    run = copy_of_tiny_run
    shutil.rmtree(run.packed, ignore_errors=True)
    code = (
        "import os, signal, sys\nfrom VAE_model.data import packed, packing\n"
        "from VAE_model.pipeline.run import Run\n"
        "packing._SAVED_EVERY, do, done = 4, packing._pack_one, []\n"
        "def pack(job):\n"
        "    done.append(job)\n"
        "    if len(done) == 10: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return do(job)\n"
        "packing._pack_one = pack\n"
        "packed.Packed.of(Run(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    from VAE_model.data import packing as module
    from VAE_model.data.cutouts import read_cutout

    packed_now, pack = [], module._pack_one
    monkeypatch.setattr(module, "_pack_one", lambda job: (packed_now.append(job), pack(job))[1])
    packed = Packed.of(run)
    assert len(packed_now) == len(packed.images) - 8
    for row, name in enumerate(run.train_txt.read_text().splitlines()):
        assert packed.index["path"][row] == name
        assert np.array_equal(packed.images[row], read_cutout(run.folder / name).flux)


def test_blocks_are_shuffled_and_every_row_comes_once():
    rows = np.arange(5, 2005)
    order = shuffled(rows, 3, 1, block=10)
    assert sorted(order.tolist()) == rows.tolist()
    assert np.array_equal(order, shuffled(rows, 3, 1, block=10))
    assert not np.array_equal(order, shuffled(rows, 3, 2, block=10))
    window = np.unique((order[:160] - 5) // 10)
    assert len(window) == 16 and np.ptp(window) > 50, "16 whole blocks from all over"


def packed_copy(run: Run, name: str) -> np.ndarray:
    from VAE_model.data.cutouts import read_cutout

    return read_cutout(run.folder / name).flux


def test_split_is_the_same_for_the_same_galaxy_whatever_else_is_there():
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 2000), rng.uniform(-30, 60, 2000)
    names = [str(i) for i in range(2000)]
    all_at_once = splits.assign(ra, dec, names)
    one_by_one = [splits.assign(ra[i], dec[i], [names[i]])[0] for i in range(200)]
    assert all_at_once[:200].tolist() == one_by_one
    shares = {side: float(np.mean(all_at_once == side)) for side in splits.SHARES}
    assert all(abs(shares[side] - share) < 0.04 for side, share in splits.SHARES.items())
    # an arcsec aside, as another survey's astrometry: but for cell edges on the same side
    moved = splits.assign(ra, dec + 1 / 3600, names)
    assert np.mean(moved != all_at_once) < 0.005


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: run.train_txt.unlink(), "train.txt is missing: run python make_datatxt.py"),
        (lambda run: run.train_txt.write_text(""), "is empty"),
        (
            lambda run: run.train_txt.write_text("images/decals/gone.fits\n"),
            "names gone.fits, which cannot be read",
        ),
    ],
)
def test_bad_train_txt_ends_in_one_line(copy_of_tiny_run: Run, script, spoil, words: str):
    spoil(copy_of_tiny_run)
    done = script("Galaxy_VAE_n.py", copy_of_tiny_run, *QUICK)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")


def test_default_network_resumes_to_identical_weights(tiny_run: Run, tmp_path, monkeypatch):
    """Stopped at the beginning of the third epoch and taken up by a new trainer."""
    torch.set_num_threads(1)
    packed = Packed.of(tiny_run)
    settings = settings_of(network="residual", epochs=4, batch_size=8)
    whole, parts = files(tmp_path / "whole"), files(tmp_path / "parts")
    trainer_of(packed, settings, whole).run()
    stopped = trainer_of(packed, settings, parts)
    train_epoch = stopped.train_epoch

    def stop_at_the_third(epoch: int) -> dict:
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(epoch)

    monkeypatch.setattr(stopped, "train_epoch", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert len(parts.log.read_text().splitlines()) == 2
    trainer_of(packed, settings, parts).run()
    assert same(weights(whole.last), weights(parts.last))
    assert same(weights(whole.best), weights(parts.best))


def test_the_degraded_images_are_drawn_at_random_by_the_seed(copy_of_tiny_run: Run, monkeypatch):
    """Not the first of the list, which is sorted by position; they lead the sample."""
    seen, last = [], []
    monkeypatch.setattr(image_task, "_DEGRADED_IMAGES", 6)
    monkeypatch.setattr(
        prepared_inputs, "degrade", lambda flux, *_, moved: seen.append(flux) or flux
    )
    packed = Packed.of(copy_of_tiny_run)
    train_rows = packed.rows("train")
    for seed in (0, 0, 1):
        settings = settings_of(network="residual", seed=seed)
        task = task_of(packed, "x", settings, torch.device("cpu"))
        task.initialise()
        last.append(seen[-1])
        rows = shuffled(train_rows, seed, 0)[:6]
        assert torch.equal(last[-1], torch.from_numpy(np.stack([packed.images[r] for r in rows])))
        assert torch.allclose(task.sample.degraded, task.sample.inputs[:6], atol=1e-4)
    assert torch.equal(last[0], last[1]) and not torch.equal(last[0], last[2])
