"""Deliberate faults in the library, and the tests that must notice each."""

from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    """A change of the source that makes it wrong.

    Attributes:
        path: The module.
        old: A text that it has once.
        new: What is put in its place.
        why: What is wrong then.
        tests: The tests that must notice, those that are likely to first.
    """

    path: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]


def planted(fault: Fault, root: Path) -> str:
    """The source of a module with a fault.

    Raises:
        ValueError: If the module does not have the text once.
    """
    path = root / fault.path
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    count = source.count(fault.old)
    if count != 1:
        raise ValueError(
            f"{fault.path} must have the text of the fault {fault.why!r} once, so that "
            f"it can be replaced. Received: {count} times {fault.old!r}"
        )
    return source.replace(fault.old, fault.new)


def _in(path: str, *tests: str) -> "_Faults":
    return _Faults(path, tests)


class _Faults(NamedTuple):
    """Faults of one module."""

    path: str
    tests: tuple[str, ...]

    def __call__(self, *changes: tuple[str, str, str]) -> list[Fault]:
        """A fault for each `(why, old, new)`."""
        return [Fault(self.path, o, n, why, self.tests) for why, o, n in changes]


FAULTS: list[Fault] = [
    *_in("dlrt/linalg.py", "tests/test_linalg.py")(
        (
            "the rank is one too large where the error equals the tolerance",
            "ops.cast(tail > bound,",
            "ops.cast(tail >= bound,",
        ),
        (
            "the tolerance is not squared beside squared errors",
            "ops.square(ops.cast(tolerance, tail.dtype)) * tail[0]",
            "ops.cast(tolerance, tail.dtype) * tail[0]",
        ),
        (
            "the upper bound of the rank is lost",
            "return ops.minimum(ops.maximum(rank, min_rank), upper)",
            "return ops.maximum(rank, min_rank)",
        ),
        (
            "what lies within a span is added instead of taken away",
            "return coordinates, increment - basis @ coordinates",
            "return coordinates, increment + basis @ coordinates",
        ),
        (
            "eigenvectors are turned upside down, not put in descending order",
            "ops.flip(vectors, axis=-1)",
            "ops.flip(vectors, axis=-2)",
        ),
        (
            "new directions lose the scale of their increment",
            "whitening, along * scale, remainder * scale, active)",
            "whitening, along * scale, remainder, active)",
        ),
        (
            "the right singular vectors are transposed once too often",
            "return u @ vh\n",
            "return u @ transpose(vh)\n",
        ),
        (
            "Newton-Schulz iterates where it does not converge",
            "axis=(-2, -1))) < 0.01",
            "axis=(-2, -1))) < 1.0",
        ),
        (
            "reorthonormalisation stops an iteration too early",
            'iterations = 4 if at_least_float32(basis.dtype) == "float64" else 2',
            'iterations = 3 if at_least_float32(basis.dtype) == "float64" else 1',
        ),
        (
            "a norm loses its scale",
            "return norm * scale[..., 0, 0]",
            "return norm",
        ),
    ),
    *_in("dlrt/factors.py", "tests/test_factors.py")(
        (
            "the coefficients are transposed",
            "return self.u @ self.s @ linalg.transpose(self.v)",
            "return self.u @ linalg.transpose(self.s @ self.v)",
        ),
        (
            "the right basis is turned by rows instead of columns",
            "self.v @ linalg.transpose(vh[:rank])",
            "self.v @ vh[:, :rank]",
        ),
    ),
    *_in(
        "dlrt/layers/_galerkin.py",
        "tests/layers/test_galerkin.py",
        "tests/layers/test_contract.py",
    )(
        (
            "the gradient of the input lacks a transpose",
            "dyv @ transpose(s) @ transpose(u),",
            "dyv @ s @ transpose(u),",
        ),
        (
            "the gradient of U is that of its entries, not the Galerkin one",
            "                transpose(x) @ dyv,\n",
            "                transpose(x) @ dyv @ transpose(s),\n",
        ),
        (
            "the gradient of S is transposed in a lookup",
            "return gv, transpose(rows) @ dyv, transpose(dy) @ rows",
            "return gv, transpose(dyv) @ rows, transpose(dy) @ rows",
        ),
        (
            "the gradient of the input of a convolution lacks S",
            "vector_jacobian(convolve, (x, u @ s), ",
            "vector_jacobian(convolve, (x, u), ",
        ),
        (
            "the gradient of S is transposed where the matrix is formed",
            "return gv, transpose(u) @ gv, transpose(g) @ u",
            "return gv, transpose(gv) @ u, transpose(g) @ u",
        ),
        (
            "the gradient of a squared norm lacks the factor 2",
            "g = 2 * l2 * s",
            "g = l2 * s",
        ),
        (
            "the gradient of the nuclear norm is that of the Frobenius norm",
            "g = g + l1 * polar_factor(s)",
            "g = g + l1 * s",
        ),
    ),
    *_in("dlrt/layers/low_rank_affine.py", "tests/layers/test_contract.py")(
        (
            "the bias is lost",
            "return ops.add(x, ops.cast(self.bias, x.dtype))",
            "return x",
        ),
    ),
    *_in(
        "dlrt/layers/low_rank_embedding.py", "tests/layers/test_low_rank_embedding.py"
    )(
        (
            "words are masked instead of padding",
            "return ops.not_equal(inputs, 0)",
            "return ops.equal(inputs, 0)",
        ),
    ),
    *_in(
        "dlrt/layers/low_rank_conv.py",
        "tests/layers/test_low_rank_conv.py",
        "tests/layers/test_contract.py",
    )(
        (
            "causal padding comes behind the sequence",
            "[before, 0]",
            "[0, before]",
        ),
        (
            "the fan out of a kernel does not count its positions",
            "fans=(field * channels, field * self.filters)",
            "fans=(field * channels, self.filters)",
        ),
    ),
    *_in(
        "dlrt/layers/low_rank_einsum_dense.py",
        "tests/layers/test_low_rank_einsum_dense.py",
        "tests/layers/test_contract.py",
    )(
        (
            "a permutation is applied in place of its inverse",
            "np.argsort(self._kernel_order).tolist()",
            "self._kernel_order",
        ),
    ),
    *_in(
        "dlrt/layers/_initializers.py",
        "tests/layers/test_low_rank_dense.py",
        "tests/layers/test_contract.py",
    )(
        (
            "the variance of a kernel is divided by its rank twice",
            "variance / count)",
            "variance) / count",
        ),
    ),
    *_in(
        "dlrt/layers/multi_head_attention.py",
        "tests/layers/test_multi_head_attention.py",
        "tests/layers/test_contract.py",
    )(
        (
            "a window of attention is one too wide",
            "distances < self._sliding_window",
            "distances <= self._sliding_window",
        ),
    ),
    *_in(
        "dlrt/layers/projected_rnn.py",
        "tests/layers/test_projected_rnn.py",
        "tests/compression/test_recurrent.py",
    )(
        (
            "every gate gets the mask of the first",
            "ops.split(projection(x * mask), len(masks), axis=-1)[gate]",
            "ops.split(projection(x * masks[0]), len(masks), axis=-1)[gate]",
        ),
    ),
    *_in("dlrt/regularizers/hoyer.py", "tests/regularizers/test_regularizers.py")(
        (
            "the norm is not the root of the squares",
            "return self.amount * ones / ops.sqrt(squares)",
            "return self.amount * ones / squares",
        ),
    ),
    *_in(
        "dlrt/regularizers/orthogonality.py", "tests/regularizers/test_regularizers.py"
    )(
        (
            "the distance does not depend on the number of vectors",
            "ops.eye(count, dtype=gram.dtype)) / count",
            "ops.eye(count, dtype=gram.dtype))",
        ),
    ),
    *_in("dlrt/accounting/parameters.py", "tests/accounting/test_parameters.py")(
        (
            "kernels cost their factors where dense ones are smaller",
            "min(factors, n * m)",
            "factors",
        ),
        (
            "the coefficients of training are not counted",
            "factors + rank**2 if training",
            "factors if training",
        ),
    ),
    *_in("dlrt/accounting/calls.py", "tests/accounting/test_accounting.py")(
        (
            "layers in a loop count once",
            "yield one._replace(times=call.times * one.times)",
            "yield one._replace(times=call.times)",
        ),
    ),
    *_in(
        "dlrt/compression/structures/_spectral.py",
        "tests/compression/test_spectral.py",
    )(
        (
            "rounding makes roots of negative numbers",
            "np.sqrt(np.maximum(squares, 0.0))",
            "np.sqrt(squares)",
        ),
        (
            "norms are made more unequal instead of equal",
            "return left * root, right / root[:, None]",
            "return left / root, right * root[:, None]",
        ),
        (
            "the smallest singular values are kept",
            "[1][:, ::-1][:, :rank]",
            "[1][:, :rank]",
        ),
    ),
    *_in("dlrt/compression/_allocation.py", "tests/compression/test_allocation.py")(
        (
            "a budget that is met exactly counts as exceeded",
            "if _add_costs(tables, choose(levels[middle])) <= limit:",
            "if _add_costs(tables, choose(levels[middle])) < limit:",
        ),
        (
            "what is left goes to any layer, whatever its share",
            "(weights[i] * tables[i].errors[chosen[i]], -i)",
            "(tables[i].errors[chosen[i]], -i)",
        ),
        (
            "a bound on the error is not reached by an equal one",
            "np.searchsorted(-table.errors, -error)",
            'np.searchsorted(-table.errors, -error, side="right")',
        ),
        (
            "choices of equal error that cost more are kept",
            "errors[order][1:] < best[:-1]",
            "errors[order][1:] <= best[:-1]",
        ),
    ),
    *_in("dlrt/compression/_budget.py", "tests/compression/test_budget.py")(
        (
            "the ratio of a budget is inverted",
            "int(parameters / amount)",
            "int(parameters * (1 - 1 / amount))",
        ),
    ),
    *_in("dlrt/evolution/_allocation.py", "tests/evolution/test_shrinking.py")(
        (
            "errors are not weighed by the parameters that they save",
            "(errors[name][fewer] - errors[name][size]) / saved",
            "errors[name][fewer] - errors[name][size]",
        ),
        (
            "a limit that is met exactly counts as exceeded",
            "while total > bound.most:",
            "while total >= bound.most:",
        ),
        (
            "widths fall below the smallest",
            "fewer = max(smallest[name], size - max(1, int(size * _SHARE)))",
            "fewer = max(1, size - max(1, int(size * _SHARE)))",
        ),
    ),
    *_in(
        "dlrt_names/log_schema.py",
        "tests/history/test_cells.py",
        "tests/history/test_tables.py",
    )(
        (
            "numbers lose their last digit",
            "{value:.16g}",
            "{value:.15g}",
        ),
        (
            "texts that look like numbers come back as numbers",
            "return value if abs(value) >= _MAX_INTEGER else cell",
            "return value",
        ),
        (
            "characters that Excel counts twice count once",
            'sum(character > "\\uffff" for character in text)',
            "0",
        ),
    ),
    *_in("dlrt/datasets/_split.py", "tests/datasets/test_split.py")(
        (
            "an image is in the training and in the validation part",
            "kept[:num_val], kept[num_val:]",
            "kept[:num_val], kept[num_val - 1 :]",
        ),
        (
            "all labels that are replaced become one",
            "noisy[replaced] = drawn[replaced]",
            "noisy[replaced] = drawn[replaced[:1]]",
        ),
        (
            "the first test images are kept",
            "test_rng.permutation(len(dataset.x_test))",
            "np.arange(len(dataset.x_test))",
        ),
    ),
    *_in("dlrt/integrators/kls.py", "tests/integrators/test_updates.py")(
        (
            "the old matrix is not projected on the new bases",
            "Factors(u, transpose(left) @ s @ right, v)",
            "Factors(u, s, v)",
        ),
    ),
    *_in("dlrt/integrators/parallel_bug.py", "tests/integrators/test_updates.py")(
        (
            "the block of the new rows is transposed",
            'top = [factors.s + increments["s"], linalg.transpose(right)]',
            'top = [factors.s + increments["s"], right]',
        ),
    ),
    *_in(
        "dlrt/integrators/projector_splitting.py", "tests/integrators/test_updates.py"
    )(
        (
            "the step of the coefficients runs forwards in time",
            'Phase(("s",), direction=-1)',
            'Phase(("s",), direction=1)',
        ),
    ),
    *_in("dlrt/integrators/factorized.py", "tests/integrators/test_factorized.py")(
        (
            "the gradient of a factor lacks the scale of the other",
            '"u": gradients["u"] * right,',
            '"u": gradients["u"],',
        ),
    ),
    *_in("dlrt/integrators/_augmentation.py", "tests/integrators/test_updates.py")(
        (
            "bases turn more than they must",
            "return columns @ linalg.polar_factor(overlap)\n",
            "return columns\n",
        ),
        (
            "coefficients don't follow what repairs the right basis",
            "(transpose(p) @ core @ q) @ transpose(root_v)",
            "(transpose(p) @ core @ q)",
        ),
        (
            "one column too many is kept",
            "ops.arange(width) < rank, singular_values.dtype",
            "ops.arange(width) <= rank, singular_values.dtype",
        ),
    ),
    *_in("dlrt/integrators/_rotation.py", "tests/integrators/test_updates.py")(
        (
            "large angles count as small",
            "_NEAR = 0.01",
            "_NEAR = 1.0",
        ),
        (
            "what the right basis turns by is lost",
            "s = root_u @ mixed + left @ (core @ root_v - mixed)",
            "s = root_u @ mixed",
        ),
    ),
    *_in(
        "dlrt/training/_scaling.py",
        "tests/training/test_scaling.py",
        "tests/training/test_optimizer.py",
        "tests/training/test_ranks_in_training.py",
    )(
        (
            "steps of K are scaled by the wrong side of the kernel",
            '"u": _BASIS_FACTOR * ops.sqrt(m / rank),',
            '"u": _BASIS_FACTOR * ops.sqrt(n / rank),',
        ),
        (
            "the first new direction counts as an old one",
            "new = ops.arange(width) >= before",
            "new = ops.arange(width) > before",
        ),
    ),
    *_in(
        "dlrt/training/optimizer_slots.py",
        "tests/training/test_optimizer_slots.py",
        "tests/training",
        "tests/test_saving.py",
    )(
        (
            "second moments turn as first ones",
            "left, right = ops.square(left), ops.square(right)",
            "left, right = left, right",
        ),
        (
            "moments are lost where variables are replaced",
            "new.assign(carried(old, new))",
            "carried(old, new)",
        ),
    ),
    *_in(
        "dlrt/training/_layer_step.py",
        "tests/training/test_layer_step.py",
        "tests/training/test_optimizer.py",
        "tests/training/test_ranks_in_training.py",
    )(
        (
            "steps backwards go forwards",
            "grads[name] if phase.direction == 1 else -grads[name]",
            "grads[name] if phase.direction == 1 else grads[name]",
        ),
        (
            "coefficients of new directions begin without second moments",
            "slot.assign(ops.where(new, mean, value))",
            "slot.assign(value)",
        ),
    ),
    *_in(
        "dlrt/training/_augmented_gradients.py",
        "tests/training/test_optimizer.py",
        "tests/training/test_passes.py",
    )(
        (
            "new directions have no gradient in each other",
            "ops.cast(corner, upper[0].dtype)",
            "0 * ops.cast(corner, upper[0].dtype)",
        ),
    ),
    *_in("dlrt/training/_driver.py", "tests/training/test_optimizer.py")(
        (
            "factors are stepped while gradients are accumulated",
            "value if updating is None else ops.where(updating, value, before)",
            "value",
        ),
    ),
    *_in("dlrt/training/capacity.py", "tests/training/test_ranks_in_training.py")(
        (
            "room never grows",
            "more = min(max(2 * columns, columns + _GROWTH), bounds.max_rank)",
            "more = columns",
        ),
    ),
    *_in("dlrt/surgery/recurrent.py", "tests/compression/test_recurrent.py")(
        (
            "the bias of the second product is lost",
            "np.stack(values) if gru else values[0] + values[1]",
            "np.stack(values[:1] * 2) if gru else values[0]",
        ),
    ),
    *_in("dlrt/surgery/decomposed.py", "tests/compression/test_decompose.py")(
        (
            "singular values are lost where rows become layers",
            'np.asarray(first.kernel, "float64") * np.asarray(values.s, "float64")',
            'np.asarray(first.kernel, "float64")',
        ),
    ),
    *_in("dlrt/compression/structures/tucker.py", "tests/compression/test_compress.py")(
        (
            "the core is that of all channels' first filters",
            "self._rotated[..., :rank, :] @ q, q",
            "self._rotated[..., :rank, :] @ np.eye(*q.shape), q",
        ),
    ),
    *_in(
        "dlrt/evolution/_channels.py",
        "tests/evolution/test_channels.py",
        "tests/evolution/test_set_widths.py",
    )(
        (
            "the mean of channels that are kept is added twice",
            "return transform, reading.mean - reading.mean[kept] @ transform",
            "return transform, reading.mean",
        ),
    ),
    *_in("dlrt/evolution/_surgery.py", "tests/evolution/test_set_widths.py")(
        (
            "moments of channels that stay are lost",
            "return np.where(known, slot, fresh)",
            "return fresh",
        ),
    ),
    *_in("dlrt/history/history_log.py", "tests/history/test_resumed_logs.py")(
        (
            "a continued run loses its last epoch",
            "row[EPOCH] <= initial_epoch]",
            "row[EPOCH] < initial_epoch]",
        ),
    ),
    *_in("dlrt/history/history_log.py", "tests/history/test_tables.py")(
        (
            "a continued run loses the last rows of further sheets",
            "lambda epoch: epoch <= initial_epoch)",
            "lambda epoch: epoch < initial_epoch)",
        ),
    ),
]
