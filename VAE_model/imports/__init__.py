"""Other people's images and tables: any size, any format, into cutouts of a run.

importing.py takes one image through; display.py reads JPEG and PNG, resample.py brings a frame to
256 pixels with its flux and WCS, tables.py finds the row of a table that belongs to an image.
"""
