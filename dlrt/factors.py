"""A low-rank matrix in factored form."""

from typing import Any, NamedTuple

from keras import ops

from dlrt import linalg
from dlrt._checks import check_positive_integer, check_share

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
            ValueError: If an argument is no such thing.
        """
        if rank is not None:
            check_positive_integer("rank", rank)
        elif tolerance is None:
            raise ValueError(
                "One of `rank` and `tolerance` must be given. Received: neither"
            )
        else:
            check_share("tolerance", tolerance)
        shape = tuple(getattr(matrix, "shape", ()))
        if len(shape) != 2 or 0 in shape:
            raise ValueError(
                "`matrix` must be an array of shape (n, m). Received: "
                f"matrix={matrix!r}"
            )
        if rank is not None and rank > min(shape):
            raise ValueError(
                f"`rank` must be at most min(n, m) = {min(shape)} for a matrix of "
                f"shape {shape}. Received: rank={rank}"
            )
        u, s, vh = linalg.svd(matrix)
        if rank is None:
            rank = int(linalg.truncation_rank(s, tolerance))
        return cls(u[:, :rank], ops.diag(s[:rank]), linalg.transpose(vh[:rank]))

    def truncated(self, rank: int) -> "Factors":
        """The best approximation at a rank, itself if its rank is not larger."""
        check_positive_integer("rank", rank)
        if rank >= self.s.shape[0]:
            return self
        u, s, vh = linalg.svd(ops.convert_to_tensor(self.s))
        return Factors(
            self.u @ u[:, :rank],
            ops.diag(s[:rank]),
            self.v @ linalg.transpose(vh[:rank]),
        )
