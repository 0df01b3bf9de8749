"""Information in the latents: the parts of analysis/probe.py.

encoded.py reads the latents together with their images and model; quantities.py collects known
properties of each galaxy, regression.py predicts them from the latents, invariance.py changes the
images and measures how far the latents move, exposures.py observes the same galaxies again, and
posterior.py compares the posterior's width with the variation between these exposures.
"""
