"""The update of a low-rank layer, from the increments of an optimizer.

Pure functions of tensors, for one layer or a batch of similar layers, at fixed and at
adaptive rank.
"""

from typing import Any, NamedTuple

from keras import ops

from dlrt import linalg
from dlrt.backend.shapes import cropped, dynamic_shapes, padded_to
from dlrt.factors import Factors
from dlrt.integrators import Integrator, Truncation, Update
from dlrt.ragged import height
from dlrt.training import _scaling, optimizer_slots

Tensor = Any


class Bounds(NamedTuple):
    """How far the rank of a layer may adapt.

    Attributes:
        tolerance: Relative tolerance of truncations.
        min_rank: Smallest rank.
        max_rank: Largest rank.
    """

    tolerance: float
    min_rank: int
    max_rank: int


class Choice(NamedTuple):
    """What a step does about adaptive ranks.

    Attributes:
        now: Whether the ranks are chosen at this step, or stay; a boolean or a scalar
            tensor.
        candidates: Number of directions that are kept beyond those that the tolerance
            asks for; an int or a scalar tensor.
    """

    now: Any = True
    candidates: Any = 0


class Rule(NamedTuple):
    """What layers with the same update have in common in a phase of a step.

    It contains no tensors and no heights of factors.

    Attributes:
        integrator: The integrator.
        phase: Index of its phase.
        columns: Room for the columns of the factors between steps; the rank, where it
            stays.
        scaled: Whether steps are made as long as dense ones.
        in_place: Whether the optimizer steps `U`, `S` and `V` in the place of `K`, `S`
            and `L`. That saves the products `K = U S` and `L = V Sᵀ`, and four writes.
        bounds: Bounds of the rank, `None` if it stays.
        slots: For each slot to be carried along, the name of the factor that it
            belongs to and whether it holds magnitudes.
    """

    integrator: Integrator
    phase: int
    columns: int
    scaled: bool
    in_place: bool
    bounds: Bounds | None
    slots: tuple[tuple[str, bool], ...] = ()

    def is_last_phase(self) -> bool:
        return self.phase == len(self.integrator.phases) - 1

    def width(self, basis: Tensor, rank: Tensor | int) -> Tensor | int:
        """Number of columns to compute with: those in use, if that may be dynamic.

        Args:
            basis: `U` at the start of the phase, at the width of its variable.
            rank: The rank at the start of the step.
        """
        if self.bounds is None or not dynamic_shapes():
            return self.integrator.width(self.phase, self.columns)
        return linalg.basis_rank(basis) if self.is_augmented() else rank

    def is_augmented(self) -> bool:
        """Whether the bases have new columns, which an earlier phase has added."""
        return self.phase > 0 and self.integrator.augments

    def points(self, factors: Factors) -> dict[str, Tensor]:
        """The values from which the optimizer steps, by name of the factor."""
        if self.in_place:
            steps = self.integrator.phases[self.phase].steps
            return {name: getattr(factors, name) for name in steps}
        return self.integrator.points(self.phase, factors)

    def truncation(self, rank: Tensor | int, choice: Choice) -> Truncation | None:
        """The rule for the next rank, `None` if that is not chosen in this phase.

        Args:
            rank: The rank at the start of the step.
            choice: Whether the rank is chosen at this step, and how.
        """
        if self.bounds is None or not self.is_last_phase():
            return None
        tolerance, lower, upper = self.bounds
        now, candidates = choice
        width = None if dynamic_shapes() else self.columns
        if not self.integrator.augments:
            return Truncation(tolerance, lower, upper, now, width, candidates)
        # The augmented factors don't tell the rank to keep.
        least = ops.where(now, min(lower, upper), rank)
        most = ops.where(now, upper, rank)
        return Truncation(tolerance, least, most, True, width, candidates)


def update(
    rule: Rule,
    factors: Factors,
    increments: dict[str, Tensor],
    slots: list[Tensor],
    rank: Tensor | int,
    choice: Choice,
) -> tuple[Factors, list[Tensor]]:
    """New factors, and the slots of the optimizer in their coordinates.

    Where the rank adapts, non-finite steps leave rank and bases unchanged. The
    coefficients become NaN, and so does the next loss.

    Args:
        rule: What the layers have in common.
        factors: The factors as the integrator has prepared them, without unused columns
            where shapes are dynamic. Batches for several layers at fixed rank.
        increments: How far the optimizer has moved the stepped values, by name.
        slots: Values of the slots in the order of `rule.slots`, at the width of the
            variables.
        rank: The rank at the start of the step.
        choice: Whether an adaptive rank is chosen at this step, and how.
    """
    truncation = rule.truncation(rank, choice)

    def step() -> tuple[Factors, list[Tensor]]:
        steps = increments
        if rule.scaled:
            shape = height(factors.u), height(factors.v)
            before: Tensor | int | None = None
            if rule.is_augmented():
                before = rank if dynamic_shapes() else rule.columns
            steps = _scaling.scaled(increments, shape, rank, before)
        found = rule.integrator.update(rule.phase, factors, steps, truncation)
        return found.factors, _carry(rule, slots, found, rank)

    if truncation is None:
        return step()
    # Testing the sum is cheaper than testing each entry.
    total = sum(map(ops.sum, increments.values()))
    lost = _lose_coefficients
    return linalg.cond(
        ops.isfinite(total), step, lambda: (lost(factors, rank, rule.columns), slots)
    )


def _lose_coefficients(factors: Factors, rank: Tensor, columns: int) -> Factors:
    """The bases at the rank at which the step began, with NaN for coefficients."""
    width = rank if dynamic_shapes() else columns
    u, s, v = (cropped(v, n, width) for v, n in zip(factors, "usv", strict=True))
    used = ops.arange(width) < rank
    nan = ops.full_like(s, float("nan"))
    return Factors(ops.where(used, u, 0.0), nan, ops.where(used, v, 0.0))


def _carry(
    rule: Rule, slots: list[Tensor], found: Update, rank: Tensor | int
) -> list[Tensor]:
    """The slots of the inner optimizer in new coordinates.

    While the rank stays the gauge is the nearest one and only the coefficients of
    dropped directions are cleared. When it changes, first moments rotate, and second
    moments propagate as the variances of independent entries.
    """
    if not slots:
        return slots
    room = rule.integrator.room(rule.columns)
    if rule.bounds is None:
        new_rank = rank
    elif dynamic_shapes():
        new_rank = ops.shape(found.factors.s)[0]
    else:
        new_rank = linalg.basis_rank(found.factors.u)

    def stayed() -> list[Tensor]:
        if not rule.integrator.augments:
            return slots
        kept = ops.cast(ops.arange(room) < new_rank, slots[0].dtype)
        rows = {"u": 1.0, "v": 1.0, "s": kept[:, None]}
        return [
            value * kept * rows[name]
            for (name, _), value in zip(rule.slots, slots, strict=True)
        ]

    def moved() -> list[Tensor]:
        # At the full width of the slots, since padding two overlaps traces faster than
        # padding every slot.
        left, right = (
            padded_to(overlap, (room, room)) for overlap in (found.left, found.right)
        )
        return [
            optimizer_slots.rotated(value, name, left, right, magnitudes)
            for (name, magnitudes), value in zip(rule.slots, slots, strict=True)
        ]

    if rule.bounds is None:
        return stayed()
    return linalg.cond(ops.not_equal(new_rank, rank), moved, stayed)
