"""What all experiments share, with settings that are not those of MNIST."""

import argparse
import os
import shlex
import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from conftest import slow

import dlrt
from dlrt.callbacks import read_history
from dlrt.history import workbook
from experiments.archive.archived_tests import Place
from experiments.cli import checks
from experiments.cli import command as _command
from experiments.cli import options as _options
from experiments.cli import settings as _settings
from experiments.runs import checkpoints, folders, program, run_callbacks, saved_files
from experiments.runs import checks as run_checks
from experiments.runs.finite import NonFiniteLoss

pytestmark = pytest.mark.tensorflow_only

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Translation(_settings.Settings):
    corpus: Path = Path("corpus") / "train.txt"
    optimizer: str = _options.setting("adam", "optimizer", choices=("adam", "sgd"))
    epochs: int = _options.setting(4, "epochs", "-e", rule=checks.EPOCHS)
    batch_size: int = _options.setting(8, "batch", rule=checks.count())
    learning_rate: float = _options.setting(0.5, "100 % of it", rule=checks.POSITIVE)
    tolerance: float | None = _options.setting(None, "not for all")

    @property
    def network(self) -> str:
        return f"{self.subcommand}-transformer"

    @property
    def base_name(self) -> str:
        return f"{self.subcommand}-seed{self.seed}"


@pytest.fixture
def settings(tmp_path):
    return Translation("low-rank", seed=7, log_dir=tmp_path / "logs")


def test_record_says_what_is_computed_not_where(settings):
    settings = replace(settings, run_name="a", resume=True, verbose=2)
    assert settings.record() == {
        "subcommand": "low-rank",
        "corpus": "corpus/train.txt",
        "optimizer": "adam",
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 0.5,
        "tolerance": None,
        "seed": 7,
    }
    assert _settings.verbosity(settings) == 2
    assert _settings.verbosity(replace(settings, verbose=0)) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "`--seed` must lie .*Received: --seed -1"),
        ({"seed": 2**32}, "`--seed`"),
        ({"run_name": "a/b"}, "`--run-name` must be .*Received: --run-name a/b"),
        ({"run_name": ".."}, "`--run-name` must be a folder's name"),
        ({"run_name": 128 * "é"}, "`--run-name` must have at most 255 bytes"),
        *(
            ({"run_name": name}, "`--run-name` must be another name")
            for name in (
                *filter(None, Place),
                *("figures", "FINISHEDtests", "historyLogs", "checkpoints"),
                "DLRTTestDim1-301ep250batch256lr0-001Run0",
            )
        ),
        ({"epochs": 0}, "`--epochs` must be at least 1. Received: --epochs 0"),
        ({"epochs": 10**23}, "`--epochs` must be at most 500000. Received: --epochs 1"),
        ({"batch_size": 2**31}, "`--batch-size` must be at most 2147483647"),
        ({"learning_rate": float("inf")}, "`--learning-rate` must be a positive"),
        ({"learning_rate": 0.0}, "`--learning-rate` must be a positive"),
        ({"optimizer": "lion"}, "`--optimizer` must be one of adam, sgd.*lion"),
    ],
)
def test_settings_out_of_bounds(settings, changes, message):
    def check(settings):
        settings.check()
        run_checks.check_run(settings)

    check(settings)
    with pytest.raises(ValueError, match=message):
        check(replace(settings, **changes))


