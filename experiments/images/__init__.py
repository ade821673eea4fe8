"""The image runs: networks of convolutions, dense, at fixed and adaptive rank.

For each kind of run, `config` has the settings, `options` the command line, and `task`
what is trained; the modules for compression and evolving widths have a prefix.
"""
