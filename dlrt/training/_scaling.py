"""How far a step in `K` or `L` moves the represented matrix."""

from typing import Any

import keras
from keras import ops

# Optimizers whose step is a fixed multiple of the gradient, or relative to the norm of
# the variable: both mean the same for a matrix and for its factors.
_INVARIANT = (
    keras.optimizers.SGD,
    keras.optimizers.Lamb,
    keras.optimizers.Adafactor,
)

# Optimizers whose step depends on the value of the variable, weight decay aside (which
# stays in the span of the bases).
_VALUE_DEPENDENT = (
    keras.optimizers.Lamb,
    keras.optimizers.Adafactor,
    keras.optimizers.Ftrl,
)

# Length of the scaled steps of `K` and `L` relative to dense ones: best of a search on
# MNIST (width 500, ranks 10 to 30, Adam 1e-3), where half of it cost up to 0.3 points
# of accuracy and twice of it gained nothing.
_BASIS_FACTOR = 2.0

RULES = ("auto", "dense", "none")


def resolve(rule: str, optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the steps of `K` and `L` are to be scaled.

    Raises:
        ValueError: If `rule` is not one of `RULES`.
    """
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(
            f"`update_scaling` must be one of {', '.join(map(repr, RULES))}. "
            f"Received: update_scaling={rule!r}"
        )
    if rule == "auto":
        return not isinstance(optimizer, _INVARIANT)
    return rule == "dense"


def depends_on_values(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether a step depends on the point, other than by weight decay.

    Only optimizers that are known not to are trusted.
    """
    independent = type(optimizer).__module__.startswith("keras.")
    return not independent or isinstance(optimizer, _VALUE_DEPENDENT)


def new_direction_scale(shape: tuple[Any, Any], rank: Any, dtype: str) -> Any:
    """Factor for the steps of coefficients in directions that a basis was augmented by.

    There an `(r, r)` block of coefficients takes the place of `K` or `L`, and must be
    as long as their scaled steps: the factor is `√(n m) / r` times theirs.

    Args:
        shape: `(n, m)`, the shape of the kernel, ints or scalar tensors.
        rank: The rank `r` before the augmentation, an int or a scalar tensor.
        dtype: Dtype of the result.
    """
    n, m = (ops.cast(size, dtype) for size in shape)
    rank = ops.maximum(ops.cast(rank, dtype), 1)
    return _BASIS_FACTOR * ops.sqrt(n * m) / rank


def step_scales(shape: tuple[Any, Any], rank: Any, dtype: str) -> dict[str, Any]:
    """Factors for the steps of `K`, `L` and `S` that make them as long as dense ones.

    An optimizer that normalises its gradient entrywise, as Adam does, moves every
    entry of a variable by about the learning rate `η`. A dense kernel then moves by
    `‖ΔW‖_F ≈ η √(n m)`, but `K: (n, r)` moves it by `η √(n r)` and `L: (m, r)` by
    `η √(m r)`: a learning rate that suits the dense network is too small by `√(m / r)`
    and `√(n / r)`. Gradients are not independent entries: what matters in them is of
    low rank, and the best steps measured are a constant factor longer.

    For coefficients there are two counts. Were `ΔW` independent entries of size `η`,
    those of `Uᵀ ΔW V` had size `η` too, and the factor were 1. Were all of `ΔW` within
    the bases, it were `√(n m) / r`, as for new directions. The truth is between, and
    the factor is the geometric mean of both. It makes the spectral norm of a step of
    independent entries, `2 η √r`, that of a dense one for `n = m`, `2 η √n`.

    Args:
        shape: `(n, m)`, the shape of the kernel, ints or scalar tensors.
        rank: The current rank `r`, an int or a scalar tensor.
        dtype: Dtype of the result.
    """
    n, m, rank = (ops.cast(size, dtype) for size in (*shape, rank))
    rank = ops.maximum(rank, 1)
    return {
        "u": _BASIS_FACTOR * ops.sqrt(m / rank),
        "v": _BASIS_FACTOR * ops.sqrt(n / rank),
        "s": ops.sqrt(ops.sqrt(n * m) / rank),
    }


def scaled(
    increments: dict[str, Any],
    shape: tuple[Any, Any],
    rank: Any,
    before: Any | None = None,
) -> dict[str, Any]:
    """Steps of `K`, `L` and `S`, by name of the factor, as long as dense ones.

    Args:
        increments: The steps, of one matrix or of a batch of them.
        shape: `(n, m)`, the shape of the kernel, ints or tensors; for ragged batches
            `(k, 1, 1)`.
        rank: The current rank, an int or a scalar tensor.
        before: Where coefficients are those of augmented bases, the width of the bases
            before that.
    """
    dtype = next(iter(increments.values())).dtype
    scales = step_scales(shape, rank, dtype)
    if before is not None:
        new = new_coefficients(ops.shape(increments["s"])[-1], before)
        longer = new_direction_scale(shape, rank, dtype)
        scales["s"] = ops.where(new, longer, scales["s"])
    return {name: step * scales[name] for name, step in increments.items()}


def new_coefficients(width: Any, before: Any) -> Any:
    """Where augmented coefficients belong to a new direction, `(width, width)`.

    Args:
        width: Number of columns of the augmented bases.
        before: Number of columns before that.
    """
    new = ops.arange(width) >= before
    return ops.logical_or(new[:, None], new[None, :])
