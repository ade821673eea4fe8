"""One step of each integrator against its formulas in plain NumPy."""

import functools

import conftest
import keras
import numpy as np
import pytest
from conftest import slow
from problems import (
    ADAPTIVE,
    GEOMETRIC,
    array,
    assert_bases,
    best,
    dense,
    field_for,
    orthogonal,
    padded,
    random_factors,
    tensor,
)

from dlrt import Factors, integrators
from dlrt.integrators import Truncation, _rotation
from dlrt.ragged import Ragged


@functools.cache
def compiled_update(name, phase, truncation):
    integrator = integrators.get(name)

    def update(u, s, v, tolerance, *increments):
        named = dict(zip(integrator.phases[phase].steps, increments, strict=True))
        rule = truncation and truncation._replace(tolerance=tolerance)
        return integrator.update(phase, Factors(u, s, v), named, rule)

    return conftest.compiler()(update)


def update(name, phase, factors, increments, truncation=None):
    steps = integrators.get(name).phases[phase].steps
    tolerance = 0.0 if truncation is None else truncation.tolerance
    # One compiled function for all tolerances.
    rule = truncation and truncation._replace(tolerance=None)
    return compiled_update(name, phase, rule)(
        *factors, tensor(tolerance), *(tensor(increments[step]) for step in steps)
    )


def random_increments(factors, h, seed=5, field=None):
    """What an Euler step of a constant field `G` gives for `K`, `S` and `L`."""
    u, s, v = map(array, factors)
    g = np.random.default_rng(seed).normal(size=(len(u), len(v)))
    g = g if field is None else field
    return {"u": h * g @ v, "s": h * u.T @ g @ v, "v": h * g.T @ u}


def run_step(name, factors, g, truncation=None):
    """A step for a constant field `G`, by the updates of an integrator."""
    integrator = integrators.get(name)
    factors = integrator.prepare(factors)
    for index, phase in enumerate(integrator.phases):
        increments = random_increments(factors, phase.direction, field=g)
        last = index == len(integrator.phases) - 1
        factors = update(
            name, index, factors, increments, truncation if last else None
        ).factors
    return factors


def span(matrix):
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    return u[:, s > 1e-12 * max(s[0], 1e-300)]


def reference(name, factors, g):
    """The dense result of a step with a constant field, before truncation."""
    u, s, v = map(array, factors)
    w = u @ s @ v.T
    k1, l1 = u @ s + g @ v, v @ s.T + g.T @ u
    if name == "kls":
        p, q = np.linalg.qr(k1)[0], np.linalg.qr(l1)[0]
        return p @ p.T @ (w + g) @ q @ q.T
    if name == "augmented_bug":
        p, q = span(np.hstack([u, k1])), span(np.hstack([v, l1]))
        return p @ p.T @ (w + g) @ q @ q.T
    if name == "parallel_bug":
        p, q = u @ u.T, v @ v.T
        outside_p, outside_q = np.eye(len(u)) - p, np.eye(len(v)) - q
        s1 = s + u.T @ g @ v
        return u @ s1 @ v.T + outside_p @ k1 @ v.T + u @ l1.T @ outside_q
    p, r = np.linalg.qr(k1)
    core = r - p.T @ g @ v
    l1 = v @ core.T + g.T @ p
    return p @ l1.T


@pytest.fixture
def start(shape):
    return random_factors(*shape, 3)


@pytest.fixture
def shape():
    return 11, 7


# Both sides of a square kernel are decomposed in one batch, so it is a case of its own.
square_too = pytest.mark.parametrize(
    "shape", [(11, 7), *slow(((9, 9),))], ids=["rectangular", "square"]
)
both_shapes = pytest.mark.parametrize(
    "shape", [(11, 7), (9, 9)], ids=["rectangular", "square"]
)


@both_shapes
@pytest.mark.parametrize("name", ["kls", "projector_splitting"])
@pytest.mark.parametrize("size", [1e-9, 10.0, *slow(0.1)])
def test_step_at_fixed_rank(name, size, start):
    g = field_for(start, size)
    end = run_step(name, start, g)
    expected = reference(name, start, g)
    assert assert_bases(end) == 3
    np.testing.assert_allclose(dense(end), expected, atol=1e-13 * max(1.0, size))


