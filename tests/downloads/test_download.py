"""Real data in: nothing wrong gets a name, nothing good is fetched twice, and services are spared.

The public services cannot be reached from here: tests/cutout_service.py stands in for them.
"""

import dataclasses
import email.utils
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from conftest import load_script, run_script, says_one_line, succeeded, vote_fractions
from cutout_service import (
    FAULTS,
    LAYERS,
    PERMANENT,
    TRANSIENT,
    CutoutService,
    body_of,
    cutout,
    file_of,
    galaxy,
)
from filelock import FileLock
from tqdm import tqdm

from VAE_model.data import galaxy_zoo
from VAE_model.data.cutouts import read_cutout
from VAE_model.data.sky import iauname, viewer_of
from VAE_model.downloads.catalogue import LABELS, NEEDED, WELCOME
from VAE_model.downloads.client import Gate, Permanent, Transient, retry_after
from VAE_model.downloads.cutout_service import Job, check_cutout, file_name, path_of
from VAE_model.downloads.manifest import COLUMNS, REFUSED, Journal, Outcome
from VAE_model.downloads.verdicts import Verdicts
from VAE_model.pipeline.files import list_files
from VAE_model.pipeline.lock import LOCK
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.provenance import sidecar
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.surveys import DEMO, RELEASE, RELEASES, SURVEYS, survey_of

CATALOGUE = "gz_decals_auto_posteriors.parquet"
QUICK = ("--backoff", "0.05", "--time-limit", "1", "--connections", "3")
REASONS = {"text": "text instead of an image", "layer": "wrong layer", "zero": "zero image",
           "outside": "HTTP 500 after 3 tries"}  # fmt: skip

download = load_script("data/download.py")


def positions(count: int) -> pd.DataFrame:
    """Galaxies (ra, dec in degrees) far from each other, across RA 0."""
    number = np.arange(count)
    return pd.DataFrame({"ra": (350 + 0.37 * number) % 360, "dec": -4 + 0.31 * (number % 90)})


def write_positions(folder: Path, count: int) -> Path:
    path = folder / "galaxies.csv"
    positions(count).to_csv(path, index=False)
    return path


def fetch(run: Run, stand_in: CutoutService, table: Path | None, **constants) -> None:
    """data/download.py in this process."""
    quick = {"backoff": 0.02, "time_limit": 1.0, "connections": 3}
    places = {"service": stand_in.url, "zenodo": stand_in.address}
    download.main(download.Config(run.folder, table, **(quick | places | constants)))


def cutouts(run: Run) -> dict[str, tuple[int, int]]:
    """Each file below images/, with what changes when it is written anew."""
    files = list_files(run.images().parent, (".fits",))
    return {str(f.relative_to(run.folder)): (f.stat().st_ino, f.stat().st_mtime_ns) for f in files}


def leftovers(run: Run) -> list[Path]:
    found = [
        *run.folder.rglob(".partial-*"),
        *run.folder.rglob("tmp*"),
        *run.folder.rglob("*.part"),
    ]
    return found + [path for path in run.folder.rglob("*.fits") if path.stat().st_size != 792_000]


