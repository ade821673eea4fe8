"""What tests of several packages need."""

import numpy as np
from keras import ops


def array(values):
    """A tensor or variable of any backend as a NumPy array."""
    return np.asarray(ops.convert_to_numpy(values))
