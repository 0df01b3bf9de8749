"""Latents of images, and the quality of their reconstructions."""
