"""What the notebooks share: the stages that have not been run yet, and names for people."""

import subprocess
import sys
from pathlib import Path

from VAE_model.figures import INDIGO, ROSE
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stages import makers
from VAE_model.surveys import label_of as survey_name

__all__ = ["SURVEY_COLOURS", "make", "survey_name"]

SURVEY_COLOURS = (INDIGO, ROSE)  # of the first and the second survey


def make(run: Run, path: Path) -> None:
    """Run the script that makes a file or folder of the run, unless it is there.

    Raises Problem where the script fails; what it said stands above.
    """
    if path.exists():
        print(f"{run.show(path)} is there")
        return
    script = makers(path.relative_to(run.folder).as_posix())[0].script
    print(f"{run.show(path)} is missing: running python {script}", flush=True)
    done = subprocess.run([sys.executable, script, "--run", run.folder], cwd=ROOT, check=False)
    if done.returncode or not path.exists():
        raise Problem(f"{run.show(path)} was not made: python {script} says above why")
