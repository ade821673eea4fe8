"""The errors and the warning of the data sets."""


class DatasetUnavailableError(OSError):
    """A data set was found in none of the places it may be in.

    The message lists each place, and why it failed.
    """


class DatasetFileError(ValueError):
    """A file of a data set exists, but cannot be used.

    The message names the file and what is wrong with it.
    """


class DatasetFallbackWarning(UserWarning):
    """Another data set than the preferred one was loaded."""
