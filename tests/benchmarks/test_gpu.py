"""Claims about benchmarks/gpu.py: each part runs on a CPU, the budget holds, a failure is a row."""

import contextlib
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import SERVER

from VAE_model.models import SIZE, build
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import ceilings
import gpu
import gpu_parts
import workload
from budget import Budget
from gpu import Part
from gpu_parts import QUICK, RATES, SETUP, TABLES, Bench, Sizes
from workload import Sides

LIMITS = {  # per second
    "matrix product, bfloat16": [8e12, 1e13], "convolution 64 to 64, bfloat16": [2e12],
    "memory, copying": [1e12, 5e11], ceilings.TO_DEVICE: [1e10],
}  # fmt: skip


def bench_of(seconds: float, folder: Path) -> Bench:
    return Bench(QUICK, torch.device("cpu"), folder, Budget(seconds))


def row_of(what: str) -> gpu_parts.Measured:
    yield SETUP, (what, "1.0")


def rows_of(page: str, table: str) -> list[list[str]]:
    """The cells of a table on the page."""
    lines = page.split(f"**{table}**\n\n")[1].split("\n\n")[0].splitlines()[2:]
    return [line.strip("| ").split(" | ") for line in lines]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page that the command writes on a CPU; the stages run in the tests' process for them."""
    path = tmp_path_factory.mktemp("gpu") / "page.md"
    path.write_text("before\n<!-- gpu -->\nold\n<!-- end of gpu -->\nafter\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_parts, "ScriptServer", lambda _: contextlib.nullcontext(SERVER))
        gpu.main(gpu.Config(device="cpu", budget=3600, write=True, page=path))
    return path.read_text()


def test_every_part_has_rows_on_a_cpu(page: str):
    found = {table: rows_of(page, table) for table in TABLES}
    compared = [
        f"{work}, {network}, {place}"
        for work in ("training", "extraction")
        for network in ("published network", "default network")
        for place in ("in memory", "packed file")
    ]
    assert [row[0] for row in found[RATES]] == compared
    assert [row[0] for row in found[gpu_parts.SHARES]] == compared
    assert {row[0] for row in found[gpu_parts.PROFILE]} == {"published network", "default network"}
    assert [row[0] for row in found[gpu_parts.PROCESSES]] == ["1"]
    assert found[gpu_parts.STAGES][1][0] == "data/simulate.py"
    assert len(found[gpu_parts.MEMORY]) == 5 and len(found[gpu_parts.CEILINGS]) == 6
    assert "failed" not in page and "stopped" not in page
    assert page.count("left out") == 1, "the stages after the first"
    for row in found[RATES]:
        ours = float(row[2].split(" ")[0])
        assert ours > 0 and float(row[3].split(" ")[0]) > 0, row
        assert (row[4] == "–") == row[0].startswith("extraction")


def test_page_keeps_the_text_around_the_tables(page: str):
    assert page.startswith("before\n<!-- gpu -->\n**Not tested on a GPU.** ")
    assert page.endswith("\n<!-- end of gpu -->\nafter\n") and "\nold\n" not in page
    assert f"torch {torch.__version__}" in page


def test_place_for_the_tables_is_in_the_document():
    text = (ROOT / gpu.Config().page).read_text(encoding="utf-8")
    place = text.split("<!-- gpu -->\n")[1].split("<!-- end of gpu -->")[0]
    assert place.startswith(gpu.NOT_TESTED) or "driver" in place
    assert text.index("<!-- end of gpu -->") < text.index("<!-- measured -->"), (
        "make bench keeps it"
    )


def test_part_that_would_pass_the_budget_is_left_out_and_said(tmp_path: Path):
    parts = [
        Part("short", SETUP, 1, lambda _: row_of("short")),
        Part("long", RATES, 99, lambda _: row_of("long")),
        Part("last", SETUP, 1, lambda _: row_of("last")),
    ]
    found = gpu.measure(bench_of(50, tmp_path), parts)
    assert [row[0] for row in found[SETUP]] == ["short", "last"]
    (row,) = found[RATES]
    assert row[0] == "long" and len(row) == len(TABLES[RATES])
    assert re.fullmatch(r"left out: takes about 99 s, (49|50) s of 50 left", row[1])


def test_estimates_fit_the_budget():
    assert sum(part.estimate for part in gpu.PARTS) < gpu.BUDGET == 240


def test_part_that_goes_on_is_stopped_when_the_budget_ends(tmp_path: Path):
    def endless(_: Bench) -> gpu_parts.Measured:
        yield from row_of("first")
        with contextlib.suppress(Exception):  # as a library may do
            time.sleep(30)
        yield from row_of("second")

    began = time.monotonic()
    found = gpu.measure(bench_of(3, tmp_path), [Part("endless", SETUP, 0, endless)])
    assert time.monotonic() - began < 20
    assert [row[0] for row in found[SETUP]] == ["first", "endless"]
    assert found[SETUP][1][1].startswith("stopped: the budget")
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_failing_part_is_one_row_and_the_others_go_on(tmp_path: Path, capsys):
    def failing(_: Bench) -> gpu_parts.Measured:
        yield from row_of("before")
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    parts = [Part("failing", RATES, 1, failing), Part("other", SETUP, 1, lambda _: row_of("other"))]
    found = gpu.measure(bench_of(50, tmp_path), parts)
    assert found[RATES] == [
        ("failing", "failed: OutOfMemoryError: CUDA out of memory.", "–", "–", "–")
    ]
    assert [row[0] for row in found[SETUP]] == ["before", "other"]
    assert "Traceback" in capsys.readouterr().err, "for whoever wants to know why"


@pytest.mark.parametrize("side", ["reference", "ours"])
def test_failing_side_leaves_the_other_its_rate(side: str, tmp_path: Path):
    """Ours fails only where it is compiled, in its first pass."""
    calls = []

    def fail() -> None:
        calls.append(side)
        if side == "reference" or len(calls) == 1:
            raise RuntimeError("no C compiler")

    bench = bench_of(50, tmp_path)
    network = build("published", 2)
    work = ceilings.Work(1, 1)
    passes = {"reference": lambda: None, "ours": lambda: None, side: fail}
    rows = list(gpu_parts.compare(bench, "training", Sides(8, **passes), network, lambda: work, 0))
    (row,) = [row for table, row in rows if table == RATES]
    cells = dict(zip(("what", "reference", "ours", "ratio", "eager"), row, strict=True))
    assert cells[side] == "failed: RuntimeError: no C compiler" and cells["ratio"] == "–"
    assert "(" in cells["eager"] and bench.compiles == (side == "reference")


def test_shares_are_what_known_numbers_give():
    """1,000 images/s of 4 GFLOP and 100 MB, against the best of each ceiling."""
    work = ceilings.Work(flops=4e9, traffic=1e8)
    found = ceilings.shares(1000, work, LIMITS, torch.bfloat16)
    assert found == pytest.approx((0.4, 2.0, 0.1)) and found.roofline == pytest.approx(2.0)
    row = gpu_parts.share_row("x", 1000, work, LIMITS, torch.bfloat16, copied=786_432)
    assert row == ("x", "4.00 GFLOP and 100 MB per image", "40%", "200%", "10%", "8%", "200%")
    row = gpu_parts.share_row("x", 1000, work, LIMITS, torch.bfloat16, copied=0)
    assert row[5] == "–", "nothing is copied"


def test_copied_bytes_are_those_of_the_loops():
    published, default = build("published", 2), build("residual", 2)
    flux, inputs = 4 * 3 * SIZE**2, 4 * (sum(default.parts) + 6)
    assert workload.copied_bytes(published, True) == flux
    assert workload.copied_bytes(published, False) == 2 * flux
    assert workload.copied_bytes(default, True) == 2 * inputs
    assert workload.copied_bytes(default, False) == flux + inputs


def test_without_a_gpu_the_command_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Problem, match="needs an NVIDIA GPU, its driver, and a torch built for"):
        gpu.main(gpu.Config())
    with pytest.raises(Problem, match="there is no part dem: choose"):
        gpu.main(gpu.Config(device="cpu", parts=("dem",)))


def test_more_processes_than_cores_are_left_out(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(gpu_parts, "cores", lambda: 1)
    monkeypatch.setattr(gpu_parts, "simulate", lambda *_: None)
    monkeypatch.setattr(gpu_parts.Packed, "of", lambda *_: None)
    bench = bench_of(50, tmp_path)
    bench.sizes = Sizes(processes=(1, 4), drawn=1)
    rows = [
        row for table, row in gpu_parts.measure_processes(bench) if table == gpu_parts.PROCESSES
    ]
    assert [row[:2] for row in rows][1] == ("4", "left out: 1 cores here")


def test_stage_that_fails_is_told_by_its_last_line(tmp_path: Path):
    err = tmp_path / "err"
    err.write_text("bar 1\rbar 2\nerror: train.txt is missing\n")
    assert gpu_parts.ended(1, err) == "failed: RuntimeError: error: train.txt is missing"
    assert gpu_parts.ended(-signal.SIGALRM, err) == "stopped: the budget is used up"
