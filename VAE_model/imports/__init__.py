"""Other people's images and tables: any size, any format, into cutouts of a run.

importing.py takes one image through; display.py reads JPEG, PNG and the like, grids.py joins one
plane per band, resample.py brings a frame to 256 pixels with its flux and WCS, matching.py finds
the row of a table that belongs to an image, band_files.py the files of the bands in a row.
"""
