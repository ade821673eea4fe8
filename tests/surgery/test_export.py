"""Exported models predict the same in the runtimes that they are exported to."""

import logging
import os
import sys

import keras
import numpy as np
import pytest
from conftest import slow
from keras import layers
from keras.src.models.functional import Functional

import dlrt

FORMATS = ("tf_saved_model", "onnx", "litert")
TENSORFLOW = pytest.mark.tensorflow_only
SAVED_MODEL = ["tf_saved_model"]
# The other formats are for this backend alone.
EVERY = [*SAVED_MODEL, *(pytest.param(f, marks=TENSORFLOW) for f in FORMATS[1:])]
# LiteRT's converter takes seconds a model.
ON_BACKEND = [*EVERY[:2], pytest.param("litert", marks=[TENSORFLOW, pytest.mark.slow])]
STRUCTURES = ("pointwise", "separable", "grouped", "tucker", "manifold")


def images():
    return keras.Sequential(
        [
            keras.Input((7, 6, 4)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(6, (2, 3), dilation_rate=(1, 1)),
            layers.Flatten(),
            layers.Dense(8, activation="tanh"),
            layers.Dense(3),
        ]
    )


def compressed(structure):
    model, report = dlrt.compress(images(), "svd", {"ratio": 1.5}, structure=structure)
    assert structure in {layer.structure for layer in report.layers}
    if structure == "grouped":
        assert max(layer.groups for layer in report.layers) > 1
    return model


def low_rank():
    return keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            dlrt.layers.LowRankConv2D(8, 3, rank=2, activation="relu"),
            layers.Flatten(),
            dlrt.layers.LowRankDense(12, rank=3, activation="relu"),
            dlrt.layers.LowRankDense(2, rank=1),
        ]
    )


def sentences(length=None):
    x = keras.Input((length,), dtype="int32")
    y = dlrt.layers.LowRankEmbedding(20, 8, rank=3)(x)
    y = dlrt.layers.LowRankConv1D(8, 3, rank=2, padding="causal")(y)
    return keras.Model(
        x, dlrt.layers.LowRankEinsumDense("abc,cd->abd", (None, 6), rank=2)(y)
    )


def attention(length=None, causal=False):
    x = keras.Input((length, 8))
    attend = dlrt.layers.LowRankMultiHeadAttention(2, 4, rank=2)
    return keras.Model(x, layers.Add()([x, attend(x, x, use_causal_mask=causal)]))


def two_inputs():
    a, b = keras.Input((5,), name="a"), keras.Input((7,), name="b")
    joined = layers.Concatenate()([a, dlrt.layers.LowRankDense(4, rank=1)(b)])
    return keras.Model({"a": a, "b": b}, {"p": layers.Dense(3)(joined), "q": b + 1.0})


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = dlrt.layers.LowRankDense(8, rank=2, activation="relu")
        self.last = layers.Dense(3)

    def call(self, x):
        return self.last(self.hidden(x))


def subclassed():
    model = Subclassed()
    model(np.ones((1, 6), "float32"))
    return model


