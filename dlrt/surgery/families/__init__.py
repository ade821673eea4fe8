"""Kinds of layers with a low-rank form, one file each."""

# Each module registers its families.
from dlrt.surgery.families import attention as attention
from dlrt.surgery.families import convolutions as convolutions
from dlrt.surgery.families import dense as dense
from dlrt.surgery.families import einsum_dense as einsum_dense
from dlrt.surgery.families import embedding as embedding
