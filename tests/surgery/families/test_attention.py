import keras
import pytest
from helpers import array
from surgery.models import KEEP, assert_close, fill, inputs, low_rank_layers, outputs

import dlrt
from dlrt import Factors
from dlrt.layers import CachedMultiHeadAttention
from dlrt.surgery.families.base import family_of


def test_an_attention_layer_has_to_become_smaller_as_a_whole():
    x = keras.Input((4, 20))
    y = keras.layers.MultiHeadAttention(4, 5, name="attention")(x, x)
    model = keras.Model(x, y)
    assert set(low_rank_layers(dlrt.convert(model, rank=9))) == {"attention"}
    with pytest.raises(ValueError, match="would become smaller.*'attention'"):
        dlrt.convert(model, rank=10)


def test_flash_attention_stays():
    """No configuration has it: it is a matter of the machine."""
    x = keras.Input((6, 20))
    layer = keras.layers.MultiHeadAttention(2, 10, name="attention")
    model = keras.Model(x, layer(x, x))
    low_rank = dlrt.convert(model, rank=2).get_layer("attention")
    family = family_of(layer)
    factors = [Factors.from_dense(m, 2) for m in family.matrices(layer)]
    assert not family.to_low_rank(layer, factors).layer._flash_attention
    layer._flash_attention = low_rank._flash_attention = True
    made = [
        family.to_low_rank(layer, factors),
        family.to_dense(low_rank),
        family.to_merged(low_rank),
    ]
    assert all(new.layer._flash_attention for new in made)


def test_attention_can_be_cached_after_every_change():
    x = keras.Input((None, 20))
    layer = keras.layers.MultiHeadAttention(4, 5, name="attention")
    model = fill(keras.Model(x, layer(x, x, use_causal_mask=True)))
    low_rank = dlrt.convert(model, rank=3, **KEEP)
    data = inputs(2, 3, 20)
    for copy in (low_rank, dlrt.to_dense(low_rank), dlrt.merge(low_rank)):
        layer = copy.get_layer("attention")
        assert isinstance(layer, CachedMultiHeadAttention)
        cache = layer.empty_cache(2, 3)
        y, _ = layer(data, data, cache=cache, cache_update_index=0)
        assert_close(array(y), outputs(low_rank, data))
    # At a rank where factors don't pay.
    full = dlrt.merge(dlrt.convert(model, rank=15, **KEEP)).get_layer("attention")
    assert type(full) is CachedMultiHeadAttention
