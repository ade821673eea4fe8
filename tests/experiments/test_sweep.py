import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import slow
from sweeps import NAME, networks_of, words

from dlrt import datasets
from dlrt.callbacks import read_history
from dlrt.datasets import _keras_cache
from experiments import test_matrix
from experiments.archive.claims import Claims
from experiments.mnist import epoch_trainer
from experiments.mnist import network as mnist_network
from experiments.mnist.task import load
from experiments.runs import scoring
from experiments.runs.image_data import EVALUATION_BATCH, ShuffledBatches
from experiments.sweep import engines
from experiments.sweep import grid as _grid
from experiments.sweep.events import Event
from experiments.sweep.places import Places
from experiments.sweep.progress import Progress
from experiments.sweep.training import UnitTraining

ROOT = Path(__file__).resolve().parents[2]


def start(log_dir, largest_file=None, **settings):
    """A sweep as a user starts it, in processes of its own."""
    command = [sys.executable, "-m", "experiments.test_matrix"]
    if largest_file is not None:
        command = ["prlimit", f"--fsize={largest_file}", *command]
    return subprocess.Popen(
        [*command, *words(log_dir, **settings)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # In the background of a script Ctrl-C is ignored, and so by its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process, status=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, (process.returncode, out, err)
    return out, err


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def histories(log_dir, place="finishedTests"):
    """The rows of all workbooks in a place, without their times."""
    found = {}
    for path in sorted((log_dir / place).glob("*/historyLogs/*.xlsx")):
        rows, _ = read_history(path)
        key = f"{path.parents[1].name}/{path.stem}"
        found[key] = [{k: v for k, v in r.items() if k != "seconds"} for r in rows]
    return found


def leftovers(log_dir):
    """What lies in an archive beside the finished workbooks and their places."""
    expected = {"finishedTests", "finishedTestsFullSet", "wrongTests", ".claims"}
    hidden = [path for path in log_dir.rglob(".*") if path.name != ".claims"]
    return [p for p in log_dir.iterdir() if p.name not in expected] + hidden


METHODS = ("reference", "dlrt", "adaptive")


@pytest.mark.slow
def test_rows_stay_where_a_checkpoint_is_lost(tmp_path):
    """A log is never overwritten: what it has is trained again, and not logged."""
    (network, other), _ = networks_of(methods=("reference",), dims=(8, 9))

    def train(network, root, epochs):
        """For so many epochs, and not longer."""
        # It is asked once before the training, and twice an epoch.
        left = iter([False] * 2 * epochs)
        UnitTraining(
            [network], root, 0.0, lambda _: None, lambda: next(left, True)
        ).run()

    train(network, tmp_path / "whole", 3)
    (whole,) = histories(tmp_path / "whole").values()
    train(other, tmp_path / "other", 2)
    train(network, tmp_path, 2)
    places = Places(tmp_path, network)
    before, _ = read_history(places.growing)
    assert [row["epoch"] for row in before] == [1, 2]
    others = Places(tmp_path / "other", other).checkpoint
    for content in (None, b"", others.read_bytes()):
        places.checkpoint.unlink()
        if content is not None:
            places.checkpoint.write_bytes(content)
        train(network, tmp_path, 1)
        assert read_history(places.growing)[0] == before
    train(network, tmp_path, 3)
    assert read_history(places.finished)[0][:2] == before
    (found,) = histories(tmp_path).values()
    assert found == whole
    # The file of the claims is closed.
    links = [
        os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()
    ]
    assert not any(link.endswith(".claims") for link in links)


def test_processes_that_died_run_no_more(tmp_path, monkeypatch):
    networks, _ = networks_of(dims=(8, 9))
    deaths = iter([BrokenProcessPool(), None])
    died = []

    class Pool:
        def __init__(self, *_):
            self._death = next(deaths)

        def submit(self, _, unit, *__):
            future = Future()
            for network in unit:
                progress(Event(str(network), "begin"))
            if self._death is None:
                for network in unit:
                    progress(Event(str(network), "finished", 3))
                future.set_result(None)
            else:
                future.set_exception(self._death)
            return future

        def shutdown(self, **_):
            died.append(progress.line())

    monkeypatch.setattr(engines, "ProcessPoolExecutor", Pool)

    class Watched(Progress):
        def __call__(self, event):
            super().__call__(event)
            assert len(self._running) <= len(networks)

    progress = Watched(networks)
    seen = []

    def on_event(event):
        progress(event)
        seen.append(event)

    units = _grid.group(networks)
    engines.train_locally(units, tmp_path, 1.0, 2, on_event)
    assert {event.network for event in seen if event.kind == "stopped"} == {
        str(network) for network in networks
    }
    assert "running 4" in died[0] and "running 0" in died[1]


def test_one_short_warning_of_another_data_set(tmp_path, monkeypatch, capsys):
    def search(*_):
        raise datasets.DatasetUnavailableError("MNIST is nowhere, see " + 40 * "here ")

    found = []
    monkeypatch.setattr(_keras_cache.CachedImages, "load", search)
    monkeypatch.setattr(engines, "train_locally", lambda units, *_: found.extend(units))
    test_matrix.main(words(tmp_path, dataset="auto"))
    assert {network.config.dataset for unit in found for network in unit} == {"digits"}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("WARNING: MNIST could not be had.")
    assert 'load "digits"' in line and len(line) < 220


@pytest.mark.parametrize("method", [METHODS[0], *slow(*METHODS[1:])])
def test_networks_are_those_of_separate_fits(method):
    networks, _ = networks_of(
        methods=(method,), dims=(20,), ranks=(4,), runs=(0, 1), noise=(0.2,)
    )
    configs = [network.config for network in networks]
    trainer = epoch_trainer.EpochTrainer(configs, 10)
    for config in configs:
        data = load(replace(config, dataset_size=1.0))
        trainer.begin(replace(config, dataset_size=0.1), data)
        logs = [trainer.epoch(index) for index in range(3)]
    # The last has come after another one.
    config = replace(config, dataset_size=1.0)
    model = mnist_network.build(config, 10, None)
    batches = ShuffledBatches(*data.train, config.batch_size, config.seed)
    phase = replace(config.phases[0], epochs=3)
    mnist_network.compile_model(model, config, phase, len(batches))
    history = model.fit(
        batches.for_fit(),
        epochs=3,
        validation_data=data.val,
        validation_batch_size=EVALUATION_BATCH,
        shuffle=False,
        verbose=0,
        callbacks=[batches.follow(), scoring.TestEvaluation(data.test)],
    ).history
    assert set(logs[0]) == set(history)
    for name, values in history.items():
        found = [log[name] for log in logs]
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)
    ranks = epoch_trainer.facts(trainer.model)
    assert {k: v for k, v in ranks.items() if k.startswith("rank/")} == {
        k: v for k, v in epoch_trainer.facts(model).items() if k.startswith("rank/")
    }


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_interrupted_and_killed_sweeps_end_as_undisturbed_ones(tmp_path, capfd):
    settings = {"methods": "reference,dlrt,adaptive", "tolerances": 0.3, "dims": 12}
    plain, log_dir = tmp_path / "plain", tmp_path / "disturbed"
    out, _ = finish(start(plain, **settings))
    assert "done 3 of 3" in out
    process = start(log_dir, **settings)
    wait_for(lambda: list(log_dir.glob("*/historyLogs/*.xlsx")), process)
    time.sleep(3)
    os.killpg(process.pid, signal.SIGINT)
    _, err = finish(process, 130)
    assert "Continue with the same command" in err
    assert list(log_dir.glob("*/checkpoints/*.keras"))
    process = start(log_dir, **settings)
    wait_for(lambda: "resumed 1" in resumed(log_dir), process)
    process.kill()
    process.communicate()
    out, _ = finish(start(log_dir, **settings))
    assert "done 3 of 3" in out
    expected, found = histories(plain), histories(log_dir)
    assert len(expected) == 3
    assert found.keys() == expected.keys()
    for key, rows in expected.items():
        assert [row["epoch"] for row in rows] == list(range(1, 401))
        assert found[key] == rows, key
    assert not leftovers(log_dir)
    adaptive = found[next(key for key in found if "Tol30" in key)]
    assert (
        len(adaptive[-1]["singular values/hidden_1"]) == adaptive[-1]["rank hidden_1"]
    )
    # Nothing is left to do.
    before = {p: p.stat().st_mtime_ns for p in log_dir.rglob("*.xlsx")}
    assert test_matrix.main(words(log_dir, workers=1, **settings)) == 0
    assert "done 3 of 3" in capfd.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in log_dir.rglob("*.xlsx")}


