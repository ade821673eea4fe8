"""The interface of structures: choices, and layers that run them."""

import abc
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from dlrt.surgery.replacements import Layer, Replacement

Shape = tuple[int | None, ...]


class Choice(NamedTuple):
    """One way to run a layer.

    Attributes:
        ranks: Ranks of the decomposition.
        parameters: Number of parameters that replace the kernel.
        flops: Flops of their products.
        error: Relative error of the kernel in the Frobenius norm.
        bound: Bound on its relative error in the spectral norm, as a matrix.
        groups: Number of groups of input channels, each with its own decomposition.
        degeneracy: Squared norms of the components of a CP decomposition, divided by
            that of the kernel; `None` for others and while unknown.
    """

    ranks: tuple[int, ...]
    parameters: int
    flops: int
    error: float
    bound: float
    groups: int = 1
    degeneracy: float | None = None

    @property
    def total_rank(self) -> float:
        """A single number for the rank: the mean of several, the sum over groups."""
        return self.groups * float(np.mean(self.ranks))


class Structure(abc.ABC):
    """What the kernel of one layer is decomposed into.

    `dlrt.compress` makes a structure for each layer that may be compressed, asks for
    the choices that it has, and for the layers that run the one that was chosen. A
    structure that is registered is known to it by name:

        @dlrt.compression.register_structure
        class Halved(dlrt.compression.Structure):
            name = "halved"
            ...

    Args:
        layer: A built layer of Keras with one kernel, which `supports` accepts.
        shapes: Shapes of its inputs with the batch axis, one for each time it is
            applied; unknown axes count as 1.

    Attributes:
        name: Its name in `dlrt.compress`.
        any_size: Whether the new layers take inputs of several shapes where the layer
            does. A `keras.Sequential` in its place does not.
    """

    name: ClassVar[str]
    any_size: ClassVar[bool] = False

    def __init__(self, layer: Layer, shapes: Sequence[Shape] = ()) -> None:
        self.layer = layer
        self.shapes = shapes

    @classmethod
    def supports(cls, layer: Layer) -> bool:
        """Whether it has a form for a layer; `"pointwise"` is for the others."""
        return True

    @abc.abstractmethod
    def list_choices(self) -> list[Choice]:
        """The choices, in any order; the unchanged layer need not be among them."""

    @abc.abstractmethod
    def build_replacement(self, choice: Choice) -> Replacement:
        """New Keras layers that run a choice, combined into one, and their weights.

        `dlrt.surgery.replacements.chain_layers` makes them of layers in a row.
        """

    def find_choice(self, ranks: tuple[int, ...], groups: int = 1) -> Choice | None:
        """The choice with these ranks and its exact error; `None` if there is none."""
        for choice in self.list_choices():
            if (choice.groups, choice.ranks) == (groups, ranks):
                return choice
        return None

    def measure(self, choice: Choice) -> Choice:
        """A choice with its exact error, if that of `list_choices` is an estimate."""
        return choice


_STRUCTURES: dict[str, type[Structure]] = {}


def register_structure(cls: type[Structure]) -> type[Structure]:
    """Makes a structure known to `dlrt.compress` by its name; decorates the class.

    Raises:
        TypeError: If it is not a subclass of `Structure`.
    """
    if not (isinstance(cls, type) and issubclass(cls, Structure)):
        raise TypeError(
            f"`cls` must be a subclass of dlrt.compression.Structure. Received: {cls!r}"
        )
    _STRUCTURES[cls.name] = cls
    return cls


def structure_names() -> tuple[str, ...]:
    """The structures that `dlrt.compress` knows."""
    return tuple(_STRUCTURES)


def make_structure(name: str, layer: Layer, shapes: Sequence[Shape] = ()) -> Structure:
    """The structure with a name for a layer, `"pointwise"` if it has no form for it."""
    cls = _STRUCTURES[name]
    chosen = cls if cls.supports(layer) else _STRUCTURES["pointwise"]
    return chosen(layer, shapes)
