"""The interface of integrators: phases, the values they step, and the update."""

import abc
import functools
import inspect
from typing import Any, ClassVar, NamedTuple

import keras

from dlrt import linalg
from dlrt.factors import Factors

Tensor = Any


class Phase(NamedTuple):
    """One gradient evaluation of an integrator.

    Attributes:
        steps: Names of the factors stepped with that gradient: `"u"` for `K = U S`
            with `G V`, `"v"` for `L = V Sᵀ` with `Gᵀ U`, `"s"` for `S` with `Uᵀ G V`.
        direction: `+1`, or `-1` for a step backwards in time.
    """

    steps: tuple[str, ...]
    direction: int = 1


class Truncation(NamedTuple):
    """How a rank-adaptive integrator chooses the next rank.

    Attributes:
        tolerance: Relative tolerance in `[0, 1)`, see `linalg.truncation_rank`. May be
            a scalar tensor.
        min_rank: Smallest rank.
        max_rank: Largest rank, at most the width of the result.
        now: Whether the rank is chosen at this step, a boolean or a scalar tensor;
            otherwise it stays, which saves the singular value decomposition.
        width: Number of columns of the resulting factors. `None`: exactly as many as
            the rank, which needs a backend with dynamic shapes, or eager execution.
        candidates: Number of directions that are kept beyond the rank that the
            tolerance asks for, as far as `max_rank` allows. May be a scalar tensor.
    """

    tolerance: Any
    min_rank: int = 1
    max_rank: int | None = None
    now: Any = True
    width: int | None = None
    candidates: Any = 0


class Update(NamedTuple):
    """The result of a phase of an integrator.

    Attributes:
        factors: The new factors.
        left: Overlap `Uᵀ U1` of the old with the new basis.
        right: Overlap `Vᵀ V1`.
    """

    factors: Factors
    left: Tensor | None = None
    right: Tensor | None = None


