"""Nearest neighbours among many latents: ours on disk, scikit-learn, faiss and usearch in one run.

Latents are synthetic: a mixture of correlated normal distributions, seeded, made block by block
(an interrupted run resumes there). Every method builds its index from the same file and searches it
in processes of their own, so that their memory is theirs. Methods that do not fit into the memory
are left out, and builds that take longer than `limit` are stopped; the table says so. Recall is
the share of the ten nearest that are found; the exact answer is ours, compared with a plain scan in
float64 for a few queries. The outlier ranking (VAE_model/evaluation/outliers.py) is measured on a
mapped file of `outlier_rows`. faiss and usearch: pip install -e .[search]

Reads:  nothing
Writes: <folder>/ (the latents, 160 bytes each, and the indices, some 400 bytes each at most; kept);
        prints a table; with --write also into docs/BENCHMARKS.md

Example: python benchmarks/search.py --rows 1000000
"""

import importlib
import importlib.metadata
import importlib.util
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from timing import spread, watch, write_between
from tqdm import tqdm

from VAE_model.evaluation import outliers
from VAE_model.evaluation.latent_index import LatentIndex, quantise
from VAE_model.evaluation.similarity import nearest
from VAE_model.pipeline.files import read_json, write_json
from VAE_model.pipeline.parallel import cores
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start

NUM_VAR = 40
COMPONENTS = 32  # of the mixture
CHUNK = 2**20  # latents that are made or added at a time
QUERIES = 100
COUNT = 10  # neighbours
CHECKED = 3  # queries that a plain scan answers too
FEWEST = 3  # repeats, however long they take
# Name in the table, and bytes of memory per latent while it is built.
METHODS = {
    "ours": ("int8 copy and exact distances, on disk", 0),
    "sklearn": ("scikit-learn, float32 in memory", 360),
    "faiss_flat": ("faiss IndexFlatL2", 320),
    "faiss_sq8": ("faiss IndexScalarQuantizer, 8 bits", 80),
    "faiss_ivf_sq8": ("faiss IndexIVFScalarQuantizer, 8 bits, 64 lists probed", 96),
    "faiss_ivf_pq": ("faiss IndexIVFPQ, 20 bytes, 64 lists probed", 56),
    "usearch": ("usearch HNSW, int8", 0),
}
PROBED = 64  # inverted lists


@dataclass(frozen=True)
class Config:
    """Constants of the benchmark."""

    folder: Path = Path("data/search_benchmark")
    """Folder of the latents and the indices."""
    rows: int = 1_000_000
    """Latents."""
    repeats: int = 5
    """Searches of each size."""
    limit: float = 1800
    """Seconds after which a build is stopped, and after which fewer searches are repeated."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to measure."""
    outlier_rows: int = 1_000_000
    """Latents that are ranked as outliers, at most; 0: none."""
    threads: int = 0
    """Threads of each method; 0: one per core."""
    seed: int = 0
    """Seed of the latents."""
    write: bool = False
    """Write the table into docs/BENCHMARKS.md."""
    task: str = ""
    """Method that this process measures (the benchmark starts such processes itself)."""


def drawn(count: int, seed: int, number: int) -> NDArray[np.float32]:
    """Return block `number` of the mixture, (count, NUM_VAR); every block is of all components."""
    mixture, rng = np.random.default_rng(seed), np.random.default_rng([seed, number])
    spectrum = np.exp(-np.arange(NUM_VAR) / 8)
    latents = rng.standard_normal((count, NUM_VAR), np.float32)
    component = rng.integers(0, COMPONENTS, count)
    for one in range(COMPONENTS):
        spread_of = mixture.uniform(0.5, 1.5) * mixture.normal(size=(NUM_VAR, NUM_VAR)) * spectrum
        centre, rows = 2 * mixture.normal(size=NUM_VAR), np.flatnonzero(component == one)
        axes = (spread_of + 0.1 * np.eye(NUM_VAR)).T.astype(np.float32)
        latents[rows] = latents[rows] @ axes + centre.astype(np.float32)
    return latents