@both_shapes
@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("tolerance", [0.02, 0.6, *slow(1e-12, 0.2)])
@pytest.mark.parametrize("columns", [6, *slow(3)])
def test_step_with_truncation(name, tolerance, columns, start):
    g = field_for(start, 0.1)
    whole = reference(name, start, g)
    values = np.linalg.svd(whole, compute_uv=False)
    wide = padded(start, columns)
    end = run_step(name, wide, g, Truncation(tolerance, 1, 6, width=6))
    rank = assert_bases(end)
    total = np.linalg.norm(whole)
    # Within the tolerance, with the smallest rank that is, and the best of that rank,
    # or, at the rank as it was, what a step at fixed rank results in.
    error = np.linalg.norm(dense(end) - whole)
    assert error <= tolerance * total + 1e-12
    assert np.linalg.norm(values[rank - 1 :]) > tolerance * total
    expected = [best(whole, rank)[0]]
    if name == "parallel_bug" and rank == 3:
        expected.append(dense(run_step(name, start, g)))
    assert min(np.abs(dense(end) - matrix).max() for matrix in expected) < 1e-12
    np.testing.assert_array_equal(array(end.s)[rank:], 0.0)
    np.testing.assert_array_equal(array(end.s)[:, rank:], 0.0)


@pytest.mark.parametrize(
    "tolerance, candidates", [(0.003, 0), (0.03, 0), (0.3, 0), (0.03, 1), (0.3, 1)]
)
def test_parallel_bug_decomposes_only_where_the_rank_may_change(
    tolerance, candidates, shape
):
    certain = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        smallest, h = 10 ** random.uniform(-2, 0), 10 ** random.uniform(-4, -1)
        factors = random_factors(*shape, 3, [2.0, 1.0, smallest], seed)
        g = h * random.normal(size=shape)
        increments = {
            name: tensor(step)
            for name, step in random_increments(factors, 1.0, field=g).items()
        }
        values = np.linalg.svd(reference("parallel_bug", factors, g), compute_uv=False)
        rotated = _rotation.rotate_both(factors, increments)
        if not rotated.near:
            continue
        norm = np.linalg.norm(values)
        np.testing.assert_allclose(float(rotated.square_norm), norm**2, rtol=1e-9)
        rule = Truncation(tolerance, 1, None, candidates=candidates)
        if _rotation.keeps_rank(rotated, rule, 3):
            certain += 1
            bound, asked = tolerance * norm, 3 - candidates
            assert np.linalg.norm(values[asked:]) <= bound
            assert bound < np.linalg.norm(values[asked - 1 :])
    assert certain >= 2


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("low, high, expected", [(4, 6, 4), (1, 2, 2)])
def test_rank_stays_within_bounds(name, low, high, expected, start):
    g = field_for(start, 0.1)
    tolerance = 0.9 if low > 1 else 1e-12
    end = run_step(name, start, g, Truncation(tolerance, low, high, width=6))
    assert assert_bases(end) == expected


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("most, expected", [(None, 1), (6, 1), (2, 0)])
def test_candidates_are_kept_beyond_the_tolerance(name, most, expected, start):
    g = field_for(start, 0.1)
    asked = assert_bases(run_step(name, start, g, Truncation(0.6, 1, 6, width=6)))
    assert asked == 2
    rule = Truncation(0.6, 1, most, width=6, candidates=1)
    assert assert_bases(run_step(name, start, g, rule)) == asked + expected


@pytest.mark.parametrize("name", ADAPTIVE)
def test_truncation_without_a_width_gives_factors_of_exactly_the_rank(name):
    start = random_factors(11, 7, 3)
    g = field_for(start, 0.1)
    factors = integrators.step(
        name, lambda t, w: tensor(g), 0.0, start, 1.0, Truncation(0.1)
    )
    padded = run_step(name, start, g, Truncation(0.1, 1, 6, width=6))
    rank = assert_bases(padded)
    assert [tuple(f.shape) for f in factors] == [(11, rank), (rank, rank), (7, rank)]
    np.testing.assert_allclose(dense(factors), dense(padded), atol=1e-13)


def test_augmented_bug_loses_nothing_by_its_change_of_basis(start):
    increments = random_increments(start, 0.1)
    middle = update("augmented_bug", 0, start, increments).factors
    assert tuple(middle.s.shape) == (6, 6)
    assert assert_bases(middle) == 6
    np.testing.assert_allclose(dense(middle), dense(start), atol=1e-13)
    u, k1 = array(middle.u), array(start.u @ start.s) + increments["u"]
    np.testing.assert_allclose(u @ (u.T @ k1), k1, atol=1e-12)


