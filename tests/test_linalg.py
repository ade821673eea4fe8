import keras
import numpy as np
import pytest
from helpers import double as array
from helpers import orthogonal, tensor
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from dlrt import linalg
from dlrt.ragged import Ragged

EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}
PRECISIONS = ["float32", "float64"]
HALVES = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def graded(n, r, smallest=1e-6, seed=0):
    values = np.geomspace(1.0, smallest, min(n, r))
    left, right = orthogonal(n, min(n, r), seed), orthogonal(r, min(n, r), seed + 1)
    return (left * values) @ right.T


@st.composite
def matrices(draw, *shapes):
    """A matrix of any rank and scale."""
    shape = draw(st.sampled_from(shapes))
    entries = st.floats(-1, 1, width=16, allow_subnormal=False)
    matrix = draw(arrays("float64", shape, elements=entries))
    if draw(st.booleans()):
        matrix = matrix + graded(*shape, seed=draw(st.integers(0, 9)))
    return 10.0 ** draw(st.sampled_from([0, 0, -30, 30])) * matrix


def assert_orthonormal(q, eps):
    q = array(q)
    assert np.abs(q.T @ q - np.eye(q.shape[1])).max() <= 30 * eps


def assert_close_relative(actual, expected, eps, scale=None):
    expected = np.asarray(expected)
    scale = np.abs(expected).max() if scale is None else scale
    assert np.abs(actual - expected).max() <= eps * scale


@pytest.fixture(params=PRECISIONS, scope="module")
def dtype(request):
    return request.param


@given(matrix=matrices((9, 4), (4, 9), (5, 5), (4, 1), (1, 1)))
def test_svd_reconstructs_with_orthonormal_factors(matrix, dtype):
    n, m = matrix.shape
    u, s, vh = linalg.svd(tensor(matrix, dtype))
    k = min(n, m)
    assert (u.shape, s.shape, vh.shape) == ((n, k), (k,), (k, m))
    eps = EPSILON[dtype]
    assert_orthonormal(u, eps)
    assert_orthonormal(linalg.transpose(vh), eps)
    assert_close_relative(array(u) * array(s) @ array(vh), matrix, 50 * eps)
    expected = np.linalg.svd(matrix, compute_uv=False)
    assert_close_relative(array(s), expected, 30 * eps)


def test_eigh_reconstructs_in_ascending_order(dtype):
    q, eigenvalues = orthogonal(6), np.array([-3.0, -1.0, 0.0, 0.5, 2.0, 7.0])
    a = (q * eigenvalues) @ q.T
    values, vectors = linalg.eigh(tensor(a, dtype))
    eps = EPSILON[dtype]
    assert_close_relative(array(values), eigenvalues, 50 * eps)
    assert_orthonormal(vectors, eps)
    assert_close_relative(
        array(vectors) * array(values) @ array(vectors).T, a, 50 * eps
    )


@given(matrix=matrices((40, 7), (6, 6)))
def test_orthonormalize_to_machine_precision_and_contains_the_span(matrix, dtype):
    given = tensor(matrix, dtype)
    q = linalg.orthonormalize(given)
    eps = EPSILON[dtype]
    assert tuple(q.shape) == matrix.shape
    assert_orthonormal(q, eps)
    a, q = array(given), array(q)
    assert_close_relative(q @ (q.T @ a), a, 50 * eps)


def test_orthonormalize_decomposes_a_stack_one_by_one(dtype):
    stack = np.stack([np.random.default_rng(i).normal(size=(6, 3)) for i in range(2)])
    stack[1] *= 1e-20
    together = array(linalg.orthonormalize(tensor(stack, dtype)))
    for matrix, q in zip(stack, together, strict=True):
        alone = array(linalg.orthonormalize(tensor(matrix, dtype)))
        np.testing.assert_allclose(q, alone, atol=10 * EPSILON[dtype])


