"""How long the steps of factors are."""

import numpy as np
from helpers import array
from keras import ops

from dlrt.training import _scaling

N, M, RANK = 30, 12, 4


def ones(*shape):
    return ops.ones(shape, "float32")


def test_steps_of_bases_are_as_long_as_dense_ones_twice():
    steps = {"u": ones(N, RANK), "s": ones(RANK, RANK), "v": ones(M, RANK)}
    found = _scaling.scaled(steps, (N, M), RANK)
    lengths = {name: np.linalg.norm(array(step)) for name, step in found.items()}
    np.testing.assert_allclose(lengths["u"], 2 * np.sqrt(N * M), rtol=1e-6)
    np.testing.assert_allclose(lengths["v"], 2 * np.sqrt(N * M), rtol=1e-6)
    # The geometric mean of 1 and √(n m) / r, for entries of size 1.
    np.testing.assert_allclose(lengths["s"] ** 4, N * M * RANK**2, rtol=1e-5)


def test_coefficients_of_new_directions_take_longer_steps():
    found = _scaling.scaled({"s": ones(6, 6)}, (N, M), RANK, before=RANK)
    expected = np.full((6, 6), 2 * np.sqrt(N * M) / RANK)
    expected[:RANK, :RANK] = (N * M / RANK**2) ** 0.25
    np.testing.assert_allclose(array(found["s"]), expected, rtol=1e-6)
