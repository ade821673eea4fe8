"""Floating point operations of models."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from dlrt.accounting.calls import Call, Shape, expand_call, find_calls
from dlrt.accounting.products import count_products


class Flops(NamedTuple):
    """The operations of a model, and names and types of layers of unknown products."""

    total: int
    left_out: Mapping[str, str]


def flop_count(model: keras.Model) -> int:
    """Floating point operations of a prediction for one sample, two a multiply-add.

    Matrix products count as often as they are computed: those with the kernels of
    dense, convolutional (transposed, depthwise and separable ones too), recurrent and
    attention layers of Keras, at every step of a sequence where they are called at
    every step; those of queries with keys and of weights with values in attention; and
    those of low-rank layers, with two factors, or the dense kernel where that is less.
    A transposed convolution multiplies with its kernel at every position of its input.

    Nothing else counts: biases, activations, normalisations, the scales of `Attention`,
    `PReLU` and `SingularValues`, rows that an embedding looks up, and `keras.ops`
    between layers. Layers inside layers and models of a user's class count once, for
    the shape for which they were built. Axes of unknown length count as 1.

    Args:
        model: A built model.

    Raises:
        ValueError: If the layers of the model are not known.

    Warns:
        UserWarning: If layers with weights are of an unknown type, see
            `register_flops`. The warning names them; they are not counted.
    """
    flops = count_flops(model)
    if flops.left_out:
        warnings.warn(
            "`flop_count` leaves out layers with weights, as it does not know what "
            f"they compute: {describe_left_out(flops.left_out)}",
            stacklevel=2,
        )
    return flops.total


def count_flops(model: keras.Model) -> Flops:
    """`flop_count`, and the layers that it leaves out."""
    count = 0
    left_out: dict[str, str] = {}
    for call in find_calls(model):
        products = count_products(call)
        if products is None:
            left_out[call.layer.name] = type(call.layer).__name__
        else:
            count += 2 * call.times * products
    return Flops(count, left_out)


def describe_left_out(left_out: Mapping[str, str]) -> str:
    """Names of layers and their types, as text for messages."""
    return ", ".join(f"{name!r} ({kind})" for name, kind in left_out.items())


def layer_flops(layer: Any, input_shape: Shape) -> int:
    """What one call of a layer of Keras or dlrt adds to `flop_count`."""
    inner = expand_call(Call(layer, {"inputs": tuple(input_shape)}))
    return sum(2 * call.times * (count_products(call) or 0) for call in inner)
