"""Attention with cached keys and values, and with projections of low rank."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops
from keras.src.backend import set_keras_mask  # not exported by Keras

from dlrt.layers._arguments import check_ranks, refuse_constraint
from dlrt.layers.low_rank_einsum_dense import LowRankEinsumDense

Tensor = Any

# Keys and values, `(batch, heads, length, key_dim)` and `(batch, heads, length,
# value_dim)`: laid out for the products, since transposing all of them at every step
# takes longer than the products.
Cache = tuple[Tensor, Tensor]

PROJECTIONS = ("query", "key", "value", "output")


@keras.saving.register_keras_serializable(package="dlrt")
class CachedMultiHeadAttention(keras.layers.MultiHeadAttention):
    """`keras.layers.MultiHeadAttention` that can cache keys and values.

    A decoder that generates tokens one by one needs those of earlier tokens at every
    step. With a `cache` a call projects the new tokens only:

    - `attention(x, x, cache=cache, cache_update_index=i)` writes keys and values of the
      tokens `x: (batch, t, d)` at the positions `i, ..., i + t - 1`, lets every token
      attend to the positions up to its own, and returns `(output, cache)`. Start with
      `empty_cache`.
    - `attention(x, cache=cache)` attends to a whole cache, which `project` has made of
      the encoder's output for instance, and returns `(output, cache)`.

    Without `cache` it is the layer of Keras. An `attention_mask: (batch, t, length)`
    restricts what is attended to; masks that Keras propagates are not used with a
    cache.

    Args:
        *args: Arguments of `keras.layers.MultiHeadAttention`.
        **kwargs: Arguments of `keras.layers.MultiHeadAttention`.

    Example:

    >>> attention = dlrt.layers.CachedMultiHeadAttention(num_heads=2, key_dim=8)
    >>> x = np.ones((1, 3, 16), "float32")
    >>> whole = attention(x, x, use_causal_mask=True)
    >>> cache = attention.empty_cache(batch_size=1, length=3)
    >>> for i in range(3):
    ...     token = x[:, i : i + 1]
    ...     y, cache = attention(token, token, cache=cache, cache_update_index=i)
    >>> bool(np.allclose(y[:, 0], whole[:, 2], atol=1e-5))
    True
    """

    def empty_cache(self, batch_size: Any, length: int) -> Cache:
        """Room for the keys and values of `length` tokens, filled with zeros."""
        return tuple(
            ops.zeros((batch_size, self.num_heads, length, dim), self.compute_dtype)
            for dim in (self.key_dim, self.value_dim)
        )

    def project(self, value: Tensor, key: Tensor | None = None) -> Cache:
        """The keys and values of a whole sequence, `(batch, length, d)`."""
        key = value if key is None else key
        return _swap_heads(self.key_dense(key)), _swap_heads(self.value_dense(value))

    def call(
        self,
        query: Tensor,
        value: Tensor | None = None,
        key: Tensor | None = None,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
        cache: Cache | None = None,
        cache_update_index: Any = None,
    ) -> Any:
        if cache is None:
            _require(value is not None, "`value` must be given without a `cache`.")
            _require(
                cache_update_index is None,
                "`cache_update_index` needs a `cache` to update. Received: "
                f"cache_update_index={cache_update_index}",
            )
            return super().call(
                query,
                value,
                key,
                query_mask=query_mask,
                value_mask=value_mask,
                key_mask=key_mask,
                attention_mask=attention_mask,
                return_attention_scores=return_attention_scores,
                training=training,
                use_causal_mask=use_causal_mask,
            )
        _require(
            not return_attention_scores,
            "`return_attention_scores` must be False with a `cache`.",
        )
        # Only the layer handles masks; its projections don't support them.
        for tensor in (query, key, value):
            set_keras_mask(tensor, None)
        if cache_update_index is None:
            _require(
                self._sliding_window is None,
                "`cache_update_index` must be given with a `cache` if the layer has a "
                f"`sliding_window`. Received: sliding_window={self._sliding_window}",
            )
        else:
            _require(value is not None, "`value` must be given to update a `cache`.")
            cache, attention_mask = self._update_cache(
                cache, self.project(value, key), cache_update_index, attention_mask
            )
        projected = self.query_dense(query)
        attended = self._attend(projected, cache, attention_mask, training)
        if self._use_gate:
            attended = attended * self._gate_dense(query)
        return self.output_dense(attended), cache

    def _attend(self, query: Tensor, cache: Cache, mask: Any, training: Any) -> Tensor:
        """The attention output of queries `(batch, t, heads, key_dim)` on a cache."""
        keys, values = cache
        query = _swap_heads(query) * ops.cast(self._inverse_sqrt_key_dim, query.dtype)
        scores = ops.einsum("bhtd,bhsd->bhts", query, keys)
        weights = self._masked_softmax(scores, mask)
        weights = self._dropout_layer(weights, training=training)
        return _swap_heads(ops.matmul(weights, values))

    def _update_cache(
        self, cache: Cache, new: Cache, index: Any, attention_mask: Tensor | None
    ) -> tuple[Cache, Tensor]:
        """The cache with new keys and values, and the attention mask."""
        # JAX requires one dtype for all of them.
        index = ops.cast(index, "int32")
        zero = ops.zeros_like(index)
        start = (zero, zero, index, zero)
        cache = tuple(
            ops.slice_update(old, start, ops.cast(part, old.dtype))
            for old, part in zip(cache, new, strict=True)
        )
        positions = index + ops.arange(ops.shape(new[0])[2], dtype="int32")
        slots = ops.arange(ops.shape(cache[0])[2], dtype="int32")
        distances = positions[:, None] - slots[None]
        known = distances >= 0
        if self._sliding_window is not None:
            known = ops.logical_and(known, distances < self._sliding_window)
        if attention_mask is None:
            return cache, known[None]
        return cache, ops.logical_and(ops.cast(attention_mask, "bool"), known[None])

    def compute_output_spec(
        self, query: Any, value: Any = None, key: Any = None, **kwargs: Any
    ) -> Any:
        cache = kwargs.pop("cache", None)
        kwargs.pop("cache_update_index", None)
        if cache is None:
            return super().compute_output_spec(query, value, key, **kwargs)
        like = query if value is None else value
        output = super().compute_output_spec(query, like)
        return output, tuple(keras.KerasTensor(c.shape, c.dtype) for c in cache)


@keras.saving.register_keras_serializable(package="dlrt")
class LowRankMultiHeadAttention(CachedMultiHeadAttention):
    """Multi-head attention whose projections have low rank.

    The projections to queries, keys, values and to the output (and to the gate, if
    there is one) are `LowRankEinsumDense` layers, each with its own rank. It takes all
    arguments of `keras.layers.MultiHeadAttention` except `kernel_constraint`, and can
    cache keys and values, see `CachedMultiHeadAttention`.

    Args:
        num_heads: Number of heads.
        key_dim: Size of each head for queries and keys.
        *args: Further arguments of `keras.layers.MultiHeadAttention`.
        rank: Positive integer, the rank of every projection, or a dictionary with a
            rank for each of "query", "key", "value" and "output" ("gate" goes with
            "query"). The starting ranks if ranks are adaptive.
        tolerance: Float in `(0, 1)`; overrides that of the optimizer.
        max_rank: Upper bound of adaptive ranks; overrides that of the optimizer.
        **kwargs: Further arguments of `keras.layers.MultiHeadAttention`.

    Raises:
        ValueError: If an argument is out of range; when the layer is built, if a
            projection can't have its rank.

    Example:

    >>> attention = dlrt.layers.LowRankMultiHeadAttention(8, 64, rank=40)
    >>> x = np.ones((2, 5, 512), "float32")
    >>> tuple(attention(x, x, use_causal_mask=True).shape)
    (2, 5, 512)
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        *args: Any,
        rank: int | Mapping[str, int],
        tolerance: float | None = None,
        max_rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        refuse_constraint("kernel_constraint", kwargs.get("kernel_constraint"))
        if not isinstance(rank, Mapping):
            rank = dict.fromkeys(PROJECTIONS, rank)
        if set(rank) - {"gate"} != set(PROJECTIONS):
            raise ValueError(
                "`rank` must be an integer, or have one for each of "
                f"{', '.join(PROJECTIONS)}. Received: rank={rank}"
            )
        for value in rank.values():
            check_ranks(value, tolerance, max_rank)
        super().__init__(num_heads, key_dim, *args, **kwargs)
        self._initial_ranks = dict(rank)
        self.tolerance = tolerance
        self.max_rank = max_rank

    def build(
        self, query_shape: tuple, value_shape: tuple, key_shape: tuple | None = None
    ) -> None:
        key_shape = value_shape if key_shape is None else key_shape
        if value_shape[1:-1] != key_shape[1:-1]:
            raise ValueError(
                "`value` and `key` must agree but in their last dimension. Received: "
                f"value_shape={value_shape}, key_shape={key_shape}"
            )
        keys, values = ([self.num_heads, dim] for dim in (self.key_dim, self.value_dim))
        self._query_dense = self._projection("query", query_shape, keys)
        self._key_dense = self._projection("key", key_shape, keys)
        if self._use_gate:
            self._gate_dense = self._projection(
                "gate", query_shape, values, activation="sigmoid"
            )
        self._value_dense = self._projection("value", value_shape, values)
        self._build_attention(len(value_shape) + 1)
        self._output_dense = self._projection(
            "output",
            (*query_shape[:-1], *values),
            list(self._output_shape or query_shape[-1:]),
            num_summed=2,
        )

    def _projection(
        self,
        name: str,
        input_shape: tuple,
        output_shape: list[int],
        num_summed: int = 1,
        **kwargs: Any,
    ) -> LowRankEinsumDense:
        """A built layer that maps the last axes of an input to new ones."""
        letters = "abcdefghijklmnopqrstuvwxyz"
        num_kept = len(input_shape) - num_summed
        kept, rest = letters[:num_kept], letters[num_kept:]
        summed, new = rest[:num_summed], rest[num_summed:][: len(output_shape)]
        layer = LowRankEinsumDense(
            f"{kept}{summed},{summed}{new}->{kept}{new}",
            output_shape=[None] * (num_kept - 1) + output_shape,
            bias_axes=new if self._use_bias else None,
            name=name,
            rank=self._initial_ranks.get(name, self._initial_ranks["query"]),
            tolerance=self.tolerance,
            max_rank=self.max_rank,
            **self._get_common_kwargs_for_sublayer(),
            **kwargs,
        )
        layer.build(tuple(input_shape))
        return layer

    @property
    def ranks(self) -> dict[str, int]:
        """The current ranks by projection."""
        if not self.built:
            return dict(self._initial_ranks)
        names = (*PROJECTIONS, "gate") if self._use_gate else PROJECTIONS
        return {name: getattr(self, f"_{name}_dense").rank for name in names}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.ranks,
            "tolerance": self.tolerance,
            "max_rank": self.max_rank,
        }


def _swap_heads(x: Tensor) -> Tensor:
    """Swaps the axes of length and heads."""
    return ops.transpose(x, (0, 2, 1, 3))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
