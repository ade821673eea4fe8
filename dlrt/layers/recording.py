"""Records the products of a pass through a model, for gradients in other bases.

With the input `x` of a low-rank product and the gradient `dy` of its output, the
gradient of the kernel is `G = xᵀ dy`, so its coefficients `PᵀGQ` in any bases `P` and
`Q` cost two thin products, where another pass costs six.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

Tensor = Any

_CURRENT: contextvars.ContextVar["Recording | None"] = contextvars.ContextVar(
    "recording", default=None
)


class Recording:
    """The low-rank products of one pass, in order.

    Args:
        scope: Returns the graph or trace to which operations are added.
        probes: Zeros to be added to the outputs, so that a function can be
            differentiated with respect to them.

    Attributes:
        layers: The layer of each product.
        inputs: `x: (batch, n)` of each, `(batch,)` integers where rows are looked up,
            `(batch, ..., channels)` of a convolution.
        outputs: `y: (batch, m)` of each, `(batch, ..., m)` of a convolution.
        complete: Whether the loss depends on kernels through these products only, and
            none is inside a loop or branch, inaccessible from outside.
    """

    def __init__(
        self, scope: Callable[[], Any], probes: list[Tensor] | None = None
    ) -> None:
        self.layers: list[Any] = []
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.complete = True
        self._scope = scope
        self._surroundings = scope()
        self._probes = probes

    def add(self, layer: Any, x: Tensor, y: Tensor) -> Tensor:
        """Records a product and returns it, with its probe added if there are any."""
        if self._probes is not None:
            y = y + self._probes[len(self.layers)]
        self.complete = self.complete and self._scope() == self._surroundings
        self.layers.append(layer)
        self.inputs.append(x)
        self.outputs.append(y)
        return y


@contextlib.contextmanager
def recording(record: Recording) -> Iterator[Recording]:
    """Within this context low-rank products of this thread are recorded."""
    token = _CURRENT.set(record)
    try:
        yield record
    finally:
        _CURRENT.reset(token)


def record_product(layer: Any, x: Tensor, y: Tensor) -> Tensor:
    """Adds `y = x U S Vᵀ` to the current recording, if any; returns `y`."""
    record = _CURRENT.get()
    return y if record is None else record.add(layer, x, y)


def record_other_use() -> None:
    """Notes in the current recording, if any, a use of a kernel besides products."""
    record = _CURRENT.get()
    if record is not None:
        record.complete = False