@given(matrix=matrices((4, 4), (1, 1)))
def test_polar_factor_is_the_nearest_of_the_orthogonal_matrices(matrix, dtype):
    factor = linalg.polar_factor(tensor(matrix, dtype))
    assert_orthonormal(factor, EPSILON[dtype])
    # ‖A - Q‖² = const - 2 <A, Q>: the nearest one has the largest product with A, which
    # is the nuclear norm.
    product = np.sum(matrix * array(factor))
    nuclear = np.linalg.norm(matrix, "nuc")
    assert product == pytest.approx(nuclear, rel=30 * EPSILON[dtype])


@pytest.mark.parametrize("angle", [0.0, 1e-3, 0.02, 0.04, 0.06, 0.08, 0.3])
def test_polar_factor_near_orthogonal_matrices(angle, dtype):
    # On both sides of the boundary between iteration and SVD.
    rng = np.random.default_rng(3)
    stretch = np.eye(5) + angle * np.diag(rng.uniform(-1, 1, 5))
    q, p = orthogonal(5, seed=1), orthogonal(5, seed=2)
    a = q @ p @ stretch @ p.T
    factor = array(linalg.polar_factor(tensor(a, dtype)))
    np.testing.assert_allclose(factor, q, atol=30 * EPSILON[dtype])


def test_polar_factor_of_a_stack_with_one_far_member(dtype):
    near, far = orthogonal(4, seed=1), SQUARE
    stack = tensor(np.stack([near, far]), dtype)
    factors = array(linalg.polar_factor(stack))
    u, _, vh = np.linalg.svd(far)
    np.testing.assert_allclose(factors[0], near, atol=30 * EPSILON[dtype])
    np.testing.assert_allclose(factors[1], u @ vh, atol=100 * EPSILON[dtype])


def test_polar_factor_keeps_reflections():
    # The nearest orthogonal matrix, not the nearest rotation.
    a = np.diag([1.0, -1.0, 1.0])
    np.testing.assert_allclose(array(linalg.polar_factor(tensor(a))), a, atol=1e-15)


def increments(basis):
    """Increments of a basis, by what they add to its span."""
    n, r = basis.shape
    rng = np.random.default_rng(7)
    plain = rng.normal(size=(n, r))
    inside = basis @ rng.normal(size=(r, r))
    duplicate = plain.copy()
    duplicate[:, -1] = duplicate[:, 0]
    return {
        "random": plain,
        "zero": np.zeros((n, r)),
        "inside the span": inside,
        "duplicate columns": duplicate,
        "rank one": np.outer(plain[:, 0], plain[0]),
        "one new direction": inside + np.outer(plain[:, 0], plain[0]),
        "mostly inside": 1e3 * inside + plain,
        "graded": graded(n, r),
        "tiny": 1e-30 * plain,
        "huge": 1e30 * plain,
        "huge inside the span": 1e30 * inside,
    }


NEW_DIRECTIONS = {
    "zero": 0,
    "inside the span": 0,
    "huge inside the span": 0,
    "rank one": 1,
    "one new direction": 1,
}


