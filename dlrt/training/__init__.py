"""Training along the manifold: the optimizer, the model, and room for the ranks."""
