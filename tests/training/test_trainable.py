"""Which optimizers train low-rank layers, and which of their weights."""

import keras
import numpy as np
import pytest
from conftest import EAGER, slow

import dlrt

RANK = 6
INTEGRATORS = [
    ("parallel_bug", None),
    ("augmented_bug", 0.4),
    *slow(("parallel_bug", 0.4), ("augmented_bug", None), ("kls", None)),
]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
REFUSED = "'h0' can be trained by `dlrt.optimizers.LowRank` only"


def data():
    random = np.random.default_rng(0)
    x = random.standard_normal((32, 12)).astype("float32")
    return x, (x @ random.standard_normal((12, 3))).argmax(1)


def network(model_class=dlrt.Model):
    inputs = x = keras.Input((12,))
    for name in ("h0", "h1"):
        x = dlrt.layers.LowRankDense(16, rank=RANK, activation="relu", name=name)(x)
    return model_class(inputs, keras.layers.Dense(3)(x))


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.network = network(keras.Model)

    def call(self, x):
        return self.network(x)


def low_rank(integrator, tolerance):
    inner = keras.optimizers.Adam(1e-2)
    return dlrt.optimizers.LowRank(inner, integrator, tolerance=tolerance)


def fit(model):
    model.fit(*data(), batch_size=16, verbose=0)


def kernels(model):
    layers = dlrt.accounting.low_rank_layers(model)
    return [np.asarray(layer.kernel) for layer in layers]


@pytest.mark.parametrize(
    "build, optimizer",
    [
        (network, lambda: "adam"),
        (lambda: network(keras.Model), lambda: "sgd"),
        (
            lambda: network(keras.Model),
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
        ),
        (Subclass, lambda: keras.optimizers.Adam(gradient_accumulation_steps=2)),
    ],
)
def test_other_optimizers_are_refused(build, optimizer):
    x, y = data()
    model = build()
    model.compile(optimizer(), LOSS)
    model.evaluate(x, y, verbose=0)
    before = model.predict(x, verbose=0)
    with pytest.raises(ValueError, match=REFUSED):
        model.train_on_batch(x, y)
    # Keras on JAX has taken the weights away once a step begins.
    if isinstance(model, dlrt.Model) or keras.backend.backend() != "jax":
        np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_other_optimizers_are_refused_in_loops_of_ones_own():
    model = network(keras.Model)
    weights = model.trainable_variables
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    gradients = [keras.ops.zeros(weight.shape) for weight in weights]
    with pytest.raises(ValueError, match=REFUSED):
        optimizer.apply(gradients, weights)
    if keras.backend.backend() == "jax":
        values = [weight.value for weight in weights]
        state = [variable.value for variable in optimizer.variables]
        with pytest.raises(ValueError, match=REFUSED):
            optimizer.stateless_apply(state, gradients, values)
    low_rank("parallel_bug", None).apply(gradients, weights)


def test_a_trained_model_is_refused_by_other_optimizers_unless_it_is_frozen():
    model = network()
    model.compile(low_rank("parallel_bug", 0.4), LOSS, run_eagerly=EAGER)
    fit(model)
    model.compile("adam", LOSS)
    with pytest.raises(ValueError, match=REFUSED):
        fit(model)
    for layer in dlrt.accounting.low_rank_layers(model):
        layer.trainable = False
    model.compile("adam", LOSS, run_eagerly=EAGER)
    before = kernels(model), np.asarray(model.layers[-1].kernel)
    fit(model)
    np.testing.assert_array_equal(kernels(model)[0], before[0][0])
    assert np.abs(np.asarray(model.layers[-1].kernel) - before[1]).max() > 1e-4


@pytest.mark.parametrize("integrator, tolerance", INTEGRATORS)
def test_frozen_kernels_stay_and_learn_once_they_are_trained_again(
    integrator, tolerance
):
    model = network()
    first, second = dlrt.accounting.low_rank_layers(model)
    for factor in (first.u, first.s, first.v):
        factor.trainable = False
    model.compile(low_rank(integrator, tolerance), LOSS, run_eagerly=EAGER)
    before, bias = kernels(model), np.asarray(first.bias)
    fit(model)
    after = kernels(model)
    np.testing.assert_array_equal(after[0], before[0])
    assert first.rank == first.capacity == RANK
    assert np.abs(np.asarray(first.bias) - bias).max() > 1e-4
    assert np.abs(after[1] - before[1]).max() > 1e-4
    # The other way round, with the ranks that they have by now.
    for factor in (first.u, first.s, first.v):
        factor.trainable = True
    second.trainable = False
    model.compile(low_rank(integrator, tolerance), LOSS, run_eagerly=EAGER)
    rank = second.rank
    fit(model)
    assert np.abs(kernels(model)[0] - after[0]).max() > 1e-4
    np.testing.assert_array_equal(kernels(model)[1], after[1])
    assert second.rank == rank
    for basis in (first.factors.u, first.factors.v):
        np.testing.assert_allclose(basis.T @ basis, np.eye(first.rank), atol=1e-5)


@pytest.mark.parametrize("integrator", ["parallel_bug", "augmented_bug"])
@pytest.mark.parametrize("name", ["u", *slow("s", "v")])
def test_factors_are_trained_together_or_not_at_all(integrator, name):
    model = network()
    getattr(model.layers[1], name).trainable = False
    model.compile(low_rank(integrator, None), LOSS, run_eagerly=EAGER)
    with pytest.raises(ValueError, match=f"Received: {name} of layer 'h0'"):
        fit(model)


@pytest.mark.parametrize("integrator", ["parallel_bug", "augmented_bug"])
def test_layers_that_an_optimizer_does_not_know_are_refused(integrator):
    model = network()
    model.layers[1].trainable = False
    optimizer = low_rank(integrator, None)
    model.compile(optimizer, LOSS, run_eagerly=EAGER)
    fit(model)
    model.layers[1].trainable = True
    model.compile(optimizer, LOSS, run_eagerly=EAGER)
    with pytest.raises(ValueError, match="Unknown variable|was built with|a new opt"):
        fit(model)
