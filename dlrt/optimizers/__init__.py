"""Optimizers that step low-rank layers along their manifold."""

from dlrt.optimizers.low_rank import LowRank as LowRank
