"""Tests of `load_corpus` on files. None of them leaves the machine."""

import functools
import os
import sys
import unicodedata
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlrt.datasets import (
    Corpus,
    DatasetFallbackWarning,
    DatasetFileError,
    DatasetUnavailableError,
    SentencePair,
    load_corpus,
)

pytestmark = pytest.mark.tensorflow_only

# Read before the fixture below hides it from the tests.
REAL_DATA_DIR = os.environ.get("DLRT_DATA_DIR")

TEXT = {
    "train.pt": "Olá.\nO gato dorme.\nBom dia!\n",
    "train.en": "Hello.\nThe cat sleeps.\nGood morning!\n",
    "validation.pt": "Sim.\n",
    "validation.en": "Yes.\n",
    "test.pt": "Não.\nTalvez.\n",
    "test.en": "No.\nPerhaps.\n",
}


@pytest.fixture(autouse=True)
def no_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLRT_DATA_DIR", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    write(path)
    return path


@functools.cache
def phrases() -> Corpus:
    return load_corpus("phrases")


def write(folder: Path, **changes: str | bytes) -> None:
    """Writes `TEXT`, with other content for files like `train_pt`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = TEXT | {name.replace("_", "."): text for name, text in changes.items()}
    for name, text in content.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("kind", [str, Path])
def test_folder(folder, kind):
    corpus = load_corpus(kind(folder))
    assert corpus == Corpus(
        name="mine",
        source=str(folder),
        train=(
            SentencePair("Olá.", "Hello."),
            SentencePair("O gato dorme.", "The cat sleeps."),
            SentencePair("Bom dia!", "Good morning!"),
        ),
        validation=(SentencePair("Sim.", "Yes."),),
        test=(SentencePair("Não.", "No."), SentencePair("Talvez.", "Perhaps.")),
    )
    assert repr(corpus) == f"Corpus(name='mine', source={str(folder)!r})"


def test_folder_in_other_languages(folder):
    for name in TEXT:
        part, language = name.split(".")
        language = {"pt": "de", "en": "pt-BR"}[language]
        (folder / name).rename(folder / f"{part}.{language}")
    corpus = load_corpus(folder, source_language="pt-BR", target_language="de")
    assert corpus.validation == (SentencePair("Yes.", "Sim."),)


def test_relative_folder_with_the_name_of_a_corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "phrases")
    assert load_corpus("phrases").name == "phrases"
    assert load_corpus("phrases").source == "embedded"
    assert len(load_corpus("./phrases").train) == 3
    assert len(load_corpus(Path("phrases")).train) == 3
    write(tmp_path)
    assert load_corpus(".").name == tmp_path.name


def test_pt_en(tmp_path, monkeypatch):
    write(tmp_path / "pt_en")
    monkeypatch.setenv("DLRT_DATA_DIR", str(tmp_path))
    for name in ("pt_en", "auto"):
        corpus = load_corpus(name)
        assert (corpus.name, corpus.source) == ("pt_en", "DLRT_DATA_DIR")
        assert len(corpus.train) == 3


def test_pt_en_that_is_nowhere(tmp_path, monkeypatch):
    with pytest.raises(DatasetUnavailableError, match="DLRT_DATA_DIR is not set"):
        load_corpus("pt_en")
    monkeypatch.setenv("DLRT_DATA_DIR", str(tmp_path))
    with pytest.raises(DatasetUnavailableError, match="has no pt_en") as caught:
        load_corpus("pt_en")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("is_set", [True, False])
def test_auto_falls_back_with_a_warning(tmp_path, monkeypatch, is_set):
    if is_set:
        monkeypatch.setenv("DLRT_DATA_DIR", str(tmp_path))
    with pytest.warns(DatasetFallbackWarning, match="GENERATED PHRASES") as caught:
        corpus = load_corpus()
    assert [warning.filename for warning in caught] == [__file__]
    assert corpus == phrases()


def test_auto_does_not_hide_damaged_files(tmp_path, monkeypatch):
    write(tmp_path / "pt_en", train_en="Hello.\n")
    monkeypatch.setenv("DLRT_DATA_DIR", str(tmp_path))
    with pytest.raises(DatasetFileError, match="3 lines"):
        load_corpus()


def test_data_dir_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("DLRT_DATA_DIR", str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="`DLRT_DATA_DIR` must name an existing"):
        load_corpus()


@pytest.mark.parametrize("name", ["german", "", 3, None, b"phrases"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match="`name` must be one of") as caught:
        load_corpus(name)
    assert f"Received: name={name!r}" in str(caught.value)


def test_a_file_is_no_folder(folder):
    with pytest.raises(ValueError, match="path of an existing folder"):
        load_corpus(folder / "train.pt")


def test_languages(folder):
    for language in ("", "a/b", "..\\x", 3):
        with pytest.raises(ValueError, match="`target_language` must be the suffix"):
            load_corpus(folder, target_language=language)
    with pytest.raises(ValueError, match="must differ. Received: 'pt'"):
        load_corpus(folder, target_language="pt")
    with pytest.raises(ValueError, match="for a folder only; the corpus 'phrases'"):
        load_corpus("phrases", source_language="en", target_language="pt")


def test_missing_files(folder):
    (folder / "train.en").unlink()
    (folder / "test.pt").unlink()
    with pytest.raises(DatasetFileError, match="no file named train.en, test.pt$"):
        load_corpus(folder)


def test_unreadable_file(folder):
    (folder / "train.en").unlink()
    (folder / "train.en").mkdir()
    with pytest.raises(DatasetFileError, match="train.en: cannot be read: "):
        load_corpus(folder)


def test_different_line_counts(folder):
    write(folder, test_en="No.\n")
    with pytest.raises(DatasetFileError) as caught:
        load_corpus(folder)
    assert f"{folder / 'test.pt'} has 2 lines" in str(caught.value)
    assert f"{folder / 'test.en'} has 1" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\n \n\t\r\n", b"\xef\xbb\xbf"])
def test_empty_part(folder, content):
    write(folder, train_pt=content, train_en=content)
    with pytest.raises(DatasetFileError, match="train.en: no line with text in both"):
        load_corpus(folder)


def test_part_whose_pairs_are_all_half_blank(folder):
    write(folder, test_pt="Sim.\n\n", test_en="\nYes.\n")
    with pytest.raises(DatasetFileError, match="test.en: no line with text in both"):
        load_corpus(folder)


def test_invalid_utf8_is_located(folder):
    write(folder, train_pt="Olá.\nOlá!\nOlá.\n".encode().replace(b"\xa1!", b"!"))
    with pytest.raises(DatasetFileError) as caught:
        load_corpus(folder)
    located = f"{folder / 'train.pt'}, line 2: byte 3 (0xc3) is not valid UTF-8"
    assert located in str(caught.value)


def test_other_encodings(folder):
    for encoding in ("utf-16", "latin-1"):
        write(folder, train_pt=TEXT["train.pt"].encode(encoding))
        with pytest.raises(DatasetFileError, match="train.pt, line 1: .*not valid"):
            load_corpus(folder)


@pytest.mark.parametrize("character", ["\0", "\x1b", "\r", "\v", "\x85"])
def test_control_characters_are_located(folder, character):
    write(folder, validation_en=f"Ye{character}s.\n")
    with pytest.raises(DatasetFileError) as caught:
        load_corpus(folder)
    assert str(caught.value) == (
        f"{folder / 'validation.en'}, line 1: the control character "
        f"U+{ord(character):04X} is not text"
    )


def test_what_does_not_change_the_text(folder):
    expected = load_corpus(folder)
    texts = {name.replace(".", "_"): text for name, text in TEXT.items()}
    changed = (
        {name: text.replace("\n", "\r\n") for name, text in texts.items()},
        {name: text.encode("utf-8-sig") for name, text in texts.items()},
        {name: text.removesuffix("\n") for name, text in texts.items()},
        {name: " " + text.replace("\n", " \t\u00a0\n") for name, text in texts.items()},
        {name: unicodedata.normalize("NFD", text) for name, text in texts.items()},
    )
    for files in changed:
        write(folder, **files)
        assert load_corpus(folder) == expected
    assert unicodedata.normalize("NFD", TEXT["train.pt"]) != TEXT["train.pt"]


def test_only_line_feeds_end_lines(folder):
    write(folder, validation_pt="Sim\u2028senhor\u2029.\n")
    pairs = load_corpus(folder).validation
    assert pairs == (SentencePair("Sim\u2028senhor\u2029.", "Yes."),)


def test_tabs_are_space(folder):
    write(folder, validation_pt="Sim,\tsenhor.\n")
    assert load_corpus(folder).validation[0].source == "Sim,\tsenhor."


def test_blank_lines_are_dropped_with_one_warning(folder):
    write(
        folder,
        train_pt="Olá.\n\nBom dia!\n \n",
        train_en="\nThe cat sleeps.\nGood morning!\n\n",
        test_pt="\nTalvez.\n",
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        corpus = load_corpus(folder)
    assert corpus.train == (SentencePair("Bom dia!", "Good morning!"),)
    assert corpus.test == (SentencePair("Talvez.", "Perhaps."),)
    assert [str(warning.message) for warning in caught] == [
        "4 pairs of the corpus 'mine' were dropped, as a side was blank: 3 in train, "
        "0 in validation, 1 in test"
    ]
    assert caught[0].filename == __file__


def test_no_file_is_changed(folder):
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    load_corpus(folder)
    folder.chmod(0o755)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_ted_needs_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    message = r"pip install -e \.\[ted\]\), which has tensorflow-datasets"
    with pytest.raises(DatasetUnavailableError, match=message):
        load_corpus("ted")


def test_what_tensorflow_datasets_yields_is_decoded(monkeypatch):
    examples = [
        (" e a\u0301gua .\n".encode(), b"and water ."),
        (b"", b"laughter"),
        ("não".encode(), b"no"),
    ]
    package = SimpleNamespace(load=lambda *_, split, **__: [examples] * len(split))
    package.as_numpy = list
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", package)
    with pytest.warns(UserWarning, match="3 pairs of the corpus 'ted' were dropped"):
        corpus = load_corpus("ted")
    assert corpus.source == "tensorflow-datasets"
    assert corpus.test == (
        SentencePair("e \u00e1gua .", "and water ."),
        SentencePair("não", "no"),
    )


def test_corpora_of_real_size(tmp_path, monkeypatch):
    sizes = {"train": 20_000, "validation": 500, "test": 400}
    write(
        tmp_path / "pt_en",
        **{
            f"{part}_{language}": "".join(f"{language} {i}\n" for i in range(size))
            for part, size in sizes.items()
            for language in ("pt", "en")
        },
    )
    directories = [tmp_path]
    if REAL_DATA_DIR and Path(REAL_DATA_DIR, "pt_en").exists():
        directories.append(Path(REAL_DATA_DIR))
    for directory in directories:
        monkeypatch.setenv("DLRT_DATA_DIR", str(directory))
        corpus = load_corpus("pt_en")
        for part, size in sizes.items():
            path = directory / "pt_en" / f"{part}.pt"
            if directory != tmp_path:
                size = path.read_bytes().count(b"\n")
            pairs = getattr(corpus, part)
            assert len(pairs) == size
            last_line = path.read_bytes().decode().split("\n")[-2]
            assert pairs[-1].source == unicodedata.normalize("NFC", last_line).strip()