def faults_in_turn(count: int, each: int) -> Callable[[float, float, str], str]:
    """A plan: the first `each` of the positions get the first fault, and so on."""
    table = positions(count).round(4)
    at = {(ra, dec): number // each for number, (ra, dec) in enumerate(table.to_numpy().tolist())}

    def plan(ra: float, dec: float, layer: str) -> str:
        number = at.get((round(ra, 4), round(dec, 4)), len(FAULTS))
        return FAULTS[number] if number < len(FAULTS) else ""

    return plan


@pytest.fixture
def service() -> Iterator[CutoutService]:
    with CutoutService() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


# ---- faults of every kind
@pytest.fixture(scope="module")
def after_faults(tmp_path_factory: pytest.TempPathFactory):
    """60 galaxies, 4 of them with each of the nine faults, fetched by the script."""
    folder = tmp_path_factory.mktemp("faults")
    run, table = Run(folder / "run"), write_positions(folder, 60)
    with CutoutService(plan=faults_in_turn(60, 4)) as service:
        command = ("data/download.py", run, "--table", str(table), "--service", service.url,
                   "--contact", "someone@example.org", *QUICK)  # fmt: skip
        done = succeeded(run_script(*command))
        yield run, service, done, command


def test_every_good_cutout_is_there_and_valid_and_each_bad_one_has_its_reason(after_faults):
    run, service, done, _ = after_faults
    table = pd.read_parquet(run.manifest)
    assert list(table) == list(COLUMNS) and len(table) == 60
    for row in table.itertuples():
        fault = service.fault(row.ra, row.dec, "ls-dr9-south")
        path = run.folder / row.path
        if fault in PERMANENT:
            assert (row.status, path.exists()) == ("missing", False)
            assert row.reason.startswith(REASONS[fault])
        else:
            seen = read_cutout(path)
            assert (row.status, row.reason, seen.survey) == ("good", "", "decals")
            assert (seen.ra, seen.dec) == pytest.approx((row.ra, row.dec), abs=1e-6)
            assert row.bytes == path.stat().st_size == 792_000
            assert (row.tries > 1) == (fault in TRANSIENT)
    assert len(list_files(run.images())) == 44 and not leftovers(run)
    assert not run.journal.exists()
    assert "good 44 of 60 cutouts: 0 were there, 44 downloaded" in done.stdout
    assert all(f"unavailable 4: {reason}" in done.stdout for reason in REASONS.values())


def test_the_service_is_spared(after_faults):
    _, service, _, _ = after_faults
    assert 1 < service.most_connections <= 3
    assert not service.too_early  # Retry-After, in seconds and as a date
    assert len(service.agents) == 1
    assert service.agents.pop().startswith("Galaxy_VAE/0.1.0 (someone@example.org)")
    assert max(service.asked.values()) <= 3
    tries = dict.fromkeys(FAULTS, 3) | dict.fromkeys(REASONS, 1) | {"": 1, "outside": 3}
    assert all(count <= tries[service.fault(*key)] for key, count in service.asked.items())


def test_again_it_does_nothing_and_retry_missing_asks_for_what_was_not_to_be_had(after_faults):
    run, service, _, command = after_faults
    before, asked = cutouts(run), sum(service.asked.values())
    again = run_script(*command)
    assert "nothing to do" in again.stdout and sum(service.asked.values()) == asked
    again = run_script(*command, "--retry-missing")
    control = 1  # a position that the service shows, asked for as none of these came
    assert again.returncode == 0 and sum(service.asked.values()) == asked + 12 + 4 * 3 + control
    assert "good 44 of 60 cutouts: 44 were there, 0 downloaded" in again.stdout
    assert cutouts(run) == before


def test_the_next_stage_takes_what_came(after_faults):
    run, *_ = after_faults
    done = run_script("make_datatxt.py", run)
    assert done.returncode == 0 and "good 44 of 44" in done.stdout


def test_killed_twice_it_goes_on_and_fetches_nothing_good_again(run, tmp_path):
    table = write_positions(tmp_path, 90)
    with CutoutService(plan=faults_in_turn(90, 2), latency=0.03) as service:
        arguments = [sys.executable, "data/download.py", "--run", str(run.folder), "--table",
                     str(table), "--service", service.url, *QUICK]  # fmt: skip
        kept: dict[str, tuple[int, int]] = {}
        for _ in range(2):
            had = len(cutouts(run)) if run.folder.exists() else 0
            process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL)
            while not run.folder.exists() or len(cutouts(run)) < had + 20:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert kept.items() <= cutouts(run).items()
            kept = cutouts(run)
            for path in list_files(run.images()):
                read_cutout(path)  # no half file has a name
        (run.folder / "images/decals" / "00").mkdir(exist_ok=True)
        (run.folder / "images/decals" / "00" / ".partial-999999999-1.0_1.0.fits").write_text("x")
        with open(run.journal, "a") as stream:
            stream.write('{"name": "half a li')
        done = succeeded(run_script("data/download.py", run, *arguments[4:]))
        assert "good 82 of 90" in done.stdout
        assert kept.items() <= cutouts(run).items()
        assert not leftovers(run) and not run.journal.exists()
        most = 2 * 3  # kills, times connections: what was in flight is asked for again
        again = [key for key, count in service.asked.items() if count > 1]
        assert len([key for key in again if not service.fault(*key)]) <= most
        assert service.most_connections <= 3


def test_a_cutout_that_has_gone_is_fetched_again_and_no_other(run, service, tmp_path):
    table = write_positions(tmp_path, 12)
    fetch(run, service, table)
    before = cutouts(run)
    gone, cut_short = (run.folder / path for path in list(before)[:2])
    gone.unlink()
    cut_short.write_bytes(cut_short.read_bytes()[:1000])
    fetch(run, service, table)
    assert sum(service.asked.values()) == 14
    assert sum(cutouts(run)[path] != before[path] for path in before) == 2
    assert cutouts(run).keys() == before.keys() and not leftovers(run)


def test_what_failed_is_asked_for_again_by_the_next_run(run, tmp_path, capsys):
    table = write_positions(tmp_path, 6)
    with CutoutService(plan=lambda ra, dec, layer: "error" if ra > 351.5 else "") as service:
        fetch(run, service, table, tries=1)
        assert set(pd.read_parquet(run.manifest)["status"]) == {"good", "failed"}
        assert "failed 1: HTTP 500" in capsys.readouterr().out
        for _ in range(2):
            fetch(run, service, table, tries=1)
    assert set(pd.read_parquet(run.manifest)["status"]) == {"good"}
    assert "good 6 of 6 cutouts: 5 were there" in capsys.readouterr().out


def test_another_layer_or_scale_is_another_cutout(run, service, tmp_path):
    table = write_positions(tmp_path, 4)
    fetch(run, service, table)
    fetch(run, service, table, pixel_scale=0.5)
    assert sum(service.asked.values()) == 8
    fetch(run, service, table, release="dr10")
    assert sum(service.asked.values()) == 12
    releases = {read_cutout(path).release for path in list_files(run.images())}
    assert releases == {"DR10-south"} and len(cutouts(run)) == 4


