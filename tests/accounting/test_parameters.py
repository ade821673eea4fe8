"""Parameters of models with low-rank layers, by hand."""

import keras
import pytest

import dlrt
from dlrt import accounting


def network(rank, room=None):
    """Kernels of 6 by 8 at a rank, in buffers of some room, and of 8 by 2."""
    low_rank = dlrt.layers.LowRankDense(8, rank=rank)
    model = keras.Sequential([keras.Input((6,)), low_rank, keras.layers.Dense(2)])
    if room is not None:
        low_rank.set_factors(low_rank.factors, capacity=room)
    return model


@pytest.mark.parametrize("room", [None, 5])
@pytest.mark.parametrize("rank, kernel", [(2, 2 * (6 + 8)), (4, 6 * 8)])
def test_kernels_cost_their_factors_or_the_dense_one(rank, kernel, room):
    model, others = network(rank, room), 8 + 8 * 2 + 2
    assert accounting.parameter_count(model) == kernel + others
    training = rank * (6 + 8 + rank) + others
    assert accounting.parameter_count(model, training=True) == training
    assert accounting.dense_parameter_count(model) == 6 * 8 + others
    saved = 1 - (kernel + others) / (6 * 8 + others)
    assert accounting.compression(model) == pytest.approx(saved)
    assert accounting.compression(model, 1000) == pytest.approx(
        1 - (kernel + others) / 1000
    )
    assert list(accounting.ranks(model).values()) == [rank]
