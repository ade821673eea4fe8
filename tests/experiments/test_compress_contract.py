"""What every method of `compress` keeps on every network of the experiments."""

import functools

import keras
import numpy as np
import pytest
from conftest import slow

import dlrt
from dlrt.compression import method_names
from dlrt.compression.structures import cp
from experiments.images import networks
from experiments.words import network
from experiments.words.text import CHUNK

SHAPE = (28, 28, 1)
WORDS = 40
FULL_SHAPE = (224, 224, 3)
# The light networks have layers of all kinds, so that they do for the second backend.
LIGHT = ("lenet5", "resnet8", "lstm")
# Every method on one network and one method on each of the others.
QUICK = {
    *((method, "lenet5") for method in method_names()),
    ("tucker", "resnet8"),
    ("svd", "lstm"),
}


def marks_of(method, name):
    light = [] if name in LIGHT else [pytest.mark.tensorflow_only]
    return light if (method, name) in QUICK else [*light, pytest.mark.slow]


PAIRS = [
    *(
        pytest.param(method, name, marks=marks_of(method, name))
        for name in (*LIGHT, "cnn", "alexnet", "resnet20")
        for method in method_names()
    ),
    *(
        pytest.param(
            method,
            "alexnet_full",
            marks=[pytest.mark.tensorflow_only, pytest.mark.full_size],
        )
        for method in method_names()
    ),
]


def built(name):
    if name == "lstm":
        return network.build(WORDS, units=16)
    return networks.build(name, FULL_SHAPE if name == "alexnet_full" else SHAPE, 10)


def budget_of(method, model, name):
    """So many parameters, of which CP needs few; an embedding is not made smaller."""
    whole = model.count_params()
    if name == "lstm":
        return int(0.95 * whole)
    return whole // (12 if method == "cp" else 3)


@functools.cache
def trained(name):
    """A network whose kernels have falling spectra, as trained ones have."""
    keras.utils.set_random_seed(0)
    model = built(name)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            shape = layer.kernel.shape
            matrix = np.asarray(layer.kernel).reshape(-1, shape[-1])
            u, s, vt = np.linalg.svd(matrix, full_matrices=False)
            s = s[0] / np.arange(1, len(s) + 1)
            layer.kernel.assign(((u * s) @ vt).reshape(shape))
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.moving_mean.assign(rng.normal(size=layer.gamma.shape) / 10)
    return model


@functools.cache
def examples(shape):
    rng = np.random.default_rng(1)
    if shape == (CHUNK,):
        return rng.integers(WORDS, size=(4, *shape))
    return rng.random((4, *shape)).astype("float32")


def outputs(model):
    inputs = examples(tuple(model.input_shape[1:]))
    return np.asarray(keras.ops.convert_to_numpy(model(inputs, training=False)))


@pytest.fixture(autouse=True)
def fewer_trials(monkeypatch):
    """CP of the kernels of AlexNet is tried at fewer ranks, since that takes long."""
    monkeypatch.setattr(cp, "_TRIAL_FLOPS", 10**9)


@pytest.mark.parametrize("method, name", PAIRS)
def test_contract(method, name, tmp_path):
    model = trained(name)
    before = [weight.copy() for weight in model.get_weights()]
    budget = budget_of(method, model, name)

    smaller, report = dlrt.compress(model, method, {"parameters": budget})
    assert smaller is not model
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)
    assert smaller.input_shape == model.input_shape
    assert smaller.output_shape == model.output_shape
    found = outputs(smaller)
    assert np.isfinite(found).all()

    assert report.parameters == dlrt.accounting.parameter_count(smaller)
    assert 0.98 * budget <= report.parameters <= budget

    smaller.save(tmp_path / "smaller.keras")
    loaded = keras.saving.load_model(tmp_path / "smaller.keras")
    np.testing.assert_allclose(outputs(loaded), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "method, name",
    [
        *(pair for pair in PAIRS if pair.values[1] == "lenet5"),
        *slow(*((method, "lstm") for method in method_names())),
    ],
)
def test_the_whole_budget_is_the_network(method, name):
    model = trained(name)
    expected = outputs(model)
    whole, _ = dlrt.compress(model, method, {"ratio": 1})
    scale = np.abs(expected).max()
    np.testing.assert_allclose(outputs(whole), expected, atol=1e-4 * scale)