@pytest.mark.parametrize("kind", list(increments(np.eye(3)[:, :2])))
@pytest.mark.parametrize("shape", [(30, 5), (7, 5)])
def test_complement_splits_an_increment(shape, kind, dtype):
    n, r = shape
    given = tensor(orthogonal(n, r, seed=21), dtype)
    increment = tensor(increments(array(given))[kind], dtype)
    parts = linalg.complement(given, increment)
    u, d, eps = array(given), array(increment), EPSILON[dtype]
    basis, active = array(parts.basis), array(parts.active)
    overlap, remainder = array(parts.overlap), array(parts.remainder)

    new = NEW_DIRECTIONS.get(kind, r - 1 if kind == "duplicate columns" else r)
    expected = min(new, n - r)  # 2r > n leaves no room for more
    if kind == "graded":
        # Directions below the root of the precision are not told from rounding.
        assert 1 <= active.sum() <= expected
    else:
        assert active.sum() == expected
    # Dropped directions are exactly zero, and come last.
    np.testing.assert_array_equal(active, np.sort(active)[::-1])
    np.testing.assert_array_equal(basis[:, active == 0], 0.0)
    np.testing.assert_array_equal(remainder[active == 0], 0.0)

    largest = np.abs(d).max()
    assert_close_relative(overlap, u.T @ d, 30 * eps, scale=largest)
    # What is dropped is below the floor of the Gram matrix, relative to the new part.
    outside = d - u @ (u.T @ d)
    dropped = 4 * np.sqrt(eps) * np.linalg.norm(outside, 2) + 500 * eps * largest
    difference = np.linalg.norm(d - u @ overlap - basis @ remainder, 2)
    assert difference <= dropped * 1.01
    if kind not in ("graded", "mostly inside"):
        assert difference <= 200 * eps * max(largest, 1e-300)

    kept = basis[:, active == 1]
    # What the floor lets through, 1/16 in the Gram matrix, at the worst.
    digits = 0.07 if kind in ("graded", "mostly inside") else 1e3 * eps
    assert np.abs(u.T @ kept).max(initial=0) <= digits
    assert np.abs(kept.T @ kept - np.eye(kept.shape[1])).max(initial=0) <= digits


def test_complement_resolves_graded_increments_in_double_precision():
    u = orthogonal(30, 5)
    d = graded(30, 5, smallest=1e-6, seed=11)
    parts = linalg.complement(tensor(u), tensor(d))
    assert array(parts.active).sum() == 5
    rebuilt = u @ array(parts.overlap) + array(parts.basis) @ array(parts.remainder)
    np.testing.assert_allclose(rebuilt, d, atol=1e-14)
    outside = np.linalg.svd(d - u @ u.T @ d, compute_uv=False)
    found = np.linalg.svd(array(parts.remainder), compute_uv=False)
    np.testing.assert_allclose(found, outside, rtol=1e-3)


def test_complement_of_a_padded_basis_ignores_its_zero_columns(dtype):
    u, d = orthogonal(12, 3), np.random.default_rng(9).normal(size=(12, 3))
    pad = ((0, 0), (0, 2))
    exact = linalg.complement(tensor(u, dtype), tensor(d, dtype))
    wide, steps = (tensor(np.pad(matrix, pad), dtype) for matrix in (u, d))
    padded = linalg.complement(wide, steps)
    np.testing.assert_array_equal(array(padded.active), [1, 1, 1, 0, 0])
    np.testing.assert_allclose(
        array(padded.basis @ padded.remainder)[:, :3],
        array(exact.basis @ exact.remainder),
        atol=100 * EPSILON[dtype],
    )
    np.testing.assert_array_equal(array(padded.basis)[:, 3:], 0.0)
    np.testing.assert_array_equal(array(padded.overlap)[3:], 0.0)


@pytest.mark.parametrize("exact", [False, True])
def test_complements_of_several_bases_equal_those_of_each(exact, dtype):
    bases = [orthogonal(n, 3, seed=n) for n in (9, 5)]
    rng = np.random.default_rng(4)
    steps = [rng.normal(size=(9, 3)), 1e-12 * rng.normal(size=(5, 3))[:, [0, 0, 2]]]
    bases = [tensor(basis, dtype) for basis in bases]
    given = [tensor(step, dtype) for step in steps]
    together = linalg.complement(Ragged((*bases,)), Ragged((*given,)), exact)
    for index, step in enumerate(steps):
        alone = linalg.complement(bases[index], given[index], exact)
        np.testing.assert_array_equal(
            array(together.active)[index], array(alone.active)
        )
        assert_close_relative(
            array(together.basis.parts[index]) @ array(together.remainder)[index],
            array(alone.basis @ alone.remainder),
            100 * EPSILON[dtype],
            np.abs(step).max(),
        )


def perturbed(departure, n=20, r=4):
    a = orthogonal(n, r)
    return a + departure * np.random.default_rng(5).normal(size=(n, r)) / 5


