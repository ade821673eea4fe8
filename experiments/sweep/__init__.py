"""Sweeps: the networks of a grid of settings, trained side by side.

`options` and `settings_file` read a `Grid`; `grid` lists its networks and groups those
of one shape into units. `plan` estimates their time and compares them with the archive,
in which `places` says where their files lie. `engines` distribute units to processes,
where `training` trains them, and `progress` shows the `events` that they report.
"""
