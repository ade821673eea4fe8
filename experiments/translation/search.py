"""Search for a translation, as a layer that holds the network.

Every part is in the graph, so that a compiled call translates a batch.
"""

from typing import Any

import keras
from keras import ops

from dlrt.backend.shapes import dynamic_shapes
from experiments.translation import network
from experiments.translation.tokenizers import END, PADDING, START

Tensor = Any


class Search(keras.layers.Layer):
    """What searches have in common.

    A call takes sources `(batch, width)` and limits `(batch,)`, the most tokens that
    each translation may have, both int32, and returns the translations
    `(batch, length)`. Each row is a sentence, `END` if it ended in time, and padding.
    The longest limit must be at most `room(width)`.

    Not a model, since low-rank layers remember the models that call them.

    Args:
        model: A network of `network.build`.
        max_length: The most tokens of any translation.
    """

    def __init__(self, model: keras.Model, max_length: int) -> None:
        super().__init__()
        self._model = model
        self._max_length = max_length
        self._count = network.num_layers(model)
        self.built = True

    def room(self, width: int) -> int:
        """The most tokens of translations of sources of some width."""
        return min(self._max_length, 2 * width + 10)

    def _length(self, source: Tensor, limits: Tensor) -> Any:
        """Number of tokens that translations in a batch have room for."""
        if dynamic_shapes():
            return ops.max(limits)
        return self.room(source.shape[1])

    def _encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        return network.encode(self._model.get_layer, self._count, source)


class GreedySearch(Search):
    """Takes the token of the highest score at every step.

    Args:
        model: A network of `network.build`.
        max_length: The most tokens of any translation.
        cached: Whether keys and values of earlier tokens are kept. Otherwise the
            network is given all of them again at every step.
    """

    def __init__(self, model: keras.Model, max_length: int, cached: bool) -> None:
        super().__init__(model, max_length)
        self._cached = cached

    def call(self, source: Tensor, limits: Tensor) -> Tensor:
        batch, length = ops.shape(source)[0], self._length(source, limits)
        layer, count = self._model.get_layer, self._count
        memory, mask = self._encode(source)
        caches: list[Any] = []
        if self._cached:
            memory = network.project_memory(layer, count, memory)
            caches = network.empty_caches(layer, count, batch, length)
        ids = start_rows((batch,), length)

        def next_scores(step: Tensor, ids: Tensor, caches: list) -> tuple[Tensor, list]:
            if self._cached:
                last = ops.expand_dims(ops.take(ids, step, axis=1), 1)
                scores, caches = network.decode_next(
                    layer, count, last, memory, mask, caches, step
                )
                return scores[:, 0], caches
            # Positions after the step don't count, but would have to be computed.
            prefix = ids[:, : step + 1] if dynamic_shapes() else ids
            scores = network.decode(layer, count, prefix, memory, mask)
            return ops.take(scores, step, axis=1), caches

        def going_on(step: Tensor, ids: Tensor, done: Tensor, caches: list) -> Tensor:
            return ops.logical_not(ops.all(done))

        def write(
            step: Tensor, ids: Tensor, done: Tensor, caches: list
        ) -> tuple[Tensor, Tensor, Tensor, list]:
            scores, caches = next_scores(step, ids, caches)
            # Ids before the end stand for padding and the start of a sentence.
            best = ops.cast(ops.argmax(scores[:, END:], axis=-1), "int32") + END
            best = ops.where(done, PADDING, best)
            ids = write_tokens(ids, best, step)
            done = ops.logical_or(done, ops.equal(best, END))
            done = ops.logical_or(done, limits <= step + 1)
            return step + 1, ids, done, caches

        first = (ops.convert_to_tensor(0, "int32"), ids, limits < 1, caches)
        _, ids, _, _ = ops.while_loop(going_on, write, first)
        return ids[:, 1:]


def start_rows(shape: tuple, length: Any) -> Tensor:
    """Rows `(*shape, 1 + length)` of a start and padding."""
    starts = ops.full((*shape, 1), START, "int32")
    return ops.concatenate([starts, ops.zeros((*shape, length), "int32")], axis=-1)


def write_tokens(ids: Tensor, tokens: Tensor, step: Tensor) -> Tensor:
    """Rows of ids, with `tokens` at the position after that of a step."""
    positions = ops.arange(ops.shape(ids)[-1], dtype="int32")
    return ops.where(positions == step + 1, ops.expand_dims(tokens, -1), ids)
