"""Figures, tables and a report from the logs of trained networks.

What the names and logs of tests are, it takes from `experiments`, which knows nothing
of it.
"""
