"""Products with a low-rank matrix whose gradients are Galerkin gradients.

With `G = ∂loss/∂W` for `W = U S Vᵀ`, the gradients reported for the variables `U`, `S`
and `V` are those that the integrators ask for: `G V`, `Uᵀ G V` and `Gᵀ U`. One backward
pass gives them at the cost of a two-factor layer; `G` is never formed.

Shapes are `u: (n, r)`, `s: (r, r)` and `v: (m, r)`. `at_rank` says whether columns of
zeros are left out, see `_call_with_gradient`.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from dlrt.backend.autodiff import vector_jacobian
from dlrt.backend.shapes import as_rows, cropped, with_shape
from dlrt.linalg import basis_rank, polar_factor, svd, transpose

Tensor = Any


def low_rank_matmul(
    x: Tensor, u: Tensor, s: Tensor, v: Tensor, at_rank: bool = False
) -> Tensor:
    """`x @ U @ S @ Vᵀ` for `x: (batch, n)`, shape `(batch, m)`."""

    def matmul(x: Tensor, u: Tensor, s: Tensor, v: Tensor) -> tuple[Tensor, Any]:
        xu = x @ u

        def gradient(dy: Tensor) -> tuple[Tensor, ...]:
            dyv = dy @ v
            return (
                dyv @ transpose(s) @ transpose(u),
                transpose(x) @ dyv,
                transpose(xu) @ dyv,
                transpose(dy) @ xu,
            )

        return xu @ s @ transpose(v), gradient

    return _call_with_gradient(matmul, x, u, s, v, at_rank=at_rank)


def low_rank_lookup(
    indices: Tensor, u: Tensor, s: Tensor, v: Tensor, at_rank: bool = False
) -> Tensor:
    """The rows of `U @ S @ Vᵀ` at integers `(batch,)` in `[0, n)`, as `(batch, m)`."""

    def lookup(u: Tensor, s: Tensor, v: Tensor) -> tuple[Tensor, Any]:
        rows = ops.take(u, indices, axis=0)

        def gradient(dy: Tensor) -> tuple[Tensor, ...]:
            dyv = dy @ v
            gv = ops.segment_sum(dyv, indices, num_segments=u.shape[0])
            return gv, transpose(rows) @ dyv, transpose(dy) @ rows

        return rows @ s @ transpose(v), gradient

    return _call_with_gradient(lookup, u, s, v, at_rank=at_rank)


def low_rank_convolution(
    convolve: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    u: Tensor,
    s: Tensor,
    v: Tensor,
    at_rank: bool = False,
) -> Tensor:
    """The convolution of `x` with the filters in the columns of `U @ S @ Vᵀ`.

    `convolve` convolves `x` with the filters in the columns of a matrix `(n, q)`, to
    `(batch, ..., q)`, and is linear in both.
    """

    def convolution(x: Tensor, u: Tensor, s: Tensor, v: Tensor) -> tuple[Tensor, Any]:
        z = convolve(x, u)
        shape = ops.shape(z)
        xu = as_rows(z)

        def gradient(dy: Tensor) -> tuple[Tensor, ...]:
            dy = as_rows(dy)
            dyv = dy @ v
            # Of `convolve(x, K) Vᵀ`, for `x` and `K = U S` at once.
            dx, gv = vector_jacobian(convolve, (x, u @ s), ops.reshape(dyv, shape))
            return dx, gv, transpose(xu) @ dyv, transpose(dy) @ xu

        y = xu @ s @ transpose(v)
        return ops.reshape(y, (*shape[:-1], v.shape[0])), gradient

    return _call_with_gradient(convolution, x, u, s, v, at_rank=at_rank)


def low_rank_matrix(u: Tensor, s: Tensor, v: Tensor, at_rank: bool = False) -> Tensor:
    """The dense matrix `U S Vᵀ`, with Galerkin gradients."""

    def matrix(u: Tensor, s: Tensor, v: Tensor) -> tuple[Tensor, Any]:
        def gradient(g: Tensor) -> tuple[Tensor, ...]:
            gv = g @ v
            return gv, transpose(u) @ gv, transpose(g) @ u

        return u @ s @ transpose(v), gradient

    return _call_with_gradient(matrix, u, s, v, at_rank=at_rank)


def schatten_penalty(u: Tensor, s: Tensor, v: Tensor, l1: float, l2: float) -> Tensor:
    """`l1 ‖W‖_* + l2 ‖W‖_F²`, from the coefficients alone, with Galerkin gradients.

    The nuclear and the Frobenius norm are functions of the singular values of `W`,
    which are those of `S` when `U` and `V` have orthonormal columns; nothing of size
    `(n, m)` is formed.
    """

    @ops.custom_gradient
    def penalty(u: Tensor, s: Tensor, v: Tensor) -> tuple[Tensor, Any]:
        value = l2 * ops.sum(ops.square(s))
        g = 2 * l2 * s
        if l1:
            value = value + l1 * ops.sum(svd(s)[1])
            g = g + l1 * polar_factor(s)

        def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
            scaled = upstream * g
            return u @ scaled, scaled, v @ transpose(scaled)

        return value, gradient

    return penalty(u, s, v)


def _call_with_gradient(
    function: Callable, *arguments: Tensor, at_rank: bool
) -> Tensor:
    """The value of a function that returns it with a function for its gradients.

    The last arguments are `U`, `S` and `V`. With `at_rank` the function gets them
    without their columns of zeros, and their gradients are padded with zeros, for
    backends with dynamic shapes. Differentiating the slices themselves would add
    operations to the graph of a training step.
    """
    if not at_rank:
        return ops.custom_gradient(function)(*arguments)

    @ops.custom_gradient
    def computed(*arguments: Tensor) -> tuple[Tensor, Callable]:
        *others, u, s, v = arguments
        rank = basis_rank(u)
        used = (cropped(*part, rank) for part in ((u, "u"), (s, "s"), (v, "v")))
        value, used_gradient = function(*others, *used)

        def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
            *found, gu, gs, gv = used_gradient(upstream)
            # `padded` would add an operation for the shape of each gradient.
            none, unused = (0, 0), (0, s.shape[0] - rank)
            paddings = (gu, none, u), (gs, unused, s), (gv, none, v)
            return *found, *(
                with_shape(ops.pad(g, (rows, unused)), like.shape)
                for g, rows, like in paddings
            )

        return value, gradient

    return computed(*arguments)
