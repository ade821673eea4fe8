"""A low-rank matrix in factored form."""

from typing import Any, NamedTuple

import keras
from keras import ops

from dlrt import linalg
from dlrt.checks import check_positive_integer, check_share

Tensor = Any


class Factors(NamedTuple):
    """`W = U S Vᵀ`, an `(n, m)` matrix of rank at most `r`.

    Attributes:
        u: `(n, r)`, basis of the column space.
        s: `(r, r)`, coefficients; any square matrix, not necessarily diagonal.
        v: `(m, r)`, basis of the row space.
    """

    u: Tensor
    s: Tensor
    v: Tensor

    def checked(self) -> "Factors":
        """The factors as tensors, if they are finite real matrices that fit together.

        Raises:
            ValueError: If they are not. Values that only a compiled function knows
                count as finite.
        """
        checked = Factors(
            *(_to_matrix(f"factors.{name}", x) for name, x in self._asdict().items())
        )
        (n, r), core, (m, width) = (tuple(part.shape) for part in checked)
        sizes = (n, r, *core, m, width)
        if None not in sizes and (
            core != (r, r) or width != r or not 1 <= r <= min(n, m)
        ):
            raise ValueError(
                "`factors` must have the shapes (n, r), (r, r) and (m, r) with a rank "
                f"r from 1 to min(n, m). Received: {(n, r)}, {core}, {(m, width)}"
            )
        dtypes = [keras.backend.standardize_dtype(part.dtype) for part in checked]
        if len(set(dtypes)) > 1:
            raise ValueError(
                f"`factors` must be of one dtype. Received: {', '.join(dtypes)}"
            )
        return checked

    def to_dense(self) -> Tensor:
        """The represented `(n, m)` matrix."""
        return self.u @ self.s @ linalg.transpose(self.v)

    @classmethod
    def from_dense(
        cls, matrix: Tensor, rank: int | None = None, tolerance: float | None = None
    ) -> "Factors":
        """The best approximation of a matrix, by truncated SVD (Eckart & Young).

        Args:
            matrix: `(n, m)`.
            rank: Rank to keep, in `[1, min(n, m)]`. Takes precedence over
                `tolerance`; at least one of the two is needed.
            tolerance: Relative Frobenius error allowed, in `(0, 1)`.

        Raises:
            ValueError: If an argument is invalid, or the matrix is not finite.
        """
        if rank is not None:
            check_positive_integer("rank", rank)
        elif tolerance is None:
            raise ValueError(
                "One of `rank` and `tolerance` must be given. Received: neither"
            )
        else:
            check_share("tolerance", tolerance)
        matrix = _to_matrix("matrix", matrix)
        shape = tuple(matrix.shape)
        if 0 in shape:
            raise ValueError(f"`matrix` must have entries. Received shape: {shape}")
        if rank is not None and None not in shape and rank > min(shape):
            raise ValueError(
                f"`rank` must be at most min(n, m) = {min(shape)} for a matrix of "
                f"shape {shape}. Received: rank={rank}"
            )
        u, s, vh = linalg.svd(matrix)
        if rank is None:
            rank = int(linalg.truncation_rank(s, tolerance))
        return cls(u[:, :rank], ops.diag(s[:rank]), linalg.transpose(vh[:rank]))

    def truncated(self, rank: int) -> "Factors":
        """The best approximation of rank at most `rank`."""
        check_positive_integer("rank", rank)
        if rank >= self.s.shape[0]:
            return self
        u, s, vh = linalg.svd(ops.convert_to_tensor(self.s))
        return Factors(
            self.u @ u[:, :rank],
            ops.diag(s[:rank]),
            self.v @ linalg.transpose(vh[:rank]),
        )


def _to_matrix(name: str, matrix: Any) -> Tensor:
    """A matrix as a tensor, if it is real and, where its values are known, finite."""
    try:
        tensor = ops.convert_to_tensor(matrix)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be a matrix. Received: {type(matrix).__name__}"
        ) from error
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"`{name}` must be of a real floating dtype. Received: {name}.dtype={dtype}"
        )
    if len(tensor.shape) != 2:
        raise ValueError(
            f"`{name}` must be a matrix. Received: {name}.shape={tuple(tensor.shape)}"
        )
    try:
        finite = bool(ops.all(ops.isfinite(tensor)))
    except TypeError:
        # Only a compiled function knows the values.
        return tensor
    if not finite:
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinity in it")
    return tensor
