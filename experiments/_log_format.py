"""What all logs have in common: their folders, their columns, and how numbers compare.

It needs no backend, so that whatever reads logs can say the same.
"""

import math
from typing import Any

# The folder of a run's workbooks, and that of tests whose training has failed, each of
# which has a file that says why.
LOGS = "historyLogs"
WRONG = "wrongTests"
REASON = "reason.txt"

METRICS = tuple(
    prefix + metric
    for prefix in ("", "val_", "test_")
    for metric in ("loss", "accuracy")
)
PARAMETERS = "parameters prediction"
# What the columns of a layer begin with.
RANK = "rank "
SPECTRUM = "singular values/"
WIDTH = "width "
# Of a compression run: the sheet that tells what became of each layer, and the file in
# its folder with what was measured of each network.
LAYERS = "layers"
TESTS = "tests.json"
# What the configuration of a converted log names the old one by.
CONVERTED = "converted from"


def equal(one: Any, other: Any) -> bool:
    """Whether two settings are equal, of which a workbook may have kept one.

    It keeps 16 digits of a number.
    """
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other