@square_too
@pytest.mark.parametrize("name", ADAPTIVE)
def test_fixed_rank_is_nearly_the_best_approximation(name, start):
    # Where one step of subspace iteration will do, the excess is of second order.
    sizes = [0.02, 0.01, 0.005]
    excess = []
    for size in sizes:
        g = field_for(start, size)
        whole = reference(name, start, g)
        end = run_step(name, start, g)
        assert assert_bases(end) == 3
        excess.append(np.linalg.norm(dense(end) - best(whole, 3)[0]))
        optimum = best(whole, 3)[1]
        assert np.linalg.norm(dense(end) - whole) <= 1.4 * optimum
    assert np.polyfit(np.log(sizes), np.log(excess), 1)[0] >= 1.8


def small_angles(name, seed, rank=4):
    """A start, an update by angles below 0.3 from it, and the matrix to approximate.

    What is left out by turning bases is of any size beside the smallest singular value.
    """
    rng = np.random.default_rng(seed)
    values = np.geomspace(1.0, 10.0 ** rng.uniform(-8, 0), rank)
    width = 2 * rank if name == "augmented_bug" else rank
    start = random_factors(24, 20, width, seed=seed)
    core = orthogonal(rank, seed=seed) * values @ orthogonal(rank, seed=seed + 1)
    x, y = (
        10.0 ** rng.uniform(-3, 0) * 0.3 * orthogonal(rank, seed=seed + k)
        for k in (2, 3)
    )
    u, _, v = map(array, start)
    if name == "augmented_bug":
        corner = 10.0 ** rng.uniform(-8, -1) * rng.normal(size=(rank, rank))
        stepped = np.block([[core, core @ y.T], [x @ core, x @ core @ y.T + corner]])
        start = start._replace(s=tensor(np.zeros((width, width))))
        return start, {"s": stepped}, u @ stepped @ v.T
    new_u, new_v = (span(np.eye(len(b)) - b @ b.T)[:, :rank] for b in (u, v))
    increments = {
        "u": new_u @ x @ core,
        "s": core - array(start.s),
        "v": new_v @ y @ core.T,
    }
    whole = u @ core @ v.T + increments["u"] @ v.T + u @ increments["v"].T
    return start, increments, whole


@pytest.mark.parametrize(
    "dtype, rounding", [("float64", 1e-13), *slow(("float32", 2e-4))]
)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_error_in_training_is_at_most_one_and_a_half_times_the_best(
    name, dtype, rounding
):
    integrator = integrators.get(name)
    phase = len(integrator.phases) - 1
    rules = [None]
    if name == "parallel_bug":
        # The rank that the tolerance asks for is out of reach.
        rules.append(Truncation(1e-15, 1, 4, width=4))
    cast = functools.partial(keras.ops.convert_to_tensor, dtype=dtype)
    excess = []
    for seed in range(24):
        start, increments, whole = small_angles(name, seed)
        start = Factors(*(cast(array(part)) for part in start))
        increments = {key: cast(step) for key, step in increments.items()}
        optimum = best(whole, 4)[1]
        for rule in rules:
            end = integrator.update(phase, start, increments, rule).factors
            error = np.linalg.norm(dense(end).astype("float64") - whole)
            assert error <= 1.4 * optimum + rounding
            excess.append(error - optimum > 1e-6 * error)
    # Not by a singular value decomposition every time.
    assert dtype == "float32" or 4 <= np.sum(excess) < len(excess)


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("kind", ["full", "deficient", *slow("zero")])
def test_a_zero_increment_changes_nothing(name, kind, start):
    singular_values = {
        "full": [2.0, 1.0, 0.5],
        "deficient": [2.0, 0, 0],
        "zero": [0] * 3,
    }
    n, m = start.u.shape[0], start.v.shape[0]
    start = random_factors(n, m, 3, np.array(singular_values[kind]))
    end = run_step(name, start, field_for(start, 0.0))
    assert_bases(end)
    np.testing.assert_allclose(dense(end), dense(start), atol=1e-14)
    if kind == "full":
        for new, old in zip(end, start, strict=True):
            np.testing.assert_allclose(array(new), array(old), atol=1e-13)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_zero_increment_changes_nothing_when_the_rank_is_chosen(name, start):
    end = run_step(name, start, field_for(start, 0.0), Truncation(0.01, 1, 6, width=6))
    assert assert_bases(end) == 3
    for new, old in zip(end, start, strict=True):
        crop = tuple(slice(k) for k in old.shape)
        np.testing.assert_allclose(array(new)[crop], array(old), atol=1e-13)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_bases_move_as_little_as_the_increment(name, start):
    for h in (1e-2, 1e-4, 1e-6):
        end = run_step(name, start, field_for(start, h))
        for new, old in ((end.u, start.u), (end.v, start.v)):
            overlap = array(old).T @ array(new)
            # Nearest gauge: the overlap is symmetric, and one up to second order.
            assert np.linalg.norm(overlap - np.eye(3)) <= 100 * h**2 + 1e-12
            assert np.linalg.norm(overlap - overlap.T) <= 100 * h**2 + 1e-12
            assert np.linalg.norm(array(new) - array(old)) <= 30 * h