# ---- positions that the service cannot cut, or a service that is down
OUTSIDE = "outside the layer's footprint, or the service cannot cut there"


def first_outside(count: int) -> Callable[[float, float, str], str]:
    """A plan: the first `count` of the positions answer HTTP 500 for good."""
    places = {tuple(place) for place in positions(count).round(4).to_numpy().tolist()}
    return lambda ra, dec, layer: "outside" if (ra, dec) in places else ""


def test_positions_outside_the_footprint_are_missing_and_the_rest_comes(run, tmp_path):
    table = write_positions(tmp_path, 28)
    with CutoutService(plan=first_outside(25)) as service:
        options = ("--table", str(table), "--service", service.url, *QUICK)
        done = succeeded(run_script("data/download.py", run, *options))
        assert "good 3 of 28 cutouts" in done.stdout
        assert "unavailable 25: HTTP 500 after 3 tries" in done.stdout
        manifest = pd.read_parquet(run.manifest).set_index("status")
        assert set(manifest.loc["missing", "reason"]) == {f"HTTP 500 after 3 tries: {OUTSIDE}"}
        assert len(manifest.loc["missing"]) == 25 and not leftovers(run)
        asked = sum(service.asked.values())
        assert asked <= 25 * 3 + 3 + 2  # with the controls
        fetch(run, service, table)
        assert sum(service.asked.values()) == asked  # nothing is asked for ever


def test_a_control_may_lie_outside_the_footprint_too(run, tmp_path):
    last = {tuple(place) for place in positions(40).round(4).to_numpy().tolist()[-3:]}
    plan = lambda ra, dec, layer: "" if (ra, dec) in last else "outside"  # noqa: E731
    with CutoutService(plan=plan) as service:
        fetch(run, service, write_positions(tmp_path, 40), tries=2)
    counts = Counter(pd.read_parquet(run.manifest)["status"])
    assert counts == {"missing": 37, "good": 3}


def test_positions_beyond_the_real_footprint_are_missing_in_that_survey_only(
    run, service, tmp_path
):
    south_cap = pd.DataFrame({"ra": np.linspace(10, 30, 25), "dec": 32.0})  # BASS+MzLS: north cap
    south_cap.to_csv(tmp_path / "t.csv", index=False)
    fetch(run, service, tmp_path / "t.csv", survey="both", strip_ra=(0.0, 360.0))
    manifest = pd.read_parquet(run.manifest)
    found = manifest.groupby("survey")["status"].unique().map(list).to_dict()
    assert found == {"decals": ["good"], "bassmzls": ["missing"]}
    assert set(manifest["reason"]) == {"", f"HTTP 500 after 3 tries: {OUTSIDE}"}


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_other_refusals_of_positions_do_not_end_the_download(run, tmp_path, status):
    with CutoutService(plan=first_outside(25)) as service:
        service.outside = status
        fetch(run, service, write_positions(tmp_path, 28))
        asked = sum(service.asked.values())
    manifest = pd.read_parquet(run.manifest)
    assert Counter(manifest["status"]) == {"missing": 25, "good": 3}
    assert set(manifest["reason"].str[:8]) == {"", f"HTTP {status}"}
    assert asked <= 25 + 3 + 2


@pytest.mark.parametrize("status", [500, 403, 404])
def test_a_service_that_refuses_everything_is_down_and_asked_again_later(run, tmp_path, status):
    table = write_positions(tmp_path, 60)
    with CutoutService(plan=lambda *_: "outside") as service:
        service.outside = status
        with pytest.raises(
            Problem, match=f"20 requests in a row failed, the last by HTTP {status}"
        ):
            fetch(run, service, table, tries=3)
        assert sum(service.asked.values()) < 100
        service.plan = lambda *_: ""
        fetch(run, service, table)
    assert set(pd.read_parquet(run.manifest)["status"]) == {"good"} and len(cutouts(run)) == 60


def test_what_was_refused_when_the_service_went_down_is_not_missing(run, tmp_path):
    table = write_positions(tmp_path, 60)
    service = CutoutService()
    service.plan = lambda *_: "outside" if len(service.asked) > 30 else ""
    with service, pytest.raises(Problem, match="in a row failed, the last by HTTP 500"):
        fetch(run, service, table, give_up_after=6)
    counts = Counter(download.fold(run)["status"])
    assert set(counts) == {"good", "failed"} and counts["good"] >= 28 and counts["failed"] >= 6


@pytest.mark.parametrize(("later", "verdict"), [(True, "missing"), (False, "failed")])
def test_only_a_cutout_that_was_asked_for_after_a_refusal_shows_that_the_layer_is_up(
    run, later, verdict
):
    good = dataclasses.replace(JOB, path="images/decals/00/1.0000_1.0000.fits")
    journal = Journal(run.journal)
    with tqdm(disable=True) as bar:
        verdicts = Verdicts(run, journal, bar, 20, {})
        before = time.monotonic()
        verdicts.add(Outcome(JOB, REFUSED, "HTTP 500: Internal Server Error", tries=3), pytest.fail)
        began = time.monotonic() if later else before
        verdicts.add(Outcome(good, "good", began=began), pytest.fail)
        verdicts.close()
    journal.close()
    assert download.fold(run).set_index("path").loc[JOB.path, "status"] == verdict


