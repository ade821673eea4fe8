"""The language model: which word comes next, by two recurrent layers."""

import keras

from experiments.words.text import CHUNK

# Of each layer. 200 are those of the small network of Zaremba et al., 2014,
# arXiv:1409.2329, which has no dropout.
_UNITS = 200
_DROPOUT = 0.2


def build(
    num_words: int, units: int = _UNITS, weight_decay: float = 0.0
) -> keras.Model:
    """An LSTM language model that is not compiled.

    It takes the ids of the words of a chunk, and gives logits of the next word after
    each. Every chunk starts from the zero state. Between layers there is dropout:
    Zaremba et al., 2014, arXiv:1409.2329.

    Args:
        num_words: Number of words that it knows.
        units: Width of the embedding and of both recurrent layers.
        weight_decay: Factor of half the squared norm of all kernels in the loss.
    """
    decay = keras.regularizers.L2(weight_decay / 2) if weight_decay else None
    inputs = keras.Input((CHUNK,), dtype="int32")
    x = keras.layers.Embedding(num_words, units, name="embedding")(inputs)
    for number in (1, 2):
        x = keras.layers.Dropout(_DROPOUT, name=f"dropout_{number}")(x)
        x = keras.layers.LSTM(
            units,
            return_sequences=True,
            kernel_regularizer=decay,
            recurrent_regularizer=decay,
            name=f"lstm_{number}",
        )(x)
    x = keras.layers.Dropout(_DROPOUT, name="dropout_3")(x)
    outputs = keras.layers.Dense(num_words, kernel_regularizer=decay, name="output")(x)
    return keras.Model(inputs, outputs, name="lstm")
