"""Optimizers that step low-rank layers along their manifold."""

from dlrt.training.optimizer import LowRank as LowRank