@both_shapes
@pytest.mark.parametrize("name", ["kls", *slow("parallel_bug", "projector_splitting")])
def test_the_way_for_small_angles_joins_that_for_any(name, start, monkeypatch):
    # Just small enough for the short way; the long one must lead to the same place.
    g = field_for(start, 0.02)
    short = run_step(name, start, g)
    monkeypatch.setattr(_rotation, "_NEAR", 0.0)
    compiled_update.cache_clear()
    long = run_step(name, start, g)
    compiled_update.cache_clear()
    # Second order in the step where the matrix is truncated, none where it is not.
    tolerance = 0.01 if name == "parallel_bug" else 1e-12
    for new, old in zip(short, long, strict=True):
        np.testing.assert_allclose(array(new), array(old), atol=tolerance)
    assert not np.array_equal(array(short.s), array(long.s))


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("large", [10.0, *slow(0.02)], ids=["one far", "all near"])
def test_matrices_updated_together_equal_those_updated_alone(name, large):
    starts = [random_factors(11, 7, 3), *[random_factors(9, 9, 3, seed=8)] * 2]
    sizes = [0.02, large, 0.02]
    increments = [
        random_increments(start, size)
        for start, size in zip(starts, sizes, strict=True)
    ]
    alone = [
        update(name, 0, start, steps)
        for start, steps in zip(starts, increments, strict=True)
    ]
    u, s, v = zip(*starts, strict=True)
    given = {
        key: [tensor(steps[key]) for steps in increments]
        for key in integrators.get(name).phases[0].steps
    }
    together = integrators.get(name).update(
        0,
        Factors(Ragged(u), keras.ops.stack(s), Ragged(v)),
        {
            key: keras.ops.stack(steps) if key == "s" else Ragged((*steps,))
            for key, steps in given.items()
        },
    )
    u, s, v = together.factors
    together = map(Factors, u.parts, keras.ops.unstack(s, 3), v.parts)
    for one, other in zip(alone, together, strict=True):
        # Of two equal shapes the near one then goes the long way too.
        tolerance = 0.01 if name == "parallel_bug" and large > 1 else 1e-12
        np.testing.assert_allclose(dense(one.factors), dense(other), atol=tolerance)


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("kind", ["rotation", *slow("permutation", "flip")])
def test_the_gauge_of_the_factors_does_not_matter(name, kind, start):
    p, q = {
        "rotation": (orthogonal(3, seed=40), orthogonal(3, seed=41)),
        "permutation": (np.eye(3)[[2, 0, 1]], np.eye(3)[[1, 0, 2]]),
        "flip": (np.diag([1.0, -1.0, 1.0]), np.diag([-1.0, 1.0, -1.0])),
    }[kind]
    u, s, v = map(array, start)
    turned = Factors(tensor(u @ p), tensor(p.T @ s @ q), tensor(v @ q))
    g = field_for(start, 0.3)
    truncations = [None]
    if name in ADAPTIVE:
        truncations.append(Truncation(0.2, 1, 6, width=6))
    for truncation in truncations:
        np.testing.assert_allclose(
            dense(run_step(name, turned, g, truncation)),
            dense(run_step(name, start, g, truncation)),
            atol=1e-12,
        )


