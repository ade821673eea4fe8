import keras
import pytest
from helpers import array
from surgery.models import KEEP, assert_close, fill, inputs, low_rank_layers, outputs

import dlrt

EQUATIONS = [
    ("abc,cde->abde", (6, 4, 5), (6, 20)),
    ("abcd,cde->abe", (6, 20), (6, 4, 5)),
    ("abcd,ecfd->abfe", (6, 4, 5), (6, 4, 5)),
    ("abc,bd->acd", (20, 8), (6, 20)),
    ("abc,dc->adb", (20, 6), (6, 20)),
    ("...x,xy->...y", 20, (6, 20)),
    ("ab...,bc->ac...", 20, (20, 3, 2)),
]


@pytest.mark.parametrize("equation, output_shape, shape", EQUATIONS)
def test_merged_einsum_layers(equation, output_shape, shape):
    bias = equation[-1] if equation[-1] != "." else "c"
    x = keras.Input(shape)
    layer = keras.layers.EinsumDense(
        equation, output_shape, bias_axes=bias, activation="tanh", name="einsum"
    )
    model = fill(keras.Model(x, layer(x)))
    low_rank = dlrt.convert(model, rank=2, **KEEP)
    data = inputs(3, *shape)
    expected = outputs(low_rank, data)
    merged = dlrt.merge(low_rank)
    pair = merged.get_layer("einsum").layers
    assert [type(x) for x in pair] == 2 * [keras.layers.EinsumDense]
    assert [x.name for x in pair] == ["einsum_k", "einsum_v"]
    n, m = low_rank.get_layer("einsum").matrix_shape
    assert sum(array(x.kernel).size for x in pair) == 2 * (n + m)
    assert_close(outputs(merged, data), expected)
    assert_close(outputs(dlrt.to_dense(low_rank), data), expected)


def with_equation(equation, output_shape, shape):
    x = keras.Input(shape)
    y = keras.layers.EinsumDense(equation, output_shape, name="odd")(x)
    y = keras.layers.Flatten()(y)
    y = keras.layers.Dense(40, name="plain")(y)
    return fill(keras.Model(x, keras.layers.Dense(2, name="last")(y)))


@pytest.mark.parametrize(
    "equation, output_shape, shape",
    [("abc,bcd->abd", (4, 20), (4, 20)), ("ab,b->ab", 20, (20,))],
)
def test_equations_of_no_matrix_product_are_left_alone(equation, output_shape, shape):
    model = with_equation(equation, output_shape, shape)
    low_rank = dlrt.convert(model, rank=2)
    assert set(low_rank_layers(low_rank)) == {"plain"}
    assert type(low_rank.get_layer("odd")) is keras.layers.EinsumDense
    message = f"'odd' has the equation '{equation}', which is not a product"
    for layers in ("odd", ["odd"], ".*", lambda layer: layer.name == "odd"):
        with pytest.raises(ValueError, match=message):
            dlrt.convert(model, rank=2, layers=layers)
