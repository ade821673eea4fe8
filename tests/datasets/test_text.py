"""Tests of `load_text` on files. None of them leaves the machine."""

import unicodedata
from pathlib import Path

import pytest

from dlrt.datasets import (
    DatasetFallbackWarning,
    DatasetFileError,
    Text,
    load_corpus,
    load_text,
)

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture(autouse=True)
def no_data_dir(monkeypatch):
    monkeypatch.delenv("DLRT_DATA_DIR", raising=False)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "train.txt").write_text("One.\n\n  Two!\n")
    (path / "valid.txt").write_text("Three.\n")
    (path / "test.txt").write_text("Four.")
    return path


@pytest.mark.parametrize("kind", [str, Path])
def test_folder(folder, kind):
    text = load_text(kind(folder))
    assert text == Text("mine", str(folder), ("One.", "Two!"), ("Three.",), ("Four.",))
    assert repr(text) == f"Text(name='mine', source={str(folder)!r})"


@pytest.mark.parametrize("name", ["validation.txt", "val.txt"])
def test_other_names_of_the_validation_part(folder, name):
    (folder / "valid.txt").rename(folder / name)
    assert load_text(folder).validation == ("Three.",)


def test_file_is_dealt_out_in_order(tmp_path):
    path = tmp_path / "mine.text"
    path.write_text("".join(f"line {i}\n\n" for i in range(65)))
    text = load_text(path)
    assert (text.name, text.source) == ("mine", str(path))
    assert text.validation == ("line 18", "line 38", "line 58")
    assert text.test == ("line 19", "line 39", "line 59")
    assert len(text.train) == 59
    lines = {*text.train, *text.validation, *text.test}
    assert lines == {f"line {i}" for i in range(65)}
    assert list(text.train) == sorted(text.train, key=lambda x: int(x.split()[1]))


def test_unicode_form_and_space(tmp_path):
    decomposed = unicodedata.normalize("NFD", "café")
    path = tmp_path / "mine.txt"
    path.write_bytes(("\ufeff" + f" {decomposed}\t\r\n" * 20).encode())
    assert load_text(path).test == ("café",)


def test_english_side_of_a_corpus():
    text, corpus = load_text("phrases"), load_corpus("phrases")
    assert (text.name, text.source) == ("phrases", "embedded")
    for part in ("train", "validation", "test"):
        pairs = getattr(corpus, part)
        assert getattr(text, part) == tuple(pair.target for pair in pairs)


def test_auto_falls_back_with_a_warning():
    with pytest.warns(DatasetFallbackWarning, match="GENERATED PHRASES") as caught:
        text = load_text()
    assert [warning.filename for warning in caught] == [__file__]
    assert text.name == "phrases"


@pytest.mark.parametrize("name", ["german", "", 3, None, b"phrases"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match="`name` must be one of") as caught:
        load_text(name)
    assert f"Received: name={name!r}" in str(caught.value)


def test_missing_and_ambiguous_files(folder):
    (folder / "val.txt").write_text("Three.\n")
    with pytest.raises(DatasetFileError, match=r"Found: valid\.txt and val\.txt"):
        load_text(folder)
    (folder / "train.txt").unlink()
    with pytest.raises(DatasetFileError, match=r"named train\.txt\. Found: none"):
        load_text(folder)


@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
def test_empty_part(folder, content):
    (folder / "test.txt").write_text(content)
    with pytest.raises(DatasetFileError, match=r"test\.txt: no line with text"):
        load_text(folder)


@pytest.mark.parametrize("count", [0, 19])
def test_file_with_too_few_lines(tmp_path, count):
    path = tmp_path / "mine.txt"
    path.write_text("line\n" * count + "\n" * 5)
    with pytest.raises(DatasetFileError, match=f"at least 20 .* Found: {count}$"):
        load_text(path)


def test_what_is_no_text_is_located(folder):
    (folder / "train.txt").write_bytes(b"One.\nTw\xf6.\n")
    with pytest.raises(DatasetFileError, match=r"train\.txt, line 2: byte 3 \(0xf6\)"):
        load_text(folder)
    (folder / "train.txt").write_bytes(b"One.\nTw\0.\n")
    with pytest.raises(DatasetFileError, match=r"line 2: the control character U\+0"):
        load_text(folder)
    (folder / "train.txt").unlink()
    (folder / "train.txt").mkdir()
    with pytest.raises(DatasetFileError, match="cannot be read"):
        load_text(folder)
