"""Figures, tables and pages.

figures.py holds the style of figures, tables.py the tables, page.py and templates/ the pages.
The report of a run: chapters.py its text, run_outputs.py the files of the run, run_tables.py,
classification.py, probe.py and transfer.py its tables. gallery.py is the page of outliers,
latent_map.py the interactive map.
"""