def test_options_of_a_run(settings, capsys):
    parser = _command.Parser(prog="translate")
    subparsers = _command.add_subcommands(
        parser,
        {"low-rank": "Trains at 5 % of the weights."},
        argument_default=argparse.SUPPRESS,
    )
    _options.add_options(subparsers["low-rank"], settings)
    words = ["low-rank", "-e", "9", "--resume", "--run-name", "a", "--verbose", "0"]
    given = vars(parser.parse_args(words))
    assert given.pop("subcommand") == "low-rank"
    assert given == {"epochs": 9, "resume": True, "run_name": "a", "verbose": 0}
    for wrong in (["low-rank", "--epoch", "9"], ["low-rank", "-e", "x"], []):
        with pytest.raises(SystemExit) as end:
            parser.parse_args(wrong)
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
    for word, meant in (
        ("--epoch=9", "--epochs"),
        ("--learning_rat", "--learning-rate"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(["low-rank", word])
        line = capsys.readouterr().err
        assert line == f"error: unrecognized arguments: {word}. Did you mean {meant}?\n"
    with pytest.raises(SystemExit):
        parser.parse_args(["low-rank", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "epochs (default: 4)" in text and "100 % of it (default: 0.5)" in text
    assert "order of the data (default: 7)" in text
    assert "--tolerance" not in text


def write_log(run, settings):
    path = run.workbook(settings.network)
    path.parent.mkdir()
    path.write_bytes(workbook.render([{"epoch": 1}], settings.record()))


def test_runs_are_found_again(settings):
    first, second = folders.create(settings), folders.create(settings)
    assert [first.name, second.name] == ["low-rank-seed7", "low-rank-seed7-2"]
    folders.create(replace(settings, seed=70))
    write_log(first, settings)
    first.last.touch()
    assert folders.find(settings) == first
    assert folders.list_newest_first(settings.log_dir)[0].name == "low-rank-seed7"
    named = replace(settings, run_name="mine")
    assert folders.find(named) is None
    assert "Received: mine" in str(folders.missing(named))
    folders.create(named)
    with pytest.raises(ValueError, match="`--run-name` must be new"):
        folders.create(named)


def test_a_run_goes_on_longer_not_shorter(settings):
    run = folders.create(settings)
    assert folders.read_configuration(run, settings, ("epochs",)) == {}
    write_log(run, settings)
    longer = replace(settings, epochs=9)
    assert folders.read_configuration(run, longer, ("epochs",))["epochs"] == 4
    with pytest.raises(ValueError, match="`--epochs` may be raised.*--epochs 3"):
        folders.read_configuration(run, replace(settings, epochs=3), ("epochs",))


@pytest.mark.parametrize("error", [ValueError, TypeError, MemoryError])
def test_nothing_stays_of_a_run_that_cannot_begin(settings, error):
    run = folders.create(settings)
    with pytest.raises(error, match="corpus"):
        with folders.remove_if_unusable(run):
            write_log(run, settings)
            raise error("the corpus is empty")
    assert list(settings.log_dir.iterdir()) == []


def test_a_linked_checkpoint_is_written_in_its_place(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    target, link = tmp_path / "disk" / "last.keras", tmp_path / "last.keras"
    target.parent.mkdir()
    link.symlink_to(target)
    state = checkpoints.State(3, 0, 0, {})
    checkpoints.save(model, link, state)
    assert link.is_symlink()
    assert os.listdir(target.parent) == ["last.keras"]
    assert checkpoints.load(target)[1] == state


def test_the_log_of_a_run_is_none_of_another_program(tmp_path):
    run = folders.Folder(tmp_path)
    logs = tmp_path / "historyLogs"
    logs.mkdir()
    for name in ("._net.xlsx", "~$net.xlsx", ".~lock.net.xlsx#", ".DS_Store"):
        (logs / name).touch()
    assert run.workbook("net") == logs / "net.xlsx"
    (logs / "other.xlsx").touch()
    assert run.workbook("net") == logs / "other.xlsx"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resume": True}, "`--resume` needs a run"),
        ({"run_name": "old"}, "`--run-name` must be new"),
        ({"log_dir": Path("file")}, "`--log-dir` must be a folder.*file is a file"),
        ({"log_dir": Path("file/logs")}, "`--log-dir` must be a folder.*file is a"),
    ],
)
def test_a_run_without_a_place(settings, changes, message, monkeypatch):
    """It is refused before anything takes time."""
    monkeypatch.chdir(settings.log_dir.parent)
    Path("file").touch()
    folders.create(replace(settings, run_name="old"))
    settings = replace(settings, run_name="new")
    folders.check(settings)
    assert not (settings.log_dir / "new").exists()
    with pytest.raises((ValueError, OSError), match=message):
        folders.check(replace(settings, **changes))


@dataclass(frozen=True)
class Images(Translation):
    dataset: str = "auto"
    load_model: Path | None = None
    reads_text: bool = False


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("dataset", "minst", "be one of auto, mnist, .* or a path that exists"),
        ("dataset", "", "be one of"),
        ("dataset", "pt_en", "be one of"),
        ("corpus", "mnist", "be one of auto, pt_en, ted, phrases or a path"),
        ("load_model", Path("nosuch.keras"), "name a file or folder that exists"),
    ],
)
def test_what_a_run_reads_is_looked_for_first(tmp_path, name, value, rule):
    settings = Images("low-rank", corpus=tmp_path, load_model=tmp_path)
    for there in ("auto", "cifar10", str(tmp_path)):
        run_checks.check_sources(replace(settings, dataset=there))
    run_checks.check_sources(replace(settings, dataset="pt_en", reads_text=True))
    with pytest.raises(ValueError, match=f"`{checks.option(name)}` must {rule}"):
        run_checks.check_sources(replace(settings, **{name: value}))


@pytest.mark.parametrize("part", ["", "historyLogs"])
@pytest.mark.parametrize("name", [None, "low-rank-seed7"])
def test_links_out_of_the_folder_of_the_runs(settings, tmp_path, part, name):
    run = folders.create(settings)
    assert folders.find(settings) == run
    elsewhere = tmp_path / "elsewhere"
    if part:
        elsewhere.mkdir()
    else:
        run.directory.rename(elsewhere)
    (run.directory / part).symlink_to(elsewhere)
    with pytest.raises(ValueError, match=f"follows no links.*{elsewhere}"):
        folders.find(replace(settings, run_name=name, resume=True))


@pytest.mark.parametrize("model", ["last", "best", "best_adaptive"])
@pytest.mark.parametrize("name", [None, "low-rank-seed7"])
def test_a_run_that_has_lost_its_log_is_not_begun_again(settings, model, name):
    run = folders.create(settings)
    getattr(run, model).touch()
    with pytest.raises(ValueError, match="needs the run's log, which is gone.*xlsx"):
        folders.find(replace(settings, run_name=name, resume=True))
    assert len(list(run.directory.iterdir())) == 1


def test_a_log_is_found_beside_others(settings):
    run = folders.create(settings)
    write_log(run, settings)
    path = run.workbook(settings.network)
    path.with_name("a copy.xlsx").touch()
    assert run.workbook(settings.network) == path


def low_rank(rank=2, units=5):
    model = dlrt.Model(
        inputs := keras.Input((4,)),
        dlrt.layers.LowRankDense(units, rank=rank, name="a")(inputs),
    )
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("sizes", "loss", "epoch", "message"),
    [
        ({}, None, 1, "of the last epoch in the log, 3, but finds that of epoch 1"),
        ({"rank": 3}, None, 3, "of the run in the log"),
        *slow(
            ({}, None, 4, "of the last epoch in the log, 3, but finds that of epoch 4"),
            ({"units": 6}, None, 2, "of the run in the log"),
            ({}, 0.25, 3, "of the run in the log"),
        ),
    ],
)
def test_a_checkpoint_of_something_else(settings, sizes, loss, epoch, message):
    run = folders.create(settings)
    log = run_callbacks.RunLog(run.workbook(settings.network))
    for number in (1, 2, 3):
        log.append(number, 0.1, {"loss": 1 / 3}, low_rank())
    for kept, its_loss in ((2, None), (3, 1 / 3)):
        state = checkpoints.State(kept, 0, 0, {"a": 4}, its_loss)
        checkpoints.save(low_rank(), run.last, state)
        assert checkpoints.load_to_continue(run.last, log.rows)[1] == state
    state = checkpoints.State(epoch, 0, 0, {"a": 4}, loss)
    checkpoints.save(low_rank(**sizes), run.last, state)
    with pytest.raises(ValueError, match=message):
        checkpoints.load_to_continue(run.last, log.rows)
    with pytest.raises(ValueError, match="the log, 0"):
        checkpoints.load_to_continue(run.last, [])
    checkpoints.save(low_rank(), run.last)
    with pytest.raises(ValueError, match="does not say at which epoch"):
        checkpoints.load_to_continue(run.last, log.rows)
    run.last.unlink()
    with pytest.raises(ValueError, match="is gone; the log goes to epoch 3"):
        checkpoints.load_to_continue(run.last, log.rows)
    assert checkpoints.load_to_continue(run.last, []) is None


