"""The same galaxies in two surveys: their pairs, the audit of each, the comparison."""
