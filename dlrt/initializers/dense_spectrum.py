"""A start whose singular values don't depend on the rank."""

import math
from typing import Any

import keras
from keras import initializers


@keras.saving.register_keras_serializable(package="dlrt")
class DenseSpectrum(initializers.Initializer):
    """Gives low-rank layers singular values in proportion to those of a dense kernel.

    By default a low-rank layer starts with the output variance of a dense one: its `r`
    singular values are `√(k/r)` times as large as the root mean square of a dense
    kernel's, with `k = min(n, m)`. Training hardly changes such values, and a tolerance
    that is relative to them says little about what was learned. With this initializer
    they are `scale` times the dense kernel's root mean square at every rank. Adaptive
    ranks then depend little on the rank at the start, the less the smaller `scale` is.
    Outputs are smaller at first, by `scale √(r/k)` a layer, so deep networks without
    normalisation or skip connections need a larger `scale`.

    Args:
        initializer: The initializer of dense kernels, by Keras's name or as an object.
            If its entries are not independent and centred, a low-rank layer starts with
            the best approximation of such a kernel, as it does without `DenseSpectrum`,
            times `scale`.
        scale: Factor of the singular values, positive.

    Raises:
        ValueError: If `scale` is not positive and finite.

    Example:

    >>> layer = dlrt.layers.LowRankDense(
    ...     500, rank=5, kernel_initializer=dlrt.initializers.DenseSpectrum())
    >>> layer.build((None, 500))
    >>> round(float(layer.s[0, 0]), 3)
    0.3
    """

    def __init__(self, initializer: Any = "glorot_uniform", scale: float = 0.3) -> None:
        if not 0 < scale < math.inf:
            raise ValueError(
                f"`scale` must be positive and finite. Received: scale={scale!r}"
            )
        self.initializer = initializers.get(initializer)
        self.scale = scale

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return self.scale * self.initializer(shape, dtype)

    def get_config(self) -> dict[str, Any]:
        initializer = keras.saving.serialize_keras_object(self.initializer)
        return {"initializer": initializer, "scale": self.scale}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DenseSpectrum":
        inner = keras.saving.deserialize_keras_object(config["initializer"])
        return cls(inner, config["scale"])