def make_latents(config: Config, path: Path) -> None:
    """Write the latents, or what is missing of them."""
    made = {"rows": config.rows, "seed": config.seed}
    note = path.with_name("made.json")
    if not note.exists() or read_json(note) != made:
        path.unlink(missing_ok=True)
        write_json(note, made)
    size, chunk = path.stat().st_size if path.exists() else 0, CHUNK * NUM_VAR * 4
    with open(path, "ab") as file:
        if size < config.rows * NUM_VAR * 4:
            file.truncate(size // chunk * chunk)
            first = size // chunk
            for number in tqdm(
                range(first, -(-config.rows // CHUNK)), desc="latents", unit="block"
            ):
                count = min(CHUNK, config.rows - number * CHUNK)
                drawn(count, config.seed, number).tofile(file)


def blocks(config: Config) -> Iterator[NDArray[np.float32]]:
    """Yield the latents in blocks."""
    path = config.folder / "latents.float32"
    for first in range(0, config.rows, CHUNK):
        count = min(CHUNK, config.rows - first)
        block = np.fromfile(path, np.float32, count * NUM_VAR, offset=first * NUM_VAR * 4)
        yield block.reshape(count, NUM_VAR)


def queries_of(config: Config) -> NDArray[np.float32]:
    """Return the queries, (QUERIES, NUM_VAR): more of the mixture."""
    return drawn(QUERIES, config.seed, 10**9)


# ---- what each process does


def new_index(name: str, config: Config) -> Any:
    """Return an empty index of faiss or usearch; those of faiss are trained."""
    if name == "usearch":
        return importlib.import_module("usearch.index").Index(
            ndim=NUM_VAR, metric="l2sq", dtype="i8"
        )
    faiss = importlib.import_module("faiss")
    lists = max(16, 2 ** int(np.log2(config.rows**0.5) - 1))
    bits = faiss.ScalarQuantizer.QT_8bit
    index = {
        "faiss_flat": lambda: faiss.IndexFlatL2(NUM_VAR),
        "faiss_sq8": lambda: faiss.IndexScalarQuantizer(NUM_VAR, bits, faiss.METRIC_L2),
        "faiss_ivf_sq8": lambda: faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(NUM_VAR), NUM_VAR, lists, bits, faiss.METRIC_L2
        ),
        "faiss_ivf_pq": lambda: faiss.IndexIVFPQ(faiss.IndexFlatL2(NUM_VAR), NUM_VAR, lists, 20, 8),
    }[name]()
    index.train(next(blocks(config))[: 64 * max(lists, 2**12)])
    return index


def build_index(name: str, config: Config) -> dict[str, Any]:
    """Build and write the index of a method; return seconds, and bytes or where it ended."""
    began = time.perf_counter()
    if name in ("ours", "sklearn"):
        files = ["latents.float32"]
        if name == "ours":
            quantise(config.folder, NUM_VAR)
            files += ["codes.int8", "norms.float32", "beyond.npy", "beyond_rows.npy"]
        seconds, done = time.perf_counter() - began, config.rows
    else:
        files, index, done = [name], new_index(name, config), 0
        for block in tqdm(blocks(config), desc=name, unit="block", total=-(-config.rows // CHUNK)):
            for part in np.array_split(block, max(1, len(block) // 2**14)):  # to stop in time
                if name == "usearch":
                    scaled = as_int8(part, config)
                    index.add(np.arange(done, done + len(part)), scaled, threads=config.threads)
                else:
                    index.add(part)
                done += len(part)
                if time.perf_counter() - began > config.limit and done < config.rows:
                    return {"stopped": done, "seconds": time.perf_counter() - began}
        seconds, path = time.perf_counter() - began, str(config.folder / name)
        if name == "usearch":
            index.save(path)
        else:
            importlib.import_module("faiss").write_index(index, path)
    size = sum((config.folder / file).stat().st_size for file in files)
    return {"seconds": seconds, "bytes": size, "rows": done}


@lru_cache
def scale_of(config: Config) -> float:
    """Return the scale of latents in int8, one for all variables: usearch has none of its own."""
    some = next(blocks(replace(config, rows=min(config.rows, 2**16))))
    return 127 / float(np.quantile(np.abs(some), 0.9999))


def as_int8(latents: NDArray[np.float32], config: Config) -> NDArray[np.int8]:
    """Return latents in the range of int8."""
    return np.clip(np.rint(latents * scale_of(config)), -127, 127).astype(np.int8)


def searcher(name: str, config: Config) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """Return the search of a method: the rows nearest to queries."""
    path = str(config.folder / name)
    if name == "ours":
        index = LatentIndex(config.folder)
        return lambda queries: index.search(queries, COUNT, config.threads)[0]
    if name == "sklearn":
        latents = np.fromfile(config.folder / "latents.float32", np.float32).reshape(-1, NUM_VAR)
        return lambda queries: nearest(latents, queries, COUNT)[0]
    if name == "usearch":
        graph = importlib.import_module("usearch.index").Index.restore(path)
        return lambda queries: graph.search(
            as_int8(queries, config), COUNT, threads=config.threads
        ).keys.reshape(len(queries), COUNT)
    faiss = importlib.import_module("faiss")
    found = faiss.read_index(path)
    if hasattr(found, "nprobe"):
        found.nprobe = PROBED
    return lambda queries: found.search(queries, COUNT)[1]


def search_index(name: str, config: Config) -> dict[str, Any]:
    """Return the rows found, and seconds of each search of one query and of all."""
    queries, search = queries_of(config), searcher(name, config)
    search(queries[:1])  # reads what is read once
    seconds: dict[str, list[float]] = {"one": [], "all": []}
    rows = np.empty((0, 0))
    for kind, times in seconds.items():
        for repeat in range(config.repeats):
            asked = queries[repeat % QUERIES][None] if kind == "one" else queries
            began = time.perf_counter()
            rows = search(asked)
            times.append(time.perf_counter() - began)
            if sum(times) > config.limit and len(times) >= FEWEST:
                break
    return {**seconds, "rows": rows.tolist()}


def rank_outliers(config: Config) -> dict[str, Any]:
    """Rank a mapped file; return seconds, and the peak (MiB) of the memory that is not the map."""
    rows = min(config.rows, config.outlier_rows)
    latents = np.memmap(config.folder / "latents.float32", np.float32, "r", shape=(rows, NUM_VAR))
    train = np.random.default_rng(config.seed).random(rows) < 0.7
    peak, before, ended = [0.0], anonymous(), threading.Event()

    def observe() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], anonymous())

    observer = threading.Thread(target=observe)
    observer.start()
    began = time.perf_counter()
    scores = outliers.mahalanobis(latents, train), outliers.isolation(latents, train)
    best = outliers.rank(outliers.combined(*scores))
    seconds = time.perf_counter() - began
    ended.set()
    observer.join()
    assert sorted(best[:1000]) != best[:1000].tolist() and best.min() == 1
    return {"rows": rows, "seconds": seconds, "mebibytes": peak[0] - before}


def anonymous() -> float:
    """Return the memory of this process that is no mapped file, MiB (Linux)."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return float(text.split("RssAnon:")[1].split()[0]) / 1024


def run_task(config: Config) -> None:
    """Measure one thing, and write it to <folder>/<task>.json."""
    kind, _, name = config.task.partition(" ")
    threads = config.threads or cores()
    config = replace(config, threads=threads)
    if name.startswith("faiss"):
        importlib.import_module("faiss").omp_set_num_threads(threads)
    with threadpool_limits(threads):
        if kind == "idle":
            result: dict[str, Any] = {}
        elif kind == "outliers":
            result = rank_outliers(config)
        else:
            result = {"build": build_index, "search": search_index}[kind](name, config)
    write_json(config.folder / f"{config.task}.json", result)


# ---- the whole


def measured(config: Config, task: str) -> dict[str, Any]:
    """Return the result of a process of its own, and its peak memory (MiB)."""
    print(f"  {task}", flush=True)
    names = ("folder", "rows", "repeats", "limit", "outlier_rows", "threads", "seed")
    options = [f"--{name.replace('_', '-')}={getattr(config, name)}" for name in names]
    _, peak = watch(__file__, *options, f"--task={task}")
    return {**read_json(config.folder / f"{task}.json"), "peak": peak}


def available() -> float:
    """Return the memory that programs may still take, bytes (Linux)."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return 1024 * float(text.split("MemAvailable:")[1].split()[0])


def scan(config: Config) -> NDArray[np.int64]:
    """Return the nearest of a few queries by all distances in float64, (CHECKED, COUNT)."""
    queries, best = queries_of(config)[:CHECKED].astype(np.float64), []
    first = 0
    for block in tqdm(blocks(config), desc="plain scan", unit="block"):
        for part in np.array_split(block, max(1, len(block) // 2**16)):
            apart = np.stack([np.square(part - query).sum(axis=1) for query in queries])
            near = np.argpartition(apart, min(COUNT, len(part) - 1), axis=1)[:, :COUNT]
            best.append((near + first, np.take_along_axis(apart, near, 1)))
            first += len(part)
    rows, apart = (np.concatenate(part, axis=1) for part in zip(*best, strict=True))
    return np.take_along_axis(rows, np.argsort(apart, axis=1)[:, :COUNT], 1)


def table(config: Config) -> str:
    """Measure every method and return the table."""
    lines, exact = [], None
    idle = measured(config, "idle")["peak"]
    for name in config.methods:
        title, need = METHODS[name]
        room = 0.9 * available()
        if need * config.rows > room:
            lines.append(f"| {title} | needs {need * config.rows / 1e9:.0f} GB of memory, "
                         f"{room / 1e9:.0f} are free | | | | | |")  # fmt: skip
            continue
        built = measured(config, f"build {name}")
        if "stopped" in built:
            lines.append(f"| {title} | build stopped after {built['seconds']:,.0f} s, at "
                         f"{built['stopped']:,} of {config.rows:,} | | | | | |")  # fmt: skip
            continue
        found = measured(config, f"search {name}")
        rows = np.array(found["rows"])
        exact = rows if exact is None else exact
        recall = np.mean(
            [len({*own} & {*true}) / COUNT for own, true in zip(rows, exact, strict=True)]
        )
        each = [seconds / QUERIES for seconds in found["all"]]
        lines.append(
            f"| {title} | {recall:.3f} | {spread(found['one'], 3)} | {spread(each, 4)} "
            f"| {built['seconds']:,.0f} | {built['peak']:,.0f} / {found['peak']:,.0f} "
            f"| {built['bytes'] / 1e9:.2f} |"
        )
        if name == "ours" and not np.array_equal(scan(config), rows[:CHECKED]):
            raise Problem("the search is not exact: a plain scan finds other galaxies")
    head = (
        f"| {config.rows:,} x {NUM_VAR} | recall at {COUNT} | s per query, alone | s per query, "
        f"{QUERIES} at once | build, s | peak memory, build / search, MiB | on disk, GB |"
    )
    note = f"\nA process that only imports the libraries has a peak of {idle:,.0f} MiB."
    return "\n".join([head, "|---|---|---|---|---|---|---|", *lines, note])


def main(config: Config) -> None:
    """Make the latents, measure, print and write the table."""
    config = replace(config, folder=ROOT / config.folder)
    if config.task:
        return run_task(config)
    if wrong := set(config.methods) - set(METHODS):
        raise Problem(f"there is no method {', '.join(wrong)}: {', '.join(METHODS)}")
    if config.methods[:1] != ("ours",):
        raise Problem("the first of the methods must be ours: it gives the exact answer")
    if config.rows < 2 * PROBED * QUERIES:
        raise Problem(f"measure {2 * PROBED * QUERIES:,} rows or more")
    missing = [name for name in ("faiss", "usearch") if importlib.util.find_spec(name) is None]
    if any(method.startswith(tuple(missing)) for method in config.methods) and missing:
        raise Problem(f"{' and '.join(missing)} are not installed: pip install -e .[search]")
    config.folder.mkdir(parents=True, exist_ok=True)
    path = config.folder / "latents.float32"
    there = sum(file.stat().st_size for file in config.folder.iterdir())
    needed, free = 400 * config.rows - there, shutil.disk_usage(config.folder).free
    if needed > free:
        raise Problem(f"{config.folder} needs {needed / 1e9:.0f} GB, and {free / 1e9:.0f} are free")
    make_latents(config, path)
    text = table(config)
    if config.outlier_rows:
        ranked = measured(config, "outliers")
        text += (
            f"\n\nOutlier ranking of {ranked['rows']:,} x {NUM_VAR} latents in a mapped file: "
            f"{ranked['seconds']:,.0f} s, {ranked['mebibytes']:,.0f} MiB beside the map."
        )
    threads = config.threads or cores()
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in
                 ("numpy", "scikit-learn", "faiss-cpu", "usearch")]  # fmt: skip
    text += (
        f"\n\n{threads} threads, {', '.join(libraries)}; page cache as the search before has left "
        f"it. Median (lowest to highest) of {config.repeats} searches."
    )
    print(text)
    if config.write:
        write_between(ROOT / "docs" / "BENCHMARKS.md", "search", text)


if __name__ == "__main__":
    start(main, Config, __doc__)
