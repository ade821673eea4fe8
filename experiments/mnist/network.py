"""The network of the MNIST runs: four hidden layers, then the classes."""

from collections.abc import Sequence
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
    ranks = None if config.dense else [default_start_rank(config)] * NUM_HIDDEN
    return _network(config, num_classes, ranks)


def compile_model(
    model: keras.Model, config: Config, phase: Phase, steps_per_epoch: int
) -> None:
    """Compiles the network for a phase of training."""
    optimizers.compile_classifier(
        model, config, phase, steps_per_epoch, momentum=_MOMENTUM
    )


def _network(
    config: Config, num_classes: int, ranks: Sequence[int] | None = None
) -> keras.Model:
    """A network whose hidden layers are dense, or have some ranks."""
    hidden, everywhere = _regularizers(config)
    inputs = x = keras.Input((NUM_INPUTS,))
    for number, name in enumerate(HIDDEN_NAMES):
        shared: dict[str, Any] = {
            "units": config.dim_layer,
            "activation": "relu",
            "kernel_regularizer": hidden,
            "bias_regularizer": everywhere,
            "name": name,
        }
        if ranks is None:
            x = keras.layers.Dense(**shared)(x)
        else:
            x = dlrt.layers.LowRankDense(**shared, rank=ranks[number])(x)
    output = keras.layers.Dense(
        num_classes,
        kernel_regularizer=everywhere,
        bias_regularizer=everywhere,
        name=_OUTPUT_NAME,
    )
    return (keras.Model if ranks is None else dlrt.Model)(inputs, output(x))


def _regularizers(config: Config) -> tuple[Any, Any]:
    """The regularizers of the hidden kernels and of all other weights."""
    amount = config.regularizer_amount
    hidden = {
        "none": None,
        "l1": keras.regularizers.L1(amount),
        "l2": keras.regularizers.L2(amount),
        "l1l2": keras.regularizers.L1L2(amount, amount),
        "full": keras.regularizers.L2(amount),
    }[config.regularizer]
    return hidden, hidden if config.regularizer == "full" else None


def _load(config: Config, num_classes: int, path: Path) -> keras.Model:
    output = (config.dim_layer, num_classes)
    layers = weight_files.read(path, [*config.kernels, output])
    low_rank = [isinstance(layer.kernel, dlrt.Factors) for layer in layers]
    if not any(low_rank):
        model = _network(config, num_classes)
        for name, layer in zip([*HIDDEN_NAMES, _OUTPUT_NAME], layers, strict=True):
            model.get_layer(name).set_weights(list(layer))
        if config.dense:
            return model
        pruned = dlrt.convert(
            model, rank=default_start_rank(config), layers=HIDDEN_NAMES
        )
        factors = [pruned.get_layer(name).factors for name in HIDDEN_NAMES]
    elif low_rank != [True] * NUM_HIDDEN + [False] or config.dense or config.prunes:
        wanted = "a dense network"
        if not (config.dense or config.prunes):
            wanted += " or one with low-rank hidden layers only"
        at = [number for number, is_low in enumerate(low_rank, start=1) if is_low]
        raise ValueError(
            f"`--load-model` must hold {wanted}, but has low-rank layers at {at} of "
            f"{len(layers)}. Received: --load-model {path}"
        )
    else:
        factors = [dlrt.Factors(*layer.kernel) for layer in layers[:-1]]
    bounds = (config.start_rank, config.max_rank, config.full_rank)
    bound = min(rank for rank in bounds if rank is not None)
    factors = [kept.truncated(bound) for kept in factors]
    model = _network(config, num_classes, [len(kept.s) for kept in factors])
    for name, kept, layer in zip(HIDDEN_NAMES, factors, layers, strict=False):
        model.get_layer(name).set_factors(kept)
        model.get_layer(name).bias.assign(layer.bias)
    model.get_layer(_OUTPUT_NAME).set_weights(list(layers[-1]))
    return model
