"""The widths of a model, seen and set from outside."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from dlrt.checks import is_integer
from dlrt.evolution._observation import check_data, observe
from dlrt.evolution._surgery import change_widths
from dlrt.evolution._widths import find_widths


def widths(model: keras.Model) -> dict[str, int]:
    """The widths of a model that can change.

    These are the units of `Dense` and the filters of `Conv1D` and `Conv2D` layers that
    only such layers read, directly or through activations, dropout, pooling, padding,
    flattening, batch normalization and sums. Sums tie the widths of their terms
    together. `dlrt.evolution.register` adds layers of your own.

    Args:
        model: A built Sequential or functional model. Models within it are searched
            too; their inputs and outputs keep their widths.

    Returns:
        Sizes by the name of the layer (the first one where several are tied), with the
        names of the models that it is within before it: `"block/conv"`.

    Raises:
        ValueError: If the model is of another kind, or not built.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((28, 28, 1)),
    ...     keras.layers.Conv2D(20, 5, activation="relu", name="conv"),
    ...     keras.layers.Flatten(),
    ...     keras.layers.Dense(10, name="classes")])
    >>> dlrt.evolution.widths(model)
    {'conv': 20}
    >>> dlrt.evolution.pinned(model)
    {'classes': 'it is an output'}
    """
    return {name: width.size for name, width in find_widths(model).free.items()}


def pinned(model: keras.Model) -> dict[str, str]:
    """Why the other widths of a model can't change, by layer; see `widths`."""
    return find_widths(model).pinned


def singular_values(
    model: keras.Model, data: Any, batch_size: int = 256
) -> dict[str, np.ndarray]:
    """The singular values of the channels of each width, as the next layers see them.

    The matrix has one row per sample (and position) and one column per channel, taken
    at the input of the layers that read it. Its columns are scaled by the norms of the
    rows of their kernels, and centred where the bias can make up for the mean.

    Args:
        model: As for `widths`.
        data: Inputs of the model, as for its `predict`: arrays.
        batch_size: How many of them at a time.

    Returns:
        `(m,)` by width, decreasing, their squares of sum 1; zeros where nothing is
        read.
    """
    observed = observe(find_widths(model), check_data(data), batch_size)
    return {name: one.singular_values for name, one in observed.items()}


def set_widths(
    model: keras.Model,
    sizes: Mapping[str, int],
    data: Any = None,
    batch_size: int = 256,
    seed: int = 0,
) -> dict[str, int]:
    """Prunes and grows widths of a model, in place.

    When a width shrinks, the channels kept are those that represent all of them best,
    and the layers that read them are corrected by least squares: Chee et al., 2022,
    arXiv:2108.00065. Channels that depend linearly on the others are removed without
    any change of the outputs. New channels are made by columns orthogonal to the
    present ones, and not read at first, so that outputs stay the same as well.

    The optimizer keeps its slots for the channels that stay. In the middle of a `fit`,
    use `dlrt.callbacks.Evolve`.

    Args:
        model: As for `widths`.
        sizes: The new sizes of some widths, at least 1.
        data: Inputs of the model, as for its `predict`: arrays of some thousand
            samples. Needed where a width becomes smaller.
        batch_size: How many of them at a time.
        seed: For the new columns.

    Returns:
        The sizes of all widths now. Growth ends where no orthogonal columns are left.

    Raises:
        ValueError: If a name or a size is wrong, `data` is missing, or what the layers
            make of it is not finite.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(6, activation="relu", name="hidden"),
    ...     keras.layers.Dense(2)])
    >>> data = np.random.default_rng(0).normal(size=(500, 8)).astype("float32")
    >>> dlrt.evolution.set_widths(model, {"hidden": 4}, data)
    {'hidden': 4}
    >>> model.count_params()
    46
    """
    found = find_widths(model)
    for name, size in sizes.items():
        if name not in found.free:
            reason = found.pinned.get(name, "there is no such width")
            raise ValueError(
                f"`sizes` must name widths that can change: {sorted(found.free)}. "
                f"Received: {name!r}; {reason}"
            )
        if not is_integer(size) or size < 1:
            raise ValueError(
                f"`sizes` must be positive integers. Received: {name!r}: {size}"
            )
    smaller = {n: found.free[n] for n, s in sizes.items() if s < found.free[n].size}
    observed = {}
    if smaller:
        if data is None:
            raise ValueError(
                "`data` must be given where a width becomes smaller: the layers that "
                f"read it are corrected on it. Received: data=None, sizes={sizes}"
            )
        few = found._replace(free=smaller)
        observed = observe(few, check_data(data), batch_size)
    rng = np.random.default_rng(seed)
    return change_widths(model, found, sizes, observed, rng)
