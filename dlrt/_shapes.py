"""What a backend can do with shapes that are known at run time only."""

import keras


def dynamic_shapes() -> bool:
    """Whether compiled functions may compute with shapes known at run time only.

    Then factors of adaptive rank are computed with at their rank. Otherwise columns of
    zeros pad them to the width of the variables that hold them.
    """
    return keras.backend.backend() == "tensorflow"
