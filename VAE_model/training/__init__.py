"""Training: the loop, losses, the loader, checkpoints, devices and processes."""