def resumed(log_dir):
    """The keys of the configurations of all growing or finished workbooks."""
    keys = set()
    for path in log_dir.rglob("*.xlsx"):
        try:
            keys |= read_history(path)[1].keys()
        except (OSError, ValueError):
            continue
    return keys


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_two_sweeps_and_a_killed_process(tmp_path):
    settings = {"methods": "reference", "runs": "0-3"}
    first = start(tmp_path, workers=1, **settings)
    second = start(tmp_path, workers=2, **settings)
    wait_for(lambda: list(tmp_path.glob("*/historyLogs/*.xlsx")), second)
    # A process that trains, not the one that a user has started.
    victims = children(second.pid)
    assert victims
    os.kill(victims[-1], signal.SIGKILL)
    for process in (first, second):
        out, _ = finish(process)
        assert "done 6 of 6" in out
    found = histories(tmp_path)
    assert set(found) == {f"{NAME}Run{k}/dim{d}" for k in range(3) for d in (4, 12)}
    for rows in found.values():
        assert [row["epoch"] for row in rows] == list(range(1, 401))
    assert not leftovers(tmp_path)


def children(pid):
    """The training processes of a sweep, in the order of their start."""
    return sorted(
        process
        for process, parent, command in processes()
        if parent == pid and "spawn_main" in command
    )


