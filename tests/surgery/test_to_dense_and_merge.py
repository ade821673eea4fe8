"""Low-rank models in other forms."""

import keras
import numpy as np
import pytest
from conftest import slow
from surgery.models import (
    KEEP,
    MODELS,
    all_layers,
    assert_close,
    data_for,
    inputs,
    low_rank_layers,
    outputs,
    sequential,
)

import dlrt
from dlrt.layers import LowRankLayer, LowRankMultiHeadAttention


@MODELS
@pytest.mark.parametrize("back", [dlrt.to_dense, dlrt.merge])
@pytest.mark.parametrize("rank", [2, *slow(100)])
def test_back_predicts_the_same(make, back, rank):
    model = make()
    low_rank = dlrt.convert(model, rank=rank, **KEEP)
    other = back(low_rank)
    data = data_for(model)
    assert_close(outputs(other, data), outputs(low_rank, data))
    left = low_rank_layers(other).values()
    assert not any(isinstance(layer, LowRankLayer) for layer in left)
    # Two factors in place of a projection are nothing that Keras has a layer for.
    assert not left or (back, rank) == (dlrt.merge, 2)


def test_padded_factors_are_merged_at_their_rank():
    low_rank = dlrt.convert(sequential(), rank=2, **KEEP)
    data = inputs(5, 20)
    expected = outputs(low_rank, data)
    for layer in low_rank_layers(low_rank).values():
        layer.set_factors(layer.factors, capacity=4)
    for back in (dlrt.to_dense, dlrt.merge):
        assert_close(outputs(back(low_rank), data), expected)
    merged = dlrt.merge(low_rank)
    assert merged.layers[0].layers[0].units == 2


def test_to_dense_restores_names_shapes_and_arguments():
    model = sequential()
    dense = dlrt.to_dense(dlrt.convert(model, rank=2))
    assert [x.name for x in dense.layers] == [x.name for x in model.layers]
    assert [w.shape for w in dense.weights] == [w.shape for w in model.weights]
    for old, new in zip(model.layers, dense.layers, strict=True):
        assert type(new) is type(old)
        assert new.get_config() == old.get_config()


def test_merge_has_two_kernels_where_that_is_smaller_and_one_elsewhere():
    low_rank = dlrt.convert(sequential(), rank=7, layers="first|second")
    merged = dlrt.merge(low_rank)
    sizes = [w.shape for w in merged.weights if len(w.shape) == 2]
    assert sizes == [(20, 7), (7, 16), (16, 12), (12, 4)]
    assert merged.count_params() < low_rank.count_params()


@MODELS
def test_merged_model_has_standard_layers_and_loads_without_this_package(
    tmp_path, make
):
    model = make()
    low_rank = dlrt.convert(model, rank=2, **KEEP)
    attention = [
        name
        for name, layer in low_rank_layers(low_rank).items()
        if isinstance(layer, LowRankMultiHeadAttention)
    ]
    if attention:
        # It stays what it is.
        names = "|".join(set(low_rank_layers(low_rank)) - set(attention))
        low_rank = dlrt.convert(model, rank=2, layers=names)
    merged = dlrt.merge(low_rank)
    standard = "keras.src"
    assert all(type(x).__module__.startswith(standard) for x in all_layers(merged))
    merged.save(tmp_path / "model.keras")
    data = data_for(model)
    expected = outputs(merged, data)
    registered = keras.saving.get_custom_objects()
    known = dict(registered)
    registered.clear()
    try:
        restored = keras.saving.load_model(tmp_path / "model.keras")
    finally:
        registered.update(known)
    np.testing.assert_array_equal(outputs(restored, data), expected)
