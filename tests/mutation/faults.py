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
            "Complement(across, whitening, along * scale, remainder * scale, active)",
            "Complement(across, whitening, along * scale, remainder, active)",
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
            'iterations = 4 if at_least_float32(bases[0].dtype) == "float64" else 2',
            'iterations = 3 if at_least_float32(bases[0].dtype) == "float64" else 1',
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
            "variance / rank)",
            "variance) / rank",
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
            'np.searchsorted(-table.errors, -error, side="left")',
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
    *_in("dlrt/datasets/_split.py", "tests/datasets/test_datasets.py")(
        (
            "an image is in the training and in the validation part",
            "kept[:num_val], kept[num_val:]",
            "kept[:num_val], kept[num_val - 1 :]",
        ),
        (
            "another share of noise draws other labels",
            "noisy[replaced] = drawn[replaced]",
            "noisy[replaced] = drawn[: len(replaced)]",
        ),
        (
            "test images are drawn from the stream of the training images",
            "test = np.sort(test_rng.permutation",
            "test = np.sort(train_rng.permutation",
        ),
    ),
]
