"""Names of integrators, and arguments that are wrong."""

import keras
import numpy as np
import pytest
from problems import ADAPTIVE, BUG, GEOMETRIC, array, random_factors

from dlrt import Factors, integrators
from dlrt.integrators import Truncation


def test_names_and_attributes():
    assert set(integrators.names()) == {*GEOMETRIC, "factorized"}
    gradients = {name: len(integrators.get(name).phases) for name in GEOMETRIC}
    assert gradients == {
        "kls": 2,
        "augmented_bug": 2,
        "parallel_bug": 1,
        "projector_splitting": 3,
    }
    adaptive = [n for n in integrators.names() if integrators.get(n).rank_adaptive]
    assert sorted(adaptive) == sorted(ADAPTIVE)


@pytest.mark.parametrize("name", integrators.names())
def test_get_resolves_names_objects_and_configurations(name):
    integrator = integrators.get(name)
    assert integrator.name == name
    assert integrators.get(integrator) is integrator
    config = keras.saving.serialize_keras_object(integrator)
    assert type(integrators.get(config)) is type(integrator)


@pytest.mark.parametrize(
    "unknown",
    [
        *["bug", "KLS", "", None, 3, ["kls"], {}, {"class_name": "KLS"}],
        keras.saving.serialize_keras_object(keras.optimizers.SGD(0.1)),
    ],
)
def test_unknown_integrator(unknown):
    with pytest.raises(ValueError, match="`integrator` must be one of.*'parallel_bug'"):
        integrators.get(unknown)


@pytest.mark.parametrize("name", sorted(set(integrators.names()) - set(ADAPTIVE)))
def test_truncation_needs_a_rank_adaptive_integrator(name):
    start = random_factors(5, 4, 2)
    with pytest.raises(ValueError, match=f"`truncation` needs.*{name}"):
        integrators.step(name, lambda t, w: w, 0.0, start, 0.1, Truncation(0.1))


@pytest.mark.parametrize("steps", [0, -1, 2.5, None])
def test_number_of_steps(steps):
    start = random_factors(5, 4, 2)
    with pytest.raises(ValueError, match=f"`steps` must be an integer, .*{steps}"):
        integrators.integrate(BUG[0], lambda t, w: w, start, (0.0, 1.0), steps)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda u, s, v: (u + 0j, s + 0j, v + 0j), "`factors.u` .*real.*complex"),
        (lambda u, s, v: (u, s.astype("int32"), v), "`factors.s` .*real.*int32"),
        (lambda u, s, v: (u, s, v[:, 0]), r"`factors.v` must be a matrix.*\(4,\)"),
        (lambda u, s, v: (u, s, None), "`factors.v` must be a matrix.*NoneType"),
        (lambda u, s, v: (u, s, v * np.nan), "`factors.v` must be finite"),
        (lambda u, s, v: (u, s[:, :1], v), r"`factors` must have.*\(2, 1\)"),
        (lambda u, s, v: (u, s, v[:, :1]), r"`factors` must have.*\(4, 1\)"),
        (lambda u, s, v: (u[:, :0], s[:0, :0], v[:, :0]), r"`factors`.*\(0, 0\)"),
        (lambda u, s, v: (u[:1], s, v), r"`factors`.*a rank r from 1.*\(1, 2\)"),
        (lambda u, s, v: (u, s.astype("float32"), v), "`factors`.*one dtype.*float32"),
    ],
)
def test_factors_that_are_none(change, message):
    start = random_factors(5, 4, 2)
    factors = Factors(*change(*map(array, start)))
    with pytest.raises(ValueError, match=message):
        integrators.integrate(BUG[0], lambda t, w: w, factors, (0.0, 1.0), 2)
    with pytest.raises(ValueError, match=message):
        integrators.step(BUG[0], lambda t, w: w, 0.0, factors, 0.5)


def test_tuples_are_no_factors():
    with pytest.raises(ValueError, match="`factors` must be dlrt.Factors.*tuple"):
        integrators.step(BUG[0], lambda t, w: w, 0.0, tuple(random_factors(5, 4, 2)), 1)


@pytest.mark.parametrize(
    "field",
    [lambda t, w: w[:2], lambda t, w: 0.0, lambda t, w: array(w) * 1j],
    ids=["shape", "number", "complex"],
)
def test_fields_return_real_matrices(field):
    with pytest.raises(ValueError, match=r"`field` must return .*\(5, 4\)"):
        integrators.step(BUG[0], field, 0.0, random_factors(5, 4, 2), 0.5)
