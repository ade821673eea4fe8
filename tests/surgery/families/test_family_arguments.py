"""What a layer is made with survives the way to low rank and back."""

import keras
import pytest
from surgery.models import KEEP

import dlrt
from dlrt.surgery.replacements import KERAS_ONLY

LAYERS = keras.layers
BIAS = {"bias_regularizer": "l2", "bias_constraint": "non_neg"}
ATTENTION = {
    "num_heads": 2,
    "key_dim": 4,
    "value_dim": 3,
    "output_shape": (5,),
    "attention_axes": (1,),
    "sliding_window": 3,
    "use_bias": False,
    "use_gate": True,
    "kernel_initializer": "he_normal",
    "kernel_regularizer": keras.regularizers.L2(0.1),
    "bias_constraint": "non_neg",
    "activity_regularizer": "l1",
    "flash_attention": False,
    "seed": 4,
    "dtype": "mixed_bfloat16",
    "trainable": False,
}
CASES = [
    (
        lambda: LAYERS.Dense(
            16,
            activation="gelu",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.L2(0.1),
            dtype="mixed_bfloat16",
            trainable=False,
        ),
        (20,),
    ),
    (lambda: LAYERS.Dense(16, activity_regularizer="l2", **BIAS), (20,)),
    (
        lambda: LAYERS.EinsumDense(
            "abc,cde->abde",
            (None, 4, 5),
            activation="gelu",
            bias_axes="e",
            kernel_regularizer=keras.regularizers.L1(0.1),
            activity_regularizer="l1",
            **BIAS,
        ),
        (4, 20),
    ),
    (
        lambda: LAYERS.Embedding(
            20,
            10,
            embeddings_initializer="glorot_normal",
            embeddings_regularizer=keras.regularizers.L2(0.1),
            activity_regularizer="l1",
            mask_zero=True,
            dtype="mixed_float16",
        ),
        (4,),
    ),
    (
        lambda: LAYERS.Conv2D(
            12,
            (3, 2),
            strides=(1, 2),
            padding="same",
            activation="gelu",
            kernel_regularizer=keras.regularizers.L1(0.1),
            activity_regularizer="l1",
            dtype="mixed_float16",
            **BIAS,
        ),
        (10, 9, 6),
    ),
    (lambda: LAYERS.MultiHeadAttention(**ATTENTION), (6, 20)),
    (
        lambda: LAYERS.MultiHeadAttention(
            **{**ATTENTION, "dropout": 0.2, "flash_attention": None}
        ),
        (6, 20),
    ),
]


@pytest.mark.parametrize("make, shape", CASES)
def test_arguments_stay(make, shape):
    layer = make()
    x = keras.Input(shape, name="x")
    arguments = (x, x) if isinstance(layer, LAYERS.MultiHeadAttention) else (x,)
    model = keras.Model(x, layer(*arguments))
    expected = layer.get_config()
    low_rank = dlrt.convert(model, rank=2, **KEEP)
    config = low_rank.get_layer(layer.name).get_config()
    assert expected.keys() - config.keys() <= set(KERAS_ONLY)
    assert {k: config[k] for k in expected if k in config} == {
        k: expected[k] for k in expected if k in config
    }
    back = dlrt.to_dense(low_rank)
    assert back.get_layer(layer.name).get_config() == expected
    assert [x.name for x in back.layers] == [x.name for x in model.layers]
