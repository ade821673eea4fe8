"""Timings of training, as ratios measured side by side."""
