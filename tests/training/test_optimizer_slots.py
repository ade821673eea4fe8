"""The slots of the inner optimizer follow the variables of their layers."""

import keras
import numpy as np
from helpers import array

import dlrt


def test_moments_stay_where_variables_are_replaced():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 9)).astype("float32")
    inputs = keras.Input((9,))
    layer = dlrt.layers.LowRankDense(7, rank=3, name="h")
    model = dlrt.Model(inputs, layer(inputs))
    inner = keras.optimizers.Adam(1e-2)
    model.compile(dlrt.optimizers.LowRank(inner), "mse")
    model.fit(x, x[:, :7], epochs=2, verbose=0)

    def moments():
        found = {}
        for slots in (inner._momentums, inner._velocities):
            for slot in slots:
                if slot.ndim == 2:
                    found[slot.path.split("/")[-1]] = array(slot)
        return found

    before = moments()
    assert dlrt.resize(model, {"h": 5})
    after = moments()
    assert len(before) == len(after) == 6
    for old, new in zip(before.values(), after.values(), strict=True):
        assert np.abs(old).max() > 0
        rows, columns = old.shape
        np.testing.assert_array_equal(new[:rows, :columns], old)
        assert new.shape[1] == 5
