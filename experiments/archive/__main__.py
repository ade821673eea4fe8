"""Runs the command line of archives."""

import sys

from experiments.archive.command import main

if __name__ == "__main__":
    sys.exit(main())
