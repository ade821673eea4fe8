"""Kinds of layers with a low-rank form, one file each."""

# Each module registers its families.
from dlrt.surgery.families import attention as attention
from dlrt.surgery.families import convolutions as convolutions
from dlrt.surgery.families import dense as dense
from dlrt.surgery.families import einsum_dense as einsum_dense
from dlrt.surgery.families import embedding as embedding
from dlrt.surgery.families.base import FAMILIES as FAMILIES
from dlrt.surgery.families.base import Family as Family
from dlrt.surgery.families.base import OneKernel as OneKernel
from dlrt.surgery.families.base import explain_override as explain_override
from dlrt.surgery.families.base import family_of as family_of
from dlrt.surgery.families.base import family_of_low_rank as family_of_low_rank
from dlrt.surgery.families.base import register_family as register_family
