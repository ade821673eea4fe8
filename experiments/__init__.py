"""Experiments with dlrt: one file each, started from the command line."""
