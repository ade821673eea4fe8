"""Changing widths: the units and filters that layers make, pruned and grown."""

from dlrt.evolution._costs import Memory as Memory
from dlrt.evolution._costs import training_memory as training_memory
from dlrt.evolution._layout import Layout as Layout
from dlrt.evolution._model import pinned as pinned
from dlrt.evolution._model import set_widths as set_widths
from dlrt.evolution._model import singular_values as singular_values
from dlrt.evolution._model import widths as widths
from dlrt.evolution._rules import Channelwise as Channelwise
from dlrt.evolution._rules import Linear as Linear
from dlrt.evolution._rules import register as register
