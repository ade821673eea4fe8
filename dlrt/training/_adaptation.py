"""The end of a step at adaptive rank: new factors, and slots in their coordinates."""

from typing import Any, NamedTuple

from keras import ops

from dlrt import linalg
from dlrt.backend.shapes import cropped, dynamic_shapes, padded
from dlrt.backend.values import value_of
from dlrt.factors import Factors
from dlrt.integrators import Integrator, Truncation, Update
from dlrt.training import _scaling, optimizer_slots

Tensor = Any


def assign(
    variables: list, factors: Factors, old: Factors, updating: Tensor | None
) -> None:
    """Writes new factors; the old ones while gradients are accumulated."""
    for variable, new, before in zip(variables, factors, old, strict=True):
        value = padded(new, before)
        variable.assign(
            value if updating is None else ops.where(updating, value, before)
        )


class Adaptation(NamedTuple):
    """What the layers that are adapted alike have in common.

    No tensors are in it, and no heights of factors, so that all these layers share the
    trace of `run`, with its branches for ranks that stay and that change. Written
    out for each of the hundred layers of a transformer, these would be most of what
    TensorFlow has to optimise.

    Attributes:
        integrator: The integrator.
        phase: Index of its last phase.
        columns: Room for the columns of the factors between steps.
        tolerance: Relative tolerance of truncations.
        min_rank: Smallest rank.
        max_rank: Largest rank, at most `columns`.
        scaled: Whether steps are made as long as dense ones.
        steps_factors: Whether the inner optimizer has stepped `U`, `S` and `V` in the
            place of `K`, `S` and `L`.
        slots: For each slot of the inner optimizer, the factor that it belongs to and
            whether it holds magnitudes.
    """

    integrator: Integrator
    phase: int
    columns: int
    tolerance: float
    min_rank: int
    max_rank: int
    scaled: bool
    steps_factors: bool
    slots: tuple[tuple[str, bool], ...]

    def run(
        self,
        variables: list,
        slots: list,
        old: Factors,
        rank: Tensor | None,
        truncating: Tensor,
        updating: Tensor | None,
    ) -> None:
        """Finds new factors and slots of a layer, and assigns them.

        Steps that are not finite, whose singular values tell nothing about the rank,
        leave the rank and the bases. Coefficients become NaN, and so the next loss.

        Args:
            variables: `U`, `S` and `V`, which hold the stepped values.
            slots: The slots of the factors, in the order of `self.slots`.
            old: The factors at the start of the phase, at the width of the variables.
            rank: The rank at the start of the step; `None` where `old` tells it.
            truncating: Whether the rank is chosen anew at this step.
            updating: Whether this step ends an accumulation of gradients; `None` where
                there is none.
        """
        stepped = {
            name: value_of(variable)
            for name, variable in zip("usv", variables, strict=True)
            if name in self.integrator.phases[self.phase].steps
        }
        values = list(map(value_of, slots))
        if rank is None:
            rank = linalg.basis_rank(old.u)
        # A sum is a fraction of the cost of a look at each entry.
        total = sum(ops.sum(each) for each in stepped.values())
        factors, carried = linalg.cond(
            ops.isfinite(total),
            lambda: self._adapted(stepped, values, old, rank, truncating),
            lambda: (_lost(old, rank), values),
        )
        assign(variables, factors, old, updating)
        for slot, value in zip(slots, carried, strict=True):
            slot.assign(value)

    def _adapted(
        self,
        stepped: dict[str, Tensor],
        slots: list[Tensor],
        old: Factors,
        rank: Tensor,
        truncating: Tensor,
    ) -> tuple[Factors, list[Tensor]]:
        """New factors and slots from the stepped values, by name; else as in `run`."""
        integrator = self.integrator
        width: Tensor | int = old.s.shape[-1]
        if dynamic_shapes():
            width = rank if integrator.growth == 1 else linalg.basis_rank(old.u)
        used = (cropped(v, n, width) for v, n in zip(old, "usv", strict=True))
        prepared = integrator.prepare(Factors(*used))
        points = prepared._asdict()
        if not self.steps_factors:
            points = integrator.points(self.phase, prepared)
        increments = {
            name: cropped(value, name, width) - points[name]
            for name, value in stepped.items()
        }
        if self.scaled:
            before = None
            if self.phase > 0 and integrator.growth > 1:
                before = rank if dynamic_shapes() else self.columns
            shape = ops.shape(old.u)[0], ops.shape(old.v)[0]
            increments = _scaling.scaled(increments, shape, rank, before)
        update = integrator.update(
            self.phase, prepared, increments, self._truncation(rank, truncating)
        )
        factors = Factors(*map(padded, update.factors, old))
        return factors, self._carried(slots, factors, update, rank)

    def _truncation(self, rank: Tensor, now: Tensor) -> Truncation:
        """The rule for the next rank; the present one where it is not to change."""
        width = None if dynamic_shapes() else self.columns
        if self.integrator.growth == 1:
            return Truncation(self.tolerance, self.min_rank, self.max_rank, now, width)
        # The augmented factors don't tell the rank to stay at.
        lower = ops.where(now, min(self.min_rank, self.max_rank), rank)
        upper = ops.where(now, self.max_rank, rank)
        return Truncation(self.tolerance, lower, upper, True, width)

    def _carried(
        self, slots: list[Tensor], factors: Factors, update: Update, rank: Tensor | int
    ) -> list[Tensor]:
        """The slots of the inner optimizer in the new coordinates.

        While the rank stays the gauge is the nearest one and only the coefficients of
        dropped directions are cleared. When it changes, first moments rotate, and
        second moments propagate as the variances of independent entries.
        """
        if dynamic_shapes():
            new_rank = ops.shape(update.factors.s)[0]
        else:
            new_rank = linalg.basis_rank(update.factors.u)

        def stayed() -> list[Tensor]:
            if self.integrator.growth == 1:
                return slots
            kept = ops.cast(
                ops.arange(ops.shape(factors.s)[0]) < new_rank, factors.s.dtype
            )
            rows = {"u": 1.0, "v": 1.0, "s": kept[:, None]}
            return [
                value * kept * rows[name]
                for (name, _), value in zip(self.slots, slots, strict=True)
            ]

        def moved() -> list[Tensor]:
            # At the full width of the slots, since padding two overlaps traces faster
            # than padding every slot.
            left, right = (
                padded(overlap, factors.s) for overlap in (update.left, update.right)
            )
            return [
                optimizer_slots.rotated(value, name, left, right, magnitudes)
                for (name, magnitudes), value in zip(self.slots, slots, strict=True)
            ]

        return linalg.cond(ops.not_equal(new_rank, rank), moved, stayed)


def _lost(old: Factors, rank: Tensor) -> Factors:
    """The bases at the rank that a step began with, and coefficients that are NaN."""
    used = ops.arange(ops.shape(old.s)[0]) < rank
    return Factors(
        ops.where(used, old.u, 0.0),
        ops.full_like(old.s, float("nan")),
        ops.where(used, old.v, 0.0),
    )
