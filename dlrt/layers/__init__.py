"""Keras layers whose kernels are kept in low-rank form."""

from dlrt.layers.low_rank_dense import LowRankDense as LowRankDense
