"""From dense to low-rank models and back."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional  # not exported by Keras

from dlrt import linalg
from dlrt.factors import Factors
from dlrt.layers import LowRankDense
from dlrt.layers.low_rank_layer import check_positive_integer

LayerFilter = str | Iterable[str] | Callable[[keras.layers.Layer], bool] | None


def convert(
    model: keras.Model,
    rank: int | None = None,
    tolerance: float | None = None,
    ratio: float | None = None,
    layers: LayerFilter = None,
) -> keras.Model:
    """A copy of a model with its Dense layers in low-rank form, by truncated SVD.

    Exactly one of `rank`, `tolerance` and `ratio` says how much is kept.

    Args:
        model: A built Keras model; it is not changed.
        rank: Rank to keep in every layer, at least 1. A smaller layer keeps its full
            rank, `min(n, units)`.
        tolerance: Relative Frobenius error allowed in every kernel, in `(0, 1)`.
        ratio: Share of the parameters of a kernel to keep, in `(0, 1)`:
            `rank = ratio n m / (n + m)`, at least 1.
        layers: Which Dense layers: a regular expression or a list of names, matched in
            full, or a function of the layer. Defaults to all whose low-rank form has
            fewer parameters than the dense one, the model's last Dense layer excepted.

    Returns:
        A new model of the same kind, not compiled.

    Raises:
        ValueError: If an argument is outside of its range, the model is not built, or
            `layers` selects none.

    Example:

    >>> dense = keras.Sequential(
    ...     [keras.Input((784,)), keras.layers.Dense(500), keras.layers.Dense(10)])
    >>> low_rank = dlrt.convert(dense, rank=20)
    >>> dense.count_params(), low_rank.count_params()
    (397510, 31590)
    """
    _check_amount(rank, tolerance, ratio)
    _check_built(model)
    dense = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if type(layer) is keras.layers.Dense
    ]
    chosen = _select(dense, layers)
    factors = {}
    for layer in chosen:
        kernel = np.asarray(layer.kernel)
        kept = Factors.from_dense(kernel, _rank_for(kernel, rank, tolerance, ratio))
        n, m = kernel.shape
        size = kept.s.shape[0]
        if layers is not None or size * (n + m) < n * m:
            factors[id(layer)] = kept
    if not factors:
        raise ValueError(
            "`layers` selects no Dense layer that would become smaller. Received: "
            f"layers={layers!r}, Dense layers: {[layer.name for layer in dense]}"
        )

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        kept = factors.get(id(layer))
        if kept is None:
            return _copy(layer)
        config = layer.get_config()
        for name in ("lora_rank", "lora_alpha", "quantization_config"):
            config.pop(name, None)
        if config.pop("kernel_constraint", None) is not None:
            raise ValueError(
                f"Layer {layer.name!r} has a kernel constraint, which a low-rank "
                "kernel can't keep. Leave the layer out with `layers`."
            )
        return LowRankDense.from_config({**config, "rank": int(kept.s.shape[0])})

    def transfer(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
        if id(old) in factors:
            new.set_factors(factors[id(old)])
            if new.bias is not None:
                new.bias.assign(old.bias)
        else:
            new.set_weights(old.get_weights())

    return _rebuild(model, replace, transfer)


def to_dense(model: keras.Model) -> keras.Model:
    """A copy of a model with every low-rank layer made a `keras.layers.Dense`.

    Args:
        model: A built Keras model; it is not changed.
    """
    _check_built(model)

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, LowRankDense):
            return _copy(layer)
        return keras.layers.Dense.from_config(_dense_config(layer))

    def transfer(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
        if isinstance(old, LowRankDense):
            bias = [] if old.bias is None else [old.bias.numpy()]
            new.set_weights([np.asarray(Factors(*old.factors).to_dense()), *bias])
        else:
            new.set_weights(old.get_weights())

    return _rebuild(model, replace, transfer)


def merge(model: keras.Model) -> keras.Model:
    """A copy of a model in its fastest form for prediction.

    Every low-rank layer becomes two Dense layers in a row, with kernels `K = U S` and
    `Vᵀ`, or one dense layer where that has no more parameters. The result has standard
    Keras layers only; it can be exported, quantised and loaded without dlrt.

    Args:
        model: A built Keras model; it is not changed.
    """
    _check_built(model)

    def pays(layer: LowRankDense) -> bool:
        n, m = layer.matrix_shape
        return layer.rank * (n + m) < n * m

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, LowRankDense):
            return _copy(layer)
        config = _dense_config(layer)
        if not pays(layer):
            return keras.layers.Dense.from_config(config)
        config.update(kernel_regularizer=None)
        return keras.Sequential(
            [
                keras.layers.Dense(
                    layer.rank,
                    use_bias=False,
                    dtype=config["dtype"],
                    name=f"{layer.name}_k",
                ),
                keras.layers.Dense.from_config({**config, "name": f"{layer.name}_v"}),
            ],
            name=layer.name,
        )

    def transfer(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
        if not isinstance(old, LowRankDense):
            new.set_weights(old.get_weights())
            return
        u, s, v = old.factors
        bias = [] if old.bias is None else [old.bias.numpy()]
        if pays(old):
            new.set_weights([u @ s, linalg.transpose(v), *bias])
        else:
            new.set_weights([u @ s @ v.T, *bias])

    return _rebuild(model, replace, transfer)


def _rebuild(model: keras.Model, replace: Callable, transfer: Callable) -> keras.Model:
    """Clones a model with layers replaced, and moves the weights over."""
    if not isinstance(model, (keras.Sequential, Functional)):
        raise _not_rebuildable(model)
    pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, (keras.Sequential, Functional)):
            return _rebuild(layer, replace, transfer)
        if isinstance(layer, keras.Model):
            raise _not_rebuildable(layer)
        new = replace(layer)
        pairs.append((layer, new))
        return new

    copy = keras.models.clone_model(model, clone_function=clone)
    # Keras clones the compilation as well; its optimizer is not for these layers.
    copy.compiled = False
    copy.optimizer = None
    if not copy.built:
        copy.build(model.input_shape)
    for old, new in pairs:
        transfer(old, new)
    return copy


def _not_rebuildable(model: keras.Model) -> ValueError:
    return ValueError(
        "Only Sequential and functional models can be rebuilt layer by layer. "
        f"Received: model of type {type(model).__name__}"
    )


def _copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    return type(layer).from_config(layer.get_config())


def _dense_config(layer: LowRankDense) -> dict[str, Any]:
    config = layer.get_config()
    for name in ("rank", "tolerance", "max_rank"):
        config.pop(name)
    return config


def _select(
    dense: list[keras.layers.Dense], layers: LayerFilter
) -> list[keras.layers.Dense]:
    if layers is None:
        return dense[:-1] if len(dense) > 1 else dense
    if isinstance(layers, str):
        return [layer for layer in dense if re.fullmatch(layers, layer.name)]
    if callable(layers):
        return [layer for layer in dense if layers(layer)]
    wanted = set(layers)
    missing = wanted - {layer.name for layer in dense}
    if missing:
        raise ValueError(
            f"`layers` names no Dense layer: {sorted(missing)}. Dense layers: "
            f"{[layer.name for layer in dense]}"
        )
    return [layer for layer in dense if layer.name in wanted]


def _rank_for(
    kernel: np.ndarray, rank: int | None, tolerance: float | None, ratio: float | None
) -> int:
    n, m = kernel.shape
    if rank is not None:
        return min(rank, n, m)
    if ratio is not None:
        return max(1, min(int(ratio * n * m / (n + m)), n, m))
    singular_values = np.linalg.svd(kernel, compute_uv=False)
    return int(linalg.truncation_rank(singular_values, tolerance))


def _check_amount(
    rank: int | None, tolerance: float | None, ratio: float | None
) -> None:
    amounts = {"rank": rank, "tolerance": tolerance, "ratio": ratio}
    given = {name: value for name, value in amounts.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            "Exactly one of `rank`, `tolerance` and `ratio` must be given. "
            f"Received: {given or 'none of them'}"
        )
    if rank is not None:
        check_positive_integer("rank", rank)
    for name in ("tolerance", "ratio"):
        if name in given and not 0 < given[name] < 1:
            raise ValueError(
                f"`{name}` must lie in (0, 1). Received: {name}={given[name]}"
            )


def _check_built(model: keras.Model) -> None:
    if not model.built:
        raise ValueError(
            f"`model` must be built. Received: {model.name!r}, which is not; call it "
            "on data or give it an Input."
        )
