"""Logs of training: what an epoch was, in workbooks and tables."""
