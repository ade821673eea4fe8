import numpy as np
import pytest

from dlrt.evolution._channels import (
    Observation,
    Reading,
    count_above,
    draw_columns,
    fit_kept,
)


def samples(columns, seed=0):
    """Six independent channels, then linear combinations of them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(500, 6)) + 1.0
    return np.concatenate([z, z @ rng.normal(size=(6, columns - 6))], axis=1)


def reading(z, affine=False, weights=None):
    mean = z.mean(axis=0) if affine else np.zeros(z.shape[1])
    moments = z.T @ z / len(z) - np.outer(mean, mean)
    return Reading(moments, mean, np.ones(z.shape[1]) if weights is None else weights)


def residual(z, kept):
    """The sum of squares that least squares leave, from the samples themselves."""
    solved = np.linalg.lstsq(z[:, kept], z, rcond=None)[0]
    return np.sum((z - z[:, kept] @ solved) ** 2) / np.sum(z**2)


class TestSelection:
    def test_errors_are_those_of_least_squares(self):
        z = np.random.default_rng(1).normal(size=(300, 7)) @ np.diag(range(1, 8))
        order, errors = Observation([reading(z)]).selection
        assert sorted(order) == list(range(7))
        for k in range(1, 8):
            assert errors[k] == pytest.approx(residual(z, order[:k]), abs=1e-9)

    def test_first_choice_is_the_best(self):
        z = samples(9)
        order, _ = Observation([reading(z)]).selection
        assert order[0] == np.argmin([residual(z, [j]) for j in range(9)])

    def test_dependent_channels_come_last(self):
        order, errors = Observation([reading(samples(10))]).selection
        assert len(errors) == 11
        assert errors[5] > 1e-4
        np.testing.assert_allclose(errors[6:], 0.0, atol=1e-10)

    def test_nothing_is_read(self):
        unread = reading(samples(8), weights=np.zeros(8))
        order, errors = Observation([unread]).selection
        assert sorted(order) == list(range(8))
        assert errors[0] == 1.0 and errors[-1] == 0.0

    def test_what_is_not_read_goes_first(self):
        z = np.random.default_rng(0).normal(size=(300, 5))
        weights = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
        order, errors = Observation([reading(z, weights=weights)]).selection
        assert set(order[3:]) == {1, 3}
        assert errors[3] < 1e-12


class TestSingularValues:
    def test_are_those_of_the_scaled_samples(self):
        z = np.random.default_rng(0).normal(size=(200, 4))
        weights = np.array([1.0, 3.0, 0.5, 2.0])
        observed = Observation([reading(z, weights=weights)])
        expected = np.linalg.svd(z * weights, compute_uv=False)
        np.testing.assert_allclose(
            observed.singular_values, expected / np.linalg.norm(expected)
        )

    def test_counted_above_a_share_of_the_largest(self):
        assert count_above(np.array([2.0, 0.3, 0.1]), 0.1) == 2
        assert count_above(np.array([2.0, 0.3, 0.1]), 0.0) == 3
        assert count_above(np.zeros(3), 0.1) == 1


class TestCorrection:
    @pytest.mark.parametrize("affine", [False, True])
    def test_dependent_channels_are_exact(self, affine):
        z = samples(9)
        if affine:
            z = z + 5.0
        kept = np.array([1, 2, 4, 6, 7, 8])
        transform, constant = fit_kept(reading(z, affine), kept)
        np.testing.assert_allclose(z[:, kept] @ transform + constant, z, atol=1e-6)
        np.testing.assert_array_equal(transform[:, kept], np.eye(6))
        assert np.any(constant) == affine

    def test_is_least_squares(self):
        z = np.random.default_rng(3).normal(size=(200, 5))
        kept = np.array([0, 3])
        transform, _ = fit_kept(reading(z), kept)
        expected = np.linalg.lstsq(z[:, kept], z, rcond=None)[0]
        np.testing.assert_allclose(transform, expected, atol=1e-9)

    def test_dead_and_tiny_channels(self):
        z = samples(8)
        z[:, 2] = 0.0
        z[:, 3] *= 1e-9
        kept = np.array([0, 1, 2, 3, 4, 5])
        transform, _ = fit_kept(reading(z), kept)
        assert np.isfinite(transform).all()


class TestNewColumns:
    def test_orthogonal_and_of_the_size_of_the_others(self):
        kernel = 3.0 * np.random.default_rng(0).normal(size=(9, 4))
        new = draw_columns(kernel, 2, np.random.default_rng(1))
        np.testing.assert_allclose(new.T @ kernel, 0.0, atol=1e-12)
        norms = np.linalg.norm(kernel) ** 2 / 4 * np.eye(2)
        np.testing.assert_allclose(new.T @ new, norms, atol=1e-10)

    def test_no_more_than_there_is_room_for(self):
        rng = np.random.default_rng(0)
        assert draw_columns(rng.normal(size=(5, 3)), 9, rng).shape == (5, 2)
        assert draw_columns(rng.normal(size=(3, 5)), 1, rng).shape == (3, 0)
        same = np.ones((4, 3))
        assert draw_columns(same, 9, rng).shape == (4, 3)
