"""Figures and tables from logs."""