@square_too
@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize(
    "values", [(2.0, 1.0, 0.5), *slow(((1.0, 0.0, 0.0),))], ids=str
)
def test_padded_factors_give_the_same_matrix(name, values, start):
    n, m = start.u.shape[0], start.v.shape[0]
    start = random_factors(n, m, 3, np.array(values))
    g = field_for(start, 0.2)
    if name in ADAPTIVE:
        exact = run_step(name, start, g, Truncation(0.1, 1, 6, width=6))
        wide = run_step(name, padded(start, 5), g, Truncation(0.1, 1, 6, width=6))
    else:
        exact, wide = run_step(name, start, g), run_step(name, padded(start, 5), g)
    assert assert_bases(wide) == assert_bases(exact)
    np.testing.assert_allclose(dense(wide), dense(exact), atol=1e-12)


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize(
    "values", [(1.0, 0.0, 0.0), *slow(((0.0, 0.0, 0.0),))], ids=str
)
def test_a_singular_start(name, values, start):
    n, m = start.u.shape[0], start.v.shape[0]
    start = random_factors(n, m, 3, np.array(values))
    g = field_for(start, 0.2)
    end = run_step(name, start, g)
    assert assert_bases(end) == 3
    if name in ("kls", "projector_splitting"):
        np.testing.assert_allclose(dense(end), reference(name, start, g), atol=1e-12)


@pytest.mark.parametrize("values", [(1.0, 0.0, 0.0), (0.0, 0.0, 0.0)], ids=str)
@pytest.mark.parametrize("left, right", [(1.0, 1e-6), (1e-6, 1.0), (1.0, 1.0)])
def test_parallel_bug_is_near_the_best_from_a_singular_start(values, left, right):
    # Increments of K and L of different sizes, with a singular S between them.
    start = random_factors(11, 7, 3, np.array(values))
    increments = random_increments(start, 0.1)
    increments["u"] *= left
    increments["v"] *= right
    u, s, v = map(array, start)
    inside_u, inside_v = u @ u.T, v @ v.T
    whole = (
        u @ (s + increments["s"]) @ v.T
        + (increments["u"] - inside_u @ increments["u"]) @ v.T
        + u @ (increments["v"] - inside_v @ increments["v"]).T
    )
    end = update("parallel_bug", 0, start, increments).factors
    optimum = best(whole, 3)[1]
    assert np.linalg.norm(dense(end) - whole) <= 10 * optimum + 1e-12


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("shape, rank", [((4, 7), 4), *slow(((5, 5), 4))])
def test_ranks_near_the_full_one(name, shape, rank):
    # Fewer than `rank` new directions exist; at full rank there is no error at all.
    start = random_factors(*shape, rank)
    g = field_for(start, 0.2)
    end = run_step(name, start, g)
    assert assert_bases(end) == rank
    if rank == min(shape) and name != "parallel_bug":
        np.testing.assert_allclose(dense(end), dense(start) + g, atol=1e-12)
    if name in ADAPTIVE:
        wide = run_step(name, start, g, Truncation(1e-12, 1, min(shape), width=8))
        assert assert_bases(wide) <= min(shape)
        whole = reference(name, start, g)
        np.testing.assert_allclose(dense(wide), whole, atol=1e-12)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_update_reports_the_overlap_of_old_and_new_bases(name, start):
    increments = random_increments(start, 0.1)
    result = update(name, 0, start, increments)
    if name == "augmented_bug":
        middle = result.factors
        result = update(
            name, 1, middle, {"s": np.zeros((6, 6))}, Truncation(0.0, 3, 3, width=3)
        )
        start = middle
    if result.left is not None:
        expected = array(start.u).T @ array(result.factors.u)
        np.testing.assert_allclose(array(result.left), expected, atol=1e-12)
    if result.right is not None:
        expected = array(start.v).T @ array(result.factors.v)
        np.testing.assert_allclose(array(result.right), expected, atol=1e-12)
    assert result.left is not None


@pytest.mark.parametrize("name", GEOMETRIC)
def test_bases_stay_orthonormal_in_single_precision(name):
    rng = np.random.default_rng(3)
    step = conftest.compiler()(
        lambda u, s, v, g: tuple(
            integrators.step(
                name,
                lambda t, w: g,
                0.0,
                Factors(u, s, v),
                1.0,
                substep=integrators.euler,
            )
        )
    )
    cast = keras.ops.convert_to_tensor
    factors = [cast(array(f), "float32") for f in random_factors(20, 14, 4)]
    for index in range(60):
        g = rng.normal(size=(20, 14)) * 10.0 ** rng.uniform(-6, 1)
        factors = step(*factors, cast(g, "float32"))
        if index % 20 == 19:
            assert_bases(Factors(*(array(f).astype("float64") for f in factors)), 1e-5)
    assert {keras.backend.standardize_dtype(f.dtype) for f in factors} == {"float32"}