def departure_of(q):
    q = array(q)
    return np.linalg.norm(q.T @ q - np.eye(q.shape[1]), 2)


def test_reorthonormalize_moves_the_least(dtype):
    eps = EPSILON[dtype]
    given = tensor(perturbed(0.1 * eps**0.25), dtype)
    assert departure_of(given) > 100 * eps
    q, root = linalg.reorthonormalize(given)
    assert_orthonormal(q, eps)
    np.testing.assert_allclose(array(q) @ array(root), array(given), atol=20 * eps)
    # Löwdin: the polar factor of the rectangular matrix.
    u, _, vh = np.linalg.svd(array(given), full_matrices=False)
    np.testing.assert_allclose(array(q), u @ vh, atol=20 * eps)


def test_reorthonormalize_repairs_the_worst_that_complement_leaves(dtype):
    given = tensor(perturbed(0.085), dtype)
    assert 0.05 <= departure_of(given) <= 0.07
    q, root = linalg.reorthonormalize(given)
    assert departure_of(q) <= 1e-5
    # Nothing of a matrix in these coordinates is lost, whatever is left to repair.
    tolerance = {"float32": 1e-5, "float64": 1e-9}[dtype]
    np.testing.assert_allclose(array(q) @ array(root), array(given), atol=tolerance)


def test_reorthonormalize_squares_the_error_by_each_iteration():
    given = tensor(perturbed(0.1))
    error = [departure_of(given)]
    for iterations in (1, 2, 3):
        error.append(departure_of(linalg.reorthonormalize(given, iterations)[0]))
        assert 1e-2 * error[-2] ** 2 <= error[-1] <= error[-2] ** 2


def test_reorthonormalize_keeps_zero_columns(dtype):
    a = np.pad(orthogonal(9, 3) * (1 + 1e-4), ((0, 0), (0, 2)))
    q, root = linalg.reorthonormalize(tensor(a, dtype))
    np.testing.assert_array_equal(array(q)[:, 3:], 0.0)
    assert_orthonormal(array(q)[:, :3], EPSILON[dtype])
    np.testing.assert_allclose(array(q) @ array(root), a, atol=10 * EPSILON[dtype])


@pytest.mark.parametrize("r", [1, 5])
def test_inverse_of_a_stack_with_a_singular_member(r, dtype):
    regular = np.random.default_rng(r).normal(size=(r, r)) + 5 * np.eye(r)
    singular = np.zeros((r, r))
    inverse = array(linalg.inverse(tensor([regular, singular, -regular], dtype)))
    assert np.isnan(inverse[1]).all()
    for member, sign in ((0, 1), (2, -1)):
        np.testing.assert_allclose(
            inverse[member], sign * np.linalg.inv(regular), atol=10 * EPSILON[dtype]
        )


def test_inverse_of_matrices_that_are_singular_up_to_rounding():
    """Whether TensorFlow's kernels see a zero pivot in one is a matter of luck."""
    random = np.random.default_rng(0)
    given = random.normal(size=(400, 17, 16)) @ random.normal(size=(400, 16, 17))
    inverse = array(linalg.inverse(tensor(given, "float32")))
    assert (
        np.isnan(inverse).any(axis=(1, 2)) | (abs(inverse).max(axis=(1, 2)) > 1e4)
    ).all()


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_inverse_at_any_scale(scale):
    given = scale * np.random.default_rng(40).normal(size=(20, 20))
    inverse = array(linalg.inverse(tensor(given, "float32")))
    np.testing.assert_allclose(inverse @ given, np.eye(20), atol=1e-4)


def test_roots_of_matrices_near_the_identity(dtype):
    a = np.random.default_rng(2).normal(size=(6, 6))
    given = np.eye(6) + 0.01 * (a + a.T)
    given[4:] = given[:, 4:] = 0.0
    root, inverse_root = linalg.roots(tensor(given, dtype), 4)
    eps = 30 * EPSILON[dtype]
    np.testing.assert_allclose(array(root) @ array(root), given, atol=eps)
    np.testing.assert_allclose(
        array(root)[:4] @ array(inverse_root), np.eye(6)[:4], atol=eps
    )


