"""The files of a run, each spelled once, and the command that makes each.

Everything that a run writes lies under one folder, the *run* (`data/demo` unless a script's
constant `run` says otherwise). A relative path means: from the root of the repository, whatever
the working directory is, so that scripts and notebooks agree. Where the package is installed apart
from a repository (a wheel), it means: from the working directory.
"""

from pathlib import Path

_BESIDE = Path(__file__).resolve().parent.parent
ROOT = _BESIDE if (_BESIDE / "make_datatxt.py").is_file() else Path.cwd()

# How a file comes to be: (pattern of its path under the run, command). First match counts.
MADE_BY = [
    (
        "images",
        "python data/simulate.py (or data/download.py for real ones, data/import_images.py for "
        "images of your own)",
    ),
    ("catalogue.parquet", "python data/simulate.py (or data/download.py for the real one)"),
    ("download", "python data/download.py"),
    ("truth.parquet", "python data/simulate.py"),
    ("labels.parquet", "python data/import_images.py"),
    ("train.txt", "python make_datatxt.py"),
    ("rejected.csv", "python make_datatxt.py"),
    ("model/dimensions/*", "python analysis/choose_dimension.py"),
    ("model/vae_*_*.pt", "python transfer/adapt.py"),
    ("model/*", "python Galaxy_VAE_n.py"),
    ("result/latents_*", "python analysis/extract_latents.py"),
    ("result/classes.parquet", "python analysis/decals_1.py"),
    ("result/matches.parquet", "python analysis/decals_2_1.py"),
    ("result/class_latents_*", "python analysis/decals_2_2.py"),
    ("result/map_*", "python analysis/decals_3.py"),
    ("figures/map_*.html", "python analysis/map.py"),
    ("result/outliers_*", "python analysis/decals_4.py"),
    ("result/similar_*", "python analysis/similar.py"),
    ("result/traversal_*", "python outline/traversal.py"),
    ("result/probe_*", "python analysis/probe.py"),
    ("result/classification_*", "python analysis/classify.py"),
    ("result/dimensions*", "python analysis/choose_dimension.py"),
    ("transfer/pairs*", "python transfer/make_pairs.py"),
    ("transfer/packed", "python transfer/make_pairs.py"),
    ("transfer/latents_no_tf*", "python transfer/encode_pairs.py"),
    ("transfer/latents_*", "python transfer/adapt.py"),
    ("transfer/comparison*", "python transfer/compare.py"),
    ("figures/pairs*", "python transfer/make_pairs.py"),
    ("figures/comparison*", "python transfer/compare.py"),
    ("figures/network_*", "python outline/network_diagram.py"),
    ("figures/traversal_*", "python outline/traversal.py"),
    ("figures/similar_*", "python analysis/similar.py"),
    ("figures/probe_*", "python analysis/probe.py"),
    ("figures/*", "python analysis/decals_3.py and analysis/decals_4.py"),
]


