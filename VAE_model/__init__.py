"""Galaxy_VAE: the morphology of galaxies without labels, and from one survey to the next."""

__version__ = "0.1.0"