def minimal_rank(spectrum, tolerance, min_rank, max_rank):
    total = np.sqrt(np.sum(spectrum**2))
    bound = np.inf if max_rank is None else max_rank
    for rank in range(len(spectrum) + 1):
        tail = np.sqrt(np.sum(spectrum[rank:] ** 2))
        if tail <= tolerance * total:
            return min(max(rank, min_rank), bound)
    raise AssertionError


def distance_to_a_tie(spectrum, tolerance):
    tails = [np.sqrt(np.sum(spectrum[k:] ** 2)) for k in range(len(spectrum))]
    return np.min(np.abs(tails / tails[0] - tolerance))


@given(
    values=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12),
    decay=st.floats(0.2, 1.0),
    scale=st.integers(-15, 15),
    tolerance=st.floats(1e-3, 0.99),
    min_rank=st.integers(1, 4),
    extra=st.none() | st.integers(0, 9),
)
def test_truncation_rank_is_minimal(values, decay, scale, tolerance, min_rank, extra):
    spectrum = np.sort(np.array(values) * decay ** np.arange(len(values)))[::-1]
    assume(distance_to_a_tie(spectrum, tolerance) > 1e-5)
    max_rank = None if extra is None else min_rank + extra
    expected = minimal_rank(spectrum, tolerance, min_rank, max_rank)
    for dtype in PRECISIONS:
        # Zeros, so that one function serves all lengths.
        whole = np.pad(spectrum, (0, 12 - len(spectrum)))
        rank = linalg.truncation_rank(
            tensor(10.0**scale * whole, dtype), tolerance, min_rank, max_rank
        )
        assert int(rank) == expected


def test_truncation_rank_allows_an_error_equal_to_the_tolerance():
    # Three of four equal values leave exactly half the norm.
    spectrum = tensor([2.0, 2.0, 2.0, 2.0])
    assert int(linalg.truncation_rank(spectrum, 0.5)) == 3
    assert int(linalg.truncation_rank(spectrum, 0.49)) == 4


def test_truncation_rank_without_tolerance_drops_zeros_only():
    assert int(linalg.truncation_rank(tensor([4.0, 1.0, 1e-6, 0.0, 0.0]), 0.0)) == 3


@pytest.mark.parametrize("min_rank", [1, 3])
def test_truncation_rank_of_zero_is_the_smallest_allowed(min_rank, dtype):
    rank = linalg.truncation_rank(tensor(np.zeros(5), dtype), 0.1, min_rank)
    assert int(rank) == min_rank


def test_truncation_rank_never_exceeds_the_number_of_values():
    spectrum = tensor([1.0, 1.0])
    assert int(linalg.truncation_rank(spectrum, 0.1, min_rank=7)) == 2
    assert int(linalg.truncation_rank(spectrum, 0.1, max_rank=7)) == 2


def test_truncation_rank_is_an_int32_scalar_that_may_be_compiled(compiled, dtype):
    spectrum = tensor([1.0, 0.1, 0.01, 0.001], dtype)
    rank = compiled(lambda s, tol: linalg.truncation_rank(s, tol))(
        spectrum, tensor(0.05, dtype)
    )
    assert tuple(rank.shape) == ()
    assert keras.backend.standardize_dtype(rank.dtype) == "int32"
    assert int(rank) == 2


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_frobenius_norm_neither_overflows_nor_underflows(scale, dtype):
    a = np.random.default_rng(2).normal(size=(6, 4))
    norm = linalg.frobenius_norm(tensor(scale * a, dtype))
    assert tuple(norm.shape) == ()
    expected = np.linalg.norm(a)
    assert float(norm) / scale == pytest.approx(expected, rel=10 * EPSILON[dtype])


