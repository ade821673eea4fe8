"""The runs of all experiments: their folders, data, logs and checkpoints."""