def test_a_layer_that_is_gone_is_told_while_the_other_is_there(run, tmp_path):
    strip = pd.DataFrame({"ra": np.linspace(150, 200, 40), "dec": 32.0})
    strip.to_csv(tmp_path / "t.csv", index=False)
    with CutoutService() as service:
        del service.layers["ls-dr9-north"]
        with pytest.raises(Problem, match="6 requests in a row failed, the last by text"):
            fetch(run, service, tmp_path / "t.csv", survey="both", give_up_after=6)
        assert sum(service.asked.values()) < 25
    assert set(download.fold(run)["status"]) == {"good", "failed"}


def test_redirects_are_followed_and_what_comes_is_checked(run, tmp_path):
    table = write_positions(tmp_path, 4)
    with CutoutService() as service:
        service.redirects["ls-dr9-south"] = "renamed"
        service.layers["renamed"] = LAYERS["ls-dr9-south"]
        fetch(run, service, table)
        assert len(cutouts(run)) == 4
    for target, reason, most in (
        ("ls-dr9-north", "wrong layer: VERSION is 'DR9-north'", 12),
        ("ls-dr9-south", "redirect: more than 5", 60),
        ("ftp://127.0.0.1/x", "redirect: not to a valid address", 12),
    ):
        with CutoutService(plan=lambda *_: "") as service:
            service.redirects["ls-dr9-south"] = target
            service.layers["ls-dr9-north"] = dataclasses.replace(
                LAYERS["ls-dr9-north"], dec=(-90, 90), north=False
            )
            other = Run(tmp_path / reason[:9])
            with pytest.raises(Problem, match=f"none of 4 cutouts could be downloaded: {reason}"):
                fetch(other, service, table)
            assert sum(service.asked.values()) <= most and not cutouts(other)


# ---- releases
def test_a_release_names_layers_and_versions():
    layers = {r: [SURVEYS[name].at(r).layer for name in DEMO] for r in RELEASES}
    assert layers == {
        "dr9": ["ls-dr9-south", "ls-dr9-north"],
        "dr10": ["ls-dr10-south", "ls-dr9-north"],  # DR10 has the south only
        "dr11": ["ls-dr11-south", "ls-dr11-north"],
    }
    versions = {one.at(r).version: name for r in RELEASES for name, one in SURVEYS.items()}
    assert all(survey_of(version) == name for version, name in versions.items())
    assert viewer_of("decals").endswith(f"layer=ls-{RELEASE}-south&zoom=16")
    for name in SURVEYS.keys() - DEMO:
        assert SURVEYS[name].at("dr10") is SURVEYS[name] and not SURVEYS[name].release


@pytest.mark.parametrize("name", sorted(SURVEYS.keys() - DEMO))
def test_a_survey_of_no_release_is_refused_in_one_line(run, name):
    line = says_one_line(run_script("data/download.py", run, "--survey", name))
    assert "VERSION does not identify its cutouts" in line and "data/import_images.py" in line


@pytest.mark.parametrize(
    ("release", "versions", "said"),
    [
        ("dr10", {"DR10-south", "DR9-north"}, True),
        ("dr11", {"DR11-south", "DR11-north"}, False),
    ],
)
def test_a_release_that_is_asked_for_is_what_comes(
    run, service, tmp_path, capsys, release, versions, said
):
    strip = pd.DataFrame({"ra": [150.0, 160.0], "dec": 32.0})
    strip.to_csv(tmp_path / "t.csv", index=False)
    fetch(run, service, tmp_path / "t.csv", survey="both", release=release)
    files = list_files(run.images().parent, (".fits",))
    assert {read_cutout(path).release for path in files} == versions
    words = "DR10 has no images of BASS+MzLS: these come from DR9 (ls-dr9-north)"
    assert (words in capsys.readouterr().out) == said


def test_another_release_than_asked_is_refused_in_one_line(run, tmp_path):
    table = write_positions(tmp_path, 2)
    with CutoutService() as service:
        service.layers["ls-dr10-south"] = LAYERS["ls-dr9-south"]
        words = "wrong layer: VERSION is 'DR9-south', decals, not decals DR10-south"
        with pytest.raises(Problem, match=words):
            fetch(run, service, table, release="dr10")
        with pytest.raises(Problem, match="there is no release 'dr12': choose dr9, dr10, dr11"):
            fetch(run, service, table, release="dr12")