@keras.saving.register_keras_serializable(package="tests")
class Plain(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(8, activation="relu")
        self.last = layers.Dense(3)

    def call(self, x):
        return self.last(self.hidden(x))


def compressed_subclass():
    model = Plain()
    model(np.ones((1, 6), "float32"))
    smaller, _ = dlrt.compress(model, "svd", {"ratio": 1.3})
    smaller(np.ones((1, 6), "float32"))
    return smaller


def inputs_of(model, batch, length=6):
    """Inputs like those that a model was made for, in its structure."""
    rng = np.random.default_rng(batch)

    def fill(x):
        shape = [batch, *(length if n is None else n for n in x.shape[1:])]
        if x.dtype == "int32":
            return rng.integers(0, 20, shape).astype("int32")
        return rng.normal(size=shape).astype("float32")

    if not isinstance(model, (keras.Sequential, Functional)):
        return fill(keras.KerasTensor((None, 6)))
    if isinstance(model, keras.Sequential):
        return fill(model.inputs[0])
    return keras.tree.map_structure(fill, model.input)


def run_saved_model(path, x):
    import tensorflow as tf

    module = tf.saved_model.load(path)
    return keras.tree.flatten(keras.tree.map_structure(np.asarray, module.serve(x)))


def run_onnx(path, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]
    return session.run(None, dict(zip(names, keras.tree.flatten(x), strict=True)))


def run_litert(path, x):
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    names = sorted(run.get_input_details())
    return list(run(**dict(zip(names, keras.tree.flatten(x), strict=True))).values())


RUN = {"tf_saved_model": run_saved_model, "onnx": run_onnx, "litert": run_litert}


def exported(model, folder, format):
    path = folder / ("model.tflite" if format == "litert" else "model")
    dlrt.export(model, path, format=format)
    assert os.listdir(folder) == [path.name]
    return path


def assert_predicts_as(model, path, format, lengths=(6,)):
    for batch in (1, 3):
        for length in lengths:
            x = inputs_of(model, batch, length)
            expected = keras.tree.flatten(model(x, training=False))
            for got, wanted in zip(RUN[format](path, x), expected, strict=True):
                wanted = keras.ops.convert_to_numpy(wanted)
                np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("format", ON_BACKEND)
@pytest.mark.parametrize(
    "structure", ["pointwise", "manifold", *slow("separable", "grouped", "tucker")]
)
def test_compressed_models(tmp_path, structure, format):
    model = compressed(structure)
    assert_predicts_as(model, exported(model, tmp_path, format), format)


@pytest.mark.parametrize("format", ON_BACKEND)
@pytest.mark.parametrize(
    "make", [low_rank, compressed_subclass, *slow(two_inputs, subclassed)]
)
def test_low_rank_models(tmp_path, make, format):
    model = make()
    before = model.get_weights()
    path = exported(model, tmp_path, format)
    assert_predicts_as(model, path, format)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
@pytest.mark.parametrize("format", ON_BACKEND)
@pytest.mark.parametrize("make", [attention, *slow(sentences)])
def test_axes_of_unknown_length(tmp_path, make, format):
    model = make()
    path = exported(model, tmp_path, format)
    assert_predicts_as(model, path, format, lengths=(4, 7))


@pytest.mark.slow
@pytest.mark.parametrize("format", EVERY)
def test_causal_attention(tmp_path, format):
    model = attention(length=6, causal=True)
    assert_predicts_as(model, exported(model, tmp_path, format), format)


@TENSORFLOW
def test_low_rank_layers_are_merged(tmp_path):
    import onnx

    model = keras.Sequential(
        [keras.Input((40,)), dlrt.layers.LowRankDense(30, rank=2, name="low")]
    )
    path = exported(model, tmp_path, "onnx")
    nodes = onnx.load(path).graph.node
    assert [node.op_type for node in nodes].count("MatMul") == 2


@TENSORFLOW
def test_a_fixed_batch_becomes_any(tmp_path):
    model = keras.Sequential([keras.Input(batch_shape=(2, 5)), layers.Dense(3)])
    path = exported(model, tmp_path, "onnx")
    for batch in (1, 4):
        (y,) = run_onnx(path, np.ones((batch, 5), "float32"))
        assert y.shape == (batch, 3)


@TENSORFLOW
@pytest.mark.parametrize("format", ON_BACKEND)
def test_recurrent_models(tmp_path, format):
    model = keras.Sequential(
        [keras.Input((4, 3)), layers.LSTM(5, unroll=format == "litert")]
    )
    assert_predicts_as(model, exported(model, tmp_path, format), format)


@pytest.mark.slow
@TENSORFLOW
@pytest.mark.parametrize("format", ON_BACKEND)
def test_compressed_recurrent_models(tmp_path, format):
    model = keras.Sequential(
        [keras.Input((4, 3)), layers.LSTM(9, unroll=format == "litert")]
    )
    smaller, _ = dlrt.compress(model, "dlrt", {"ratio": 2})
    assert type(smaller.layers[0]) is dlrt.layers.ProjectedRNN
    assert_predicts_as(smaller, exported(smaller, tmp_path, format), format)


def compressed_lstm():
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(9)])
    return dlrt.compress(model, "svd", {"ratio": 2})[0]


def half(dtype):
    return keras.Sequential([keras.Input((6, 2)), layers.Conv1D(3, 2, dtype=dtype)])


