"""Steps within `LossScaleOptimizer`, what Keras wraps around in mixed precision."""

import keras
import numpy as np
import pytest
from conftest import EAGER, SLOW, slow

import dlrt
from dlrt.training._phased_step import phased_step

RANK = 6
ADAPTIVE = [("parallel_bug", 0.4), ("augmented_bug", 0.4)]
FIXED = [("augmented_bug", None), ("kls", None), ("projector_splitting", None)]


def data():
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 12)).astype("float32")
    return x, (x @ random.standard_normal((12, 3))).argmax(1)


def compiled(integrator, tolerance, eagerly=False, inner=None, **scaling):
    """A network; its optimizer within a `LossScaleOptimizer` if it is to scale."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((12,))
    hidden = dlrt.layers.LowRankDense(24, rank=RANK, activation="relu")(inputs)
    model = dlrt.Model(inputs, keras.layers.Dense(3, dtype="float32")(hidden))
    optimizer = dlrt.optimizers.LowRank(
        keras.optimizers.SGD(0.3) if inner is None else inner,
        integrator,
        tolerance=tolerance,
        truncation_interval=1,
        candidates=0,
    )
    if scaling:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, **scaling)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, run_eagerly=eagerly)
    return model


@pytest.mark.parametrize(
    "integrator, tolerance", [FIXED[1], *slow(*ADAPTIVE, FIXED[0], FIXED[2])]
)
def test_steps_are_those_without_scaling(integrator, tolerance):
    x, y = data()
    scale = 2.0**10
    models = [
        compiled(
            integrator,
            tolerance,
            inner=keras.optimizers.Adam(1e-2, global_clipnorm=0.5),
            **scaling,
        )
        for scaling in ({}, {"initial_scale": scale, "dynamic_growth_steps": 1})
    ]
    for model in models:
        model.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
    plain, scaled = models
    for one, other in zip(plain.get_weights(), scaled.get_weights(), strict=True):
        np.testing.assert_allclose(other, one, atol=2e-5)
    assert float(scaled.optimizer.dynamic_scale) == scale * 2**4
    assert int(scaled.optimizer.step_counter) == 0


# JAX compiles every operation of a step that is taken by hand.
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("bad", [1, *slow(0)])
@pytest.mark.parametrize("integrator", ["augmented_bug", *slow("kls")])
def test_one_gradient_that_is_not_finite_undoes_the_whole_step(integrator, bad):
    x, y = data()
    tolerance = None if integrator == "kls" else 0.4
    model = compiled(
        integrator,
        tolerance,
        EAGER,
        inner=keras.optimizers.Adam(1e-2),
        initial_scale=8.0,
    )
    model.fit(x, y, batch_size=32, epochs=1, verbose=0)
    model.make_train_function()  # makes room for augmented bases
    outer = model.optimizer
    variables = model.trainable_variables
    everything = [*variables, *outer.inner_optimizer.variables]
    before = [np.copy(variable.numpy()) for variable in everything]
    step = phased_step(outer, outer.inner_optimizer, variables)
    for index in range(2):
        gradients = [keras.ops.ones(variable.shape) for variable in variables]
        if index == bad:
            gradients[bad] = gradients[bad] * float("inf")
        step.apply(index, gradients)
        for variable in variables:
            assert np.isfinite(variable.numpy()).all()
    step.finish()
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert float(outer.dynamic_scale) == 4
    assert int(outer.step_counter) == 0


@pytest.mark.parametrize(
    "eagerly", [False, pytest.param(True, marks=[SLOW, pytest.mark.tensorflow_only])]
)
@pytest.mark.parametrize(
    "integrator, tolerance", [ADAPTIVE[1], *slow(ADAPTIVE[0], FIXED[0])]
)
def test_ranks_outlast_overflows_in_half_precision(integrator, tolerance, eagerly):
    x, y = data()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(integrator, tolerance, eagerly, initial_scale=2.0**19)
    finally:
        keras.config.set_dtype_policy("float32")
    history = model.fit(x, y, batch_size=16, epochs=4, shuffle=False, verbose=0).history
    (layer,) = dlrt.accounting.low_rank_layers(model)
    assert history["loss"][-1] < 0.95 * history["loss"][0]
    assert 0 < int(model.optimizer.iterations) < 16
    assert layer.capacity == layer.rank
    assert layer.rank == RANK if tolerance is None else layer.rank < RANK
    for basis in (layer.factors.u, layer.factors.v):
        np.testing.assert_allclose(basis.T @ basis, np.eye(layer.rank), atol=1e-5)
