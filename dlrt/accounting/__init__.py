"""Ranks, parameters and flops of models, for logs and reports."""

from dlrt.accounting.calls import Call as Call
from dlrt.accounting.calls import find_calls as find_calls
from dlrt.accounting.calls import known_size as known_size
from dlrt.accounting.flops import flop_count as flop_count
from dlrt.accounting.flops import layer_flops as layer_flops
from dlrt.accounting.parameters import compression as compression
from dlrt.accounting.parameters import dense_parameter_count as dense_parameter_count
from dlrt.accounting.parameters import low_rank_layers as low_rank_layers
from dlrt.accounting.parameters import named_layers as named_layers
from dlrt.accounting.parameters import parameter_count as parameter_count
from dlrt.accounting.parameters import ranks as ranks
from dlrt.accounting.products import positions as positions
from dlrt.accounting.products import register_flops as register_flops
from dlrt.accounting.products import register_positions as register_positions
