"""Structures and allocations of others, and lists of the built-in ones."""

import keras
import numpy as np
import pytest
from helpers import array

import dlrt
from dlrt.compression import (
    Choice,
    Structure,
    _allocation,
    allocation_names,
    register_allocation,
    register_structure,
    structure_names,
)
from dlrt.compression.structures import _structure
from dlrt.surgery.replacements import Replacement
from dlrt_names import compression as names


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    for module, name in ((_structure, "_STRUCTURES"), (_allocation, "_ALLOCATIONS")):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))


@pytest.fixture
def model():
    layers = [keras.layers.Dense(n, name=f"dense_{n}") for n in (12, 8)]
    return keras.Sequential([keras.Input((20,)), *layers])


class Leading(Structure):
    """The first rows of the kernel, the others are zero."""

    name = "leading"

    @classmethod
    def supports(cls, layer):
        return isinstance(layer, keras.layers.Dense) and layer.units > 8

    def list_choices(self):
        kernel, units = array(self.layer.kernel), self.layer.units
        sizes = [np.linalg.norm(kernel[r:]) for r in range(1, len(kernel) + 1)]
        return [
            Choice((r,), r * units, 2 * r * units, size / np.linalg.norm(kernel), 1.0)
            for r, size in enumerate(sizes, start=1)
        ]

    def build_replacement(self, choice):
        (rank,) = choice.ranks
        layer = keras.layers.Dense.from_config(self.layer.get_config())
        row = keras.Sequential([keras.layers.Lambda(lambda x: x[:, :rank]), layer])
        kernel, bias = self.layer.get_weights()
        return Replacement(row, [kernel[:rank], bias])


def test_a_structure_of_others(model):
    assert register_structure(Leading) is Leading
    ranks = {"dense_12": 5, "dense_8": 3}
    smaller, report = dlrt.compress(model, "svd", {"ranks": ranks}, structure="leading")
    assert [row.structure for row in report.layers] == ["leading", "pointwise"]
    assert report.parameters == smaller.count_params()
    kernel = array(smaller.layers[0].layers[-1].kernel)
    np.testing.assert_array_equal(kernel, array(model.layers[0].kernel)[:5])
    with pytest.raises(ValueError, match="`structure` must be one of.*'leading'"):
        dlrt.compress(model, "svd", {"ratio": 2}, structure="x")


def test_an_allocation_of_others(model):
    seen = []

    @register_allocation("cheapest")
    def choose_cheapest(tables, limit, context):
        seen.append((limit, context.data, context.compiled))
        return [0] * len(tables)

    for allocation in ("cheapest", choose_cheapest):
        _, report = dlrt.compress(
            model, "svd", {"parameters": 200}, allocation=allocation, data="data"
        )
        assert [row.ranks for row in report.layers] == [(1,), (1,)]
    # Both biases, of 12 and 8, are left.
    assert seen == [(180, "data", model)] * 2
    with pytest.raises(ValueError, match="`allocation` must be one of.*'cheapest'"):
        dlrt.compress(model, "svd", {"ratio": 2}, allocation="x")


@pytest.mark.parametrize("cls", ["pointwise", Leading(None), int])
def test_what_is_no_structure(cls):
    with pytest.raises(TypeError, match="`cls` must be a subclass of.*Received"):
        register_structure(cls)


def test_names_without_keras():
    """They are written twice, since the command line does not wait for Keras."""
    assert set(names.STRUCTURES) == set(structure_names())
    assert names.ALLOCATIONS == allocation_names()
