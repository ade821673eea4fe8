"""The variables that hold the factors of low-rank layers."""

import contextlib
import contextvars
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras

_stepping = contextvars.ContextVar("stepping", default=False)


class Factor(keras.Variable):
    """A factor of a low-rank layer, which only `dlrt.optimizers.LowRank` can train.

    Keras optimizers apply the constraint of each variable that they have stepped, in
    `fit` and in custom loops alike. The constraint of a factor raises an error unless
    `LowRank` has its inner optimizer step it.
    """

    def __init__(self, layer: keras.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low_rank_layer = weakref.ref(layer)

    @property
    def constraint(self) -> Callable | None:
        return None if _stepping.get() else refuse_step


@contextlib.contextmanager
def stepping_factors() -> Iterator[None]:
    """Within this context optimizers may step factors."""
    token = _stepping.set(True)
    try:
        yield
    finally:
        _stepping.reset(token)


def refuse_step(factor: Factor) -> None:
    """Raises a ValueError that says how to train the layer of a factor."""
    layer = factor.low_rank_layer()
    name = "" if layer is None else f" {layer.name!r}"
    raise ValueError(
        f"Low-rank layer{name} can be trained by `dlrt.optimizers.LowRank` only, and "
        "is among the weights of another optimizer. Wrap that one, as in "
        "`dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-3))`. Or set "
        "`layer.trainable = False` to train the other layers alone, or train the model "
        "that `dlrt.merge(model)` or `dlrt.to_dense(model)` makes."
    )


def layer_of(variable: Any) -> Any:
    """The low-rank layer whose factor a variable is, or `None`."""
    return variable.low_rank_layer() if isinstance(variable, Factor) else None


def layers_of(variables: list) -> list[Any]:
    """The low-rank layers that variables belong to, in order, each once."""
    found = map(layer_of, variables)
    return list({id(layer): layer for layer in found if layer is not None}.values())


def present(variable: Any) -> Any:
    """A variable, or the one that has replaced it in its layer."""
    layer = layer_of(variable)
    return variable if layer is None else getattr(layer, variable.name)
