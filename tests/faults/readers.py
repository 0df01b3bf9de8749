"""The readers under test: for each a valid file, ways to break it, and whether a result is valid.

`read` returns why what was accepted is not valid, empty where it is.
"""

import gzip
import importlib.util
import io
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import mutations
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from astropy.io import fits
from PIL import Image

from VAE_model import models
from VAE_model.data import galaxy_zoo
from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import SHAPE, BadCutout, read_cutout
from VAE_model.data.packed import Packed
from VAE_model.imports.importing import Job, import_image
from VAE_model.pipeline.files import write_parquet, write_text
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.provenance import sidecar
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Stage
from VAE_model.training import checkpoint
from VAE_model.training.model_file import TrainedVAE


def _flux(seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:256, :256] - 127.5
    sky = np.random.default_rng(seed).normal(0, 0.01, SHAPE)
    return (np.exp(-np.hypot(x, 1.5 * y) / 20) + sky).astype(np.float32)


class Reader(ABC):
    """sources: valid contents, of which each broken one is made; bombs: made by hand."""

    refusals: ClassVar[tuple[type[Exception], ...]] = (Problem,)
    ways: ClassVar[tuple[mutations.Mutation, ...]] = (mutations.some_bytes,)
    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / self.name
        self.bombs: Sequence[bytes] = ()
        self.sources: list[bytes] = self.make()

    @abstractmethod
    def make(self) -> list[bytes]: ...

    @abstractmethod
    def read(self) -> str: ...

    def broken(self, rng: np.random.Generator, number: int) -> bytes:
        """The content of a broken file: the bombs first, then one, two or three mutations."""
        if number < len(self.bombs):
            return self.bombs[number]
        content = self.sources[rng.integers(len(self.sources))]
        for _ in range(rng.integers(1, 4)):
            content = self._once_more(content, rng)
        return content

    def _once_more(self, content: bytes, rng: np.random.Generator) -> bytes:
        try:
            return self.ways[rng.integers(len(self.ways))](content, rng) or b"\n"
        except Exception:  # so broken already that this way finds nothing in it
            return mutations.some_bytes(content, rng)


class Cutout(Reader):
    """read_cutout, which make_datatxt.py trusts."""

    name = "154.7709_46.4537.fits"
    refusals = (BadCutout,)
    ways = (mutations.some_bytes, mutations.fits_card)
    read_file = staticmethod(read_cutout)

    def make(self) -> list[bytes]:
        flux, path = _flux(), self.folder / "made.fits"
        write_cutout(path, flux, 154.7709, 46.4537, "DR9-south")
        cube = path.read_bytes()
        bands = [
            fits.ImageHDU(p, fits.Header({"BAND": b})) for b, p in zip("grz", flux, strict=True)
        ]
        fits.HDUList([fits.PrimaryHDU(), *bands]).writeto(path, overwrite=True)
        planes = path.read_bytes()
        tiles = fits.CompImageHDU(flux, compression_type="RICE_1", quantize_level=4)
        tiles.writeto(path, overwrite=True)
        contents = [cube, planes, path.read_bytes(), gzip.compress(cube, 1)]
        path.unlink()
        at = cube.index(b"NAXIS1  =")
        wide = cube[:at] + f"NAXIS1  = {10**9:>20}".encode().ljust(80) + cube[at + 80 :]
        plane = b"".join(f"{k:<8}= {v:>20}".encode().ljust(80) for k, v in
                         {"SIMPLE": "T", "BITPIX": -32, "NAXIS": 3, "NAXIS1": 8000, "NAXIS2": 8000,
                          "NAXIS3": 3}.items()) + b"END".ljust(80)  # fmt: skip
        bomb = gzip.compress(plane.ljust(2880) + bytes(4 * 3 * 8000 * 8000 + 2560), 1)
        self.bombs = [wide, gzip.compress(wide, 1), bomb]
        return contents

    def read(self) -> str:
        found = self.read_file(self.target)
        if found.flux.shape != SHAPE or found.flux.dtype != np.float32:
            return f"shape {found.flux.shape}"
        if not np.isfinite(found.flux).all() or (found.flux == 0).all(axis=(1, 2)).any():
            return "pixels that are no number, or a band without signal"
        known = np.isfinite([found.ra, found.dec])
        if known.any() and not (known.all() and 0 <= found.ra < 360 and abs(found.dec) <= 90):
            return f"position {found.ra}, {found.dec}"
        return ""


