"""Kernels folded into matrices, each of which becomes a product of two."""

import abc

import numpy as np

from dlrt.compression.structures._spectral import (
    balanced_factors,
    singular_values,
    tail_norms,
)
from dlrt.compression.structures._structure import Choice, Structure
from dlrt.surgery.replacements import Replacement

# Two factors `(n, r)` and `(r, m)`.
Pair = tuple[np.ndarray, np.ndarray]


class Folded(Structure):
    """The kernel is folded into a matrix, or several; two layers run the factors."""

    def list_groups(self) -> list[int]:
        """The numbers of matrices that the kernel can be folded into, 1 first."""
        return [1]

    @abc.abstractmethod
    def fold(self, groups: int = 1) -> list[np.ndarray]:
        """The matrices, all of one shape, with the entries of the kernel."""

    @abc.abstractmethod
    def unit_costs(self, groups: int = 1) -> tuple[int, int]:
        """Parameters and flops at rank 1 in every matrix; `r` times these at rank `r`.

        Flops are those for all `shapes` together.
        """

    @abc.abstractmethod
    def build_layers(self, pairs: list[Pair]) -> Replacement:
        """Layers of Keras that run the factors of each matrix."""

    def list_choices(self) -> list[Choice]:
        spectrum = _spectra(self.fold())
        norm, largest = np.linalg.norm(spectrum) or 1.0, spectrum.max() or 1.0
        found = []
        for groups in self.list_groups():
            values = spectrum if groups == 1 else _spectra(self.fold(groups))
            errors = tail_norms(np.sum(values**2, axis=0)) / norm
            left_out = np.append(values.max(axis=0)[1:], 0.0)
            bounds = np.sqrt(groups) * left_out / largest
            parameters, flops = self.unit_costs(groups)
            found += [
                Choice((r,), r * parameters, r * flops, float(e), float(b), groups)
                for r, (e, b) in enumerate(zip(errors, bounds, strict=True), start=1)
            ]
        return found

    def build_replacement(self, choice: Choice) -> Replacement:
        (rank,) = choice.ranks
        matrices = self.fold(choice.groups)
        return self.build_layers([balanced_factors(w, rank) for w in matrices])


def _spectra(matrices: list[np.ndarray]) -> np.ndarray:
    """The singular values of matrices of one shape, `(matrices, min(n, m))`."""
    return np.array([singular_values(w) for w in matrices])
