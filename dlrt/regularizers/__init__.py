"""Regularizers that make kernels low-rank, or keep their factors what they are."""

from dlrt.regularizers.hoyer import Hoyer as Hoyer
from dlrt.regularizers.orthogonality import Orthogonality as Orthogonality