class Run:
    """The folder of a run and the names of the files in it."""

    def __init__(self, folder: str | Path = "data/demo") -> None:
        self.folder = ROOT / folder

    # what comes from outside
    def images(self, survey: str = "decals") -> Path:
        """Folder of a survey's cutouts: `decals` or `bassmzls`, or a name of your own."""
        return self.folder / "images" / survey

    @property
    def catalogue(self) -> Path:
        return self.folder / "catalogue.parquet"

    @property
    def truth(self) -> Path:
        return self.folder / "truth.parquet"

    @property
    def labels(self) -> Path:
        """What the tables of imported images say: path, iauname, ra, dec, their columns."""
        return self.folder / "labels.parquet"

    def download(self, name: str) -> Path:
        """What data/download.py keeps for itself."""
        return self.folder / "download" / name

    @property
    def manifest(self) -> Path:
        """What became of each cutout that was asked for, a row each."""
        return self.download("manifest.parquet")

    @property
    def journal(self) -> Path:
        """The manifest's rows while a download goes on, a JSON line each."""
        return self.download("journal.jsonl")

    @property
    def not_before(self) -> Path:
        """The time before which the service asked not to be asked."""
        return self.download("not_before.txt")

    def import_refused(self, name: str) -> Path:
        """Files that an import refused, with the reason: images/<name>.refused.csv."""
        return self.folder / "images" / f"{name}.refused.csv"

    # stages 1 to 3
    @property
    def train_txt(self) -> Path:
        return self.folder / "train.txt"

    @property
    def rejected(self) -> Path:
        return self.folder / "rejected.csv"

    @property
    def packed(self) -> Path:
        """Folder of the packed copy of the images that train.txt lists."""
        return self.folder / "packed"

    def model(self, num_var: int, method: str = "") -> Path:
        """Best model on validation: vae_40.pt, or vae_40_<method>.pt after adaptation."""
        return self.folder / "model" / f"vae_{num_var}{'_' + method if method else ''}.pt"

    def model_last(self, num_var: int, method: str = "") -> Path:
        """Checkpoint to resume from."""
        return self.model(num_var, method).with_name(self.model(num_var, method).stem + "_last.pt")

    def model_log(self, num_var: int, method: str = "") -> Path:
        """A JSON line an epoch."""
        name = self.model(num_var, method).stem + "_log.jsonl"
        return self.model(num_var, method).with_name(name)

    def dimension_model(self, num_var: int) -> Path:
        """A model of choose_dimension.py: trained briefly, to compare dimensions only."""
        return self.folder / "model" / "dimensions" / f"vae_{num_var}.pt"

    def latents(self, num_var: int) -> Path:
        return self.result(f"latents_{num_var}.parquet")

    def latents_part(self, num_var: int, number: int) -> Path:
        """What one of several processes extracted, until the first has put all together."""
        return self.result(f".latents_{num_var}_part_{number}.parquet")

    # the analysis
    def result(self, name: str) -> Path:
        return self.folder / "result" / name

    def figure(self, name: str) -> Path:
        return self.folder / "figures" / name

    @property
    def classes(self) -> Path:
        return self.result("classes.parquet")

    def class_table(self, name: str) -> Path:
        """The FITS table of a class, for TOPCAT."""
        return self.result(f"class_{name}.fits")

    @property
    def matches(self) -> Path:
        return self.result("matches.parquet")

    def class_latents(self, num_var: int) -> Path:
        return self.result(f"class_latents_{num_var}.parquet")

    def map(self, num_var: int) -> Path:
        """Where each galaxy lies on the two-dimensional map of the latent space."""
        return self.result(f"map_{num_var}.parquet")

    def map_page(self, num_var: int) -> Path:
        """The interactive map."""
        return self.figure(f"map_{num_var}.html")

    def similar(self, num_var: int) -> Path:
        """The nearest galaxies to those that were asked about."""
        return self.result(f"similar_{num_var}.parquet")

    def traversal(self, num_var: int) -> Path:
        """What is measured on the images along the strongest latents."""
        return self.result(f"traversal_{num_var}.parquet")

    def probe(self, num_var: int, ending: str = "json") -> Path:
        """What the latents tell: as numbers (json), and a row a latent (parquet)."""
        return self.result(f"probe_{num_var}.{ending}")

    def outliers(self, num_var: int) -> Path:
        return self.result(f"outliers_{num_var}.parquet")

    def outliers_page(self, num_var: int) -> Path:
        return self.figure(f"outliers_{num_var}.html")

    def classification(self, num_var: int, ending: str = "json") -> Path:
        return self.result(f"classification_{num_var}.{ending}")

    def dimensions(self, ending: str = "json") -> Path:
        return self.result(f"dimensions.{ending}")

    # the second survey
    @property
    def pairs(self) -> Path:
        """The same galaxies in two surveys."""
        return self.transfer("pairs.parquet")

    @property
    def pairs_refused(self) -> Path:
        """Images of the second survey that make no pair, with the reason: path, reason."""
        return self.transfer("pairs_refused.csv")

    @property
    def pairs_packed(self) -> Path:
        """Folder of the packed copy of the second survey's side of the pairs."""
        return self.transfer("packed")

    def pair_latents(self, method: str) -> Path:
        """Latents of both views of each pair after a method; `no_tf`: as trained on one survey."""
        return self.transfer(f"latents_{method}.parquet")

    def comparison(self, ending: str = "json") -> Path:
        return self.transfer(f"comparison.{ending}")

    def transfer(self, name: str) -> Path:
        return self.folder / "transfer" / name

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def made_by(self, path: Path) -> str:
        """The command that makes `path`."""
        path = Path(path)
        if path.is_relative_to(self.folder):
            inside = path.relative_to(self.folder)
            for pattern, command in MADE_BY:
                if inside.match(pattern) or inside.parts[0] == pattern:
                    return command
        return "see the stage table in README.md"

    def show(self, path: Path) -> str:
        """`path` as a person types it: from the root of the repository where it lies there."""
        path = Path(path)
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
