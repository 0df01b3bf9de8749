"""The Galaxy Zoo DECaLS catalogue (Walmsley et al. 2022, MNRAS 509, 3966), from Zenodo.

The file is large because each concentration cell is a list of 25 numbers. Only the columns that the
pipeline uses are read, a few thousand rows at a time.
"""

import hashlib
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from VAE_model.data.galaxy_zoo import IDENTITY, TREE, asked, fraction
from VAE_model.downloads.client import Client, Gate, Manners, Permanent, Stopped, Transient
from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.tables.columns import check_columns

ZENODO = "https://zenodo.org"
RECORD = 4573248

# The origin of a file's vote fractions, stated wherever they are used as labels.
LABELS = {
    "gz_decals_auto_posteriors.parquet": (
        "posteriors of a network (Walmsley et al. 2022), not votes of volunteers"
    ),
    "gz_decals_volunteers_5.parquet": "votes of volunteers (Galaxy Zoo DECaLS, GZD-5)",
}

NEEDED = IDENTITY + [fraction(question, a) for question, answers in TREE.items() for a in answers]
WELCOME = [
    "redshift", "elpetro_absmag_r", "sersic_nmgy_r", "mag_r", "petro_th50", "petro_th90",
    "petro_theta", "wrong_size_statistic", "wrong_size_warning",
    *(asked(question) for question in TREE),
]  # fmt: skip

_MOST_RECORD = 2**22  # bytes of the API's description of a record


def fetch_original(
    run: Run, manners: Manners, name: str, zenodo: str = ZENODO, record: int = RECORD
) -> tuple[Path, str]:
    """Download a file of a Zenodo record, verify its checksum, and return its path and checksum.

    An interrupted transfer resumes (HTTP Range). Raises Problem if Zenodo does not answer, lacks
    the file, or sends another one.
    """
    gate = Gate()
    client = Client(manners, gate)
    target, part = run.download(name), run.download(name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        checksum, size = _record_file(client, zenodo, record, name)
        if not (target.exists() and _has(target, checksum)):
            with tqdm(total=size, desc=name, unit="B", unit_scale=True) as bar:
                url = f"{zenodo}/records/{record}/files/{name}?download=1"
                client.save(url, part, size, lambda have: bar.update(have - bar.n))
            if not _has(part, checksum):
                part.unlink()
                raise Problem(
                    f"{name} came with another checksum than record {record} says ({checksum}): "
                    "it was deleted; the same command downloads it again"
                )
            part.replace(target)
    except (Transient, Permanent) as failure:
        raise Problem(
            f"{zenodo} does not give {name} of record {record} ({failure}): the part received "
            "is kept; the same command resumes"
        ) from None
    except Stopped:
        raise gate.problem or Problem("stopped") from None
    finally:
        client.close()
    return target, checksum


def _has(path: Path, checksum: str) -> bool:
    algorithm, digest = checksum.split(":")
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest() == digest


def _record_file(client: Client, zenodo: str, record: int, name: str) -> tuple[str, int]:
    """Return checksum (`md5:...`) and bytes of a file from the record's page in Zenodo's API."""
    url = f"{zenodo}/api/records/{record}"
    body, _ = client.persist(lambda: client.get(url, _MOST_RECORD))
    try:
        files = {str(entry["key"]): entry for entry in json.loads(body)["files"]}
    except (ValueError, KeyError, TypeError):
        raise Problem(f"{url} does not list the record's files: try again later") from None
    if name not in files:
        raise Problem(f"{url} has no file {name}: it has {', '.join(sorted(files)) or 'none'}")
    checksum, size = str(files[name].get("checksum")), files[name].get("size")
    if not re.fullmatch(r"(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})", checksum):
        raise Problem(f"{url} gives {name} an unknown checksum: {checksum[:80]!r}")
    if not isinstance(size, int) or size < 1:
        raise Problem(f"{url} gives {name} no size: {size!r}")
    return checksum, size


def write_catalogue(original: Path, catalogue: Path, checksum: str) -> int:
    """Write catalogue.parquet, the columns that the pipeline uses; return the number of rows.

    The schema's metadata state the origin of the vote fractions (`labels`) and the source file
    (`source`). Raises Problem if the original is not a parquet table or lacks a column.
    """
    try:
        table = pq.ParquetFile(original)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise Problem(f"{original} is no readable parquet table ({reason})") from None
    present = set(table.schema_arrow.names)
    check_columns(NEEDED, present, original)
    columns = [name for name in NEEDED + WELCOME if name in present]
    if absent := [name for name in WELCOME if name not in present]:
        print(f"  {original.name} has no column {', '.join(absent)}: left out of the catalogue")
    said = {"source": f"{original.name} {checksum}", "labels": LABELS.get(original.name, "")}
    schema = pa.schema([table.schema_arrow.field(name) for name in columns], metadata=said)
    with atomic(catalogue) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for batch in table.iter_batches(batch_size=20_000, columns=columns):
            writer.write_batch(batch.select(columns).replace_schema_metadata(said))
    return table.metadata.num_rows


def source_of(catalogue: Path) -> str:
    """Return the name of the file that catalogue.parquet was made from; '' if unrecorded."""
    try:
        metadata = pq.read_schema(catalogue).metadata or {}
    except (OSError, pa.ArrowException):
        return ""
    return metadata.get(b"source", b"").decode().split(" ")[0]
