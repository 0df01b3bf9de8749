"""The framework of the pipeline: stages, files of a run, side-cars, locks and errors."""
