"""Images on disk: cutouts, units, positions, the packed copy, splits, the Galaxy Zoo catalogue."""
