"""The start of low-rank layers by `dlrt.initializers`."""

import keras
import numpy as np
import pytest

import dlrt
from dlrt.initializers import DenseSpectrum


@pytest.mark.parametrize("rank", [3, 20])
@pytest.mark.parametrize("initializer", ["glorot_uniform", "he_normal"])
def test_singular_values_have_the_size_of_a_dense_kernel(initializer, rank):
    keras.utils.set_random_seed(0)
    layer = dlrt.layers.LowRankDense(
        60, rank=rank, kernel_initializer=DenseSpectrum(initializer, scale=0.5)
    )
    layer.build((None, 40))
    dense = np.asarray(keras.initializers.get(initializer)((40, 60)))
    values = np.linalg.svd(dense, compute_uv=False)
    size = 0.5 * np.sqrt(np.mean(values**2))
    np.testing.assert_allclose(np.asarray(layer.s), size * np.eye(rank), rtol=0.05)


def test_dense_kernels_are_those_of_the_initializer():
    kernels = [
        np.asarray(initializer((7, 5)))
        for initializer in (
            keras.initializers.GlorotUniform(seed=1),
            DenseSpectrum(keras.initializers.GlorotUniform(seed=1), scale=1.0),
        )
    ]
    np.testing.assert_array_equal(*kernels)


def test_a_layer_keeps_its_initializer_in_its_configuration():
    layer = dlrt.layers.LowRankDense(
        5, rank=2, kernel_initializer=DenseSpectrum("ones", 0.1)
    )
    copy = dlrt.layers.LowRankDense.from_config(layer.get_config())
    assert isinstance(copy.kernel_initializer, DenseSpectrum)
    assert isinstance(copy.kernel_initializer.initializer, keras.initializers.Ones)
    assert copy.kernel_initializer.scale == 0.1


def test_other_starts_are_approximated_as_without_it():
    layers = []
    for initializer in (keras.initializers.Ones(), DenseSpectrum("ones", 0.5)):
        layer = dlrt.layers.LowRankDense(5, rank=1, kernel_initializer=initializer)
        layer.build((None, 4))
        layers.append(np.asarray(layer.kernel))
    np.testing.assert_allclose(layers[0], 1.0, atol=1e-6)
    np.testing.assert_allclose(layers[1], 0.5, atol=1e-6)


def test_unknown_initializers_are_refused():
    with pytest.raises(ValueError, match="initializer"):
        DenseSpectrum("no_such")
    with pytest.raises(ValueError, match="`scale` must be positive.*scale=0"):
        DenseSpectrum(scale=0)
