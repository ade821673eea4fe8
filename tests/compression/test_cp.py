import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import array

import dlrt
from dlrt import accounting
from dlrt.compression.structures import CP


def model_of(layer, shape):
    """A model of one layer, and a dictionary with the rank at which it is exact."""
    x = keras.Input(shape)
    model = keras.Model(x, layer(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    *size, channels, filters = layer.kernel.shape
    return model, {layer.name: int(np.prod(size)) * min(channels, filters)}


def data(shape):
    return np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")


def names(model, layer="conv"):
    return [part.name for part in model.get_layer(layer).layers]


GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": (5, 2), "padding": "same", "activation": "tanh"},
    {"kernel_size": (3, 2), "strides": (2, 1)},
    {"kernel_size": (3, 4), "strides": (1, 3), "padding": "same"},
    {"kernel_size": (2, 3), "dilation_rate": (3, 2)},
    {"kernel_size": (4, 3), "dilation_rate": (1, 2), "padding": "same"},
    {"kernel_size": (1, 5), "use_bias": False},
    {"kernel_size": (3, 1), "strides": (1, 2), "padding": "same"},
    {"kernel_size": 2, "strides": 2, "padding": "same"},
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_planes(geometry, data_format):
    shape = (11, 12, 3) if data_format == "channels_last" else (3, 11, 12)
    layer = keras.layers.Conv2D(4, name="conv", data_format=data_format, **geometry)
    model, ranks = model_of(layer, shape)
    smaller, report = dlrt.compress(model, "cp", {"ranks": ranks})
    assert smaller.output_shape == model.output_shape
    # TensorFlow has no such convolutions on the CPU.
    if (keras.backend.backend(), data_format) != ("tensorflow", "channels_first"):
        np.testing.assert_allclose(
            array(smaller(data(shape))), array(model(data(shape))), atol=1e-4
        )
    # Without oneDNN, those of TensorFlow have one stride for both axes.
    for part in smaller.get_layer("conv").layers:
        if isinstance(part, keras.layers.DepthwiseConv2D):
            assert len(set(part.strides)) == 1
    (row,) = report.layers
    assert row.error < 1e-6
    assert row.parameters == accounting.parameter_count(smaller) - 4 * layer.use_bias
    assert row.flops == accounting.flop_count(smaller)


STRIDES_OF_BOTH_AXES = """
import keras, numpy as np, dlrt
for strides in ((2, 1), (2, 2)):
    conv = keras.layers.Conv2D(6, 3, strides=strides, padding="same", name="conv")
    model = keras.Sequential([keras.Input((7, 8, 4)), conv])
    x = np.random.default_rng(0).normal(size=(3, 7, 8, 4)).astype("float32")
    smaller, _ = dlrt.compress(model, "cp", {"ranks": {"conv": 36}})
    expected = np.asarray(model(x))
    np.testing.assert_allclose(np.asarray(smaller(x)), expected, atol=1e-5)
    smaller.compile("sgd", "mse")
    assert np.isfinite(smaller.train_on_batch(x, expected + 1))
"""


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_strides_without_onednn():
    """The depthwise convolutions of TensorFlow itself have one stride for both axes."""
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    command = [sys.executable, "-c", STRIDES_OF_BOTH_AXES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel_size": 4},
        {"kernel_size": 3, "strides": 2, "padding": "same"},
        {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
        {"kernel_size": 3, "padding": "causal", "activation": "relu"},
        {"kernel_size": 4, "padding": "causal", "dilation_rate": 3},
        {"kernel_size": 3, "padding": "causal", "strides": 2},
    ],
    ids=str,
)
def test_lines(geometry):
    shape = (17, 3)
    layer = keras.layers.Conv1D(5, name="conv", **geometry)
    model, ranks = model_of(layer, shape)
    smaller, report = dlrt.compress(model, "cp", {"ranks": ranks})
    np.testing.assert_allclose(
        array(smaller(data(shape))), array(model(data(shape))), atol=1e-4
    )
    assert report.layers[0].flops == accounting.flop_count(smaller)


def test_layers_in_place_of_one():
    model, _ = model_of(keras.layers.Conv2D(4, (3, 2), name="conv"), (9, 9, 3))
    smaller, _ = dlrt.compress(model, "cp", {"ranks": {"conv": 2}})
    found = smaller.get_layer("conv").layers
    assert [tuple(layer.kernel.shape) for layer in found] == [
        (1, 1, 3, 2),
        (3, 1, 2, 1),
        (1, 2, 2, 1),
        (1, 1, 2, 4),
    ]
    assert [layer.use_bias for layer in found] == [False, False, False, True]
    norms = [np.linalg.norm(array(x.kernel).reshape(-1, 2), axis=0) for x in found[:3]]
    norms.append(np.linalg.norm(array(found[3].kernel)[0, 0], axis=1))
    np.testing.assert_allclose(norms, [norms[0]] * 4, rtol=1e-5)


def test_axes_of_length_one_have_no_layer():
    layer = keras.layers.Conv2D(4, (1, 3), name="conv")
    smaller, _ = dlrt.compress(model_of(layer, (9, 9, 3))[0], "cp", {"error": 0.6})
    assert names(smaller) == ["conv_in", "conv_axis_1", "conv_v"]


def test_kernels_of_one_position_are_matrices():
    layer = keras.layers.Conv2D(8, 1, name="conv")
    model, _ = model_of(layer, (4, 4, 6))
    reports = [
        dlrt.compress(model, method, {"ranks": {"conv": 3}})[1].layers[0]
        for method in ("cp", "svd")
    ]
    assert reports[0].error == reports[1].error
    assert reports[0].degeneracy is None


def test_kernels_that_no_decomposition_makes_smaller():
    layer = keras.layers.Conv1D(1, 2, name="conv")
    model, _ = model_of(layer, (5, 1))
    _, report = dlrt.compress(model, "cp", {"ratio": 1})
    assert report.layers[0].structure == "dense"


def test_types_are_kept():
    layer = keras.layers.Conv1D(
        5, 3, padding="causal", name="conv", dtype="mixed_float16", trainable=False
    )
    smaller, _ = dlrt.compress(model_of(layer, (9, 4))[0], "cp", {"ranks": {"conv": 2}})
    for part in smaller.get_layer("conv").layers:
        assert part.dtype_policy.name == "mixed_float16"
        assert not part.trainable_weights


def of_rank(shape, rank):
    rng = np.random.default_rng(0)
    factors = [rng.normal(size=(n, rank)) for n in shape]
    return np.einsum("ar,br,cr,dr->abcd", *factors)


def test_kernels_of_low_rank_are_found():
    layer = keras.layers.Conv2D(24, 3, name="conv")
    model, _ = model_of(layer, (9, 9, 16))
    layer.kernel.assign(of_rank((3, 3, 16, 24), 3))
    smaller, report = dlrt.compress(model, "cp", {"error": 0.02})
    (row,) = report.layers
    # The errors to choose from are estimates, here of few sweeps.
    assert row.ranks[0] <= 8
    assert row.error <= 0.02
    assert row.parameters == row.ranks[0] * (3 + 3 + 16 + 24)
    x = data((9, 9, 16))
    expected = array(model(x))
    assert np.abs(array(smaller(x)) - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("bound", [0.7, 0.4, 0.15])
def test_bounds_on_errors_are_kept_by_the_exact_ones(bound):
    layer = keras.layers.Conv2D(16, 3, name="conv")
    model, _ = model_of(layer, (9, 9, 12))
    layer.kernel.assign(
        of_rank((3, 3, 12, 16), 9)
        + np.random.default_rng(2).normal(size=(3, 3, 12, 16)) / 10
    )
    smaller, report = dlrt.compress(model, "cp", {"error": bound})
    assert report.layers[0].structure == "cp"
    assert report.layers[0].error <= bound


def test_exact_errors_are_not_above_the_estimates():
    layer = keras.layers.Conv2D(16, 3, name="conv")
    model_of(layer, (9, 9, 12))
    structure = CP(layer, [(None, 9, 9, 12)])
    choices = structure.list_choices()
    errors = [choice.error for choice in choices]
    assert errors == sorted(errors, reverse=True)
    for choice in choices[::7]:
        exact = structure.measure(choice)
        assert 0.7 * choice.error < exact.error < 1.02 * choice.error
        assert exact._replace(error=0, bound=0, degeneracy=None) == choice._replace(
            error=0, bound=0
        )


def test_degeneracy_is_in_the_report():
    a, b = np.eye(2)
    layer = keras.layers.Conv1D(2, 2, name="conv")
    model, _ = model_of(layer, (5, 2))
    parts = [(a, a, b), (a, b, a), (b, a, a)]
    layer.kernel.assign(sum(np.einsum("i,j,k->ijk", *part) for part in parts))
    _, report = dlrt.compress(model, "cp", {"ranks": {"conv": 2}})
    (row,) = report.layers
    assert 1 < row.degeneracy <= 5
    assert row.error < 0.2
    assert "degeneracy" in str(report)
    _, report = dlrt.compress(model, "svd", {"ranks": {"conv": 2}})
    assert "degeneracy" not in str(report)


@pytest.mark.parametrize("ranks", [0, (2, 2), 37])
def test_ranks_that_a_kernel_can_not_have(ranks):
    model, most = model_of(keras.layers.Conv2D(6, 3, name="conv"), (9, 9, 4))
    assert most == {"conv": 36}
    with pytest.raises(ValueError, match="must be ranks.*can have|must map names"):
        dlrt.compress(model, "cp", {"ranks": {"conv": ranks}})


def test_groups_are_refused():
    layer = keras.layers.Conv2D(6, 3, groups=2, name="conv")
    model, _ = model_of(layer, (9, 9, 4))
    with pytest.raises(ValueError, match="'conv' has 2 groups"):
        dlrt.compress(model, "cp", {"ratio": 2}, layers="conv")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorly", None)
    model, _ = model_of(keras.layers.Conv2D(6, 3, name="conv"), (9, 9, 4))
    with pytest.raises(ImportError, match=r"pip install -e \.\[cp\]"):
        dlrt.compress(model, "cp", {"ratio": 2})


def test_training_changes_all_factors():
    keras.utils.set_random_seed(0)
    model, _ = model_of(keras.layers.Conv2D(6, 3, name="conv"), (9, 9, 4))
    x = data((9, 9, 4))
    y = array(model(x))

    def fine_tune(smaller):
        before = smaller.get_weights()
        smaller.compile(keras.optimizers.Adam(1e-2), "mse")
        losses = smaller.fit(x, y, epochs=20, verbose=0).history["loss"]
        assert losses[-1] < 0.9 * losses[0]
        for old, new in zip(before, smaller.get_weights(), strict=True):
            assert np.any(old != new)

    dlrt.compress(model, "cp", {"ranks": {"conv": 8}}, fine_tune=fine_tune)
