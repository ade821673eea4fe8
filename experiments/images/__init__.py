"""The image runs: networks of convolutions, dense, at fixed and adaptive rank.

Of each kind of run, `config` has the settings, `options` the command line, and `task`
what is trained; those of compressions and of evolving widths have their names in front.
"""
