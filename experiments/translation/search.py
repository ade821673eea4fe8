"""Greedy and beam search for a translation, as layers that hold the network.

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
    each translation may have, both int32, and returns the translations `(batch,
    length)`. Each row is a sentence, `END` if it ended in time, and padding. The
    longest limit must be at most `room(width)`, which is at most `max_length`.

    Not a model, since low-rank layers remember the models that call them.
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
        return ops.max(limits) if dynamic_shapes() else self.room(source.shape[1])


class GreedySearch(Search):
    """Takes the token of the highest score at every step.

    Keys and values of earlier tokens are kept if `cached`. Otherwise the network is
    given all of them again at every step.
    """

    def __init__(
        self, model: keras.Model, max_length: int, cached: bool = True
    ) -> None:
        super().__init__(model, max_length)
        self._cached = cached

    def call(self, source: Tensor, limits: Tensor) -> Tensor:
        batch, length = ops.shape(source)[0], self._length(source, limits)
        layer, count = self._model.get_layer, self._count
        memory, mask = network.encode(layer, count, source)
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

        def going_on(step, ids, done, caches):
            return ops.logical_not(ops.all(done))

        def write(step, ids, done, caches):
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


class BeamSearch(Search):
    """Extends the most likely hypotheses and keeps the best finished translation.

    At every step the `beams` most likely continuations of all open hypotheses are
    considered. Those that end are finished; the most likely ones that don't end stay
    open. Finished hypotheses are compared by `log p / penalty`, with the penalty of Wu
    et al. (2016, arXiv:1609.08144, section 7) for their length, `((5 + length) / 6)^α`,
    of which α is `length_penalty`, 0 for none. The search for a sentence stops after
    `beams` finished ones, or when no open one can be better than the best of them. If
    none is finished at the limit of tokens, the most likely open one is taken. With one
    beam, it equals greedy search.
    """

    def __init__(
        self, model: keras.Model, max_length: int, beams: int, length_penalty: float
    ) -> None:
        super().__init__(model, max_length)
        self._beams = beams
        self._length_penalty = length_penalty

    def call(self, source: Tensor, limits: Tensor) -> Tensor:
        batch, length = ops.shape(source)[0], self._length(source, limits)
        layer, count, beams = self._model.get_layer, self._count, self._beams
        encoded, mask = network.encode(layer, count, source)
        memory, mask = keras.tree.map_structure(
            lambda x: ops.repeat(x, beams, axis=0),
            (network.project_memory(layer, count, encoded), mask),
        )
        least = self._penalty(limits)

        def extend(step: Tensor, ids: Tensor, caches: list) -> tuple[Tensor, list]:
            """Log-likelihoods `(batch, beams, size)` of the next token, from `END`."""
            last = ops.reshape(ops.take(ids, step, axis=2), (-1, 1))
            scores, caches = network.decode_next(
                layer, count, last, memory, mask, caches, step
            )
            likely = ops.log_softmax(ops.cast(scores[:, 0], "float32"))[:, END:]
            return ops.reshape(likely, (-1, beams, likely.shape[-1])), caches

        def going_on(step, done, *_):
            return ops.logical_not(ops.all(done))

        def write(step, done, ids, likely, found, best, finished, caches):
            more, caches = extend(step, ids, caches)
            size = more.shape[-1]
            total = ops.reshape(likely[:, :, None] + more, (-1, beams * size))
            # At most one continuation of each hypothesis ends, so that half stay open.
            top, index = ops.top_k(total, 2 * beams)
            index = ops.cast(index, "int32")
            parent, token = index // size, index % size + END
            ends = ops.equal(token, END)

            counted = ops.logical_and(ends, ops.arange(2 * beams) < beams)
            final = ops.where(counted, top / self._penalty(step + 1), -float("inf"))
            winner = ops.argmax(final, axis=1)[:, None]
            score = ops.max(final, axis=1)
            better = ops.logical_and(score > best, ops.logical_not(done))
            row = _chosen(ids, _chosen(parent, winner))[:, 0]
            row = write_tokens(row, ops.full_like(row[:, 0], END), step)
            found = ops.where(better[:, None], row, found)
            best = ops.where(better, score, best)
            finished += ops.cast(ops.sum(ops.isfinite(final), axis=1), "int32")

            likely, chosen = ops.top_k(ops.where(ends, -float("inf"), top), beams)
            parent, token = _chosen(parent, chosen), _chosen(token, chosen)
            ids = write_tokens(_chosen(ids, parent), token, step)
            caches = _reordered(caches, parent)

            last = limits <= step + 1
            unfinished = ops.logical_and(last, ops.isinf(best))
            taken = ops.logical_and(unfinished, ops.logical_not(done))
            found = ops.where(taken[:, None], ids[:, 0], found)
            # Likelihoods only fall, and no later penalty is milder than this one.
            beaten = likely[:, 0] / least <= best
            for reason in (last, finished >= beams, beaten):
                done = ops.logical_or(done, reason)
            return step + 1, done, ids, likely, found, best, finished, caches

        none = ops.full((batch,), -float("inf"), "float32")
        # Hypotheses are equal until they differ in their first token.
        others = ops.repeat(none[:, None], beams - 1, axis=1)
        likely = ops.concatenate([ops.zeros((batch, 1)), others], axis=1)
        state = (
            ops.convert_to_tensor(0, "int32"),
            limits < 1,
            start_rows((batch, beams), length),
            likely,
            start_rows((batch,), length),
            none,
            ops.zeros((batch,), "int32"),
            network.empty_caches(layer, count, batch * beams, length),
        )
        found = ops.while_loop(going_on, write, state)[4]
        return found[:, 1:]

    def _penalty(self, length: Tensor) -> Tensor:
        return ((5.0 + ops.cast(length, "float32")) / 6.0) ** self._length_penalty


def start_rows(shape: tuple, length: Any) -> Tensor:
    """Rows `(*shape, 1 + length)` of a start and padding."""
    starts = ops.full((*shape, 1), START, "int32")
    return ops.concatenate([starts, ops.zeros((*shape, length), "int32")], axis=-1)


def write_tokens(ids: Tensor, tokens: Tensor, step: Tensor) -> Tensor:
    """Rows of ids, with `tokens` at the position after that of a step."""
    positions = ops.arange(ops.shape(ids)[-1], dtype="int32")
    return ops.where(positions == step + 1, ops.expand_dims(tokens, -1), ids)


def _chosen(x: Tensor, index: Tensor) -> Tensor:
    """`x[b, index[b, j]]`, `(batch, m, ...)` of `(batch, n, ...)` and `(batch, m)`.

    `ops.take_along_axis` transposes integers, of which TensorFlow prints a notice.
    """
    shape = ops.shape(x)
    flat = ops.reshape(x, (-1, *shape[2:]))
    return ops.take(flat, _flat_index(index, shape[1]), axis=0)


def _reordered(caches: list, parents: Tensor) -> list:
    """Caches `(batch * beams, ...)` of the hypotheses `(batch, beams)`."""
    index = ops.reshape(_flat_index(parents, parents.shape[1]), (-1,))
    return keras.tree.map_structure(lambda x: ops.take(x, index, axis=0), caches)


def _flat_index(index: Tensor, number: int) -> Tensor:
    """Flat indices for `(batch, m)` indices into rows of length `number`."""
    first = ops.arange(ops.shape(index)[0], dtype="int32") * number
    return first[:, None] + ops.cast(index, "int32")