def test_a_version_that_dr11_leaves_blank_is_filled_in(run, tmp_path):
    table = write_positions(tmp_path, 2)
    with CutoutService() as service:
        for name in ("ls-dr11-south", "ls-dr9-south"):
            service.layers[name] = dataclasses.replace(LAYERS[name], version="")
        fetch(run, service, table, release="dr11")
        assert [read_cutout(path).survey for path in list_files(run.images())] == ["decals"] * 2
        header = fits.getheader(list_files(run.images())[0])
        assert header["VERSION"] == "DR11-south" and "as asked" in header.comments["VERSION"]
        with pytest.raises(Problem, match="wrong layer: VERSION is ''"):
            fetch(run, service, table)  # of DR9 it is no such fact
        service.redirects["ls-dr11-south"] = "ls-dr9-south"
        with pytest.raises(Problem, match="wrong layer: VERSION is ''"):
            fetch(Run(tmp_path / "other"), service, table, release="dr11")


# ---- the service against its expected behaviour
def test_the_check_finds_the_facts_as_expected_and_asks_little(run, service):
    done = succeeded(run_script("data/download.py", run, "--check", "--service", service.url))
    assert "DIFFERS" not in done.stdout and done.stdout.count("as expected: ") == 30
    assert "ls-dr9-south, IMAGETYP: as expected: 'IMAGE'" in done.stdout
    assert "outside its footprint: as expected: HTTP 500" in done.stdout
    assert sum(service.asked.values()) <= 10 and not run.folder.exists()


def test_the_check_says_what_differs(service, capsys):
    change = dataclasses.replace
    south, north = LAYERS["ls-dr9-south"], LAYERS["ls-dr9-north"]
    service.layers["ls-dr9-south"] = change(south, imagetyp="image", version="DR9")
    service.layers["ls-dr9-north"] = change(north, dec=(80, 85))
    service.layers["no-such-layer"] = south
    del service.layers["ls-dr11-north"]
    service.outside = 404
    with pytest.raises(Problem, match=r"6 of 2\d facts about http.* differ"):
        download.main(download.Config(check=True, service=service.url, backoff=0.01))
    said = capsys.readouterr().out
    for words in (
        "ls-dr9-south, IMAGETYP: DIFFERS: 'image', not 'IMAGE'",
        "ls-dr9-south, VERSION: DIFFERS: 'DR9', not 'DR9-south'",
        "ls-dr9-north, a known galaxy: DIFFERS: HTTP 404, not an image",
        "ls-dr11-north, a known galaxy: DIFFERS: HTTP 200 with text, not an image",
        "an unknown layer: DIFFERS: HTTP 200, not HTTP 200 with text",
        "outside its footprint: DIFFERS: HTTP 404, not HTTP 500",
    ):
        assert words in said


def test_the_check_without_a_network_is_one_clear_line():
    config = download.Config(check=True, service="http://127.0.0.1:9/x", backoff=0.01)
    with pytest.raises(
        Problem, match=r"not answer \(connection: Connection refused\): nothing was"
    ):
        download.main(config)


# ---- the service as a whole
def test_a_service_that_cannot_be_reached_is_one_clear_line(run, tmp_path):
    table = write_positions(tmp_path, 3)
    done = run_script("data/download.py", run, "--table", str(table), "--tries", "2", "--service",
                      "http://127.0.0.1:9/fits-cutout", *QUICK)  # fmt: skip
    assert "none of 3 cutouts could be downloaded: connection: Connection refused" in says_one_line(
        done
    )
    done = run_script("data/download.py", run, "--zenodo", "http://127.0.0.1:9", "--tries", "2",
                      *QUICK)  # fmt: skip
    assert "http://127.0.0.1:9 does not give" in says_one_line(done)


def test_a_service_that_is_down_is_left_alone_soon(run, tmp_path):
    table = write_positions(tmp_path, 80)
    with (
        CutoutService(plan=lambda *_: "text") as service,
        pytest.raises(Problem, match="8 requests in a row failed, the last by text"),
    ):
        fetch(run, service, table, give_up_after=8)
    assert sum(service.asked.values()) <= 8 + 3


def test_a_service_that_asks_to_come_back_much_later_ends_the_download(run, tmp_path):
    table = write_positions(tmp_path, 20)
    with (
        CutoutService(plan=lambda *_: "busy", retry_after=5000) as service,
        pytest.raises(Problem, match=r"the service asks to come back in [45],[09]"),
    ):
        fetch(run, service, table)
    asked = sum(service.asked.values())
    assert asked <= 3
    with (
        CutoutService() as back,
        pytest.raises(Problem, match=r"to come back in [45],[09].*said to an earlier run"),
    ):
        fetch(run, back, table)  # the word of the service outlives the process
    assert not back.asked


def test_a_killed_run_s_successor_waits_as_the_service_asked(tmp_path):
    memory = tmp_path / "not_before.txt"
    Gate(memory).hold(0.5)
    began, after = time.monotonic(), Gate(memory)
    after.wait()
    assert 0.3 < time.monotonic() - began < 5 and after.closed_for() <= 0
    memory.write_text("half a nu")
    assert Gate(memory).closed_for() <= 0


def test_retry_after_is_seconds_or_a_date():
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert retry_after(in_a_minute) == pytest.approx(60, abs=2)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("120") == 120 and retry_after(" 7 ") == 7
    assert all(retry_after(nonsense) is None for nonsense in (None, "", "soon", "-5", "nan", "1e9"))


