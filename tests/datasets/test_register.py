"""Data sets and corpora that others add by a name."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlrt.datasets import (
    Arrays,
    Corpus,
    DatasetFileError,
    DatasetUnavailableError,
    load,
    load_corpus,
    load_text,
    register,
    register_corpus,
)
from dlrt_names.data_sets import CORPORA, IMAGES
from experiments.runs import checks
from experiments.runs.network_settings import list_datasets

PIXELS = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)
PARTS = (PIXELS[:4], LABELS[:4], PIXELS[4:], LABELS[4:])


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    for registry in (IMAGES, CORPORA):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def test_arrays_are_checked_and_scaled(tmp_path):
    asked = []
    register("mine", lambda data_dir: asked.append(data_dir) or PARTS)
    dataset = load("mine", data_dir=tmp_path)
    assert asked == [tmp_path]
    assert dataset.x_train.dtype == np.float32 and dataset.y_test.dtype == np.int64
    np.testing.assert_array_equal(dataset.x_test, PIXELS[4:].astype("float32") / 255)
    assert (dataset.name, dataset.num_classes) == ("mine", 3)


def test_what_a_loader_says_besides():
    shares = tuple(part / 255 if part.ndim == 3 else part for part in PARTS)
    found = Arrays(
        *shares, source="here", class_names=tuple("abcd"), remarks=("a", "b")
    )
    register("mine", lambda _: found)
    with pytest.warns(UserWarning, match="^mine: a; b$") as caught:
        dataset = load("mine")
    assert caught[0].filename == __file__
    assert (dataset.source, dataset.num_classes) == ("here", 4)
    assert dataset.x_train.max() < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": PIXELS[:3]}, "'mine' must have images and one label for each"),
        ({"x_test": PIXELS[4:] * 1.0}, r"in \[0, 1\]. Received: float64 from 80.0"),
        ({"x_test": PIXELS[4:] * np.nan}, r"in \[0, 1\]. Received: float64 from nan"),
        ({"x_test": PIXELS[4:].astype(int)}, "of type uint8"),
        ({"x_train": np.zeros((4, 5, 5, 2), np.uint8)}, "of shape .*3"),
        ({"y_train": LABELS[:4] / 2}, "integer labels"),
        ({"y_test": LABELS[4:] + 1}, r"labels in \[0, 3\)"),
        ({"y_train": [0, 1, 2, 0]}, "NumPy arrays"),
    ],
)
def test_arrays_of_another_kind_are_refused(changes, message):
    register("mine", lambda _: Arrays(*PARTS)._replace(**changes))
    with pytest.raises(ValueError, match=message):
        load("mine")


def test_a_loader_that_returns_something_else():
    register("mine", lambda _: PARTS[:2])
    with pytest.raises(TypeError, match="loader of 'mine' must return"):
        load("mine")


@pytest.mark.parametrize("name", ["mnist", "auto", "", "a/b", None])
def test_names_that_are_none_or_taken(name):
    for add in (register, register_corpus):
        taken = "phrases" if add is register_corpus and name == "mnist" else name
        with pytest.raises(ValueError, match="`name` must be letters, digits and '_'"):
            add(taken, lambda *_: PARTS)
    with pytest.raises(TypeError, match="`loader` must be a function"):
        register("mine", PARTS)


def test_programs_know_the_names():
    settings = SimpleNamespace(dataset="mine", load_model=None, corpus="auto")
    with pytest.raises(ValueError, match="`--dataset` must be one of"):
        checks.check_sources(settings)
    register("mine", lambda _: PARTS)
    register("other", lambda _: PARTS, shape=(4, 5))
    checks.check_sources(settings)
    assert list_datasets() == ("auto", "mnist", "fashion_mnist", "digits", "mine")


def test_a_data_set_that_can_not_be_had():
    def fail(_):
        raise DatasetUnavailableError("it is on loan")

    register("mine", fail)
    with pytest.raises(DatasetUnavailableError, match="on loan"):
        load("mine")


def test_a_corpus_is_a_text_too():
    pairs = [(f" frase {i}\n", f"sentence {i}") for i in range(3)]
    parts = {"train": pairs, "validation": pairs[:1], "test": pairs[1:]}
    register_corpus("mine", lambda: Corpus("?", "here", **parts))
    assert load_text("mine").train == ("sentence 0", "sentence 1", "sentence 2")
    corpus = load_corpus("mine")
    assert (corpus.name, corpus.source) == ("mine", "here")
    assert corpus.train[0] == ("frase 0", "sentence 0")


def test_a_corpus_without_pairs():
    register_corpus("mine", lambda: Corpus("?", "here", [(" ", "a")], [], []))
    with pytest.raises(DatasetFileError, match="'mine' has no pair for train"):
        load_corpus("mine")
