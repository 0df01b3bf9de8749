"""What is measured: scores and their intervals, outliers, similarity, what the latents tell."""
