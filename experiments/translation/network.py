"""The encoder-decoder transformer (Vaswani et al., 2017, arXiv:1706.03762).

The network is a functional model of Keras and dlrt layers with fixed names. `encode`
and `decode` say how the layers are connected; `build` calls them on symbolic tensors,
and decoding calls them again, token by token, with the layers of a trained model.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

import dlrt
from dlrt.layers.multi_head_attention import Cache

Tensor = Any
Layers = Callable[[str], keras.layers.Layer]
# Applies a layer of attention.
Attend = Callable[[keras.layers.Layer, Tensor], Tensor]

SOURCE, TARGET = "source", "target"


@dataclass(frozen=True)
class Architecture:
    """Sizes of a transformer, see `Config`, and of its vocabularies.

    A projection that can't have the `rank` gets its largest; `None` is for dense
    layers.
    """

    dim: int
    layers: int
    heads: int
    feed_forward: int
    dropout: float
    source_size: int
    target_size: int
    rank: int | None = None
    embedding_rank: int | None = None
    max_rank: int | None = None


@keras.saving.register_keras_serializable(package="dlrt_translation")
class Positions(keras.layers.Layer):
    """Scales embeddings by `√d` and adds sines and cosines of the position."""

    def call(self, x: Tensor, start: Any = 0) -> Tensor:
        """Adds the encodings of the positions from `start` on."""
        length, dim = ops.shape(x)[1], x.shape[-1]
        positions = ops.cast(start + ops.arange(length), x.dtype)
        rates = np.exp(-math.log(10_000) * np.arange(0, dim, 2) / dim)
        angles = positions[:, None] * ops.convert_to_tensor(rates, x.dtype)
        encodings = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=1)
        return x * math.sqrt(dim) + encodings[None]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


def build(architecture: Architecture) -> keras.Model:
    """Makes the network: from source and target tokens to scores of the next ones.

    Inputs are integers `(batch, length)` named "source" and "target", 0 for padding;
    the output is `(batch, target length, target_size)`, before the softmax.
    """
    layer = _make_layers(architecture).__getitem__
    source, target = (
        keras.Input((None,), dtype="int32", name=name) for name in (SOURCE, TARGET)
    )
    encoded = encode(layer, architecture.layers, source)
    scores = decode(layer, architecture.layers, target, *encoded)
    model_type = keras.Model if architecture.rank is None else dlrt.Model
    return model_type({SOURCE: source, TARGET: target}, scores)


def num_layers(model: keras.Model) -> int:
    """The number of decoder layers of a model that `build` has made."""
    name = re.compile(r"decoder_\d+_cross_attention")
    return sum(name.fullmatch(layer.name) is not None for layer in model.layers)


def encode(layer: Layers, count: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder's output, and a mask without its padding.

    `layer` gives a layer by name, as `model.get_layer` does; here as below, `count` is
    the number of encoder or decoder layers. From tokens `(batch, length)` come `(batch,
    length, dim)`, and a mask `(batch, 1, length)` for those who attend to it.
    """
    # Keras's own masks get lost: attention removes them from its input, which the
    # residual sum also needs.
    mask = ops.expand_dims(ops.not_equal(tokens, 0), 1)
    x = _embed(layer, SOURCE, tokens)

    def attend(block: keras.layers.Layer, x: Tensor) -> Tensor:
        return block(x, x, attention_mask=mask)

    for number in range(1, count + 1):
        name = f"encoder_{number}"
        x = _residual(layer, f"{name}_self_attention", x, attend)
        x = _feed_forward(layer, name, x)
    return x, mask


def decode(
    layer: Layers, count: int, tokens: Tensor, memory: Tensor, mask: Tensor
) -> Tensor:
    """The scores of the tokens that follow each one, `(batch, length, target_size)`.

    Tokens, `(batch, length)`, begin with the start token; the rest is the encoder's.
    """
    return _run_decoder(
        layer,
        count,
        _embed(layer, TARGET, tokens),
        lambda block, x: block(x, x, use_causal_mask=True),
        lambda block, x: block(x, memory, attention_mask=mask),
    )


def decode_next(
    layer: Layers,
    count: int,
    tokens: Tensor,
    memory: list[Cache],
    mask: Tensor,
    caches: list[Cache],
    start: Any,
) -> tuple[Tensor, list[Cache]]:
    """`decode` for tokens that follow `start` others, whose keys and values are cached.

    Memory is from `project_memory`, with the mask of the encoder's output, and the
    caches of the tokens before are at first from `empty_caches`. Beside the scores,
    `(batch, length, target_size)`, the caches with the new tokens are returned.
    """
    updated: list[Cache] = []

    def attend_self(block: keras.layers.Layer, x: Tensor) -> Tensor:
        cache = caches[len(updated)]
        y, cache = block(x, x, cache=cache, cache_update_index=start)
        updated.append(cache)
        return y

    def attend_memory(block: keras.layers.Layer, x: Tensor) -> Tensor:
        return block(x, cache=memory[len(updated) - 1], attention_mask=mask)[0]

    x = _embed(layer, TARGET, tokens, start)
    return _run_decoder(layer, count, x, attend_self, attend_memory), updated


def project_memory(layer: Layers, count: int, memory: Tensor) -> list[Cache]:
    """Keys and values of the encoder's output for every decoder layer."""
    return [
        layer(f"decoder_{number}_cross_attention").project(memory)
        for number in range(1, count + 1)
    ]


