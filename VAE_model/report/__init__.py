"""Pages that need no other file: the report of a run, and the gallery of outliers.

page.py holds the building blocks, material.py what a run has so far, chapters.py the report's
text, run_tables.py and score_tables.py its tables.
"""
