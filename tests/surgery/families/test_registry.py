import keras
import numpy as np
import pytest
from surgery.models import assert_close, fill, inputs, outputs

import dlrt
from dlrt.surgery.families.base import FAMILIES
from dlrt.surgery.families.dense import Dense


@keras.saving.register_keras_serializable(package="tests_registry")
class Doubled(keras.layers.Dense):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs)


@keras.saving.register_keras_serializable(package="tests_registry")
class LowRankDoubled(dlrt.layers.LowRankDense):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs)


class DoubledFamily(Dense):
    keras_types = (Doubled,)
    low_rank_type = LowRankDoubled

    def fold_pair(self, layer, k, vt):
        return [2 * k, vt]


@pytest.fixture
def registered():
    dlrt.surgery.register_family(DoubledFamily())
    yield
    del FAMILIES[-1]


def test_a_registered_layer_goes_to_low_rank_and_back(registered):
    x = keras.Input((20,))
    model = fill(keras.Model(x, Doubled(16, name="doubled")(x)))
    low_rank = dlrt.convert(model, rank=16, layers="doubled")
    assert type(low_rank.get_layer("doubled")) is LowRankDoubled
    dense = dlrt.to_dense(low_rank)
    assert type(dense.get_layer("doubled")) is Doubled
    data = inputs(3, 20)
    for copy in (low_rank, dense):
        assert_close(outputs(copy, data), outputs(model, data))
    low_rank = dlrt.convert(model, rank=2)
    merged = dlrt.merge(low_rank)
    assert [type(part) for part in merged.get_layer("doubled").layers] == 2 * [
        keras.layers.Dense
    ]
    assert low_rank.get_layer("doubled").bias.shape == (16,)
    expected = outputs(low_rank, data) - np.asarray(low_rank.get_layer("doubled").bias)
    assert_close(outputs(merged, data), expected)


@pytest.mark.parametrize(
    "family, error, message",
    [
        (DoubledFamily, TypeError, "`family` must be an instance.*DoubledFamily"),
        (Dense(), ValueError, r"\['Dense', 'LowRankDense'\], of which Dense is"),
    ],
)
def test_families_that_can_not_be_registered(family, error, message):
    before = list(FAMILIES)
    with pytest.raises(error, match=message):
        dlrt.surgery.register_family(family)
    assert before == FAMILIES
