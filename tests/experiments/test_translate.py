"""Translation on the command line, in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import dlrt
from experiments import translate
from experiments.translation import decoding, network, saved
from experiments.translation.batches import TrainingBatches
from experiments.translation.text import encode_pairs
from experiments.translation.tokenizers import Vocabularies, train_vocabularies

pytestmark = pytest.mark.tensorflow_only

ROOT = Path(__file__).resolve().parents[2]
MAX_LENGTH = 14

PAIRS = [
    ("o gato dorme", "the cat sleeps"),
    ("a casa é azul", "the house is blue"),
    ("eu vejo a casa e o gato", "i see the house and the cat"),
    ("sim", "yes"),
    ("o gato vê a casa azul", "the cat sees the blue house"),
]
TEXT = ["o gato", "", "a casa é azul", "   ", "sim sim sim sim sim sim", "vejo"]


def make(vocabularies, epochs=40):
    keras.utils.set_random_seed(1)
    model = network.build(
        network.Architecture(
            dim=16,
            layers=1,
            heads=2,
            feed_forward=16,
            dropout=0.1,
            source_size=vocabularies.source.size,
            target_size=vocabularies.target.size,
            rank=6,
        )
    )
    pairs = encode_pairs(PAIRS, vocabularies, MAX_LENGTH)
    model.compile(
        dlrt.optimizers.LowRank(keras.optimizers.Adam(0.01)),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
    )
    batches = TrainingBatches(pairs, seed=0, batch_size=len(PAIRS))
    if epochs:
        model.fit(batches.for_fit(), epochs=epochs, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def vocabularies():
    return train_vocabularies(PAIRS, 60)


@pytest.fixture(scope="module")
def run_folder(vocabularies, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    saved.save_translation(directory, vocabularies, MAX_LENGTH)
    make(vocabularies).save(directory / "best.keras")
    return directory


def command(*options):
    return [sys.executable, "-m", "experiments.translate", *map(str, options)]


def run(text, *options, **changes):
    if isinstance(text, str):
        text = text.encode()
    return subprocess.run(
        command(*options), input=text, capture_output=True, cwd=ROOT, **changes
    )


def expected(run_folder, vocabularies, **options):
    model = keras.saving.load_model(run_folder / "best.keras")
    spoken = [text for text in TEXT if text.strip()]
    translator = decoding.Translator(
        model, vocabularies, max_length=MAX_LENGTH, **options
    )
    found = iter(translator(spoken))
    return [next(found) if text.strip() else "" for text in TEXT]


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 2])
def test_a_line_for_every_line(run_folder, vocabularies, beams):
    words = ["--model", run_folder, "--beams", beams, "--batch-size", 2]
    finished = run("\n".join(TEXT), *words)
    lines = expected(run_folder, vocabularies, beams=beams)
    assert finished.returncode == 0
    assert finished.stdout.decode() == "".join(f"{line}\n" for line in lines)
    assert finished.stderr == b""
    assert len(set(lines)) > 2


@pytest.mark.slow
def test_lines_are_translated_as_they_come(run_folder):
    with subprocess.Popen(
        command("--model", run_folder / "best.keras", "--max-length", 5),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        for text in ("o gato\n", "\n", "sim\n"):
            process.stdin.write(text.encode())
            process.stdin.flush()
            line = process.stdout.readline()
            assert line.endswith(b"\n")
            assert (line == b"\n") == (text == "\n")
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait() == 0


@pytest.mark.slow
def test_text_that_is_not_utf_8(run_folder):
    finished = run(b"o gato\nsim\n\xff\xfe\nvejo\n", "--model", run_folder)
    assert finished.returncode == 2
    assert finished.stderr == b"error: line 3 of the input must be UTF-8\n"
    assert finished.stdout.count(b"\n") == 2


@pytest.mark.slow
def test_a_reader_that_goes_away(run_folder):
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        finished = subprocess.run(
            command("--model", run_folder),
            input=b"o gato\n",
            stdout=closed,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
    assert finished.returncode == 4
    assert finished.stderr == b"error: the output can't be written: Broken pipe\n"


@pytest.mark.slow
def test_the_script(run_folder):
    script = ROOT / "run_scripts" / "translate.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    finished = subprocess.run(
        ["sh", script, "--model", run_folder],
        input=b"",
        capture_output=True,
        env=environment,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, b"", b"")


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        translate.main([str(word) for word in words])
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    return output.err


@pytest.mark.slow
def test_wrong_words(capsys, run_folder, tmp_path):
    assert "--model" in refused(capsys)
    for name in ("--beams", "--batch-size", "--max-length"):
        error = refused(capsys, "--model", run_folder, name, 0)
        assert f"`{name}` must be at least" in error
    for path in (tmp_path, tmp_path / "missing.keras"):
        error = refused(capsys, "--model", path)
        assert "`--model` must be a folder with best.keras" in error
        assert str(path) in error


def test_files_that_do_not_fit(capsys, vocabularies, tmp_path):
    (tmp_path / "best.keras").write_bytes(b"something")
    assert "No such file" in refused(capsys, "--model", tmp_path)
    saved.save_translation(tmp_path, vocabularies, MAX_LENGTH)
    assert "can't be read" in refused(capsys, "--model", tmp_path)

    others = train_vocabularies([(b, a) for a, b in PAIRS], 50)
    saved.save_translation(tmp_path, others, MAX_LENGTH)
    make(vocabularies, epochs=0).save(tmp_path / "best.keras")
    error = refused(capsys, "--model", tmp_path)
    assert "The tokenizers don't belong to the network" in error

    others.source.save(tmp_path / "source.spm")
    vocabularies.target.save(tmp_path / "target.spm")
    error = refused(capsys, "--model", tmp_path)
    assert "The target tokenizer doesn't belong to the model" in error


def test_a_model_that_does_not_translate(vocabularies):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="must be one that translates"):
        saved.check_sizes(model, vocabularies)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"max_length": 1, "fingerprints": {}}']
)
def test_a_damaged_description(vocabularies, tmp_path, content):
    vocabularies.save(tmp_path)
    (tmp_path / "translation.json").write_text(content)
    with pytest.raises(ValueError, match="must hold `max_length`"):
        saved.load_translation(tmp_path)


def test_what_is_saved_comes_back(vocabularies, tmp_path):
    saved.save_translation(tmp_path, vocabularies, 20)
    loaded, max_length = saved.load_translation(tmp_path)
    assert isinstance(loaded, Vocabularies)
    assert loaded.fingerprints == vocabularies.fingerprints
    assert max_length == 20
    content = json.loads((tmp_path / "translation.json").read_text())
    assert content == {"max_length": 20, "fingerprints": vocabularies.fingerprints}
    names = {"source.spm", "target.spm", "translation.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
