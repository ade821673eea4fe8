"""Names that the library and the programs around it share: of logs, and of data sets.

Nothing here needs Keras, which takes seconds to start: help and mistyped options don't
wait for it.
"""
