"""Checks of the arguments of `LowRank`."""

from typing import Any

import keras

from dlrt.checks import check_integer, check_share
from dlrt.integrators import Integrator
from dlrt.layers.factor import layers_of


def get_inner(identifier: Any) -> keras.optimizers.Optimizer:
    """Returns a Keras optimizer, given as such, by name or by configuration.

    Raises:
        ValueError: If the identifier is not one of these.
    """
    try:
        optimizer = keras.optimizers.get(identifier)
    except (ValueError, TypeError, KeyError):
        optimizer = None
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(
            "`inner_optimizer` must be an optimizer of Keras, its name or its "
            f"configuration. Received: inner_optimizer={identifier!r}"
        )
    return optimizer


def check_arguments(optimizer: Any) -> None:
    """Raises a ValueError if arguments of `LowRank` are out of range or conflict."""
    inner, integrator = optimizer.inner_optimizer, optimizer.integrator
    if hasattr(inner, "inner_optimizer"):
        raise ValueError(
            "`inner_optimizer` must be an optimizer that wraps no other. "
            f"Received: inner_optimizer={type(inner).__name__}. "
            "LossScaleOptimizer goes around LowRank, not inside."
        )
    if inner.use_ema:
        raise ValueError(
            "`inner_optimizer` must not use `use_ema=True`: averages of "
            "orthonormal bases are not orthonormal."
        )
    if inner.gradient_accumulation_steps and len(integrator.phases) > 1:
        raise ValueError(
            "`gradient_accumulation_steps` needs an integrator with one gradient "
            "a step, such as 'parallel_bug'. Received: "
            f"integrator={integrator.name!r}"
        )
    if optimizer.tolerance is not None:
        check_share("tolerance", optimizer.tolerance)
        if not integrator.rank_adaptive:
            raise ValueError(
                "`tolerance` needs a rank-adaptive integrator, 'parallel_bug' or "
                f"'augmented_bug'. Received: integrator={integrator.name!r}, "
                f"tolerance={optimizer.tolerance}"
            )
    padded = optimizer.tolerance is not None or integrator.augments
    if padded and isinstance(inner, keras.optimizers.Adafactor):
        raise ValueError(
            "Adafactor divides by the row and column means of squared gradients, "
            "which are zero for columns beyond an adaptive rank. Use another "
            "`inner_optimizer`, or a fixed rank with 'parallel_bug' or 'kls'."
        )
    for name, least in (
        ("min_rank", 1),
        ("max_rank", 1),
        ("truncation_start", 0),
        ("truncation_interval", 1),
        ("truncation_stop", 1),
        ("candidates", 0),
    ):
        value = getattr(optimizer, name)
        if value is not None or name not in ("max_rank", "truncation_stop"):
            check_integer(name, value, least)
    if optimizer.max_rank is not None and optimizer.max_rank < optimizer.min_rank:
        raise ValueError(
            "`max_rank` must be at least `min_rank`. Received: "
            f"max_rank={optimizer.max_rank}, min_rank={optimizer.min_rank}"
        )
    stop = optimizer.truncation_stop
    if stop is not None and stop <= optimizer.truncation_start:
        raise ValueError(
            "`truncation_stop` must be greater than `truncation_start`, or no "
            f"truncation ever happens. Received: truncation_stop={stop}, "
            f"truncation_start={optimizer.truncation_start}"
        )


def check_tolerances(integrator: Integrator, variables: list) -> None:
    """Raises a ValueError if a layer adapts its rank and the integrator can't."""
    for layer in layers_of(variables):
        if layer.tolerance is not None and not integrator.rank_adaptive:
            raise ValueError(
                f"Layer {layer.name!r} has tolerance={layer.tolerance}, which "
                "needs a rank-adaptive integrator, 'parallel_bug' or "
                f"'augmented_bug'. Received: integrator={integrator.name!r}"
            )


def check_whole(variables: list) -> None:
    """Raises a ValueError if only some factors of a layer are trainable."""
    ids = set(map(id, variables))
    for layer in layers_of(variables):
        missing = [name for name in "usv" if id(getattr(layer, name)) not in ids]
        if missing:
            raise ValueError(
                "`u`, `s` and `v` of a low-rank layer are trained together or not at "
                f"all. Received: {', '.join(missing)} of layer {layer.name!r} not "
                "among the trainable variables. Set `trainable` of the layer, or of "
                "all three, before `compile`."
            )
