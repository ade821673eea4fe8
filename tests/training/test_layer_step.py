"""A step of a layer, phase by phase."""

import keras
import numpy as np
from keras import ops

import dlrt


def test_projector_splitting_reaches_a_matrix_of_its_rank_in_one_step():
    """With a constant gradient it is exact, if its middle step goes backwards."""
    rng = np.random.default_rng(0)
    n, m, rank = 9, 7, 3
    inputs = keras.Input((n,))
    layer = dlrt.layers.LowRankDense(m, rank=rank, use_bias=False)
    model = dlrt.Model(inputs, layer(inputs))
    target = (rng.normal(size=(n, rank)) @ rng.normal(size=(rank, m))).astype("float32")
    optimizer = dlrt.optimizers.LowRank(
        keras.optimizers.SGD(1.0), integrator="projector_splitting"
    )
    model.compile(optimizer, lambda gradient, y: ops.sum(gradient * y))
    gradient = layer.factors.to_dense() - target
    model.fit(np.eye(n, dtype="float32"), gradient, batch_size=n, verbose=0)
    np.testing.assert_allclose(layer.factors.to_dense(), target, atol=1e-4)
