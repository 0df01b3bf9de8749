"""What the latents tell, and what they should not: the parts of analysis/probe.py.

encoded.py holds a table of latents with its images and its model; quantities.py what is known of
each galaxy, probing.py how much of it the latents tell, invariance.py how far they move where they
should not, exposures.py the same galaxies observed again, calibration.py whether the posterior is
as wide as that scatter, figure.py all of it in one picture.
"""
