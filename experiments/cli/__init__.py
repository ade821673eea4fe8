"""What the command lines of all programs share, whatever the programs do.

`command` has parsers and exit statuses, `options` makes options of settings, `settings`
has the settings of every run, `checks` bounds, and `quiet` keeps backends quiet.
"""
