"""Keras layers whose kernels are kept in low-rank form."""

from dlrt.layers.low_rank_affine import LowRankAffine as LowRankAffine
from dlrt.layers.low_rank_conv import LowRankConv1D as LowRankConv1D
from dlrt.layers.low_rank_conv import LowRankConv2D as LowRankConv2D
from dlrt.layers.low_rank_dense import LowRankDense as LowRankDense
from dlrt.layers.low_rank_einsum_dense import LowRankEinsumDense as LowRankEinsumDense
from dlrt.layers.low_rank_embedding import LowRankEmbedding as LowRankEmbedding
from dlrt.layers.low_rank_layer import LowRankLayer as LowRankLayer
from dlrt.layers.multi_head_attention import (
    CachedMultiHeadAttention as CachedMultiHeadAttention,
)
from dlrt.layers.multi_head_attention import (
    LowRankMultiHeadAttention as LowRankMultiHeadAttention,
)
from dlrt.layers.projected_rnn import ProjectedRNN as ProjectedRNN
from dlrt.layers.singular_values import SingularValues as SingularValues
