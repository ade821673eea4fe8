"""What each kind of layer does with the channels that it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras

from dlrt.accounting import known_size
from dlrt.evolution._layout import Layer, Layout

Shape: TypeAlias = tuple[int | None, ...]

# Activation functions that treat each entry by itself.
_ELEMENTWISE = frozenset(
    keras.activations.get(name)
    for name in (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh "
        "leaky_relu linear log_sigmoid mish relu relu6 selu sigmoid silu soft_shrink "
        "softplus softsign sparse_plus sparse_sigmoid squareplus tanh tanh_shrink "
        "threshold"
    ).split()
)


def stay(layer: Layer, layout: Layout, shape: Shape) -> Layout | None:
    """Channels lie in the output where they lie in the input, along any axis."""
    return layout


@dataclass(frozen=True)
class Channelwise:
    """Layers with one input that treat each channel by itself, all in the same way.

    Args:
        variables: The attributes of the layer that hold one entry per channel along
            their last axis. New channels get the mean of the others.
        follow: Called with the layer, the `Layout` of the channels in its input, and
            the shape of the input. Returns their layout in the output, or `None` if
            the layer mixes them. By default they stay where they are.
    """

    variables: tuple[str, ...] = ()
    follow: Callable[[Any, Layout, Shape], Layout | None] = stay


@dataclass(frozen=True)
class Linear:
    """Layers that multiply the channels of their input by a kernel, which makes others.

    Args:
        size: The attribute of the layer that holds the number of channels it makes.
        kernel: The attribute that holds the kernel, whose last two axes are the
            channels read and the channels made.
        bias: The attribute that holds the bias, one entry per channel made. Layers may
            have none.
    """

    size: str
    kernel: str = "kernel"
    bias: str = "bias"


_RULES: dict[type, Channelwise | Linear] = {}


def register(kind: type, rule: Channelwise | Linear) -> None:
    """Says how the widths that a class of layers reads or makes can change.

    Without a rule, a layer pins the widths that it reads. Rules don't hold for
    subclasses, which may compute something else.

    Args:
        kind: A class of Keras layers.
        rule: `Linear` if the layers read channels and make others, or `Channelwise`
            if they pass channels on.

    Raises:
        TypeError: If an argument is something else.

    Example:

    >>> dlrt.evolution.register(
    ...     keras.layers.PReLU, dlrt.evolution.Channelwise(variables=("alpha",)))
    """
    if not (isinstance(kind, type) and issubclass(kind, keras.layers.Layer)):
        raise TypeError(f"`kind` must be a class of layers. Received: kind={kind!r}")
    if not isinstance(rule, (Channelwise, Linear)):
        raise TypeError(
            "`rule` must be a `dlrt.evolution.Linear` or "
            f"`dlrt.evolution.Channelwise`. Received: rule={rule!r}"
        )
    _RULES[kind] = rule


def get_rule(kind: type) -> Channelwise | Linear | None:
    """The rule of a class of layers, if any."""
    return _RULES.get(kind)


def is_elementwise(layer: Layer) -> bool:
    """Whether the activation of a layer, if any, treats each entry by itself."""
    activation = getattr(layer, "activation", None)
    return activation is None or activation in _ELEMENTWISE


def get_channel_axis(layer: Layer, ndim: int) -> int:
    """The axis of channels in the input and the output of a layer."""
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return 1 if first else ndim - 1


def _follow_activation(layer: Layer, layout: Layout, shape: Shape) -> Layout | None:
    return layout if is_elementwise(layer) else None


def _follow_normalization(layer: Layer, layout: Layout, shape: Shape) -> Layout | None:
    return layout if layer.axis % len(shape) == layout.axis else None


def _follow_spatial(layer: Layer, layout: Layout, shape: Shape) -> Layout | None:
    return layout if layout.axis == get_channel_axis(layer, len(shape)) else None


def _follow_global(layer: Layer, layout: Layout, shape: Shape) -> Layout | None:
    followed = _follow_spatial(layer, layout, shape)
    return followed if followed is None or layer.keepdims else Layout(1)


def _follow_flatten(layer: Layer, layout: Layout, shape: Shape) -> Layout | None:
    if any(size is None for size in shape[1:]):
        return None
    axes = list(range(1, len(shape)))
    if layer.data_format == "channels_first":
        axes = [*axes[1:], axes[0]]
    place = axes.index(layout.axis)
    before = known_size(shape[axis] for axis in axes[:place]) * layout.before
    after = known_size(shape[axis] for axis in axes[place + 1 :]) * layout.after
    return Layout(1, before, after)


register(keras.layers.Dense, Linear("units", kernel="_kernel"))
register(keras.layers.Conv1D, Linear("filters", kernel="_kernel"))
register(keras.layers.Conv2D, Linear("filters", kernel="_kernel"))
register(
    keras.layers.BatchNormalization,
    Channelwise(
        ("gamma", "beta", "moving_mean", "moving_variance"), _follow_normalization
    ),
)
register(keras.layers.Activation, Channelwise(follow=_follow_activation))
register(keras.layers.Flatten, Channelwise(follow=_follow_flatten))
_RULES_BY_NAME = {
    "AlphaDropout Dropout ELU GaussianDropout GaussianNoise Identity LeakyReLU ReLU": (
        Channelwise()
    ),
    "AveragePooling1D AveragePooling2D Cropping1D Cropping2D MaxPooling1D MaxPooling2D "
    "SpatialDropout1D SpatialDropout2D UpSampling1D UpSampling2D ZeroPadding1D "
    "ZeroPadding2D": Channelwise(follow=_follow_spatial),
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D "
    "GlobalMaxPooling2D": Channelwise(follow=_follow_global),
}
for _names, _rule in _RULES_BY_NAME.items():
    for _name in _names.split():
        register(getattr(keras.layers, _name), _rule)
