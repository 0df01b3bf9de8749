"""The origin of the images of a run: simulated, or brought in by their owner; never both."""

from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run

SIMULATED, OWN = "simulated", "imported"


def check_origin(run: Run, origin: str) -> None:
    """Raise Problem if a run has images of another origin than those that a script brings."""
    marks = {SIMULATED: run.truth, OWN: run.labels}
    for other, mark in marks.items():
        if other != origin and mark.exists():
            raise Problem(
                f"{run.show(run.folder)} holds {other} images ({mark.name}), which would be mixed "
                "with these: choose another folder with --run"
            )
