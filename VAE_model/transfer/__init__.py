"""Domain adaptation: pairs of images of the same galaxies in two surveys, methods, comparison."""
