"""The data sets and corpora that can be had by name, and what loads each.

Those of the library are listed here, by where their loaders are to be imported from.
"""

import importlib
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

# Stands for the first of two that can be had.
AUTO = "auto"

Loader = Callable[..., Any]


class Entry(NamedTuple):
    """What is known by a name.

    Attributes:
        loader: What loads it, or `"<module>:<attribute>"`, where to import that from.
        shape: Shape of an image, if it is known.
    """

    loader: Loader | str
    shape: tuple[int, ...] | None = None


class Registry:
    """Names, and what loads each.

    Args:
        entries: What there is to begin with.
        preferred, fallback: What `AUTO` stands for.
    """

    def __init__(
        self, entries: Mapping[str, Entry], preferred: str, fallback: str
    ) -> None:
        self._entries = dict(entries)
        self.preferred = preferred
        self.fallback = fallback

    def __iter__(self) -> Iterator[str]:
        return iter((AUTO, *self._entries))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in tuple(self)

    def of_shape(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Returns the names of what has this shape, as far as is known."""
        known = {name: entry.shape for name, entry in self._entries.items()}
        return AUTO, *(name for name in known if known[name] in (None, shape))

    def register(
        self, name: str, loader: Loader, shape: tuple[int, ...] | None = None
    ) -> None:
        """Adds a name.

        Raises:
            ValueError: It is no name, or there is one like it.
            TypeError: The loader can't be called.
        """
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name) or name in self:
            raise ValueError(
                f"`name` must be letters, digits and '_', and none of {tuple(self)}. "
                f"Received: name={name!r}"
            )
        if not callable(loader):
            raise TypeError(f"`loader` must be a function. Received: loader={loader!r}")
        self._entries[name] = Entry(loader, shape)

    def find(self, name: str) -> Loader:
        """Returns what loads the data of a name, which is not `AUTO`."""
        loader = self._entries[name].loader
        if isinstance(loader, str):
            module, _, attribute = loader.partition(":")
            return operator.attrgetter(attribute)(importlib.import_module(module))
        return loader


_CACHE = "dlrt.datasets._keras_cache"
IMAGES = Registry(
    {
        "mnist": Entry(f"{_CACHE}:MNIST.load", (28, 28)),
        "fashion_mnist": Entry(f"{_CACHE}:FASHION_MNIST.load", (28, 28)),
        "cifar10": Entry(f"{_CACHE}:CIFAR10.load", (32, 32, 3)),
        "digits": Entry("dlrt.datasets._digits:load_digits", (28, 28)),
    },
    preferred="mnist",
    fallback="digits",
)
# Their English sides are the texts.
CORPORA = Registry(
    {
        "pt_en": Entry("dlrt.datasets._load_corpus:load_pt_en"),
        "ted": Entry("dlrt.datasets._load_corpus:load_ted"),
        "phrases": Entry("dlrt.datasets._load_corpus:load_phrases"),
    },
    preferred="pt_en",
    fallback="phrases",
)