def test_an_interrupt_that_tensorflow_makes_another_error_of(tmp_path):
    with pytest.raises(KeyboardInterrupt, match=tmp_path.name):
        with program.training_errors(tmp_path, "--lr"):
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                raise SystemError("bad argument to internal function")  # noqa: B904


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("config.json", "w", force_zip64=True) as file:
            for _ in range(300):
                file.write(bytes(2**20))


def array_bomb(path):
    with h5py.File(path, "w") as file:
        # Never written, it takes no room.
        file.create_dataset("kernel", (10**6, 10**6), "float32")


def array_bomb_in_zip(path):
    array_bomb(path.with_suffix(".h5"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".h5"), "model.weights.h5")


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a.keras", lambda path: None, "there is no such file"),
        ("a.keras", Path.mkdir, "it is a folder"),
        ("a.keras", Path.touch, "it is empty"),
        ("a.h5", Path.touch, "it is empty"),
        ("a.keras", lambda path: path.write_bytes(b"PK\x03\x04"), "a part of one"),
        ("a.keras", zip_bomb, "would unpack to 315 MB"),
        ("a.keras", array_bomb_in_zip, "would unpack to 4e.06 MB"),
        ("a.h5", array_bomb, "would unpack to 4e.06 MB"),
    ],
)
def test_files_that_no_network_is_read_from(tmp_path, name, make, reason):
    path = tmp_path / name
    make(path)
    with pytest.raises(
        ValueError, match=f"It can't be read .*{reason}.*--model {path}"
    ):
        with saved_files.reading(path, "It", "--model"):
            raise AssertionError("it has been read")


