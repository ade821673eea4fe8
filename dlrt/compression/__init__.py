"""Trained models made smaller: structures, allocations, and one function."""

from dlrt.compression._compress import compress as compress
from dlrt.compression._decompose import decompose as decompose
from dlrt.compression._report import LayerReport as LayerReport
from dlrt.compression._report import Report as Report
from dlrt.compression._sensitivity import Sensitivity as Sensitivity
