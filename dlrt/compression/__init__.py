"""Trained models made smaller: structures, allocations, and one function."""

from dlrt.compression._allocation import Context as Context
from dlrt.compression._allocation import OutOfBudget as OutOfBudget
from dlrt.compression._allocation import Table as Table
from dlrt.compression._allocation import allocation_names as allocation_names
from dlrt.compression._allocation import register_allocation as register_allocation
from dlrt.compression._compress import compress as compress
from dlrt.compression._compress import method_names as method_names
from dlrt.compression._decompose import decompose as decompose
from dlrt.compression._report import LayerReport as LayerReport
from dlrt.compression._report import Report as Report
from dlrt.compression._sensitivity import Sensitivity as Sensitivity
from dlrt.compression.structures import Choice as Choice
from dlrt.compression.structures import Structure as Structure
from dlrt.compression.structures import register_structure as register_structure
from dlrt.compression.structures import structure_names as structure_names
