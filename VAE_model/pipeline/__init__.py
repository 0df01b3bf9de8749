"""The machinery of the pipeline: its stages, their files, side-cars, locks and errors."""
