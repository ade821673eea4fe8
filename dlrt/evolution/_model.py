"""The widths of a model, seen and set from outside."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import tree

from dlrt.evolution import _channels, _features
from dlrt.evolution._surgery import Surgery
from dlrt.evolution._widths import Found, find


def widths(model: keras.Model) -> dict[str, int]:
    """The widths of a model that can change.

    These are the units of `Dense` and the filters of `Conv1D` and `Conv2D` layers that
    only such layers read, directly or through activations, dropout, pooling, padding,
    flattening, batch normalisation and sums. Sums tie the widths of their terms
    together.

    Args:
        model: A built Sequential or functional model. Within the models that it
            contains widths can change too, but not where they meet it.

    Returns:
        Sizes by the name of the layer, the first one where several are tied, after
        those of the models that it is within: `"block/conv"`.

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
    return {name: width.size for name, width in find(model).free.items()}


def pinned(model: keras.Model) -> dict[str, str]:
    """Why other widths of a model can't change, by layer, see `widths`."""
    return find(model).pinned


def singular_values(
    model: keras.Model, data: Any, batch_size: int = 256
) -> dict[str, np.ndarray]:
    """The singular values of what layers make, as the next layers weigh it.

    Of the matrix with a row for each sample (and position) and a column for each
    channel, at the input of the layers that read it, its columns scaled by the norms of
    the rows of their kernels, about the mean where their biases can make up for that.

    Args:
        model: As for `widths`.
        data: Inputs of the model, as for its `predict`: arrays.
        batch_size: How many of them at a time.

    Returns:
        `(m,)` by width, decreasing, their squares of sum 1; zeros where nothing is
        read.
    """
    found = find(model)
    readings = _features.read(found, check_data(data), batch_size)
    return {
        name: _channels.singular_values(_channels.weighted(several))
        for name, several in readings.items()
    }


def set_widths(
    model: keras.Model,
    sizes: Mapping[str, int],
    data: Any = None,
    batch_size: int = 256,
    seed: int = 0,
) -> dict[str, int]:
    """Prunes and grows widths of a model, in place.

    Where channels go, those that stay are chosen to stand for all of them, and the
    layers that read them are corrected by least squares: Chee et al., 2022,
    arXiv:2108.00065. What depends linearly on the others goes without any change of
    the outputs. New channels are made by columns orthogonal to the present ones, and
    not read at first, so that outputs stay the same as well.

    The optimizer keeps what it knows of the channels that stay. In the middle of a
    `fit`, use `dlrt.callbacks.Evolve`.

    Args:
        model: As for `widths`.
        sizes: The new sizes of some widths, at least 1.
        data: Inputs of the model, as for its `predict`: arrays. Needed where a width
            becomes smaller; of some thousand samples.
        batch_size: How many of them at a time.
        seed: Of the new columns.

    Returns:
        The sizes that there are now. Growth ends where no orthogonal columns are left.

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
    found = find(model)
    for name, size in sizes.items():
        if name not in found.free:
            reason = found.pinned.get(name, "there is no such width")
            raise ValueError(
                f"`sizes` must name widths that can change: {sorted(found.free)}. "
                f"Received: {name!r}; {reason}"
            )
        if (
            isinstance(size, bool)
            or not isinstance(size, (int, np.integer))
            or size < 1
        ):
            raise ValueError(
                f"`sizes` must be positive integers. Received: {name!r}: {size}"
            )
    smaller = {n: s for n, s in sizes.items() if s < found.free[n].size}
    larger = {n: s for n, s in sizes.items() if s > found.free[n].size}
    surgery = Surgery(model)
    if smaller:
        if data is None:
            raise ValueError(
                "`data` must be given where a width becomes smaller: the layers that "
                f"read it are corrected on it. Received: data=None, sizes={sizes}"
            )
        few = Found(found.graph, {n: found.free[n] for n in smaller}, {})
        readings = _features.read(few, check_data(data), batch_size)
        for name, size in smaller.items():
            several = readings[name]
            selection = _channels.select(_channels.weighted(several))
            surgery.keep(found.free[name], selection.order[:size], several)
    rng = np.random.default_rng(seed)
    for name, size in larger.items():
        width = found.free[name]
        surgery.add(width, size - width.size, rng)
    surgery.perform()
    return {name: width.size for name, width in found.free.items()}


def check_data(data: Any) -> Any:
    """Inputs as arrays of one length.

    Raises:
        ValueError: If they are not, or there are none.
    """
    arrays = tree.flatten(data)
    lengths = {len(array) if np.ndim(array) > 0 else 0 for array in arrays}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            "`data` must be an array of inputs, or several of the same length above 0. "
            f"Received: data with shapes {[np.shape(array) for array in arrays]}"
        )
    return data
