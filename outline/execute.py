"""Execute the notebooks in place, so that they are committed with their figures.

Reads:  outline/*.ipynb, transfer/*.ipynb and the run that they show (GALAXY_VAE_RUN, else
        data/demo)
Writes: the same notebooks, with outputs

Example: python outline/execute.py
"""

from dataclasses import dataclass

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start


@dataclass(frozen=True)
class Config:
    """The constants of this stage."""

    timeout: int = 1800
    """Seconds that one cell may take."""


def main(config: Config) -> None:
    """Run the stage."""
    for path in sorted([*ROOT.glob("outline/*.ipynb"), *ROOT.glob("transfer/*.ipynb")]):
        notebook = nbformat.read(path, as_version=4)
        place = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(
            notebook, timeout=config.timeout, record_timing=False, coalesce_streams=True,
            resources=place,
        )  # fmt: skip
        try:
            client.execute()
        except CellExecutionError as error:
            raise Problem(f"{path.name}: a cell failed: {error.evalue}") from None
        with atomic(path) as temporary:
            nbformat.write(notebook, temporary)
        print(f"  executed {path.relative_to(ROOT)}")


if __name__ == "__main__":
    start(main, Config, __doc__)
