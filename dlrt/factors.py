"""A low-rank matrix in factored form."""

from typing import Any, NamedTuple

from keras import ops

from dlrt import linalg

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
        """
        u, s, vh = linalg.svd(matrix)
        if rank is None:
            if tolerance is None:
                raise ValueError("One of `rank` and `tolerance` must be given.")
            rank = int(linalg.truncation_rank(s, tolerance))
        return cls(u[:, :rank], ops.diag(s[:rank]), linalg.transpose(vh[:rank]))

    def truncated(self, rank: int) -> "Factors":
        """The best approximation at a rank, itself if its rank is not larger."""
        if rank >= self.s.shape[0]:
            return self
        u, s, vh = linalg.svd(ops.convert_to_tensor(self.s))
        return Factors(
            self.u @ u[:, :rank],
            ops.diag(s[:rank]),
            self.v @ linalg.transpose(vh[:rank]),
        )
