"""What tests of several packages need."""

import numpy as np
from keras import ops


def array(values):
    """A tensor or variable of any backend as a NumPy array."""
    return np.asarray(ops.convert_to_numpy(values))


def double(values):
    """The same in double precision, whatever the tensor's is."""
    return array(ops.cast(values, "float64"))


def tensor(values, dtype="float64"):
    return ops.convert_to_tensor(np.asarray(values), dtype=dtype)


def inputs(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def orthogonal(n, r=None, seed=0):
    r = n if r is None else r
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, r)))[0]


def dense(factors):
    """The matrix that factors represent."""
    u, s, v = map(array, factors)
    return u @ s @ v.T
