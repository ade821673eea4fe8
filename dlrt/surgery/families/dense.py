"""`Dense` layers."""

import keras

from dlrt.layers import LowRankDense
from dlrt.surgery.families.base import OneKernel, register_family
from dlrt.surgery.replacements import Layer, first_config, last_config


class Dense(OneKernel):
    """`Dense` and `LowRankDense`."""

    keras_types = (keras.layers.Dense,)
    low_rank_type = LowRankDense

    def make_pair(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        first = keras.layers.Dense(rank, use_bias=False, **first_config(layer))
        return first, keras.layers.Dense.from_config(last_config(layer))


register_family(Dense())
