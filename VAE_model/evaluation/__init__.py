"""Scores and their intervals, calibration, agreement, outliers, similarity, probe."""
