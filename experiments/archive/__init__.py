"""Archives of sweeps: listing, checking, repairing, merging and renaming tests.

A test is a folder, see `archived_tests`, with a workbook for each of its networks, see
`archived_logs`; `claims` keep processes from training the same network. `command` reads
the command line, and `subcommands` act: `table` lists tests, `checks` finds and repairs
problems, `merging` renames and merges tests, which `moves` does without losing a file,
`thinning` copies, and `old_names`, `old_logs` and `old_csv` convert.
"""