@TENSORFLOW
@pytest.mark.parametrize(
    ("format", "make", "reason"),
    [
        ("onnx", lambda: half("bfloat16"), "bfloat16"),
        ("onnx", lambda: keras.Sequential([keras.Input((4,)), Odd()]), "Betainc"),
        ("litert", lambda: keras.Sequential([keras.Input((4,)), Odd()]), "Betainc"),
        *slow(
            ("litert", lambda: half("float16"), "no form of these operations.*Conv2D"),
            ("litert", lambda: attention(causal=True), "StridedSlice"),
            (
                "litert",
                lambda: keras.Sequential([keras.Input((4, 3)), layers.LSTM(5)]),
                "TensorListReserve",
            ),
            ("litert", compressed_lstm, "TensorListReserve"),
        ),
    ],
)
def test_what_a_format_does_not_have_is_refused(tmp_path, format, make, reason):
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match=f"`model` can't be exported.*{reason}"):
        dlrt.export(make(), path, format=format)
    assert not os.listdir(tmp_path)


class Odd(layers.Layer):
    """An operation that only TensorFlow has."""

    def call(self, x):
        import tensorflow as tf

        return tf.math.betainc(tf.abs(x) + 1.0, tf.abs(x) + 2.0, tf.sigmoid(x))


class TestArguments:
    def test_format(self, tmp_path):
        with pytest.raises(ValueError, match="`format` must be one of.*'litert'.*'h5'"):
            dlrt.export(low_rank(), tmp_path / "model", format="h5")
        assert not os.listdir(tmp_path)

    def test_formats_of_other_backends(self, tmp_path, monkeypatch):
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
        for format in ("onnx", "litert"):
            with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
                dlrt.export(low_rank(), tmp_path / "model.tflite", format=format)
        assert not os.listdir(tmp_path)

    @TENSORFLOW
    def test_suffix(self, tmp_path):
        with pytest.raises(ValueError, match="`path` must end with '.tflite'"):
            dlrt.export(low_rank(), tmp_path / "model", format="litert")

    def test_unbuilt_model(self, tmp_path):
        with pytest.raises(ValueError, match="`model` must be built"):
            dlrt.export(keras.Sequential([layers.Dense(3)]), tmp_path / "model")
        assert not os.listdir(tmp_path)

    def test_nothing_is_overwritten(self, tmp_path):
        path = tmp_path / "model"
        path.write_text("precious")
        with pytest.raises(FileExistsError, match="must not exist yet.*model"):
            dlrt.export(low_rank(), path)
        assert path.read_text() == "precious"
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "missing")
        with pytest.raises(FileExistsError):
            dlrt.export(low_rank(), link)

    @pytest.mark.parametrize("place", ["missing/model", "file/model"])
    def test_path_that_can_not_be_written(self, tmp_path, place):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match=place):
            dlrt.export(low_rank(), tmp_path / place)
        assert os.listdir(tmp_path) == ["file"]

    def test_a_failed_write_leaves_nothing(self, tmp_path, monkeypatch):
        def fail(self, path, **kwargs):
            path.mkdir()
            (path / "part").write_text("half a model")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(keras.Sequential, "export", fail)
        with pytest.raises(OSError, match="No space left"):
            dlrt.export(low_rank(), tmp_path / "model")
        assert not os.listdir(tmp_path)

    @TENSORFLOW
    @pytest.mark.parametrize("package", ["tf2onnx", "onnx"])
    def test_missing_extra(self, tmp_path, monkeypatch, package):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf"{package}.*pip install -e \.\[export"):
            dlrt.export(low_rank(), tmp_path / "model", format="onnx")
        assert not os.listdir(tmp_path)


@TENSORFLOW
def test_settings_of_tensorflow_and_loggers_stay(tmp_path):
    import tensorflow as tf

    level = logging.getLogger("tf2onnx").level
    with pytest.raises(ValueError, match="Betainc"):
        dlrt.export(
            keras.Sequential([keras.Input((4,)), Odd()]), tmp_path / "m", "onnx"
        )
    assert not tf.config.functions_run_eagerly()
    assert logging.getLogger("tf2onnx").level == level
