"""What the command lines of all programs share, whatever the programs do.

`command` has parsers and exit statuses, `settings` the settings of every run,
`run_options` the options for it, `checks` its bounds, and `quiet` keeps backends quiet.
"""