# ---- what is no cutout
BODY = body_of(LAYERS["ls-dr9-south"])
JOB = Job("galaxy", 10.0, 20.0, "decals", "http://x", "images/decals/00/10.0000_20.0000.fits",
          "DR9-south")  # fmt: skip


def spoilt(**pixels: float) -> bytes:
    flux = np.frombuffer(cutout(BODY, 10, 20), ">f4", 3 * 256**2, 2880).copy().reshape(3, 256, 256)
    for band, value in pixels.items():
        flux["grz".index(band)] = value
    return cutout(BODY, 10, 20)[:2880] + flux.tobytes() + bytes(792_000 - 2880 - flux.nbytes)


def smaller(body: bytes) -> bytes:
    with fits.open(io.BytesIO(body)) as hdus:
        other = io.BytesIO()
        fits.PrimaryHDU(hdus[0].data[:, :128, :128], hdus[0].header).writeto(other)
    return other.getvalue()


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (spoilt(r=0), Permanent, "band without signal"),
        (spoilt(g=0, r=0, z=0), Permanent, "zero image"),
        (spoilt(z=np.nan), Permanent, "non-finite"),
        (cutout(BODY, 10, 20.001), Permanent, "wrong position"),
        (cutout(BODY, 10, 20).replace(b"'grz     '", b"'gri     '", 1), Permanent, "wrong bands"),
        (cutout(BODY, 10, 20).replace(b"DR9-south", b"DR9-north"), Permanent, "wrong layer"),
        (cutout(BODY, 10, 20).replace(b"DR9-south", b"what     "), Permanent, "wrong layer"),
        (cutout(BODY, 10, 20).replace(b"DR9-south", b"DR8-south"), Permanent, "wrong layer"),
        (cutout(body_of(LAYERS["ls-dr9"]), 10, 20), Permanent, "wrong layer"),
        (smaller(cutout(BODY, 10, 20)), Permanent, "wrong shape"),
        (cutout(BODY, 10, 20)[:500_000], Transient, "truncated"),
        (b"SIMP", Transient, "truncated"),
        (b"", Transient, "truncated"),
        (b"<!DOCTYPE html>\n\x1b[31mno", Permanent, "text instead of an image"),
    ],
)  # fmt: skip
def test_what_is_no_cutout_is_refused_with_its_reason(body, kind, reason):
    with pytest.raises(kind, match=f"^{reason}"):
        check_cutout(body, JOB)


def test_the_service_s_own_files_are_cutouts_whatever_their_age_and_release():
    for layer, job in (
        (LAYERS["ls-dr9-south"], JOB),
        (dataclasses.replace(LAYERS["ls-dr9-south"], imagetyp="image"), JOB),  # before 2023-06
        (LAYERS["ls-dr10-south"], dataclasses.replace(JOB, version="DR10-south")),
    ):
        check_cutout(cutout(body_of(layer), 10, 20), job)


def test_a_cutout_spelled_another_way_is_taken_too():
    check_cutout(cutout(BODY, 10, 20), JOB)
    with fits.open(io.BytesIO(cutout(BODY, 10, 20))) as hdus:
        planes = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(hdus[0].data, hdus[0].header)])
        other = io.BytesIO()
        planes.writeto(other)
    check_cutout(other.getvalue(), JOB)


@pytest.mark.parametrize("extra", [(), ("invvar",), ("maskbits",), ("invvar", "maskbits")])
def test_inverse_variances_and_masks_beside_the_image_are_left_out(tmp_path, extra):
    body = file_of(LAYERS["ls-dr9-south"], galaxy(2, "grz"), 10.0, 20.0, extra=extra)
    check_cutout(body, JOB)
    (tmp_path / "a.fits").write_bytes(body)
    seen = read_cutout(tmp_path / "a.fits")
    assert (seen.survey, seen.release, seen.ra) == ("decals", "DR9-south", 10.0)
    np.testing.assert_array_equal(seen.flux, galaxy(2, "grz"))


def test_files_are_spread_over_folders_and_named_by_positions_only():
    table = pd.DataFrame({"ra": np.linspace(0, 359.9, 20_000), "dec": 32.0})
    paths = [path_of("decals", ra, dec) for ra, dec in table.to_numpy()]
    assert max(Counter(Path(path).parent for path in paths).values()) < 2 * 20_000 / 256
    assert file_name(359.99999, -0.00001) == "0.0000_0.0000.fits"
    assert file_name(154.7709, 46.4537) == "154.7709_46.4537.fits"


# ---- tables and constants
def test_a_name_in_a_table_cannot_write_outside_the_run(run, service, tmp_path):
    table = positions(3).assign(
        iauname=["../../../../evil", "/etc/evil", "a\nb\0c"], path="../../x"
    )
    table.to_parquet(tmp_path / "evil.parquet")
    before = set(tmp_path.rglob("*"))
    fetch(run, service, tmp_path / "evil.parquet")
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(run.folder) for path in new)
    assert len(list_files(run.images())) == 3
    assert set(pd.read_parquet(run.manifest)["name"]) == set(table["iauname"])