class Integrator(abc.ABC):
    """Base class of the integrators for `Ẇ = F(t, W)` on low-rank matrices.

    An integrator has no state. A time step runs its `phases` one after another; in
    each, `points` names the values to be stepped, the caller steps them (a
    differential equation solver in `dlrt.integrators.integrate`, an optimizer in
    `dlrt.optimizers.LowRank`), and `update` turns the stepped values into new factors.

    Attributes:
        name: The name under which `dlrt.integrators.get` knows it.
        phases: One `Phase` for each gradient of a time step.
        rank_adaptive: Whether it can follow a `Truncation`.
        growth: Width of the factors within a time step, relative to the rank.
        one_pass: Whether its second and last phase is at the same matrix as the first,
            in bases that the first has augmented. Then the products that are recorded
            in one pass through a model give the gradients of both.
        perpendicular: Whether steps of `K` and `L` count only by their part outside of
            the bases. Then `U` and `V` may stand in for `K` and `L` as the point of a
            step that does not depend on its point.
        orthonormal: Whether the bases of its factors are orthonormal.
        ragged: Whether `update` at fixed rank accepts matrices of several heights at
            once: `U`, `V` and their increments as `dlrt.ragged.Ragged`, `S` with a
            leading axis. The small matrices are then computed in one batch: an
            operation on `(r, r)` matrices costs little more than its launch.
        exact: Whether `update` decomposes to rounding error and truncations are the
            best ones, as for differential equations. Otherwise, in training, it may
            take shortcuts: the error of a truncation at a fixed rank is at most 1.4
            times the best, and new directions are dropped that are smaller than the
            largest one by the square root of the machine precision.
    """

    name: ClassVar[str]
    phases: ClassVar[tuple[Phase, ...]]
    rank_adaptive: ClassVar[bool] = False
    growth: ClassVar[int] = 1
    one_pass: ClassVar[bool] = False
    perpendicular: ClassVar[bool] = False
    orthonormal: ClassVar[bool] = True
    ragged: ClassVar[bool] = False
    exact: bool = False

    @property
    def augments(self) -> bool:
        """Whether factors have more columns within a time step than between steps."""
        return self.growth > 1

    def room(self, rank: int) -> int:
        """Number of columns that a time step at a rank needs."""
        return self.growth * rank

    def rank_of_room(self, columns: int) -> int:
        """The largest rank that fits into a number of columns."""
        return columns // self.growth

    def width(self, phase: int, rank: int) -> int:
        """Number of columns at the start of a phase, in a step at some rank."""
        return rank if phase == 0 else self.room(rank)

    def prepare(self, factors: Factors) -> Factors:
        """The same matrix in the form in which this integrator keeps it."""
        return factors

    def gradients(
        self, factors: Factors, gradients: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Turns Galerkin gradients at `factors` into those of the stepped values."""
        return gradients

    def points(self, phase: int, factors: Factors) -> dict[str, Tensor]:
        """The values that a phase steps, by name (see `Phase`)."""
        u, s, v = factors
        values = {
            "u": lambda: u @ s,
            "s": lambda: s,
            "v": lambda: v @ linalg.transpose(s),
        }
        return {name: values[name]() for name in self.phases[phase].steps}

    @abc.abstractmethod
    def update(
        self,
        phase: int,
        factors: Factors,
        increments: dict[str, Tensor],
        truncation: Truncation | None = None,
    ) -> Update:
        """New factors from the increments of the stepped values.

        Formulas are for one matrix. Without a rule, all arguments may have leading
        batch axes, as `dlrt.linalg` accepts them.

        Args:
            phase: Index into `phases`.
            factors: The factors at which `points` was evaluated.
            increments: Stepped value minus point, by name.
            truncation: The rule for the next rank, used in the last phase; `None` keeps
                the rank.
        """

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Integrator":
        return cls(**config)


def register(cls: type[Integrator]) -> type[Integrator]:
    """Registers an integrator with Keras, and with `get` under its name."""
    _REGISTRY[cls.name] = cls
    return keras.saving.register_keras_serializable(package="dlrt")(cls)


def names() -> tuple[str, ...]:
    """The names that `get` understands."""
    return tuple(_REGISTRY)


def get(
    identifier: str | dict | Integrator, custom_objects: dict[str, Any] | None = None
) -> Integrator:
    """Resolves an integrator from its name.

    Args:
        identifier: An `Integrator`, its name, or its serialised configuration.
        custom_objects: Classes by name, for a configuration that names one which is
            not registered.

    Raises:
        ValueError: If there is no such integrator.

    Example:

    >>> dlrt.integrators.get("parallel_bug").name
    'parallel_bug'
    """
    if isinstance(identifier, Integrator):
        return identifier
    if isinstance(identifier, dict):
        try:
            found = keras.saving.deserialize_keras_object(identifier, custom_objects)
        except TypeError as error:
            raise ValueError(
                "`integrator` can't be restored from its configuration. Register its "
                "class by `@dlrt.integrators.register`, or pass it in "
                f"`custom_objects`. Received: integrator={identifier!r}"
            ) from error
        if isinstance(found, Integrator):
            return found
    elif isinstance(identifier, str) and identifier in _REGISTRY:
        return _of_class(_REGISTRY[identifier])
    raise ValueError(
        f"`integrator` must be one of {', '.join(map(repr, _REGISTRY))}, an "
        f"Integrator or its configuration. Received: integrator={identifier!r}"
    )


def serialize(integrator: Integrator) -> str | dict[str, Any]:
    """What `get` resolves to an equal integrator: a name, or class and configuration.

    Raises:
        ValueError: If the configuration of the integrator does not restore it.
    """
    cls = type(integrator)
    if cls.__module__.rpartition(".")[0] == __package__:
        return integrator.name
    try:
        serialized = keras.saving.serialize_keras_object(integrator)
        config = serialized["config"]
        cls.from_config(config)
    except (TypeError, NotImplementedError) as error:
        raise ValueError(_not_serializable(cls, str(error))) from error
    inherited = Integrator.from_config.__func__  # type: ignore[attr-defined]
    if getattr(cls.from_config, "__func__", None) is inherited:
        # An argument with a default would be lost silently.
        lost = [
            name
            for name, parameter in inspect.signature(cls).parameters.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and name not in config
        ]
        if lost:
            reason = f"no {', '.join(lost)} in {config}"
            raise ValueError(_not_serializable(cls, reason))
    return serialized


def _not_serializable(cls: type, reason: str) -> str:
    return (
        f"`integrator` can't be saved: `get_config` of {cls.__name__} must return the "
        f"arguments of its constructor. Received: {reason}"
    )


@functools.cache
def _of_class(cls: type[Integrator]) -> Integrator:
    # Shared objects, so that functions compiled for one optimizer serve another.
    return cls()


_REGISTRY: dict[str, type[Integrator]] = {}
