"""The network of the MNIST runs: four hidden layers, then the classes."""

from pathlib import Path
from typing import Any

import keras

import dlrt
from experiments.mnist import dense_weights
from experiments.mnist.config import (
    NUM_HIDDEN,
    NUM_INPUTS,
    Config,
    default_start_rank,
    truncation_schedule,
)
from experiments.runs import optimizers

HIDDEN_NAMES = [f"hidden_{number}" for number in range(1, NUM_HIDDEN + 1)]
_OUTPUT_NAME = "output"
_MOMENTUM = 0.9

# Steps that TensorFlow runs without returning to Python, which is a third of the time
# of a step at width 500. JAX would compile each of them.
_STEPS_PER_EXECUTION = 16


def build(config: Config, num_classes: int, weights: Path | None) -> keras.Model:
    """Makes the network at the start of a run.

    Args:
        config: The settings of the run.
        num_classes: Number of outputs.
        weights: File or folder to take the weights from, see `dense_weights.read`.

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
    model: keras.Model,
    config: Config,
    epochs: int,
    steps_per_epoch: int,
    adaptive: bool,
) -> None:
    """Compiles the network for a phase of training.

    Args:
        model: What `build` made.
        config: The settings of the run.
        epochs: Number of epochs of the phase.
        steps_per_epoch: Number of batches.
        adaptive: Whether ranks change in this phase.
    """
    optimizer = optimizers.low_rank(
        _optimizer(config, epochs * steps_per_epoch),
        config,
        truncation_schedule(config, steps_per_epoch) if adaptive else None,
    )
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution(steps_per_epoch),
    )


def steps_per_execution(steps_per_epoch: int) -> int:
    """How many steps of an epoch to run at a time."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return min(_STEPS_PER_EXECUTION, steps_per_epoch)


def _optimizer(config: Config, steps: int) -> keras.optimizers.Optimizer:
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=steps)
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=_MOMENTUM)
    return {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "nadam": keras.optimizers.Nadam,
        "rmsprop": keras.optimizers.RMSprop,
    }[config.optimizer](rate)


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
    """The regularizer of what is no hidden kernel."""
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
    for name, rank in zip(HIDDEN_NAMES, ranks, strict=True):
        x = dlrt.layers.LowRankDense(**_hidden(config), rank=rank, name=name)(x)
    return dlrt.Model(inputs, _output(config, num_classes)(x))


def _load(config: Config, num_classes: int, path: Path) -> keras.Model:
    width = config.dim_layer
    shapes = [(NUM_INPUTS, width), *[(width, width)] * (NUM_HIDDEN - 1)]
    layers = dense_weights.read(path, [*shapes, (width, num_classes)])
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
    elif low_rank != [True] * NUM_HIDDEN + [False] or config.subcommand in (
        "dense-reference",
        "train-from-prune",
    ):
        at = [number for number, is_low in enumerate(low_rank, start=1) if is_low]
        raise ValueError(
            f"`--load-model` must hold {_wanted(config)}, but has low-rank layers at "
            f"{at} of {len(layers)}. "
            f"Received: --load-model {path}"
        )
    else:
        factors = [dlrt.Factors(*layer.kernel) for layer in hidden]
    return _with_weights(config, factors, layers)


def _with_weights(
    config: Config,
    factors: list[dlrt.Factors],
    layers: list[dense_weights.LayerWeights],
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
    if config.subcommand in ("dense-reference", "train-from-prune"):
        return "a dense network"
    return "a dense network or one with low-rank hidden layers only"