def test_frobenius_norm_of_zero_and_of_a_stack(dtype):
    assert float(linalg.frobenius_norm(tensor(np.zeros((3, 2)), dtype))) == 0.0
    stack = np.array([[[3.0, 4.0]], [[-5.0, 12.0]]])
    norms = array(linalg.frobenius_norm(tensor(stack, dtype)))
    np.testing.assert_allclose(norms, [5.0, 13.0], rtol=10 * EPSILON[dtype])


@pytest.mark.parametrize("half", list(HALVES))
def test_half_precision_is_decomposed_and_cast_back(half):
    eps = HALVES[half]
    a = tensor(np.random.default_rng(0).normal(size=(6, 3)), half)
    square = tensor(np.random.default_rng(0).normal(size=(4, 4)), half)
    symmetric = square + linalg.transpose(square)

    u, s, vh = linalg.svd(a)
    values, vectors = linalg.eigh(symmetric)
    q, polar = linalg.orthonormalize(a), linalg.polar_factor(square)
    for result in (u, s, vh, values, vectors, q, polar):
        assert keras.backend.standardize_dtype(result.dtype) == half
    np.testing.assert_allclose(array(u) * array(s) @ array(vh), array(a), atol=10 * eps)
    rebuilt = array(vectors) * array(values) @ array(vectors).T
    np.testing.assert_allclose(rebuilt, array(symmetric), atol=20 * eps)
    for basis in (u, q, vectors, polar):
        assert_orthonormal(basis, eps / 5)
    np.testing.assert_allclose(
        array(q) @ array(q).T @ array(a), array(a), atol=10 * eps
    )


SQUARE = np.random.default_rng(0).normal(size=(4, 4))
FUNCTIONS = {
    "svd": lambda a: linalg.svd(a)[1],
    "svd bases": lambda a: linalg.svd(a)[0],
    "eigh": lambda a: linalg.eigh(a + linalg.transpose(a))[0],
    "orthonormalize": linalg.orthonormalize,
    "polar_factor": linalg.polar_factor,
    "inverse": linalg.inverse,
    "frobenius_norm": linalg.frobenius_norm,
    "complement": lambda a: linalg.complement(ops.eye(4, 4, dtype=a.dtype), a).overlap,
    "complement basis": lambda a: linalg.complement(0 * a + 1e-3, a).basis,
    "complement remainder": lambda a: linalg.complement(0 * a + 1e-3, a).remainder,
    "reorthonormalize": lambda a: linalg.reorthonormalize(a)[0],
}


@pytest.mark.parametrize("function", list(FUNCTIONS))
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "compiled"])
def test_non_finite_input_gives_nan_and_no_exception(function, bad, traced, compiled):
    a = SQUARE.copy()
    a[2, 1] = bad
    f = FUNCTIONS[function]
    result = array((compiled(f) if traced else f)(tensor(a, "float32")))
    if function == "frobenius_norm":
        assert not np.isfinite(result)
    else:
        assert np.isnan(result).any()


@pytest.mark.parametrize("function", list(FUNCTIONS))
def test_compiled_equals_eager(function, compiled):
    f, a = FUNCTIONS[function], tensor(SQUARE, "float32")
    eager, traced = array(f(a)), array(compiled(f)(a))
    np.testing.assert_allclose(traced, eager, atol=200 * EPSILON["float32"])
    assert np.isfinite(eager).all()


@pytest.mark.parametrize("given", [*PRECISIONS, "float16", "bfloat16"])
def test_decomposition_dtype(given):
    expected = "float64" if given == "float64" else "float32"
    assert linalg.at_least_float32(given) == expected
    assert linalg.epsilon(tensor([1.0], given)) == EPSILON[expected]


@pytest.mark.parametrize("function", list(FUNCTIONS))
def test_precision_stays(function, dtype):
    result = FUNCTIONS[function](tensor(SQUARE, dtype))
    assert keras.backend.standardize_dtype(result.dtype) == dtype


def test_transpose_swaps_the_last_two_axes():
    a = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(
        array(linalg.transpose(tensor(a))), np.swapaxes(a, 1, 2)
    )