@pytest.mark.parametrize("ending", [".fits", ".vot", ".parquet"])
def test_tables_of_each_kind_give_positions(run, service, tmp_path, ending):
    path = tmp_path / f"table{ending}"
    table = positions(2).rename(columns={"ra": "RA"})
    if ending == ".parquet":
        table.assign(heavy=[[0.0] * 25] * 2).to_parquet(path)
    else:
        Table.from_pandas(table).write(path, format="votable" if ending == ".vot" else "fits")
    fetch(run, service, path)
    manifest = pd.read_parquet(run.manifest)
    assert set(manifest["name"]) == {iauname(ra, dec) for ra, dec in positions(2).to_numpy()}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("ra,dec\n", "has no rows"),
        ("name,mag\na,1\n", "has no columns ra and dec"),
        ("ra\n1\n", "only one of the columns ra and dec"),
        ("ra,dec\n1,99\n", "degrees from -90 to 90"),
        ("ra,dec\ninf,9\n", "degrees from -360 to 360"),
        ("ra,dec\n../../x,9\n", "degrees from -360 to 360"),
        ("ra,dec\n,\n,\n", "none of 2 galaxies can be downloaded"),
        (None, "is missing"),
    ],
)
def test_a_bad_table_is_one_clear_line(run, service, tmp_path, content, words):
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Problem, match=words):
        fetch(run, service, path)
    assert not service.asked


