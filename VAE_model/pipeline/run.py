"""The files of a run, each name spelled once.

Everything that a run writes lies under one folder, the *run* (`data/demo` unless a script's
constant `run` says otherwise). Relative paths start at the root of the repository, so that scripts
and notebooks agree; if the package is installed without a repository (a wheel), they start at the
working directory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
ROOT = _REPOSITORY if (_REPOSITORY / "make_datatxt.py").is_file() else Path.cwd()
DEFAULT = "data/demo"


class _File:
    """A file of a run: `run.train_txt` is its path."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: Run, _: type) -> Path:
        return run.folder / self.name


class _Files:
    """Files whose names differ in the values for {}: `run.latents(40)` is the path of one.

    defaults: of the last values.
    """

    def __init__(self, name: str, *defaults: object) -> None:
        self.name, self.defaults = name, defaults

    def __get__(self, run: Run, _: type) -> Callable[..., Path]:
        def path(*values: object) -> Path:
            left = len(values) + len(self.defaults) - self.name.count("{}")
            return run.folder / self.name.format(*values, *self.defaults[left:])

        return path


class Run:
    """The folder of a run and the files in it."""

    def __init__(self, folder: str | Path = DEFAULT) -> None:
        self.folder = ROOT / folder

    # inputs
    images = _Files("images/{}", "decals")  # a survey's cutouts: decals, bassmzls or your name
    catalogue = _File("catalogue.parquet")
    truth = _File("truth.parquet")  # of a simulated sky
    labels = _File("labels.parquet")  # of imported images: path, iauname, ra, dec, their columns
    exposures = _File("exposures/simulated.float16")  # of simulated galaxies, prepared
    import_refused = _Files("images/{}.refused.csv")  # files that an import refused, and why
    download = _Files("download/{}")  # internal files of data/download.py
    manifest = _File("download/manifest.parquet")  # outcome of each cutout, one row each
    journal = _File("download/journal.jsonl")  # rows of the manifest during a download
    not_before = _File("download/not_before.txt")  # time of the next permitted request

    # stages 1 to 3
    train_txt = _File("train.txt")
    rejected = _File("rejected.csv")
    packed = _File("packed")  # folder of the packed copy of the images that train.txt lists
    latents = _Files("result/latents_{}.parquet")
    latents_part = _Files("result/.latents_{}_part_{}.parquet")  # of one of several processes

    # the analysis
    result = _Files("result/{}")
    figure = _Files("figures/{}")
    classes = _File("result/classes.parquet")
    class_table = _Files("result/class_{}.fits")  # for TOPCAT
    matches = _File("result/matches.parquet")
    crossmatch = _Files("result/crossmatch_{}.parquet")  # with a HATS catalogue
    class_latents = _Files("result/class_latents_{}.parquet")
    map = _Files("result/map_{}.parquet")  # place of each galaxy on the map of the latent space
    map_page = _Files("figures/map_{}.html")  # the interactive map
    similar = _Files("result/similar_{}.parquet")  # the nearest galaxies to some
    queries = _Files("queries/{}")  # answers to searches, which the report does not show
    traversal = _Files("result/traversal_{}.parquet")  # measured along the strongest latents
    probe = _Files("result/probe_{}.{}", "json")  # numbers (json), one row per latent (parquet)
    outliers = _Files("result/outliers_{}.parquet")
    outliers_page = _Files("figures/outliers_{}.html")
    classification = _Files("result/classification_{}.{}", "json")
    predictions = _Files("result/predictions_{}.parquet")  # of every image, by the forests
    dimensions = _Files("result/dimensions.{}", "json")
    report = _File("report.html")

    onnx = _Files("onnx/{}_{}.onnx")  # encoder or decoder, for other programs
    export = _Files("exports/{}")  # tables for other programs
    samp = _Files("samp/{}")  # tables sent to and received from other programs

    # the second survey
    transfer = _Files("transfer/{}")
    pairs = _File("transfer/pairs.parquet")  # the same galaxies in two surveys
    pairs_refused = _File("transfer/pairs_refused.csv")  # images without a pair: path, reason
    pairs_packed = _File("transfer/packed")  # folder of the packed second images
    pair_latents = _Files("transfer/latents_{}.parquet")  # after a method; no_tf: before any
    comparison = _Files("transfer/comparison.{}", "json")

    def model(self, num_var: int, method: str = "") -> Path:
        """Return the best model on validation: vae_40.safetensors; vae_40_<method> if adapted."""
        name = f"vae_{num_var}{'_' + method if method else ''}.safetensors"
        return self.folder / "model" / name

    def dimension_model(self, num_var: int, seed: int | str = 0) -> Path:
        """Return one of the models that choose_dimension.py compares."""
        return self.folder / "model" / "dimensions" / f"seed_{seed}" / f"vae_{num_var}.safetensors"

    def model_last(self, num_var: int, method: str = "") -> Path:
        """Return the checkpoint to resume from."""
        best = self.model(num_var, method)
        return best.with_name(f"{best.stem}_last.safetensors")

    def model_log(self, num_var: int, method: str = "") -> Path:
        """Return the log with one JSON line per epoch."""
        best = self.model(num_var, method)
        return best.with_name(f"{best.stem}_log.jsonl")

    def made_by(self, path: str | Path) -> str:
        """Return the command that makes `path`, with the constants it was made with before."""
        from VAE_model.pipeline import provenance  # which names its files by a Run

        return provenance.command_for(Path(path), self)

    def remade_by(self, path: str | Path) -> str:
        """Return the command that makes `path` again, whatever is there."""
        return ", or ".join(f"{one} --again" for one in self.made_by(path).split(", or "))

    def show(self, path: str | Path) -> str:
        """Return `path` as a person types it: from the root of the repository if it lies there."""
        path = Path(path)
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
