"""Figures, tables and pages.

figures.py holds the style of figures, tables.py the tables, texts.toml their headings and captions,
page.py and templates/ the pages. The report of a run: chapters.py and chapters.toml its chapters,
run_outputs.py the files of the run, run_tables.py, classification.py, probe.py and transfer.py its
tables. gallery.py is the page of outliers, latent_map.py the interactive map.
"""