def test_galaxies_without_a_position_or_at_the_same_one_are_told(run, service, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("ra,dec\n1,2\n,\n1.00001,2\n3,4\n")
    fetch(run, service, tmp_path / "t.csv")
    said = capsys.readouterr().out
    assert "1 of 4 galaxies have no position" in said
    assert "1 positions equal others" in said and "good 2 of 2 cutouts" in said


@pytest.mark.parametrize(
    ("constants", "words"),
    [
        ({"connections": 100}, "connections = 100: from 1 to 16"),
        ({"service": "ftp://x"}, "an address begins with https"),
        ({"contact": "a\r\nHost: b"}, "does not fit a header"),
        ({"tries": 0}, "tries = 0"),
    ],
)
def test_a_constant_that_makes_no_sense_is_one_clear_line(run, service, tmp_path, constants, words):
    with pytest.raises(Problem, match=words):
        fetch(run, service, write_positions(tmp_path, 1), **constants)


def test_a_simulated_sky_is_not_mixed_with_the_real_one(copy_of_tiny_run, service, tmp_path):
    with pytest.raises(Problem, match="was not made of"):
        fetch(copy_of_tiny_run, service, None)
    copy_of_tiny_run.truth.write_bytes(b"")
    with pytest.raises(Problem, match="holds a simulated sky"):
        fetch(copy_of_tiny_run, service, write_positions(tmp_path, 1))


def test_two_downloads_into_one_run_do_not_meet(run, service, tmp_path):
    run.folder.mkdir()
    with FileLock(run.folder / LOCK):
        done = run_script("data/download.py", run, "--table", str(write_positions(tmp_path, 1)),
                          "--service", service.url)  # fmt: skip
    assert "is in use by another script: wait until it has ended" in says_one_line(done)
    assert not service.asked


def test_a_dry_run_asks_nobody(run, service, tmp_path):
    done = run_script("data/download.py", run, "--dry-run", "--service", service.url, "--zenodo",
                      service.address)  # fmt: skip
    assert done.returncode == 0 and "download/manifest.parquet" in done.stdout
    assert not service.asked and not service.answered and not run.folder.exists()


def test_a_served_sky_arrives_as_it_is_and_takes_the_place_of_the_simulated_one(tmp_path):
    """A simulated sky stands for the real one: the same pixels, the same classes."""
    drawn, run = Run(tmp_path / "drawn"), Run(tmp_path / "run")
    succeeded(run_script("data/simulate.py", drawn, "--galaxies", "10", "--overlap", "7"))
    with CutoutService(images=drawn.images().parent) as service:
        service.zenodo[CATALOGUE] = drawn.catalogue.read_bytes()
        fetch(run, service, None, survey="both")
        assert len(list_files(run.images("bassmzls"))) == 7
        fetch(run, service, None)
    for survey in ("decals", "bassmzls"):
        came = {path.name: read_cutout(path) for path in list_files(run.images(survey))}
        assert came.keys() == {path.name for path in list_files(drawn.images(survey))}
        for path in list_files(drawn.images(survey)):
            was, seen = read_cutout(path), came[path.name]
            np.testing.assert_array_equal(seen.flux, was.flux)
            assert (seen.ra, seen.dec) == pytest.approx((was.ra, was.dec), abs=1e-6)
            assert seen.release == was.release
    for stage in ("make_datatxt.py", "analysis/decals_1.py"):
        assert run_script(stage, run).returncode == 0
    assert run_script("analysis/decals_1.py", drawn).returncode == 0
    pd.testing.assert_frame_equal(pd.read_parquet(run.classes), pd.read_parquet(drawn.classes))


# ---- the catalogue
def catalogue_of(count: int, lack: str = "") -> bytes:
    """A file as Zenodo's: with the heavy columns, galaxies in and below the strip."""
    rows = []
    for number in range(count):
        ra, dec = 120.0 + 0.5 * number, (32.0 if number % 2 else 10.0) + 0.01 * number
        row = {"iauname": iauname(ra, dec), "ra": ra, "dec": dec,
               **dict.fromkeys(WELCOME, 1.0), **vote_fractions("round", number)}  # fmt: skip
        row |= {name.replace("_fraction", "_concentration"): [0.5] * 25
                for name in NEEDED if name.endswith("_fraction")}  # fmt: skip
        rows.append({name: value for name, value in row.items() if name != lack})
    content = io.BytesIO()
    table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
    pq.write_table(table, content, compression="none", use_dictionary=False)
    return content.getvalue()


def test_the_catalogue_comes_checked_without_its_heavy_columns(run, service, capsys):
    service.zenodo[CATALOGUE] = catalogue_of(20)
    fetch(run, service, None, first=3)
    table = pd.read_parquet(run.catalogue)
    assert len(table) == 20 and set(table) == {*NEEDED, *WELCOME}
    assert set(galaxy_zoo.columns_needed(list(galaxy_zoo.CLASSES.values()))) <= set(table)
    assert json.loads(sidecar(run.catalogue).read_text())["script"] == "data/download.py"
    assert len(cutouts(run)) == 3 and not leftovers(run)
    decals_1 = load_script("analysis/decals_1.py")
    assert decals_1.describe_labels(decals_1.Config(), run, run.catalogue) == LABELS[CATALOGUE]
    assert service.answered["file from 0"] == 1
    fetch(run, service, None, first=5)  # the catalogue is not fetched again
    assert service.answered["file from 0"] == 1 and len(cutouts(run)) == 5


def test_both_surveys_are_asked_for_the_galaxies_of_the_strip(run, service):
    service.zenodo[CATALOGUE] = catalogue_of(20)
    fetch(run, service, None, survey="both", first=4)
    for survey in ("decals", "bassmzls"):
        seen = [read_cutout(path) for path in list_files(run.images(survey))]
        assert len(seen) == 4 and {one.survey for one in seen} == {survey}
        assert all(31.5 < one.dec < 33.5 for one in seen)
    fetch(run, service, None, survey="decals")  # all galaxies, the strip's are there
    assert len(list_files(run.images())) == 20 and sum(service.asked.values()) == 8 + 16
    assert len(pd.read_parquet(run.manifest)) == 24


def test_a_catalogue_of_another_checksum_is_refused_and_not_kept(run, service):
    service.zenodo[CATALOGUE] = catalogue_of(5)
    service.checksum = "md5:" + "0" * 32
    with pytest.raises(Problem, match="another checksum than record 4573248 says"):
        fetch(run, service, None)
    assert not run.catalogue.exists() and not list(run.folder.rglob("*.parquet"))
    assert not leftovers(run)
    service.checksum = ""
    fetch(run, service, None)
    assert len(cutouts(run)) == 5


@pytest.mark.parametrize("longer", [-1000, 1000])
def test_a_catalogue_of_another_length_is_refused(run, service, longer):
    service.zenodo[CATALOGUE] = catalogue_of(5)
    service.longer = longer
    with pytest.raises(Problem, match="does not give"):
        fetch(run, service, None, tries=2)
    assert not run.catalogue.exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_transfer_of_the_catalogue_goes_on_where_it_was(run, service, ranges):
    content = service.zenodo[CATALOGUE] = catalogue_of(300)
    service.ranges, service.cut, service.cuts = ranges, len(content) // 3, 2
    fetch(run, service, None, first=1)
    begins = [int(key.split()[-1]) for key in service.answered if key.startswith("file from")]
    assert pd.read_parquet(run.catalogue).shape == (300, len(NEEDED + WELCOME))
    if ranges:  # at most a piece of 64 KiB of what came is lost
        assert begins == pytest.approx([0, len(content) / 3, 2 * len(content) / 3], abs=2**17)
    else:
        assert begins == [0] and service.answered["file from 0"] == 3


def test_a_part_of_a_killed_run_is_gone_on_with(run, service):
    content = service.zenodo[CATALOGUE] = catalogue_of(300)
    part = run.download(CATALOGUE + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:70_000])
    fetch(run, service, None, first=1)
    assert list(service.answered) == ["file from 70000", "good"]
    assert not leftovers(run) and os.path.getsize(run.download(CATALOGUE)) == len(content)


def test_a_catalogue_without_a_needed_column_is_one_clear_line(run, service):
    service.zenodo[CATALOGUE] = catalogue_of(5, lack="bar_strong_fraction")
    with pytest.raises(Problem, match="has no column bar_strong_fraction"):
        fetch(run, service, None)
    service.zenodo = {"other.parquet": b"x"}
    with pytest.raises(Problem, match=r"has no file gz_decals_volunteers_5\.parquet"):
        fetch(run, service, None, catalogue="volunteers_5")
