"""Trained models made smaller by low-rank factors."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from dlrt import accounting
from dlrt.accounting.calls import Call, find_calls
from dlrt.accounting.flops import count_flops
from dlrt.compression._allocation import ALLOCATIONS, OutOfBudget, Table, by_shares
from dlrt.compression._allocation import within as within_error
from dlrt.compression._budget import Budget, parse_budget
from dlrt.compression._candidates import Candidate
from dlrt.compression._cp import CP
from dlrt.compression._decompose import decompose
from dlrt.compression._one_by_one import replaced_one_by_one
from dlrt.compression._report import Report
from dlrt.compression._selected import check_finite, explain_left_alone, select_layers
from dlrt.compression._sensitivity import Sensitivity, ranks_of
from dlrt.compression._structures import (
    Choice,
    Grouped,
    Manifold,
    Pointwise,
    Separable,
    Structure,
)
from dlrt.compression._tucker import Tucker
from dlrt.layers import ProjectedRNN
from dlrt.surgery.decomposed import is_separable, recompose
from dlrt.surgery.rebuild import rebuild
from dlrt.surgery.recurrent import (
    project_recurrent,
    restore_recurrent,
    types_of_products,
)
from dlrt.surgery.selection import LayerFilter, check_built, names_of_owners

STRUCTURES: dict[str, type[Structure]] = {
    structure.name: structure
    for structure in (Pointwise, Manifold, Separable, Grouped, Tucker, CP)
}


class Method(NamedTuple):
    """A way to compress: how kernels are folded, and who gets which rank.

    Attributes:
        structure: A key of `STRUCTURES`, what kernels are decomposed into.
        allocation: A key of `ALLOCATIONS`, or `"sensitivity"`, with options or not.
        with_data: That where data is given, if it is another.
    """

    structure: str
    allocation: str | Sensitivity
    with_data: str | None = None


METHODS = {
    "svd": Method("pointwise", "ratio"),
    "alds": Method("grouped", "error"),
    "tucker": Method("tucker", "error"),
    "cp": Method("cp", "error", "sensitivity"),
    "dlrt": Method("manifold", "error"),
    "hoyer": Method("pointwise", "error"),
}


def compress(
    model: keras.Model,
    method: str,
    budget: Mapping[str, Any],
    *,
    layers: LayerFilter = None,
    structure: str | None = None,
    allocation: str | Sensitivity | None = None,
    data: tuple[Any, Any] | None = None,
    train: Callable[[keras.Model], Any] | None = None,
    fine_tune: Callable[[keras.Model], Any] | None = None,
    one_by_one: bool = False,
    freeze: bool = False,
) -> tuple[keras.Model, Report]:
    """A smaller copy of a trained model, with low-rank factors in place of kernels.

    A method is a structure, what kernels are decomposed into, and an allocation of
    ranks. `"svd"` is `"pointwise"` and `"ratio"`. `"alds"` is `"grouped"` and
    `"error"` (Liebenwein et al., 2021, arXiv:2107.11442), `"tucker"` and `"dlrt"`
    are `"tucker"` and `"manifold"` with `"error"`. `"cp"` is `"cp"` and `"error"`, with
    data `"sensitivity"` (Astrid & Lee, 2017, arXiv:1701.07148). They combine freely.

    `"hoyer"` is for models that `dlrt.decompose` has made and that have been trained
    since, or for others with `train`: of the singular values of `U diag(s) Vᵀ`, the
    largest are left, and those of an energy of `1 - e²` by a budget of `{"error": e}`
    (Yang et al., 2020, arXiv:2004.09031). It is `"pointwise"`, or the structure of the
    model, and `"error"`. To all methods, the three layers are the one that they stand
    for, and budgets relative to that.

    * `"pointwise"`: a kernel is a matrix, a convolution becomes one to `r` filters and
      one of size 1.
    * `"manifold"`: the same in low-rank layers, to be trained with
      `dlrt.optimizers.LowRank`; ranks that adapt stay within the budget.
    * `"separable"`: convolutions over a plane become one along each of its axes; other
      layers are `"pointwise"`.
    * `"grouped"`: input channels fall into groups with a matrix for each, as many as
      serve best; `EinsumDense` and `Embedding` have one.
    * `"tucker"`: convolutions run between fewer channels, `r` in and `r'` out, with one
      of size 1 before and one behind; other layers are `"pointwise"`.
    * `"cp"`: convolutions become one of size 1 to `R` channels, one along each axis
      within every channel, and one of size 1; other layers are `"pointwise"`. It needs
      tensorly (`pip install -e .[cp]`). Ranks are chosen by estimates of the errors;
      the report has the exact ones. Decompositions whose components diverge while they
      cancel are detected, and repeated with a penalty on these.

    * `"ratio"`: every layer keeps the same share of its cost.
    * `"error"`: the largest relative error of a kernel is as small as can be, in the
      Frobenius norm, where errors are known exactly for any number of groups; the paper
      takes a bound of the spectral norm, which is in the report.
    * `"sensitivity"`, or a `dlrt.compression.Sensitivity` with options: the total rank
      is shared out in proportion to the loss, on `data`, of the model with one layer
      decomposed at a trial rank.

    With `one_by_one=True`, layers are decomposed in the order of the model, each at the
    rank chosen at the start, and the model is trained after each, so that those behind
    adapt before their turn comes.

    `LSTM`, `GRU` and `SimpleRNN` layers become a `dlrt.layers.ProjectedRNN`, in which
    the products with both kernels count as `Dense` layers, `<name>_kernel` and
    `<name>_recurrent_kernel` in reports and in ranks that are given; a `GRU` with
    `reset_after=False`, which multiplies a gated state, is left alone.

    `Dense`, `EinsumDense`, `Conv1D`, `Conv2D` and `Embedding` layers are compressed,
    also within layers and models of your own classes, if the configuration of these is
    enough to copy them: they become a `dlrt.surgery.exchanged.Exchanged`. The report
    names the others that have weights. A layer stays what it is where its factors would
    cost more. Factors have no regularizer of the kernel.

    Args:
        model: A built Keras model; it is not changed.
        method: `"svd"`, `"alds"`, `"tucker"`, `"cp"`, `"dlrt"` or `"hoyer"`.
        budget: What may be left, a dictionary with one entry. `"parameters"` and
            `"flops"`: so many in the whole model, see `dlrt.accounting`;
            `"ratio"`: so many times fewer parameters; `"error"`: a bound on the
            relative Frobenius error of every kernel, in `[0, 1)`; `"ranks"`: the rank
            of each layer, by name, in one group, `(r, r')` of a Tucker decomposition;
            others stay what they are.
        layers: Which layers may be compressed: a regular expression or a list of names,
            matched in full, or a function of the layer. The name of a recurrent layer
            stands for both of its kernels. Defaults to all that can be, except
            embeddings, or those that ranks are given for.
        structure: Takes the place of that of the method.
        allocation: Takes the place of that of the method; for budgets of parameters
            and flops.
        data: A pair `(x, y)` of inputs and targets, arrays or structures of these as
            `model.evaluate` takes them, for `"sensitivity"`; others don't look at it.
        train: For `"hoyer"`, called with a decomposed copy of the model before it is
            compressed, to compile and train it: one that `dlrt.decompose` makes with
            its default regularizers if the model is not decomposed yet.
        fine_tune: Called with the compressed model, to compile and train it.
        one_by_one: Whether `fine_tune` is called after each layer that is decomposed,
            not only after all. Errors in the report are those of the kernels as they
            were when their turn came.
        freeze: With `one_by_one`, whether layers that have taken the place of others
            are not trained before all have; the last call trains all.

    Returns:
        A new model, not compiled unless by `fine_tune`, and a report, of the
        compression alone. But for `"manifold"` and `ProjectedRNN`, new layers are
        standard ones of Keras.

    Raises:
        ValueError: If an argument is outside of its range, the model is not built,
            can't be copied or has weights that are no numbers, `layers` names one that
            can't be compressed, the budget is too small; the message has the smallest
            possible one; or `"sensitivity"` lacks data that fits the model, or a loss.
        ImportError: If a CP decomposition is asked for and tensorly is not installed.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((28, 28, 1)), keras.layers.Conv2D(20, 5),
    ...      keras.layers.Flatten(), keras.layers.Dense(50), keras.layers.Dense(10)])
    >>> smaller, report = dlrt.compress(model, "alds", {"ratio": 4})
    >>> model.count_params() // smaller.count_params()
    4
    """
    chosen_method = _method(method, structure, allocation, data)
    if train is not None and method != "hoyer":
        raise ValueError(
            f"`train` must be `None` but for the method 'hoyer'. Received: {train}"
        )
    _check_training(fine_tune, one_by_one, freeze)
    check_built(model)
    check_finite(model)
    if method == "hoyer" and structure is None and _has_separable(model):
        chosen_method = chosen_method._replace(structure="separable")
    composed = recompose(model)
    wanted = parse_budget(budget, accounting.parameter_count(composed))
    if wanted.kind == "ranks" and layers is None:
        layers = list(wanted.amount)
    whole, plan = _planned(composed, layers, chosen_method, wanted, data, model)
    if train is not None:
        # What can't be done has been refused before anything is trained.
        composed = _trained(model, composed, layers, chosen_method, train)
        whole, plan = _planned(composed, layers, chosen_method, wanted, data, model)
    if one_by_one and fine_tune is not None:
        again = functools.partial(_chosen_again, chosen_method, wanted)
        changed, plan = replaced_one_by_one(whole, plan, again, fine_tune, freeze)
    else:
        replacements = {
            id(candidate.layer): candidate.replacement(choice)
            for candidate, choice in plan
            if choice is not None
        }
        changed = rebuild(whole, lambda layer: replacements.get(id(layer)))
    smaller = restore_recurrent(changed)
    names = [candidate.layer.name for candidate, _ in plan]
    flops = count_flops(smaller)
    report = Report(
        layers=tuple(candidate.report(choice) for candidate, choice in plan),
        left_alone=explain_left_alone(whole, names),
        parameters_before=accounting.parameter_count(whole),
        parameters=accounting.parameter_count(smaller),
        flops_before=count_flops(whole).total,
        flops=flops.total,
        not_in_flops=flops.left_out,
    )
    if fine_tune is not None:
        fine_tune(smaller)
    return smaller, report


def _planned(
    model: keras.Model,
    layers: LayerFilter,
    method: Method,
    budget: Budget,
    data: Any,
    compiled: keras.Model,
) -> tuple[keras.Model, list[tuple[Candidate, Choice | None]]]:
    """The layers that may be compressed, and what each becomes.

    Args:
        model: The model.
        layers: Which of its layers.
        method: How.
        budget: What may be left.
        data: Inputs and targets.
        compiled: The model whose loss is meant if none is given.

    Returns:
        A copy of the model that has these layers, or itself, and the plan.
    """
    model, layers = project_recurrent(model, layers)
    applied: dict[int, list[Call]] = {}
    for call in find_calls(model):
        applied.setdefault(id(call.layer), []).append(call)
    structure = STRUCTURES[method.structure]()
    chosen = select_layers(model, layers)
    recurrent = names_of_owners(model, ProjectedRNN)
    for layer in chosen:
        several = len({call.own_shape for call in applied[id(layer)]}) > 1
        if several and method.structure != "manifold" and id(layer) not in recurrent:
            # Keras's models, and so rows of layers, are for one shape; those within
            # recurrent layers for sequences of any length.
            raise ValueError(
                f"Layer {layer.name!r} is applied to inputs of several shapes, and the "
                "layers that would take its place are for one. Leave it out with "
                "`layers`, or take the structure 'manifold'."
            )
    types = types_of_products(model)
    candidates = [
        Candidate(
            layer,
            structure,
            [call.shape for call in applied[id(layer)]],
            types.get(id(layer)),
        )
        for layer in chosen
    ]
    choices = _choose(model, candidates, budget, method.allocation, data, compiled)
    return model, list(zip(candidates, choices, strict=True))


def _trained(
    model: keras.Model,
    whole: keras.Model,
    layers: LayerFilter,
    method: Method,
    train: Callable[[keras.Model], Any],
) -> keras.Model:
    """The model after a decomposed copy of it has been trained."""
    if model is whole:
        decomposed = decompose(model, structure=method.structure, layers=layers)
    else:
        decomposed = rebuild(model, lambda layer: None)
    train(decomposed)
    check_finite(decomposed)
    return recompose(decomposed)


def _has_separable(model: keras.Model) -> bool:
    return any(map(is_separable, model._flatten_layers(include_self=False)))


def _choose(
    model: keras.Model,
    candidates: Sequence[Candidate],
    budget: Budget,
    allocation: str | Sensitivity,
    data: Any,
    compiled: keras.Model,
) -> list[Choice | None]:
    if budget.kind == "ranks":
        return _of_ranks(candidates, budget.amount)
    kind = "flops" if budget.kind == "flops" else "parameters"
    tables, choices = zip(*(c.table(kind) for c in candidates), strict=True)
    bound = np.inf
    if budget.kind == "error":
        bound = budget.amount
        indices = within_error(tables, bound)
    else:
        if kind == "flops":
            total = count_flops(model).total
        else:
            total = accounting.parameter_count(model)
        others = total - sum(table.whole for table in tables)
        allocate = _allocator(allocation, model, candidates, choices, data, compiled)
        try:
            indices = allocate(tables, budget.amount - others)
        except OutOfBudget as error:
            raise ValueError(
                f"`budget` is too small: with these layers and this structure, a model "
                f"has at least {others + error.smallest} {kind}. Received: "
                f"{budget.amount} {kind}"
            ) from None
    return [
        candidate.settled(of, index, bound)
        for candidate, of, index in zip(candidates, choices, indices, strict=True)
    ]


def _allocator(
    allocation: str | Sensitivity,
    model: keras.Model,
    candidates: Sequence[Candidate],
    choices: Sequence[Sequence[Choice | None]],
    data: Any,
    compiled: keras.Model,
) -> Callable[[Sequence[Table], float], list[int]]:
    """The allocation, a function of the tables and the limit."""
    if isinstance(allocation, str) and allocation in ALLOCATIONS:
        return ALLOCATIONS[allocation]
    sensitivity = Sensitivity() if isinstance(allocation, str) else allocation
    shares = sensitivity.shares(model, candidates, choices, data, compiled)
    ranks = [ranks_of(of) for of in choices]
    return functools.partial(by_shares, ranks=ranks, shares=shares)


def _chosen_again(
    method: Method, budget: Budget, layer: Any, before: Candidate, choice: Choice
) -> tuple[Candidate, Choice | None]:
    """What a layer becomes after training, from what it would have before."""
    kernel = layer.weights[0]
    if not np.all(np.isfinite(np.asarray(kernel, "float64"))):
        raise ValueError(
            f"`fine_tune` has left weights that are no finite numbers: {kernel.path}"
        )
    candidate = Candidate(layer, STRUCTURES[method.structure](), before.shapes)
    if budget.kind != "error":
        return candidate, candidate.of_ranks(choice.ranks, choice.groups)
    table, choices = candidate.table("parameters")
    (index,) = within_error([table], budget.amount)
    return candidate, candidate.settled(choices, index, budget.amount)


def _of_ranks(
    candidates: Sequence[Candidate], ranks: Mapping[str, Any]
) -> list[Choice | None]:
    names = [candidate.layer.name for candidate in candidates]
    unknown = sorted(set(ranks) - set(names))
    if unknown:
        raise ValueError(
            f"`budget['ranks']` must name layers that can be compressed: {names}. "
            f"Received also: {unknown}"
        )
    return [
        candidate.of_ranks(ranks[name]) if name in ranks else None
        for candidate, name in zip(candidates, names, strict=True)
    ]


def _method(
    method: str,
    structure: str | None,
    allocation: str | Sensitivity | None,
    data: Any,
) -> Method:
    options = isinstance(allocation, Sensitivity)
    for name, value, allowed in (
        ("method", method, list(METHODS)),
        ("structure", structure, [None, *STRUCTURES]),
        ("allocation", allocation, [None, *ALLOCATIONS, "sensitivity"]),
    ):
        if value not in allowed and not (name == "allocation" and options):
            raise ValueError(
                f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
            )
    default = METHODS[method]
    own = default.allocation
    if data is not None and default.with_data is not None:
        own = default.with_data
    return Method(structure or default.structure, allocation or own)


def _check_training(fine_tune: Any, one_by_one: bool, freeze: bool) -> None:
    if one_by_one and fine_tune is None:
        raise ValueError(
            "`one_by_one=True` needs `fine_tune`, to train between layers. Received: "
            "fine_tune=None"
        )
    if freeze and not one_by_one:
        raise ValueError(
            "`freeze=True` is for `one_by_one=True`. Received: one_by_one=False"
        )
