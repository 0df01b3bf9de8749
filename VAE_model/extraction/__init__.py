"""Latents of images, and how well they reconstruct the image."""
