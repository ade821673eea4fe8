"""The network of the MNIST runs: four hidden layers, then the classes."""

from pathlib import Path
from typing import Any

import keras

import dlrt
from experiments.mnist import weight_files
from experiments.mnist.config import (
    NUM_HIDDEN,
    NUM_INPUTS,
    Config,
    default_start_rank,
)
from experiments.runs import optimizers
from experiments.runs.phases import Phase

HIDDEN_NAMES = [f"hidden_{number}" for number in range(1, NUM_HIDDEN + 1)]
_OUTPUT_NAME = "output"
_MOMENTUM = 0.9


def build(config: Config, num_classes: int, weights: Path | None) -> keras.Model:
    """Makes the network at the start of a run.

    Args:
        config: The settings of the run.
        num_classes: Number of outputs.
        weights: File or folder to take the weights from, see `weight_files.read`.

    Raises:
        ValueError: If the weights don't fit.
    """
    keras.utils.set_random_seed(config.seed)
    if weights is not None:
        return _load(config, num_classes, weights)
    if config.dense:
        return _dense(config, num_classes)
    ranks = [default_start_rank(config)] * NUM_HIDDEN
    return _low_rank(config, num_classes, ranks)


def compile_model(
    model: keras.Model, config: Config, phase: Phase, steps_per_epoch: int
) -> None:
    """Compiles the network for a phase of training."""
    optimizers.compile_classifier(
        model, config, phase, steps_per_epoch, momentum=_MOMENTUM
    )


def _regularizer(config: Config) -> keras.regularizers.Regularizer | None:
    amount = config.regularizer_amount
    if config.regularizer == "l1":
        return keras.regularizers.L1(amount)
    if config.regularizer in ("l2", "full"):
        return keras.regularizers.L2(amount)
    if config.regularizer == "l1l2":
        return keras.regularizers.L1L2(amount, amount)
    return None


def _everywhere(config: Config) -> keras.regularizers.Regularizer | None:
    """The regularizer of all weights but the hidden kernels."""
    return _regularizer(config) if config.regularizer == "full" else None


def _hidden(config: Config) -> dict[str, Any]:
    """What dense and low-rank hidden layers have in common."""
    return {
        "units": config.dim_layer,
        "activation": "relu",
        "kernel_regularizer": _regularizer(config),
        "bias_regularizer": _everywhere(config),
    }


def _output(config: Config, num_classes: int) -> keras.layers.Layer:
    return keras.layers.Dense(
        num_classes,
        kernel_regularizer=_everywhere(config),
        bias_regularizer=_everywhere(config),
        name=_OUTPUT_NAME,
    )


def _dense(config: Config, num_classes: int) -> keras.Model:
    inputs = x = keras.Input((NUM_INPUTS,))
    for name in HIDDEN_NAMES:
        x = keras.layers.Dense(**_hidden(config), name=name)(x)
    return keras.Model(inputs, _output(config, num_classes)(x))


def _low_rank(config: Config, num_classes: int, ranks: list[int]) -> dlrt.Model:
    inputs = x = keras.Input((NUM_INPUTS,))
    hidden = _hidden(config)
    if config.candidates:
        hidden["kernel_initializer"] = dlrt.initializers.DenseSpectrum()
    for name, rank in zip(HIDDEN_NAMES, ranks, strict=True):
        x = dlrt.layers.LowRankDense(**hidden, rank=rank, name=name)(x)
    return dlrt.Model(inputs, _output(config, num_classes)(x))


def _load(config: Config, num_classes: int, path: Path) -> keras.Model:
    output = (config.dim_layer, num_classes)
    layers = weight_files.read(path, [*config.kernels, output])
    *hidden, _ = layers
    low_rank = [isinstance(layer.kernel, dlrt.Factors) for layer in layers]
    if not any(low_rank):
        model = _dense(config, num_classes)
        for name, layer in zip([*HIDDEN_NAMES, _OUTPUT_NAME], layers, strict=True):
            model.get_layer(name).set_weights(list(layer))
        if config.dense:
            return model
        pruned = dlrt.convert(
            model, rank=default_start_rank(config), layers=HIDDEN_NAMES
        )
        factors = [pruned.get_layer(name).factors for name in HIDDEN_NAMES]
    elif low_rank != [True] * NUM_HIDDEN + [False] or config.dense or config.prunes:
        at = [number for number, is_low in enumerate(low_rank, start=1) if is_low]
        raise ValueError(
            f"`--load-model` must hold {_wanted(config)}, but has low-rank layers at "
            f"{at} of {len(layers)}. Received: --load-model {path}"
        )
    else:
        factors = [dlrt.Factors(*layer.kernel) for layer in hidden]
    return _with_weights(config, factors, layers)


def _with_weights(
    config: Config,
    factors: list[dlrt.Factors],
    layers: list[weight_files.LayerWeights],
) -> dlrt.Model:
    bound = min(
        config.start_rank or config.full_rank, config.max_rank or config.full_rank
    )
    factors = [kept.truncated(bound) for kept in factors]
    *hidden, output = layers
    model = _low_rank(config, len(output.bias), [len(kept.s) for kept in factors])
    for name, kept, layer in zip(HIDDEN_NAMES, factors, hidden, strict=True):
        low_rank_layer = model.get_layer(name)
        low_rank_layer.set_factors(kept)
        low_rank_layer.bias.assign(layer.bias)
    model.get_layer(_OUTPUT_NAME).set_weights(list(output))
    return model


def _wanted(config: Config) -> str:
    if config.dense or config.prunes:
        return "a dense network"
    return "a dense network or one with low-rank hidden layers only"
