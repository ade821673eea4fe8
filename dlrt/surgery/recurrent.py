"""Replaces the kernels of Keras recurrent layers by layers, and back."""

from collections.abc import Callable

import keras
import numpy as np

from dlrt.layers import ProjectedRNN
from dlrt.layers.projected_rnn import RECURRENT, obstacle
from dlrt.surgery.rebuild import rebuild
from dlrt.surgery.replacements import Layer, Replacement, bias_of
from dlrt.surgery.selection import (
    LayerFilter,
    check_filter,
    layers_in,
    matches,
    out_of_reach,
)

# The kernels, as arguments of recurrent layers name them, and the endings of the names
# of the layers that replace them.
_KERNELS = ("kernel", "recurrent")
_NAMES = ("_kernel", "_recurrent_kernel")


def project_recurrent(
    model: keras.Model, layers: LayerFilter
) -> tuple[keras.Model, LayerFilter]:
    """A copy of a model with `ProjectedRNN` in place of Keras recurrent layers.

    Their products are `Dense` layers, `<name>_kernel` and `<name>_recurrent_kernel`. A
    name or expression in `layers` selects a layer or one of its two products. A model
    without such layers is returned as it is. The selection that is returned selects the
    same layers in the copy.

    Raises:
        ValueError: If a selected layer can't be replaced.
    """
    check_filter(layers)
    if not (layers is None or isinstance(layers, str) or callable(layers)):
        layers = list(layers)
    found = {id(x): x for x in layers_in(model) if type(x) in RECURRENT}
    new: dict[int, Replacement] = {}
    far = out_of_reach(model)
    for key, layer in found.items():
        why_not = far.get(key) or obstacle(layer)
        names = [layer.name, *(layer.name + end for end in _NAMES)]
        if not matches(layers, layer, names):
            continue
        if why_not is None:
            new[key] = _to_projected(layer)
        elif layers is not None:
            raise ValueError(
                f"Layer {layer.name!r} {why_not}. Leave the layer out with `layers`."
            )
    if not new:
        return model, layers
    if callable(layers):
        made = [product for x in new.values() for product in x.layer.projections]
        layers = _select_also(layers, made)
    return rebuild(model, lambda layer: new.get(id(layer))), layers


def restore_recurrent(model: keras.Model) -> keras.Model:
    """The model with Keras recurrent layers where both products are `Dense` layers."""
    if not any(map(_has_dense_products, model._flatten_layers())):
        return model
    return rebuild(
        model, lambda layer: _to_keras(layer) if _has_dense_products(layer) else None
    )


def types_of_products(model: keras.Model) -> dict[int, str]:
    """The types of the recurrent layers that own products, by the `id` of these."""
    return {
        id(product): type(layer.layer).__name__
        for layer in model._flatten_layers()
        if isinstance(layer, ProjectedRNN)
        for product in layer.projections
    }


def _select_also(
    select: Callable[[Layer], bool], products: list[Layer]
) -> Callable[[Layer], bool]:
    return lambda layer: any(layer is new for new in products) or select(layer)


def _to_projected(layer: Layer) -> Replacement:
    kernels = (layer.cell.kernel, layer.cell.recurrent_kernel)
    biases: list[np.ndarray | None] = [None, None]
    if layer.use_bias:
        both = np.asarray(layer.cell.bias)
        biases = list(both) if isinstance(layer, keras.layers.GRU) else [both, None]
    projections, weights = [], []
    for kind, end, kernel, bias in zip(_KERNELS, _NAMES, kernels, biases, strict=True):
        projections.append(
            keras.layers.Dense(
                kernel.shape[1],
                use_bias=bias is not None,
                kernel_initializer=getattr(layer, f"{kind}_initializer"),
                kernel_regularizer=getattr(layer, f"{kind}_regularizer"),
                kernel_constraint=getattr(layer, f"{kind}_constraint"),
                bias_regularizer=layer.bias_regularizer,
                bias_constraint=layer.bias_constraint,
                name=layer.name + end,
                dtype=layer.dtype_policy,
                trainable=layer.trainable,
            )
        )
        weights.append([np.asarray(kernel), *([] if bias is None else [bias])])
    # The product with the state belongs to the cell and comes first.
    return Replacement(ProjectedRNN(layer, *projections), weights[1] + weights[0])


def _has_dense_products(layer: Layer) -> bool:
    return isinstance(layer, ProjectedRNN) and all(
        type(product) is keras.layers.Dense
        and product.activation is keras.activations.linear
        and product.activity_regularizer is None
        for product in layer.projections
    )


def _to_keras(layer: ProjectedRNN) -> Replacement:
    plain = layer.layer
    config = {**plain.get_config(), "name": layer.name, "trainable": layer.trainable}
    for kind, product in zip(_KERNELS, layer.projections, strict=True):
        config[f"{kind}_regularizer"] = product.kernel_regularizer
        config[f"{kind}_constraint"] = product.kernel_constraint
    weights = [np.asarray(product.kernel) for product in layer.projections]
    biases = [bias_of(product) for product in layer.projections]
    config["use_bias"] = any(biases)
    if any(biases):
        zeros = np.zeros(weights[0].shape[1], weights[0].dtype)
        values = [bias[0] if bias else zeros for bias in biases]
        gru = isinstance(plain, keras.layers.GRU)
        weights.append(np.stack(values) if gru else values[0] + values[1])
    return Replacement(type(plain).from_config(config), weights)
