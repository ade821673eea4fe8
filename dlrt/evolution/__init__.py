"""Widths that change: what layers make and others read, pruned and grown."""

from dlrt.evolution._memory import Memory as Memory
from dlrt.evolution._memory import training_memory as training_memory
from dlrt.evolution._model import pinned as pinned
from dlrt.evolution._model import set_widths as set_widths
from dlrt.evolution._model import singular_values as singular_values
from dlrt.evolution._model import widths as widths
