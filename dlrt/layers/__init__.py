"""Keras layers whose kernels are kept in low-rank form."""

from dlrt.layers.low_rank_dense import LowRankDense as LowRankDense
from dlrt.layers.low_rank_layer import LowRankLayer as LowRankLayer
