import keras
import numpy as np
import pytest
from surgery.models import KEEP, assert_close, fill, outputs

import dlrt


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_merged_embeddings_find_all_rows_and_hand_their_mask_on(dtype):
    tokens = keras.Input((None,), dtype="int32")
    embedding = keras.layers.Embedding(
        3000, 12, mask_zero=True, name="embedding", dtype=dtype
    )
    pooled = keras.layers.GlobalAveragePooling1D()(embedding(tokens))
    model = fill(keras.Model(tokens, pooled))
    low_rank = dlrt.convert(model, rank=3, **KEEP)
    merged = dlrt.merge(low_rank)
    pair = merged.get_layer("embedding").layers
    assert [type(x) for x in pair] == [keras.layers.Embedding, keras.layers.Dense]
    # 2049 is no number of float16.
    data = np.array([[2049, 2999, 0, 0], [2048, 7, 1, 0]])
    relative = 1e-5 if dtype == "float32" else 5e-3
    assert_close(outputs(merged, data), outputs(low_rank, data), relative)
    assert_close(
        outputs(dlrt.to_dense(low_rank), data), outputs(low_rank, data), relative
    )
    alone = outputs(merged, data[:1, :2])
    assert_close(outputs(merged, data[:1]), alone, relative)
