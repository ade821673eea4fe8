import keras
import numpy as np
import pytest
from helpers import array

import dlrt
from dlrt.layers import SingularValues


@pytest.mark.parametrize(
    "axis, shape",
    [(-1, (2, 3)), (-1, (2, 4, 5, 3)), (1, (2, 3, 4, 5)), (-2, (2, 3, 4))],
)
def test_channels_are_multiplied(axis, shape):
    layer = SingularValues(axis)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    np.testing.assert_array_equal(array(layer(x)), x)
    s = np.array([2.0, 0.0, -1.0], "float32")
    layer.s.assign(s)
    expected = np.moveaxis(np.moveaxis(x, axis, -1) * s, -1, axis)
    np.testing.assert_array_equal(array(layer(x)), expected)
    assert layer.compute_output_shape(shape) == shape


def test_the_regularizer_is_of_the_values():
    layer = SingularValues(regularizer=dlrt.regularizers.Hoyer(0.5))
    layer.build((None, 4))
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(1.0)


def test_a_restored_layer_is_the_same(tmp_path):
    layer = SingularValues(
        1, initializer="he_normal", regularizer=dlrt.regularizers.Hoyer(), name="s"
    )
    model = keras.Sequential([keras.Input((3, 4)), layer])
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert restored.layers[0].get_config() == layer.get_config()
    np.testing.assert_array_equal(array(restored.layers[0].s), array(layer.s))


def test_masks_and_half_precision_pass():
    x = keras.Input((None,), dtype="int32")
    y = keras.layers.Embedding(5, 3, mask_zero=True)(x)
    model = keras.Model(x, SingularValues(dtype="mixed_float16")(y))
    out = model(np.array([[1, 0]]))
    assert keras.backend.standardize_dtype(out.dtype) == "float16"
    assert array(out._keras_mask).tolist() == [[True, False]]


@pytest.mark.parametrize(
    "axis, shape, message",
    [
        (0, (None, 3), "not that of the batch.*axis=0"),
        (-2, (None, 3), "not that of the batch.*axis=-2"),
        (2, (None, 3), "must be one of the input.*axis=2"),
        (-1, (None, 4, None), "channels of the input must be known"),
    ],
)
def test_axes_that_an_input_does_not_have(axis, shape, message):
    with pytest.raises(ValueError, match=message):
        SingularValues(axis).build(shape)


@pytest.mark.parametrize("axis", [1.0, None, True, "last"])
def test_axes_that_can_not_be(axis):
    with pytest.raises(ValueError, match="`axis` must be an integer.*axis="):
        SingularValues(axis)
