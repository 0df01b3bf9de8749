"""Claims about trust: broken and hostile files, wrong order, two at once, and nothing lost."""

import hashlib
import io
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import load_script, run_command, says_one_line, succeeded
from trainers import settings_of, trainer_of

import make_datatxt
from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import read_cutout
from VAE_model.data.packed import Packed
from VAE_model.pipeline import parallel
from VAE_model.pipeline.files import read_json, read_parquet, sweep, write_parquet, write_text
from VAE_model.pipeline.lock import LOCK
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.training import checkpoint
from VAE_model.training.loop import Files
from VAE_model.training.model_file import TrainedVAE

# Broken files


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


def safetensors_of(header: object, data: bytes = b"") -> bytes:
    """A safetensors file made by hand: length of the header, header, data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("archive/data.pkl", content)
        made.writestr("archive/version", b"3\n")
    return stream.getvalue()


@pytest.mark.parametrize("wrap", [zipped, bytes], ids=["zip", "bare pickle"])
def test_a_model_file_that_wants_to_run_code_is_refused(tmp_path, wrap):
    path, mark = tmp_path / "vae_3.safetensors", tmp_path / "ran"
    path.write_bytes(wrap(pickle.dumps({"format": checkpoint.FORMAT, "x": Runs(mark)}, 2)))
    with pytest.raises(Problem, match="corrupt, or no safetensors file"):
        checkpoint.load(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (10**12).to_bytes(8, "little") + b"{}",
        safetensors_of({"w": {"dtype": "F32", "shape": [10**10], "data_offsets": [0, 4 * 10**10]}}),
        safetensors_of({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors_of({"w": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}),
        safetensors_of(b"[" * 100_000),
    ],
    ids=["empty", "huge length", "long header", "all memory", "short", "overflow", "nested"],
)
def test_a_model_file_that_promises_more_than_it_holds_is_refused(tmp_path, content):
    path = tmp_path / "vae_3.safetensors"
    path.write_bytes(content)
    with pytest.raises(Problem, match="corrupt, or no safetensors file"):
        checkpoint.load(path)


_NUMBER = json.dumps({"sha256": hashlib.sha256(b"1").hexdigest(), "values": "1"})


@pytest.mark.parametrize(
    "record",
    [
        "1",
        "[]",
        "{}",
        "[" * 100_000,
        '{"sha256": "", "values": 1}',
        '{"sha256": "", "values": "1"}',
    ],
)
def test_a_model_file_with_damaged_values_is_refused(tmp_path, record):
    path = tmp_path / "vae_3.safetensors"
    path.write_bytes(safetensors_of({"__metadata__": {checkpoint.FORMAT: record}}))
    with pytest.raises(Problem, match="is corrupt"):
        checkpoint.load(path)
    path.write_bytes(safetensors_of({"__metadata__": {"format": "pt"}}))
    with pytest.raises(Problem, match="is not a model file of this project"):
        checkpoint.load(path)


def test_a_flipped_bit_anywhere_in_a_model_file_is_noticed(tmp_path):
    path = tmp_path / "vae_3.safetensors"
    content = {"config": {"seed": 1}, "weights": {"w": torch.linspace(0, 1, 64)}, "history": [0.5]}
    checkpoint.save(path, content)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = checkpoint.load(path)
        except Problem:
            continue
        assert torch.equal(found.pop("weights")["w"], content["weights"]["w"])
        assert found == {"config": {"seed": 1}, "history": [0.5]}, place


def test_a_model_file_gives_back_what_was_saved(tmp_path):
    path = tmp_path / "vae_3.safetensors"
    content = {
        "config": {"names": ["a", "b"], "rate": 0.1, "none": None, "empty": {}},
        "weights": {
            "scalar": torch.tensor(2.5),
            "half": torch.ones(3, dtype=torch.bfloat16),
            "last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        },
        "optimizer": {"state": {"0": {"step": torch.tensor(3)}}},
    }
    checkpoint.save(path, content)
    found = checkpoint.load(path)
    assert found["config"] == content["config"]
    assert torch.equal(found["optimizer"]["state"]["0"]["step"], torch.tensor(3))
    for name, tensor in content["weights"].items():
        assert found["weights"][name].dtype == tensor.dtype
        assert torch.equal(found["weights"][name], tensor)


def test_the_same_content_makes_the_same_model_file(tmp_path):
    content = {"config": {"a": 1}, "weights": {"w": torch.arange(10.0)}}
    for name in ("one.safetensors", "other.safetensors"):
        checkpoint.save(tmp_path / name, content)
    assert (tmp_path / "one.safetensors").read_bytes() == (
        tmp_path / "other.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "{", "\ud800", ""])
def test_a_json_file_that_is_no_object_gets_one_line(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(Problem, match=r"a\.json "):
        read_json(tmp_path / "a.json")


# Names


NASTY = ("$(touch x);.fits", "<img src=x onerror=alert(1)>.fits", "-rf.fits", "%2f..%2f..%2fx.fits",
         "'; rm *.fits", "a\nb.fits", "a\tb.fits")  # fmt: skip


def test_nasty_names_stay_text_and_in_the_run(tmp_path, script):
    run = Run(tmp_path / "box" / "run")
    for number, name in enumerate(NASTY):
        flux = np.random.default_rng(number).normal(0.01, 0.01, (3, 256, 256))
        write_cutout(run.images() / name, flux.astype(np.float32), 3.0 * number, 0.0, "DR9-south")
    (run.images() / "<b>.fits").write_text("no image")
    succeeded(script("make_datatxt.py", run))
    lines = run.train_txt.read_text().splitlines()
    assert sorted(Path(line).name for line in lines) == sorted(set(NASTY) - {"a\nb.fits"})
    assert Packed.of(run, workers=1).index["path"].tolist() == lines
    assert script("analysis/report.py", run).returncode == 0
    page = run.report.read_text()
    assert "<b>" not in page and "<img src=x" not in page
    assert os.listdir(tmp_path) == ["box"] and os.listdir(tmp_path / "box") == ["run"]
    assert not list(ROOT.glob("x"))


def test_a_list_that_leads_out_of_the_run_is_only_read(copy_of_tiny_run: Run, tmp_path):
    """Images may lie anywhere; nothing is ever written where they lie."""
    run, outside = copy_of_tiny_run, tmp_path / "outside"
    first = run.train_txt.read_text().splitlines()[0]
    outside.mkdir()
    (outside / "a.fits").write_bytes((run.folder / first).read_bytes())
    run.train_txt.write_text(f"{first}\n../outside/a.fits\n")
    assert len(Packed.of(run, workers=1).images) == 2
    assert os.listdir(outside) == ["a.fits"]
    for line in ("/etc/passwd", "/dev/zero", "images"):
        run.train_txt.write_text(f"{line}\n")
        with pytest.raises(Problem, match=r"is not a usable image|cannot be read|is not a file"):
            Packed.of(run, workers=1)


# Symbolic links, as docs/TRUST.md has them


def test_linked_images_are_read_linked_folders_are_not_walked(tmp_path, script):
    run, elsewhere = Run(tmp_path / "run"), tmp_path / "elsewhere"
    flux = np.random.default_rng(0).normal(0.01, 0.01, (3, 256, 256)).astype(np.float32)
    write_cutout(elsewhere / "a.fits", flux, 1.0, 0.0, "DR9-south")
    write_cutout(elsewhere / "more" / "b.fits", flux, 2.0, 0.0, "DR9-south")
    run.images().mkdir(parents=True)
    (run.images() / "a.fits").symlink_to(elsewhere / "a.fits")
    (run.images() / "more").symlink_to(elsewhere / "more")
    (run.images() / "loop").symlink_to(run.images())
    succeeded(script("make_datatxt.py", run))
    assert run.train_txt.read_text() == "images/decals/a.fits\n"


def test_a_link_in_place_of_an_output_is_replaced_and_its_target_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "train.txt").symlink_to(tmp_path / "mine.txt")
    write_text(tmp_path / "train.txt", "theirs")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "train.txt").is_symlink()


def test_a_linked_leftover_is_swept_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").touch()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    (tmp_path / f".partial-{process.pid}-x").symlink_to(tmp_path / "mine")
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["mine"] and os.listdir(tmp_path / "mine") == ["a"]


# Network


def test_only_the_download_can_reach_the_network():
    """By what is imported; and every script of these tests runs behind tests/offline."""
    modules = "requests|urllib3|urllib.request|pooch|socket|http|ftplib"
    reaching = re.compile(rf"^\s*(?:import|from) ({modules})\b", re.M)
    files = [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    found = {p.relative_to(ROOT).as_posix() for p in files if reaching.search(p.read_text())}
    allowed = ("VAE_model/downloads/", "data/download.py", "tests/", "benchmarks/")
    assert not [name for name in found if not name.startswith(allowed)]
    assert any(name.startswith("VAE_model/downloads/") for name in found)
    guard = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "offline")}
    program = "import requests; requests.get('http://192.0.2.1')"
    done = subprocess.run([sys.executable, "-c", program], env=guard, capture_output=True)
    assert done.returncode == 97 and b"192.0.2.1" in done.stderr


# Numerical trouble


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda flux: flux.fill(np.nan), "non-finite: 196,608 pixels"),
        (lambda flux: flux.__setitem__((1, 9, 9), np.inf), "non-finite: 1 pixels"),
        (lambda flux: flux.__setitem__((1, 9, 9), 1e6), "implausible flux: 1e.06 nanomaggies"),
        (lambda flux: flux.__setitem__(2, 0.5), "band without signal: z"),
    ],
    ids=["all NaN", "infinite pixel", "flux of 10^6", "constant band"],
)
def test_a_bad_image_that_came_after_the_list_is_named(copy_of_tiny_run: Run, spoil, words):
    run = copy_of_tiny_run
    name = run.train_txt.read_text().splitlines()[7]
    cutout = read_cutout(run.folder / name)
    flux = cutout.flux.copy()
    spoil(flux)
    write_cutout(run.folder / name, flux, cutout.ra, cutout.dec, "DR9-south")
    with pytest.raises(
        Problem, match=rf"names {re.escape(name)}, which is not a usable image .*{words}"
    ):
        Packed.of(run, workers=1)


@pytest.mark.parametrize("network", ["residual", "published"])
def test_a_damaged_packed_image_is_named_and_no_model_saved(copy_of_tiny_run, tmp_path, network):
    packed = Packed.of(copy_of_tiny_run, workers=1)
    for prepared in packed.folder.glob("prepared_*"):  # by another test, from the whole images
        prepared.unlink()
    row = int(packed.rows("validation" if network == "published" else "train")[0])
    with open(packed.images.path, "r+b") as pixels:
        pixels.seek(int(packed.images.slots[row]) * packed.images.row_bytes)
        pixels.write(np.full(packed.images.row, np.nan, np.float32).tobytes())
    place = Files.of(tmp_path / "best.safetensors")
    trainer = trainer_of(packed, settings_of(network=network, epochs=1), place)
    name = re.escape(packed.index["path"][row])
    with pytest.raises(Problem, match=rf"packed is damaged: {name} is not finite in it"):
        trainer.run()
    assert not place.best.exists() and not place.last.exists()


def test_batches_of_one_image_train_to_finite_weights(tiny_run: Run, tmp_path):
    place = Files.of(tmp_path / "best.safetensors")
    settings = settings_of(network="residual", epochs=1, batch_size=1)
    trainer_of(Packed.of(tiny_run), settings, place).run()
    assert all(torch.isfinite(t).all() for t in checkpoint.load(place.best)["weights"].values())


def test_a_step_that_is_not_finite_is_left_out_and_named(tiny_run: Run, tmp_path, capsys):
    """One bad step of many: the weights stay finite, and the log says which step it was."""
    place = Files.of(tmp_path / "best.safetensors")
    settings = settings_of(network="residual", epochs=2, batch_size=2)
    trainer = trainer_of(Packed.of(tiny_run), settings, place)
    compute_loss, count = trainer.task.compute_loss, iter(range(10**6))

    def compute_loss_with_a_fault(*inputs):
        loss, terms, mean = compute_loss(*inputs)
        return (loss * float("nan") if next(count) == 4 else loss), terms, mean

    trainer.task.compute_loss = compute_loss_with_a_fault
    trainer.run()
    assert "epoch 1: skipped steps [4], gradient not finite" in capsys.readouterr().out
    assert [record["skipped_steps"] for record in trainer.history] == [[4], []]
    assert all(torch.isfinite(t).all() for t in checkpoint.load(place.last)["weights"].values())


def test_weights_that_are_no_number_are_not_used(tiny_run: Run, tmp_path):
    place = Files.of(tmp_path / "vae_3.safetensors")
    settings = settings_of(network="residual", epochs=1)
    trainer_of(Packed.of(tiny_run), settings, place).run()
    content = checkpoint.load(place.best)
    next(iter(content["weights"].values())).view(-1)[0] = float("nan")
    checkpoint.save(place.best, content)
    with pytest.raises(Problem, match="weights that are not finite"):
        TrainedVAE.load(place.best, 3, "cpu")


# The same again


def test_list_split_weights_and_tables_do_not_depend_on_the_number_of_workers(
    make_tiny_run, script, tmp_path
):
    """70 images: enough that they are shared out among processes."""
    torch.set_num_threads(1)
    train = load_script("Galaxy_VAE_n.py")
    found = []
    for workers in (1, 4):
        run = make_tiny_run(tmp_path / f"workers_{workers}", count=70)
        make_datatxt.main(make_datatxt.Config(run=run.folder, workers=workers))
        train.main(train.Config(run=run.folder, num_var=(3,), epochs=1, workers=workers))
        extracting = ("--num-var", "3", "--workers", str(workers))
        assert script("analysis/extract_latents.py", run, *extracting).returncode == 0
        index = read_parquet(run.packed / "index.parquet").drop(columns="modified")
        table = run.latents(3).read_bytes()
        found.append((run.train_txt.read_bytes(), index, checkpoint.load(run.model(3)), table))
        seeds = [read_json(path)["seed"] for path in run.folder.rglob("*.json")]
        assert sorted(map(str, seeds)) == ["0", "0", "None", "None", "None"]
    one, four = found
    assert one[0] == four[0]
    assert one[1].equals(four[1])
    assert all(torch.equal(w, four[2]["weights"][key]) for key, w in one[2]["weights"].items())
    assert one[3] == four[3]


# Stopped half-way


def interrupted(*_: object, **__: object) -> None:
    """The effect of Ctrl-C, also where the tests started with SIGINT ignored (nohup, batch)."""
    raise KeyboardInterrupt


def test_a_file_of_a_run_that_did_not_end_is_not_taken_for_the_one_before(
    copy_of_tiny_run: Run, script, monkeypatch
):
    """Other constants, ended after the output and before its side-car: that of the run before
    must not vouch for it."""
    run, before = copy_of_tiny_run, copy_of_tiny_run.train_txt.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(make_datatxt.Stage, "finish", interrupted)
        make_datatxt.main(make_datatxt.Config(run=run.folder, duplicate_radius=1e4))
    assert run.train_txt.read_bytes() != before
    assert "train.txt is of an interrupted run: run python make_datatxt.py" in says_one_line(
        script("Galaxy_VAE_n.py", run)
    )
    succeeded(script("make_datatxt.py", run))
    assert run.train_txt.read_bytes() == before
    assert "nothing to do" in script("make_datatxt.py", run).stdout


def test_a_run_that_ended_before_it_wrote_leaves_the_file_before_as_good_as_it_was(
    copy_of_tiny_run: Run, script, monkeypatch
):
    run = copy_of_tiny_run
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(make_datatxt, "list_files", interrupted)
        make_datatxt.main(make_datatxt.Config(run=run.folder, duplicate_radius=1e4))
    assert "nothing to do" in script("make_datatxt.py", run).stdout


def test_what_a_killed_packing_left_makes_room_before_the_next_one(copy_of_tiny_run, monkeypatch):
    """Else a disk that was too small would need room for both. What an index names stays."""
    run = copy_of_tiny_run
    shutil.rmtree(run.packed, ignore_errors=True)
    run.packed.mkdir()
    for name in ("images_1.float32", "images_1.float32.exceptions"):
        (run.packed / name).write_bytes(b"half")
    images = Packed.of(run, workers=1).images
    assert images.path.name == "images_1.float32"
    (run.packed / "images_2.float16").write_bytes(b"half")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(parallel, "each", interrupted)
        Packed.of(run, workers=1, pixels="float16")
    assert images.path.exists()
    assert Packed.of(run, workers=1, pixels="float16").images.path.name == "images_2.float16"
    assert not images.path.exists()


# Two at once

HOLD = """
import sys, time
from pathlib import Path
from VAE_model.pipeline.lock import hold
hold(Path(sys.argv[1]), "the run", "Galaxy_VAE_n.py")
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_script_on_a_run_is_refused_until_the_first_has_ended_or_was_killed(
    copy_of_tiny_run: Run, script
):
    run, before = copy_of_tiny_run, copy_of_tiny_run.train_txt.read_bytes()
    command = [sys.executable, "-c", HOLD, str(run.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        said = says_one_line(script("make_datatxt.py", run, "--duplicate-radius", "2"))
        assert f"is in use by Galaxy_VAE_n.py, process {first.pid}: wait" in said
        assert run.train_txt.read_bytes() == before
        succeeded(script("make_datatxt.py", run, "--dry-run"))  # disturbs nobody
        first.send_signal(signal.SIGKILL)
    succeeded(script("make_datatxt.py", run, "--duplicate-radius", "2"))
    assert (run.folder / LOCK).exists()


def test_processes_of_a_stage_end_with_it_when_it_is_killed(tmp_path):
    """Else they would go on writing beside the next run."""
    program = tmp_path / "stage.py"
    program.write_text(
        "import time\nfrom VAE_model.pipeline import parallel\n\n"
        "if __name__ == '__main__':\n"
        "    list(parallel.each(time.sleep, [0.0] * 8 + [0.5] * 400, workers=2, few=1))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(program)], env=environment,
                          stderr=subprocess.DEVNULL) as stage:  # fmt: skip
        processes: list[int] = []
        deadline = time.monotonic() + 60
        while len(processes) < 4 and time.monotonic() < deadline:  # a server, its two, a tracker
            time.sleep(0.5)
            processes = descendants(stage.pid)
        stage.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(map(command_of, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(processes) == 4
    assert not any(map(command_of, processes))


def test_a_process_with_one_thread_is_copied(tmp_path):
    """Scripts of a server start their processes at once, and with the same result."""
    program = tmp_path / "stage.py"
    program.write_text(
        "import sys, threading, time\nfrom VAE_model.pipeline import parallel\n\n"
        "def double(x):\n    return 2 * x\n\n"
        "if __name__ == '__main__':\n"
        "    for _ in sys.argv[1:]:\n"
        "        threading.Thread(target=time.sleep, args=[9], daemon=True).start()\n"
        "    print(parallel._context().get_start_method())\n"
        "    print(list(parallel.each(double, range(8), workers=2, few=1)))\n"
    )
    done = run_command([str(program)])
    assert done.stdout.splitlines() == ["fork", str(list(range(0, 16, 2)))], done.stderr
    done = run_command([str(program), "a second thread"])
    assert done.stdout.splitlines() == ["forkserver", str(list(range(0, 16, 2)))], done.stderr


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and those that they have started."""
    children = map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    return [one for child in children for one in (child, *descendants(child))]


def command_of(process: int) -> bytes:
    """The command line of a process that lives; empty for one that does not."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