def processes():
    """Number, parent and command of every process on this machine."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = re.search(r"PPid:\t(\d+)", status.read_text())[1]
            command = (status.parent / "cmdline").read_text()
        except OSError:
            continue
        yield int(status.parent.name), int(parent), command


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_diverged_networks_are_set_aside(tmp_path, capfd):
    settings = {
        "workers": 1,
        "optimizer": "sgd",
        "learning-rate": "1e38,0.01",
        "methods": "reference",
        "epochs": 5,
        "dims": "12",
    }
    test = "SGDTestDim12-13ep5batch256lr{}Noise20Dataset50Run0"
    bad = test.format("1" + "0" * 38)
    _, err = finish(start(tmp_path, **settings), 1)
    assert f"failed: {bad}/dim12: " in err
    reason = (tmp_path / "wrongTests" / bad / "reason.txt").read_text()
    assert reason.startswith("dim12: ") and "epoch" in reason
    rows = histories(tmp_path, "wrongTests")[f"{bad}/dim12"]
    assert not np.isfinite(rows[-1]["loss"] + rows[-1]["val_loss"])
    assert list(histories(tmp_path)) == [f"{test.format('0-01')}/dim12"]
    # It is not tried again.
    assert test_matrix.main(words(tmp_path, **settings)) == 1
    assert f"failed: {bad}/dim12: it failed before" in capfd.readouterr().err
    assert not leftovers(tmp_path)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_other_settings_of_a_finished_test_are_refused(tmp_path, capsys):
    settings = {"methods": "dlrt", "epochs": 2, "dims": 12}
    assert test_matrix.main(words(tmp_path, **settings)) == 0
    with pytest.raises(SystemExit) as exit:
        test_matrix.main(words(tmp_path, integrator="kls", **settings))
    assert exit.value.code == 2
    assert "integrator 'parallel_bug'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_ray_cluster_of_two_nodes_and_a_killed_worker(tmp_path):
    ray_cluster = pytest.importorskip("ray.cluster_utils")
    cluster = ray_cluster.Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, include_dashboard=False)
        settings = {"methods": "reference", "dims": "4,12", "epochs": 2000}
        process = start(
            tmp_path,
            engine="ray",
            address=cluster.address,
            **settings,
            **{"checkpoint-seconds": 0.5},
        )
        wait_for(
            lambda: len(list(tmp_path.glob("*/checkpoints/*.keras"))) == 2, process
        )
        # One network on each node. The worker of one of them dies.
        os.kill(ray_workers(cluster)[0], signal.SIGKILL)
        out, _ = finish(process)
    finally:
        cluster.shutdown()
    assert "done 2 of 2" in out
    found = histories(tmp_path)
    assert len(found) == 2
    for rows in found.values():
        assert [row["epoch"] for row in rows] == list(range(1, 2001))
    # The killed one went on at its checkpoint, the other one has not noticed.
    times = sorted(
        sum(key.startswith("resumed ") for key in read_history(path)[1])
        for path in tmp_path.glob("finishedTests/*/historyLogs/*.xlsx")
    )
    assert times == [0, 1]
    assert not leftovers(tmp_path)


def ray_workers(cluster):
    """The processes that train, in all nodes of a cluster."""
    nodes = {
        info.process.pid
        for node in cluster.list_all_nodes()
        for infos in node.all_processes.values()
        for info in infos
    }
    return [
        process
        for process, parent, command in processes()
        if parent in nodes and command.startswith("ray::_train_on_ray")
    ]


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_files_that_cannot_be_written_in_the_middle(tmp_path):
    settings = {"methods": "reference", "epochs": 300, "dims": "12"}
    # Room for the configuration, none for the rows.
    _, err = finish(start(tmp_path, largest_file=9000, **settings), 4)
    assert "error: " in err and "dim12" in err
    assert "Continue with the same command" in err
    out, _ = finish(start(tmp_path, **settings))
    assert "done 1 of 1" in out
    (rows,) = histories(tmp_path).values()
    assert [row["epoch"] for row in rows] == list(range(1, 301))
    assert not leftovers(tmp_path)


def test_archive_that_cannot_be_written(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SystemExit) as exit:
        test_matrix.main(words(file))
    assert exit.value.code == 2
    assert str(file) in capsys.readouterr().err


def test_claims_of_processes(tmp_path):
    code = (
        "import sys; from pathlib import Path;"
        "from experiments.archive.claims import Claims;"
        "claims = Claims(Path(sys.argv[1])); print(claims.take('a'), claims.take('b'));"
        "sys.stdout.flush(); sys.stdin.read()"
    )
    claims = Claims(tmp_path)
    assert claims.take("a")
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline().split() == ["False", "True"]
    assert not claims.take("b")
    other.kill()
    other.communicate()
    # The claims of a process end with it.
    assert claims.take("b")
    claims.close()
