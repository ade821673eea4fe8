"""Trained models made smaller by low-rank factors."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from dlrt import accounting
from dlrt.accounting.flops import count_flops
from dlrt.compression._allocation import Allocation, allocation_names
from dlrt.compression._budget import parse_budget
from dlrt.compression._decompose import decompose
from dlrt.compression._one_by_one import replace_one_by_one
from dlrt.compression._plan import Plan, Planner
from dlrt.compression._report import Report
from dlrt.compression._selected import check_finite, explain_left_alone
from dlrt.compression.structures import structure_names
from dlrt.surgery.decomposed import is_separable, recompose
from dlrt.surgery.rebuild import rebuild
from dlrt.surgery.recurrent import restore_recurrent
from dlrt.surgery.selection import LayerFilter, check_built
from dlrt_names.compression import METHODS, Method


def compress(
    model: keras.Model,
    method: str,
    budget: Mapping[str, Any],
    *,
    layers: LayerFilter = None,
    structure: str | None = None,
    allocation: str | Allocation | None = None,
    data: tuple[Any, Any] | None = None,
    train: Callable[[keras.Model], Any] | None = None,
    fine_tune: Callable[[keras.Model], Any] | None = None,
    one_by_one: bool = False,
    freeze: bool = False,
) -> tuple[keras.Model, Report]:
    """A smaller copy of a trained model, with low-rank factors in place of kernels.

    A method combines a structure (what kernels are decomposed into) with an allocation
    (which layer gets which rank). Any structure goes with any allocation.

    | method | structure | allocation | source |
    |---|---|---|---|
    | `"svd"` | `"pointwise"` | `"ratio"` | |
    | `"alds"` | `"grouped"` | `"error"` | Liebenwein et al., 2021, arXiv:2107.11442 |
    | `"tucker"` | `"tucker"` | `"error"` | Kim et al., 2016, arXiv:1511.06530 |
    | `"cp"` | `"cp"` | `"error"`* | Astrid & Lee, 2017, arXiv:1701.07148 |
    | `"dlrt"` | `"manifold"` | `"error"` | |
    | `"hoyer"` | that of the model | `"error"` | Yang et al., 2020, arXiv:2004.09031 |

    *With data, the allocation of `"cp"` is `"sensitivity"`.

    `"hoyer"` is for models made by `dlrt.decompose` and trained since, or for others
    with `train`. It keeps the largest singular values of `U diag(s) Vᵀ`: with
    `{"error": e}`, those with `1 - e²` of their energy. For every method, the three
    layers count as the one that they replace, also in budgets.

    Structures:

    * `"pointwise"`: the kernel is a matrix. A convolution becomes one to `r` filters
      and one of size 1. Other structures leave it the layers that they don't support.
    * `"manifold"`: the same as a low-rank layer, to be trained with
      `dlrt.optimizers.LowRank`; ranks that adapt stay within the budget.
    * `"separable"`: a convolution over a plane becomes one along each of its axes.
    * `"grouped"`: input channels fall into groups with a matrix each, as many as serve
      best; `EinsumDense` and `Embedding` have one.
    * `"tucker"`: a convolution runs between fewer channels, `r` in and `r'` out, with
      one of size 1 before and one after it.
    * `"cp"`: a convolution becomes one of size 1 to `R` channels, one along each axis
      within every channel, and one of size 1. It needs tensorly (`pip install -e
      .[cp]`). Ranks are chosen by estimated errors; the report has the exact ones.
      Decompositions whose components grow and cancel are repeated with a penalty.
    * one registered by `dlrt.compression.register_structure`.

    Allocations:

    * `"ratio"`: every layer keeps the same share of its cost.
    * `"error"`: the largest relative error of a kernel, in the Frobenius norm, is as
      small as possible. The paper bounds the spectral norm; the report has that bound.
    * `"sensitivity"`, or a `dlrt.compression.Sensitivity` with options: the total rank
      is shared out in proportion to the loss, on `data`, of the model with one layer
      decomposed at a trial rank.
    * one registered by `dlrt.compression.register_allocation`, or a function.

    `Dense`, `EinsumDense`, `Conv1D`, `Conv2D` and `Embedding` layers are compressed.
    Layers and models of your own classes that contain some become a
    `dlrt.surgery.exchanged.Exchanged`, if they can be copied from their configuration.
    `LSTM`, `GRU` and `SimpleRNN` layers become a `dlrt.layers.ProjectedRNN`; reports
    and given ranks call the products with their kernels `<name>_kernel` and
    `<name>_recurrent_kernel`. A `GRU` with `reset_after=False`, which multiplies a
    gated state, is left alone. So is a layer whose factors would cost more. The report
    names the other layers with weights. Factors have no regularizer of the kernel.

    Args:
        model: A built Keras model; it is not changed.
        method: `"svd"`, `"alds"`, `"tucker"`, `"cp"`, `"dlrt"` or `"hoyer"`.
        budget: What may be left, a dictionary with one entry. `"parameters"` and
            `"flops"`: the most the whole model may have, see `dlrt.accounting`;
            `"ratio"`: how many times fewer parameters; `"error"`: a bound on the
            relative Frobenius error of every kernel, in `[0, 1)`; `"ranks"`: the rank
            of each layer by name, in one group, `(r, r')` for Tucker decompositions;
            layers without a rank stay as they are.
        layers: Which layers may be compressed: a regular expression or a list of names,
            matched in full, or a function of the layer. The name of a recurrent layer
            stands for both of its kernels. Defaults to all that can be except
            embeddings, or to those that ranks are given for.
        structure: Replaces that of the method.
        allocation: Replaces that of the method, for budgets of parameters and flops.
        data: A pair `(x, y)` of inputs and targets as `model.evaluate` takes them, for
            `"sensitivity"`; the other allocations here ignore it.
        train: For `"hoyer"`: called with a decomposed copy of the model before it is
            compressed, to compile and train it. If the model is not decomposed yet,
            `dlrt.decompose` makes the copy with its default regularizers.
        fine_tune: Called with the compressed model, to compile and train it.
        one_by_one: Whether layers are decomposed in the order of the model, each at the
            rank chosen at the start, and `fine_tune` is called after each, so that
            later layers adapt before they are decomposed. Errors in the report are
            those of the kernels when they were decomposed.
        freeze: With `one_by_one`: whether layers that have taken the place of others
            stay untrained until all have; the last call trains all.

    Returns:
        A new model, compiled only if `fine_tune` did, and a report of the compression
        alone. New layers are Keras layers, except for `"manifold"` and `ProjectedRNN`.

    Raises:
        ValueError: If an argument is out of range; the model is not built, can't be
            copied or has weights that are not finite; `layers` names one that can't be
            compressed; the budget is too small (the message names the smallest possible
            budget); or `"sensitivity"` lacks a loss or data that fits the model.
        ImportError: If a CP decomposition is asked for and tensorly is not installed.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((28, 28, 1)), keras.layers.Conv2D(20, 5),
    ...      keras.layers.Flatten(), keras.layers.Dense(50), keras.layers.Dense(10)])
    >>> smaller, report = dlrt.compress(model, "alds", {"ratio": 4})
    >>> model.count_params() // smaller.count_params()
    4
    """
    chosen = _find_method(method, structure, allocation, data)
    _check_training(method, train, fine_tune, one_by_one, freeze)
    check_built(model)
    check_finite(model.weights)
    inside = model._flatten_layers(include_self=False)
    if method == "hoyer" and structure is None and any(map(is_separable, inside)):
        chosen = chosen._replace(structure="separable")
    # A model made by `decompose` counts as the one that it represents.
    whole = recompose(model)
    wanted = parse_budget(budget, accounting.parameter_count(whole))
    if wanted.kind == "ranks" and layers is None:
        layers = list(wanted.amount)
    planner = Planner(chosen, wanted, data, model)
    before, plan = planner.plan(whole, layers)
    if train is not None:
        # Input errors are raised before anything is trained.
        if model is whole:
            decomposed = decompose(model, structure=chosen.structure, layers=layers)
        else:
            decomposed = rebuild(model, lambda layer: None)
        train(decomposed)
        check_finite(decomposed.weights)
        before, plan = planner.plan(recompose(decomposed), layers)
    if one_by_one and fine_tune is not None:
        replaced, plan = replace_one_by_one(
            before, plan, planner.plan_again, fine_tune, freeze
        )
    else:
        replacements = {
            id(candidate.layer): candidate.structure.build_replacement(choice)
            for candidate, choice in plan
            if choice is not None
        }
        replaced = rebuild(before, lambda layer: replacements.get(id(layer)))
    smaller = restore_recurrent(replaced)
    report = _report(before, smaller, plan)
    if fine_tune is not None:
        fine_tune(smaller)
    return smaller, report


def method_names() -> tuple[str, ...]:
    """The methods that `dlrt.compress` knows."""
    return tuple(METHODS)


def _find_method(
    method: str, structure: str | None, allocation: str | Allocation | None, data: Any
) -> Method:
    """The method of a name, with parts replaced if given."""
    for name, value, allowed in (
        ("method", method, list(METHODS)),
        ("structure", structure, [None, *structure_names()]),
        ("allocation", allocation, [None, *allocation_names()]),
    ):
        if value not in allowed and not (name == "allocation" and callable(value)):
            raise ValueError(
                f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
            )
    default = METHODS[method]
    own = default.allocation if data is None else default.with_data
    return Method(
        structure or default.structure, allocation or own or default.allocation
    )


def _report(before: keras.Model, smaller: keras.Model, plan: Plan) -> Report:
    flops = count_flops(smaller)
    names = [candidate.layer.name for candidate, _ in plan]
    return Report(
        layers=tuple(candidate.report(choice) for candidate, choice in plan),
        left_alone=explain_left_alone(before, names),
        parameters_before=accounting.parameter_count(before),
        parameters=accounting.parameter_count(smaller),
        flops_before=count_flops(before).total,
        flops=flops.total,
        not_in_flops=flops.left_out,
    )


def _check_training(
    method: str, train: Any, fine_tune: Any, one_by_one: bool, freeze: bool
) -> None:
    if train is not None and method != "hoyer":
        raise ValueError(
            f"`train` must be `None` but for the method 'hoyer'. Received: {train}"
        )
    if one_by_one and fine_tune is None:
        raise ValueError(
            "`one_by_one=True` needs `fine_tune`, to train between layers. Received: "
            "fine_tune=None"
        )
    if freeze and not one_by_one:
        raise ValueError(
            "`freeze=True` is for `one_by_one=True`. Received: one_by_one=False"
        )
