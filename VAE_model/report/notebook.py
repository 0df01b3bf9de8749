"""Helpers of the notebooks: running missing stages, colours and labels of surveys."""

import subprocess
import sys
from pathlib import Path

from VAE_model.paths import ROOT, Run
from VAE_model.problem import Problem
from VAE_model.report.figures import INDIGO, ROSE
from VAE_model.surveys import label_of as survey_name

__all__ = ["SURVEY_COLOURS", "make", "survey_name"]

SURVEY_COLOURS = (INDIGO, ROSE)  # of the first and the second survey


def make(run: Run, path: Path, script: str) -> None:
    """Run a script of the pipeline unless its output `path` exists.

    Raises Problem where the script fails; its own message is printed above.
    """
    if path.exists():
        print(f"{run.show(path)} is there")
        return
    print(f"{run.show(path)} is missing: running python {script}", flush=True)
    done = subprocess.run([sys.executable, script, "--run", run.folder], cwd=ROOT, check=False)
    if done.returncode or not path.exists():
        raise Problem(f"{run.show(path)} was not made: python {script} says above why")