def empty_caches(
    layer: Layers, count: int, batch_size: Any, length: int
) -> list[Cache]:
    """Room for the keys and values of `length` target tokens, for every layer."""
    return [
        layer(f"decoder_{number}_self_attention").empty_cache(batch_size, length)
        for number in range(1, count + 1)
    ]


def _run_decoder(
    layer: Layers, count: int, x: Tensor, attend_self: Attend, attend_memory: Attend
) -> Tensor:
    for number in range(1, count + 1):
        name = f"decoder_{number}"
        x = _residual(layer, f"{name}_self_attention", x, attend_self)
        x = _residual(layer, f"{name}_cross_attention", x, attend_memory)
        x = _feed_forward(layer, name, x)
    return layer("output")(x)


def _embed(layer: Layers, side: str, tokens: Tensor, start: Any = 0) -> Tensor:
    x = layer(f"{side}_embedding")(tokens)
    x = layer(f"{side}_positions")(x, start=start)
    return layer(f"{side}_dropout")(x)


def _residual(layer: Layers, name: str, x: Tensor, apply: Attend) -> Tensor:
    """`LayerNorm(x + Dropout(block(x)))`."""
    y = layer(f"{name}_dropout")(apply(layer(name), x))
    return layer(f"{name}_norm")(layer(f"{name}_add")([x, y]))


def _feed_forward(layer: Layers, name: str, x: Tensor) -> Tensor:
    def apply(first: Any, x: Tensor) -> Tensor:
        return layer(f"{name}_feed_forward_2")(first(x))

    return _residual(layer, f"{name}_feed_forward_1", x, apply)


def _make_layers(sizes: Architecture) -> dict[str, keras.layers.Layer]:
    made: dict[str, keras.layers.Layer] = {}

    def add(layer: keras.layers.Layer) -> None:
        made[layer.name] = layer

    def add_residual(name: str) -> None:
        add(keras.layers.Dropout(sizes.dropout, name=f"{name}_dropout"))
        add(keras.layers.Add(name=f"{name}_add"))
        add(keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm"))

    for side, size in ((SOURCE, sizes.source_size), (TARGET, sizes.target_size)):
        add(_embedding(sizes, size, f"{side}_embedding"))
        add(Positions(name=f"{side}_positions"))
        add(keras.layers.Dropout(sizes.dropout, name=f"{side}_dropout"))
    for part, attentions in (("encoder", ["self"]), ("decoder", ["self", "cross"])):
        for number in range(1, sizes.layers + 1):
            for attention in attentions:
                name = f"{part}_{number}_{attention}_attention"
                add(_attention(sizes, name))
                add_residual(name)
            name = f"{part}_{number}_feed_forward"
            add(_dense(sizes, sizes.dim, sizes.feed_forward, f"{name}_1", "relu"))
            add(_dense(sizes, sizes.feed_forward, sizes.dim, f"{name}_2"))
            add_residual(f"{name}_1")
    add(_dense(sizes, sizes.dim, sizes.target_size, "output", in_block=False))
    return made


def _dense(
    sizes: Architecture,
    inputs: int,
    units: int,
    name: str,
    activation: Any = None,
    in_block: bool = True,
) -> keras.layers.Layer:
    if sizes.rank is None:
        return keras.layers.Dense(units, activation=activation, name=name)
    # Scores that start smaller would only have to grow.
    initializer = "glorot_uniform"
    if in_block:
        initializer = _block_initializer(sizes.rank, inputs, units)
    return dlrt.layers.LowRankDense(
        units,
        activation=activation,
        kernel_initializer=initializer,
        name=name,
        **_ranks(sizes, sizes.rank, min(inputs, units)),
    )


def _attention(sizes: Architecture, name: str) -> keras.layers.Layer:
    key_dim = sizes.dim // sizes.heads
    if sizes.rank is None:
        return dlrt.layers.CachedMultiHeadAttention(sizes.heads, key_dim, name=name)
    return dlrt.layers.LowRankMultiHeadAttention(
        sizes.heads,
        key_dim,
        kernel_initializer=_block_initializer(sizes.rank, sizes.dim, sizes.dim),
        name=name,
        **_ranks(sizes, sizes.rank, sizes.dim),
    )


def _embedding(sizes: Architecture, size: int, name: str) -> keras.layers.Layer:
    if sizes.embedding_rank is None:
        return keras.layers.Embedding(size, sizes.dim, name=name)
    return dlrt.layers.LowRankEmbedding(
        size,
        sizes.dim,
        name=name,
        **_ranks(sizes, sizes.embedding_rank, min(size, sizes.dim)),
    )


def _block_initializer(rank: int, inputs: int, units: int) -> keras.Initializer:
    """Glorot's, with no larger singular values than a dense kernel's largest one.

    For blocks whose outputs are added up. A kernel of low rank and of the norm of a
    dense one has fewer, larger ones. The component that all tokens share soon lies in
    its bases, grows from block to block and drowns the differences between tokens: at
    width 512 and rank 50 within some hundred steps.
    """
    # The largest one of a random matrix is σ (√n + √m), with the σ of its entries, and
    # its norm is σ √(n m), which low rank distributes over `rank` of them.
    scale = min(1.0, rank * (inputs**-0.5 + units**-0.5) ** 2)
    return keras.initializers.VarianceScaling(scale, "fan_avg", "uniform")


def _ranks(sizes: Architecture, rank: int, full: int) -> dict[str, int | None]:
    """Rank and its bound for a matrix of a full rank."""
    bound = None if sizes.max_rank is None else min(sizes.max_rank, full)
    return {"rank": min(rank, full), "max_rank": bound}