class Import(Cutout):
    """import_image, which takes frames of any size."""

    def read(self) -> str:
        made = self.folder / "imported.fits"
        made.unlink(missing_ok=True)
        outcome = import_image(Job(self.target, made, "resample"))
        if outcome.reason:
            raise BadCutout(outcome.reason)
        self.target, target = made, self.target  # what was imported is a cutout itself
        try:
            return super().read()
        finally:
            self.target = target


class Png(Import):
    name = "galaxy.png"
    ways = (mutations.some_bytes, mutations.png_chunk)

    def make(self) -> list[bytes]:
        return [self._drawn(mode, "PNG") for mode in ("RGB", "RGBA", "L", "P")]

    def _drawn(self, mode: str, kind: str, side: int = 256) -> bytes:
        pixels = np.clip(255 * _flux(), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        image = Image.fromarray(pixels) if side == 256 else Image.new("RGB", (side, side))
        stream = io.BytesIO()
        image.convert(mode).save(stream, kind)
        return stream.getvalue()

    def broken(self, rng: np.random.Generator, number: int) -> bytes:
        if number < 3:  # a bomb: 25, 36 and 64 megapixels of nothing
            return self._drawn("RGB", self.name[-3:].upper().replace("JPG", "JPEG"),
                               (5000, 6000, 8000)[number])  # fmt: skip
        return super().broken(rng, number)


class Jpeg(Png):
    name = "galaxy.jpg"
    ways = (mutations.some_bytes, mutations.jpeg_size)

    def make(self) -> list[bytes]:
        return [self._drawn(mode, "JPEG") for mode in ("RGB", "L")]


class Catalogue(Reader):
    """read_catalogue of analysis/decals_1.py."""

    name = "catalogue.parquet"

    def make(self) -> list[bytes]:
        spec = importlib.util.spec_from_file_location("decals_1", ROOT / "analysis/decals_1.py")
        self.script = importlib.util.module_from_spec(spec)
        sys.modules["decals_1"] = self.script
        spec.loader.exec_module(self.script)
        rng, rows = np.random.default_rng(0), 200
        cuts = [c for answers in galaxy_zoo.questions().values() for c in answers.values()]
        self.columns = galaxy_zoo.columns_needed([*galaxy_zoo.CLASSES.values(), *cuts])
        table = pd.DataFrame({name: rng.uniform(0, 1, rows) for name in self.columns})
        table["iauname"] = [f"J{row:06d}.00+000000.0" for row in range(rows)]
        made, contents = self.folder / "made.parquet", []
        write_parquet(made, table)
        contents.append(made.read_bytes())
        made.unlink()
        return contents

    def broken(self, rng: np.random.Generator, number: int) -> bytes:
        if number > 1:
            return super().broken(rng, number)
        made = self.folder / "bomb.parquet"  # 2 * 10^7 equal rows of every column
        names = self.columns[1:]
        table = pa.table({name: np.full(10**6, 0.5, np.float32) for name in names})
        with pq.ParquetWriter(made, table.schema, compression=("zstd", "none")[number]) as writer:
            for _ in range(20):
                writer.write_table(table)
        return made.read_bytes()

    def read(self) -> str:
        table = self.script.read_catalogue(Run(self.folder), self.target, self.columns)
        numbers = table[self.columns[1:]]
        if not all(kind.kind == "f" for kind in numbers.dtypes):
            return "columns that are no numbers"
        fractions = numbers.drop(columns=["ra", "dec"])
        if not (fractions.isna() | ((fractions >= 0) & (fractions <= 1))).all(axis=None):
            return "fractions beyond 0 to 1"
        return "" if numbers["dec"].abs().le(90).all() else "positions that are none"


class Checkpoint(Reader):
    """TrainedVAE.load of a model file, and the state that a killed training goes on from."""

    name = "vae_3.safetensors"
    ways = (mutations.some_bytes, mutations.model_header)

    def make(self) -> list[bytes]:
        torch.manual_seed(0)
        network, made = models.build("published", 3), self.folder / "made.safetensors"
        config = {"network": "published", "num_var": 3, "stretch": "asinh", "softening": [0.1] * 3}
        content = {"config": config, "data": "x", "weights": network.state_dict()}
        checkpoint.save(made, content)
        content = made.read_bytes()
        made.unlink()
        return [content]

    def read(self) -> str:
        model = TrainedVAE.load(self.target, 3, "cpu")
        for name, tensor in model.network.state_dict().items():
            if not torch.isfinite(tensor).all():
                return f"{name} is not finite"
        mean, log_variance = model.encode(torch.from_numpy(_flux())[None])
        return "" if mean.shape == log_variance.shape == (1, 3) else f"latents of {mean.shape}"


@dataclass(frozen=True)
class _Constants:
    run: Path
    answer: int = 42


class SideCar(Reader):
    """The JSON beside an output (files of even number) or an input (odd ones) of a stage."""

    name = "out.txt.json"
    ways = (mutations.json_value, mutations.json_value, mutations.some_bytes)

    def _stage(self, inputs: list[str], output: str) -> Stage:
        paths = [self.folder / name for name in inputs]
        run = Run(self.folder)
        script = str(ROOT / "make_datatxt.py")
        return Stage(script, run, _Constants(self.folder), paths, [self.folder / output])

    def make(self) -> list[bytes]:
        for name in ("in.txt", "between.txt", "out.txt"):
            write_text(self.folder / name, f"{name}\n")
        for inputs, output in ((["in.txt"], "between.txt"), (["between.txt"], "out.txt")):
            stage = self._stage(inputs, output)
            stage.is_up_to_date()
            stage.begin()
            stage.finish()
        self.valid = {n: sidecar(self.folder / n).read_bytes() for n in ("between.txt", "out.txt")}
        return [self.valid["out.txt"], self.valid["between.txt"]]

    def broken(self, rng: np.random.Generator, number: int) -> bytes:
        which = ("out.txt", "between.txt")[number % 2]
        for name, content in self.valid.items():
            sidecar(self.folder / name).write_bytes(content)
        self.target = sidecar(self.folder / which)
        content = self.valid[which]
        for _ in range(rng.integers(1, 3)):
            content = self._once_more(content, rng)
        return content

    def read(self) -> str:
        if not self._stage(["between.txt"], "out.txt").is_up_to_date():
            raise Problem("made anew")
        if self.target.name == "between.txt.json":  # of an input: only the hashes decide
            return ""
        both = [json.loads(self.target.read_bytes()), json.loads(self.valid["out.txt"])]
        now, before = ((r["config"], r["inputs"]["between.txt"]["sha256"]) for r in both)
        return "" if now == before else f"nothing to do, by {now}"


class List(Reader):
    """train.txt, and the packed copy that is made of the images it names."""

    name = "train.txt"
    ways = (mutations.text_line,)

    def make(self) -> list[bytes]:
        names = []
        for number in range(5):
            names.append(f"images/decals/{number}.fits")
            write_cutout(self.folder / names[-1], _flux(number), number, 0.0, "DR9-south")
        return ["".join(f"{name}\n" for name in names).encode()]

    def read(self) -> str:
        packed = Packed.of(Run(self.folder), workers=1)
        for image, name in zip(packed.images, packed.index["path"], strict=True):
            if not np.array_equal(image, read_cutout(self.folder / name).flux):
                return f"the pixels of {name} are another image's"
        lines = [line for line in self.target.read_text().splitlines() if line.strip()]
        return "" if packed.index["path"].tolist() == lines else "rows that are not the list's"


READERS: dict[str, type[Reader]] = {
    "FITS cutout": Cutout,
    "FITS import": Import,
    "JPEG": Jpeg,
    "PNG": Png,
    "catalogue": Catalogue,
    "model file": Checkpoint,
    "side-car": SideCar,
    "train.txt": List,
}
