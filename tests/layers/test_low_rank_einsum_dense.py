import keras
import numpy as np
import pytest
from gradients import array
from helpers import inputs

from dlrt.layers import LowRankEinsumDense


def column_pattern(shape, dtype=None):
    return keras.ops.cast(np.indices(shape)[-1] % 3 - 0.5, dtype or "float32")


# Initialisation


@pytest.mark.parametrize(
    "equation, output_shape, shape",
    [
        ("abc,cde->abde", (None, 8, 30), (9, 10, 60)),
        ("abcd,cde->abe", (None, 60), (9, 10, 8, 30)),
        ("...x,xy->...y", 200, (90, 50)),
        ("abc,dc->adb", (200, 9), (50, 9, 60)),
    ],
)
@pytest.mark.parametrize(
    "initializer",
    [
        "glorot_uniform",
        "he_normal",
        keras.initializers.RandomNormal(stddev=0.3),
        keras.initializers.VarianceScaling(
            2.0, "fan_out", "uniform", input_axes=[0], output_axes=[-1]
        ),
    ],
    ids=["glorot_uniform", "he_normal", "normal", "axes"],
)
def test_initial_output_variance_is_that_of_keras(
    equation, output_shape, shape, initializer
):
    x = inputs(*shape)
    arguments = dict(kernel_initializer=initializer)
    low_rank = LowRankEinsumDense(equation, output_shape, rank=30, **arguments)
    dense = keras.layers.EinsumDense(equation, output_shape, **arguments)
    actual, expected = np.var(array(low_rank(x))), np.var(array(dense(x)))
    assert actual == pytest.approx(expected, rel=0.12)


def test_other_initializers_are_approximated_best():
    layer = LowRankEinsumDense(
        "abc,dce->abed", (None, 3, 5), rank=1, kernel_initializer=column_pattern
    )
    layer.build((None, None, 4))
    # The pattern varies along one axis only, so the matrix has rank one.
    np.testing.assert_allclose(
        array(layer.kernel), array(column_pattern((5, 4, 3))), atol=1e-5
    )


# The kernel as a matrix


def test_a_kernel_is_folded_back_as_it_was():
    layer = LowRankEinsumDense("abcd,ecfd->abfe", (None, 4, 2), rank=2)
    layer.build((None, None, 3, 5))
    kernel = inputs(2, 3, 4, 5)
    matrix = layer.unfold(kernel)
    assert matrix.shape == layer.matrix_shape == (15, 8)
    np.testing.assert_array_equal(array(layer.fold(matrix)), kernel)
    x = inputs(2, 6, 3, 5)
    product = x.reshape(12, 15) @ matrix
    expected = np.einsum("abcd,ecfd->abfe", x, kernel)
    # The columns are e, f in the order of the kernel.
    np.testing.assert_allclose(
        product.reshape(2, 6, 2, 4).swapaxes(2, 3), expected, atol=1e-5
    )


def test_several_axes_in_an_ellipsis_keep_their_lengths_in_a_model():
    x = keras.Input((2, 3, 6))
    y = LowRankEinsumDense("...x,xy->...y", 5, rank=3)(x)
    assert y.shape == (None, 2, 3, 5)
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.Flatten()(y)))
    assert model.predict(inputs(2, 2, 3, 6), verbose=0).shape == (2, 2)


def test_sequences_of_any_length():
    x = keras.Input((None, 6))
    layer = LowRankEinsumDense("abc,cde->adbe", (2, None, 4), rank=3, bias_axes="de")
    model = keras.Model(x, layer(x))
    for length in (2, 5):
        data = inputs(3, length, 6)
        expected = np.einsum("abc,cde->adbe", data, array(layer.kernel))
        np.testing.assert_allclose(model.predict(data, verbose=0), expected, atol=1e-5)


def test_bias_regularizer_and_constraint_are_those_of_keras():
    arguments = dict(
        equation="ab,bc->ac",
        output_shape=5,
        bias_axes="c",
        bias_initializer="ones",
        bias_regularizer=keras.regularizers.L2(0.1),
        bias_constraint="non_neg",
        activity_regularizer=keras.regularizers.L1(0.1),
    )
    low_rank = LowRankEinsumDense(rank=5, **arguments)
    dense = keras.layers.EinsumDense(**arguments)
    x = inputs(3, 6)
    low_rank(x), dense(x)
    dense.kernel.assign(low_rank.kernel)
    low_rank(x), dense(x)
    assert float(sum(low_rank.losses)) == pytest.approx(
        float(sum(dense.losses)), rel=1e-5
    )
    assert isinstance(low_rank.bias.constraint, keras.constraints.NonNeg)


# Bad arguments


@pytest.mark.parametrize(
    "equation",
    [
        "abc,bcd->abd",  # one matrix for each b
        "ab,b->ab",  # no new axis
        "ab,cd->abcd",  # nothing summed over
        "abc,cd->ad",  # b is lost
        "ab,bc,cd->ad",
        "ab,bc",
        "abc",
    ],
)
def test_equations_that_are_no_matrix_product_are_refused(equation):
    with pytest.raises(ValueError, match=f"`equation` must be.*'{equation}'"):
        LowRankEinsumDense(equation, 5, rank=2)


def test_axes_of_the_kernel_must_be_known():
    with pytest.raises(ValueError, match="axes of the kernel must be known.*None"):
        LowRankEinsumDense("ab,bc->ac", 5, rank=2).build((None, None))
    with pytest.raises(ValueError, match="axes of the kernel must be known.*None"):
        LowRankEinsumDense("abc,cde->abde", (3, None, 5), rank=2).build((None, 3, 4))
