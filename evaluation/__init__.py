"""Figures, tables and a report from the logs of trained networks."""