def test_a_saved_network_is_read(tmp_path):
    for name in ("a.keras", "a.weights.h5"):
        model = low_rank()
        (model.save if name == "a.keras" else model.save_weights)(tmp_path / name)
        with saved_files.reading(tmp_path / name, "It"):
            model.load_weights(tmp_path / name)


def test_leftovers_of_killed_writers(tmp_path):
    rest = "0123456789abcdef.tmp.keras"
    names = [f".dim1.{rest}", f".dim12.{rest}", ".dim1.mine.tmp.keras", "dim1.keras"]
    for name in names:
        (tmp_path / name).touch()
    checkpoints.remove_leftovers(tmp_path, "dim1")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
    checkpoints.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])
    checkpoints.remove_leftovers(tmp_path / "none")


@pytest.mark.parametrize(
    ("error", "status", "part"),
    [
        (NonFiniteLoss(2, 5, "The loss became nan"), 3, "nan at epoch 2, step 5."),
        (OSError(28, "No space left on device"), 4, "--resume continues"),
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 2, "not enough memory"),
    ],
)
def test_ends_of_training(settings, capsys, error, status, part):
    directory = settings.log_dir / "mine"
    with pytest.raises(SystemExit) as end:
        with program.training_errors(directory, "--rate"):
            raise error
    assert end.value.code == status
    text = capsys.readouterr().err
    assert part in text and str(directory) in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "--resume --run-name mine"),
        ({"resume": True}, "--run-name mine"),
        ({"run_name": "mine", "resume": True}, ""),
    ],
)
def test_an_interrupted_run_says_how_to_continue(settings, capsys, changes, words):
    def train(directory):
        with program.training_errors(directory, "--rate"):
            raise KeyboardInterrupt

    settings = replace(settings, **changes)
    act = partial(train, settings.log_dir / "mine")
    given = ["low-rank", "--corpus", "a b"]
    status = program.run("experiments.translation", given, settings, act)
    assert status == 130
    python = shlex.quote(sys.executable)
    command = f"{python} -m experiments.translation low-rank --corpus 'a b'"
    line = f"Interrupted. Continue with: {command} {words}".rstrip()
    assert capsys.readouterr().err.strip() == line
    assert program.run("a", [], settings, lambda: 5) == 5


