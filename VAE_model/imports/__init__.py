"""Conversion of external images and tables, of any size and format, to cutouts of a run.

importing.py converts one image; display.py reads JPEG, PNG and similar formats, grids.py joins one
plane per band, resample.py resamples a frame to 256 pixels with its flux and WCS, matching.py finds
the table row of an image, band_files.py the band files of a row;
image_tables.py and image_cells.py read parquet files whose rows hold images, remarks.py has the
lines that an import prints.
"""
