import os
import subprocess
import sys

import keras
import pytest
from run_folders import (
    ROOT,
    only_run,
    refused_without_checkpoint,
    rows_of,
    workbook,
)

from dlrt.callbacks import read_history
from experiments import evolve
from experiments.images import evolution_task
from experiments.images.evolution_config import LEAST_PARAMETERS

SMALL = ("--dataset", "digits", "--batch-size", "512", "--verbose", "0")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(evolution_task, "_WIDTHS", (3, 4, 20))


def run(logs, *options):
    return evolve.main([*SMALL, "--log-dir", str(logs), *map(str, options)])


def test_start_has_a_million_parameters():
    assert evolution_task.build(10).count_params() >= 10**6


def test_least_parameters():
    widths = (evolution_task._MIN_WIDTH,) * 3
    assert evolution_task.build(10, widths).count_params() == LEAST_PARAMETERS


@pytest.mark.slow
def test_run_that_is_continued(tmp_path, small, capsys):
    """In two parts it is the same run."""
    options = ("-e", 2, "--stop", 1, "-p", 1500)
    assert run(tmp_path / "whole", *options) == 0
    text = capsys.readouterr().out
    assert "% test, after epoch 2" in text
    assert "evolve-digits-p1500-seed0" in text

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    original = keras.Model.fit

    def interrupted(self, *args, callbacks, **kwargs):
        return original(self, *args, callbacks=[Interrupt(), *callbacks], **kwargs)

    parts = tmp_path / "parts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", interrupted)
        assert run(parts, *options) == 130
    assert "--resume" in capsys.readouterr().err
    assert run(parts, *options, "--resume") == 0
    whole, again = rows_of(only_run(tmp_path / "whole")), rows_of(only_run(parts))
    assert len(again) == 2
    assert again[-1]["width dense"] == whole[-1]["width dense"]
    assert again[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=1e-3)
    model = keras.saving.load_model(only_run(parts) / "last.keras")
    assert model.count_params() == again[-1]["parameters training"] <= 1500
    refused_without_checkpoint(
        capsys, run, only_run(parts), parts, *options, "--resume"
    )


@pytest.mark.slow
def test_bound_of_memory(tmp_path, small, capsys):
    options = ("-e", 2, "--stop", 1, "--samples", 200, "-m", "8 MB")
    assert run(tmp_path, *options) == 0
    directory = only_run(tmp_path)
    assert directory.name == "evolve-digits-m8000000-seed0"
    rows, configuration = read_history(workbook(directory))
    assert configuration["max_memory"] == 8_000_000
    assert configuration["max_parameters"] is None
    assert rows[0]["memory"] > 8_000_000 >= rows[1]["memory"]
    assert f"{rows[0]['memory'] / 1e6:.1f} MB at the start" in capsys.readouterr().out


@pytest.mark.parametrize("epochs, stop", [(2, 1), (4, 3), (5, 4), (100, 4)])
def test_widths_stay_before_the_end(epochs, stop):
    assert evolve.parse(["-e", str(epochs)]).stop == stop


@pytest.mark.parametrize(
    ("text", "size"),
    [("50MB", 50_000_000), ("1.5 gib", 3 * 2**29), ("70000", 70_000), ("2kB", 2_000)],
)
def test_sizes_of_memory(text, size):
    assert evolve.parse(["--max-memory", text]).max_memory == size


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_script(tmp_path):
    script = ROOT / "run_scripts" / "evolve.sh"
    process = subprocess.run(
        ["sh", script, *SMALL, "--stop", "1", "-p", "3000", "--log-dir", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable, "EPOCHS": "2"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    directory = only_run(tmp_path)
    rows, configuration = read_history(workbook(directory))
    assert configuration["max_parameters"] == 3000
    assert rows[0]["parameters training"] > 10**6
    assert rows[1]["parameters training"] <= 3000
    assert "1,256,080 at the start" in process.stdout


@pytest.mark.parametrize(
    "options, message",
    [
        (["--stop", "12"], "`--stop` must be below --epochs 12"),
        (["-e", "3", "--stop", "3"], "`--stop` must be below --epochs 3"),
        (["-e", "1"], "`--epochs` must be at least 2"),
        (["-p", "300"], "`--max-parameters` must be at least 382"),
        (["-m", "50 apples"], "must be a size above 0, as 20MB"),
        (["-m", "0"], "must be a size above 0"),
        (["-m", "30kB"], "`--max-memory` must be at least"),
        (["--threshold", "1"], "`--threshold` must lie in [0, 1)"),
        (["--samples", "0"], "`--samples` must be at least 1"),
        (["--dataset", "cats"], "cats"),
        (["--resume"], "`--resume` needs a run to continue"),
    ],
)
def test_wrong_input(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        evolve.main([*SMALL, "--log-dir", str(tmp_path), *options])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