def test_best_epoch_by_the_smallest_loss(settings):
    run = folders.create(settings)
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    # With other labels to validate with, training makes the model worse in the end.
    y, other = x.sum(axis=1, keepdims=True), -x.sum(axis=1, keepdims=True)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    log = run_callbacks.RunLog(run.workbook(settings.network), settings.record())
    log.open()
    start = checkpoints.State(0, 0, 0, {})
    checkpoint = run_callbacks.Checkpoint(
        run.last, run.best, log, lambda row: -row["val_loss"], start
    )
    model.fit(
        x,
        y,
        epochs=settings.epochs,
        validation_data=(x, other),
        verbose=0,
        callbacks=[run_callbacks.StopAtNonFinite(), log, checkpoint],
    )
    losses = [row["val_loss"] for row in read_history(log.path)[0]]
    assert len(losses) == settings.epochs and min(losses) < losses[-1]
    best = keras.saving.load_model(run.best)
    assert best.evaluate(x, other, verbose=0) == pytest.approx(min(losses), rel=1e-5)
    last, state = checkpoints.load(run.last)
    assert last.evaluate(x, other, verbose=0) == pytest.approx(losses[-1], rel=1e-5)
    assert (state.epoch, state.phase, state.phase_start) == (settings.epochs, 0, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_bfloat16"])
def test_weights_that_the_last_step_made_infinite(dtype):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, dtype=dtype)])
    model.compile(keras.optimizers.SGD(1e38), "mse")
    x, y = np.full((4, 3), 100.0, "float32"), np.ones((4, 1), "float32")
    message = "weight .*/kernel became NaN or infinite at epoch 1, step 1"
    with pytest.raises(NonFiniteLoss, match=message):
        model.fit(x, y, verbose=0, callbacks=[run_callbacks.StopAtNonFinite()])


@pytest.mark.parametrize(("verbose", "seconds"), [(2, 0), (2, 60), (1, 0), (0, 0)])
def test_a_long_epoch_has_lines_where_there_is_no_bar(capsys, verbose, seconds):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((6, 2)), np.ones((6, 1))
    lines = run_callbacks.StepLines(verbose, seconds)
    model.fit(x, y, 2, 1, 0, callbacks=[lines], validation_data=(x, y))
    shown = capsys.readouterr().out.splitlines()
    if verbose != 2 or seconds:
        assert shown == []
        return
    assert [line.split(", ")[0] for line in shown[:3]] == [
        f"step {step} of 3" for step in (1, 2, 3)
    ]
    assert "loss" in shown[0] and shown[3].startswith("validation, step ")


def test_commands_start_without_keras():
    modules = ("lenet5", "compression", "mnist_dense", "transformer", "evolve")
    names = [f"experiments.{name}" for name in (*modules, "test_matrix", "archive")]
    names += ["evaluation.__main__", "evaluation.graphics.__main__"]
    names += ["benchmarks.translation"]
    code = f"import sys, {', '.join(names)}; print('keras' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (shown.stdout, shown.stderr) == ("False\n", "")
