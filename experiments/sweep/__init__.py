"""Sweeps: the networks of a grid of settings, trained side by side."""
