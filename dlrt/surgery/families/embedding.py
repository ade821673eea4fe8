"""`Embedding` layers."""

from typing import Any

import keras
import numpy as np

from dlrt.layers import LowRankEmbedding
from dlrt.surgery.families.base import OneKernel, register_family
from dlrt.surgery.replacements import Layer, first_config


class Embedding(OneKernel):
    """`Embedding` and `LowRankEmbedding`."""

    keras_types = (keras.layers.Embedding,)
    low_rank_type = LowRankEmbedding

    def by_default(self, layer: Layer) -> bool:
        return False

    def matrices(self, layer: Layer) -> list[np.ndarray]:
        return [np.asarray(layer.embeddings)]

    def inputs(self, layer: Layer) -> list[Any]:
        # Otherwise Keras would cast the indices.
        shape = layer.get_build_config()["input_shape"]
        return [keras.Input(batch_shape=(None,) * len(shape), dtype="int32")]

    def make_pair(self, layer: Layer, rank: int) -> tuple[Layer, Layer]:
        first = keras.layers.Embedding(
            layer.input_dim, rank, mask_zero=layer.mask_zero, **first_config(layer)
        )
        second = keras.layers.Dense(
            layer.output_dim,
            use_bias=False,
            activity_regularizer=layer.activity_regularizer,
            **first_config(layer, name=f"{layer.name}_v"),
        )
        return first, second


register_family(Embedding())
