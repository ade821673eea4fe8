"""The networks of a sweep, and the settings that say which."""

import re
from dataclasses import replace

import numpy as np
import pytest
from sweeps import NAME, networks_of, words

from experiments import test_matrix
from experiments.mnist import epoch_trainer
from experiments.mnist import network as mnist_network
from experiments.runs import names
from experiments.sweep import grid as _grid
from experiments.sweep import options as _options


@pytest.mark.parametrize(
    "text, expected",
    [
        ("5", (5,)),
        ("1-4", (1, 2, 3)),
        ("10-41:10", (10, 20, 30, 40)),
        ("10-40:10", (10, 20, 30)),
        ("7,1-3 2,20-30:9", (1, 2, 7, 20, 29)),
    ],
)
def test_whole_numbers(text, expected):
    assert _options.read_whole_numbers(text) == expected


@pytest.mark.parametrize("end", [10**6, 10**30])
def test_too_many_whole_numbers(end):
    with pytest.raises(ValueError, match="fewer than 100,000"):
        _options.read_whole_numbers(f"5,1-{end}")


@pytest.mark.parametrize("text", ["a", "1-", "5:2", "3-3", "4-2", "1-5:0", "1.5", "-3"])
def test_bad_whole_numbers(text):
    with pytest.raises(ValueError, match="whole numbers|is empty"):
        _options.read_whole_numbers(text)


def test_grid_over_widths():
    networks, skipped = networks_of(
        dims=(2, 5, 9), ranks=(3, 7), runs=(0, 4), noise=(0.2,)
    )
    found = {str(network) for network in networks}
    rest = "TestDim2-10ep3batch256lr0-001Noise20Dataset10"
    assert found == {
        *(f"{rest}Run{k}/dim{d}" for k in (0, 4) for d in (2, 5, 9)),
        *(f"DLRTRank3-4{rest}Run{k}/dim{d}" for k in (0, 4) for d in (5, 9)),
        *(f"DLRTRank7-8{rest}Run{k}/dim9" for k in (0, 4)),
    }
    assert skipped == [
        f"DLRTRank3-4{rest}: rank 3 is above the width 2",
        f"DLRTRank7-8{rest}: rank 7 is above the width 2, 5",
    ]
    for network in networks:
        name = names.parse(network.test)
        assert network.config.seed == name.run
        assert network.config.noise == name.noise == 0.2
        assert network.name == f"dim{network.config.dim_layer}"
        assert network.config.dense == (not name.dlrt)


def test_grid_over_ranks_and_tolerances():
    networks, _ = networks_of(methods=("dlrt",), dims=(30,), ranks=(2, 8, 30))
    assert [str(network) for network in networks] == [
        f"DLRTRank2-31TestDim30-31ep3batch256lr0-001Dataset10Run0/rank{r}"
        for r in (2, 8, 30)
    ]
    assert [network.config.start_rank for network in networks] == [2, 8, 30]
    networks, _ = networks_of(methods=("adaptive",), dims=(30,), tolerances=(0.1, 0.25))
    tests = [names.parse(network.test) for network in networks]
    assert [test.tolerance for test in tests] == [0.1, 0.25]
    assert [network.config.start_rank for network in networks] == [30, 30]


def test_grid_combines_everything():
    networks, _ = networks_of(
        methods=("reference",),
        dims=(2, 3),
        runs=(0, 1),
        batch_size=(64, 256),
        learning_rate=(1e-3, 1e-4),
        optimizer=("adam", "sgd"),
        dataset_size=(0.5, 1.0),
        noise=(0.0, 0.1),
        regularizer=("none", "l2", "full"),
        regularizer_amount=(1e-3, 1e-4),
    )
    # Without a regularizer there is no amount.
    assert (
        len({str(network) for network in networks})
        == len(networks)
        == 2**7 * (1 + 2 + 2)
    )
    # Networks that differ by seed and noise share what is compiled.
    units = _grid.group(networks)
    assert {len(unit) for unit in units} == {4}
    assert sorted(str(c) for unit in units for c in unit) == sorted(map(str, networks))
    sizes = [sum(c.flops for c in unit) for unit in units]
    assert sizes == sorted(sizes, reverse=True)


def test_parameters_are_those_of_the_network():
    for method, rank in (("reference", None), ("dlrt", 3), ("dlrt", 14)):
        networks, _ = networks_of(methods=(method,), dims=(15,), ranks=(rank or 1,))
        config = networks[0].config
        counted = epoch_trainer.facts(compiled_network(config))["parameters"]
        assert networks[0].parameters == counted


def test_full_regularizer_counts_all_weights():
    networks, _ = networks_of(
        dims=(6,), ranks=(2,), regularizer=("full",), regularizer_amount=(0.5,)
    )
    for network in networks:
        model = mnist_network.build(network.config, 10, None)
        for layer in model.layers[1:]:
            layer.bias.assign(np.full(layer.bias.shape, 0.25))
        squares = sum(
            np.sum(np.square(np.asarray(layer.kernel))) for layer in model.layers[1:]
        )
        squares += 0.25**2 * (4 * 6 + 10)
        np.testing.assert_allclose(float(sum(model.losses)), 0.5 * squares, rtol=1e-5)


def compiled_network(config):
    model = mnist_network.build(config, 10, None)
    mnist_network.compile_model(model, config, replace(config.phases[0], epochs=1), 1)
    return model


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"dims": (2, 3), "ranks": (9,), "methods": ("dlrt",)},
            "empty.*rank 9 is above",
        ),
        ({"noise": (1.5,)}, "--noise"),
        ({"learning_rate": (0.0,)}, "--learning-rate"),
        ({"methods": ("sparse",)}, "--methods.*sparse"),
        ({"optimizer": ("lion",)}, "--optimizer.*lion"),
        ({"dims": ()}, "--dims.*empty"),
        ({"dims": (0, 1)}, "--dims"),
        ({"dims": (10, 99_999)}, "`--dims` must be smaller: .*--dims 99999"),
        ({"runs": (2**32,)}, "--runs"),
        ({"dims": range(1, 999), "ranks": range(1, 999)}, "at most 100,000 networks"),
    ],
)
def test_bad_grids(settings, message):
    with pytest.raises(ValueError, match=message):
        networks_of(**settings)


def test_settings_from_files(tmp_path):
    toml = tmp_path / "sweep.toml"
    text = 'methods = ["dlrt"]\ndims = "1-4"\nranks = [1, 2]\nnoise = 0.2\n'
    # Some editors put a mark in front.
    toml.write_text(text, encoding="utf-8-sig")
    yaml = tmp_path / "sweep.yaml"
    yaml.write_text("methods: dlrt\ndims: [1, 2, 3]\nranks: 1,2\nnoise: [0.2]\n")
    options = [
        _options.parse(["--config", str(path), "--runs", "0-2", "--noise", "0.1"])
        for path in (toml, yaml)
    ]
    assert options[0] == options[1]
    grid = options[0].grid
    assert grid.dims == (1, 2, 3) and grid.ranks == (1, 2) and grid.runs == (0, 1)
    # The command line counts for more.
    assert grid.noise == (0.1,)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("sweep.toml", "width = 3", "unknown setting.*width"),
        ("sweep.toml", "dims = ", "can't be read"),
        ("sweep.yaml", "- 1", "can't be read"),
        ("sweep.yaml", "dims: [1, b]", "dims.*Received: b"),
        ("sweep.yaml", "x: !!python/object/apply:os.system [ls]", "can't be read"),
        ("sweep.json", "{}", "must end in"),
        ("none.toml", None, "`--config` can't be read: No such file.*none.toml"),
        ("sweep.toml", b"\xff\xfee\0", "`--config` can't be read: it must be UTF-8"),
        ("sweep.yaml", "epochs: 3\nepochs: 4", "a setting twice.*epochs"),
        ("sweep.yaml", "batch-size: 3\nbatch_size: 4", "a setting twice.*batch_size"),
        ("sweep.yaml", "epoch: 3", "epoch. Did you mean epochs"),
        ("sweep.toml", "Learning-rate = 3", "Did you mean learning_rate"),
        # What YAML has rules of its own for.
        ("sweep.yaml", "epochs: 010", "without a zero in front.*Received: 010"),
        ("sweep.yaml", "epochs: [20, 010]", "without a zero in front"),
        ("sweep.yaml", "epochs: !!int '010'", "without a zero in front"),
        ("sweep.yaml", "epochs: 0x10", "without a zero in front"),
        ("sweep.yaml", "epochs: 0o10", "epochs.*Received: 0o10"),
        ("sweep.yaml", "epochs: 1:30", "epochs.*Received: 1:30"),
        ("sweep.yaml", "epochs: yes", "epochs.*Received: yes"),
        ("sweep.yaml", "dataset: no", "--dataset no"),
        ("sweep.yaml", "log_dir: ~", "log_dir must be a text"),
        ("sweep.yaml", "runs: {a: 1}", "runs must be a text"),
        ("sweep.toml", "dataset = true", "dataset must be a text"),
        ("sweep.toml", "# nothing", "it must have names and values"),
        ("sweep.yaml", "? [a, b]\n: 1", "its names must be texts"),
        (
            "sweep.yaml",
            "regularizer-amount: 5",
            "`--regularizer-amount` must come with",
        ),
        ("sweep.yaml", "dims: 1-1000000000", "fewer than 100,000 numbers"),
        ("sweep.toml", "address = 'auto'", "`--address` must come with `--engine ray`"),
        ("sweep.toml", "dims = '1-9'\nworkers = 100000", "`--workers`.*at most 1000"),
    ],
)
def test_bad_files(name, text, message, tmp_path, capsys):
    if text is not None:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit) as exit:
        test_matrix.main(["--config", str(tmp_path / name)])
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(message, error)


def test_dry_run_trains_nothing(tmp_path, capsys):
    log_dir = tmp_path / "logs"
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SystemExit):
        test_matrix.main([*words(file), "--dry-run"])
    assert "`--log-dir` must be a folder" in capsys.readouterr().err
    assert test_matrix.main([*words(log_dir, runs="0-2"), "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert not log_dir.exists()
    assert len(out) == 1 + 2 * 4 + 1
    assert out[-1].startswith("8 networks, about ")
    assert any("811" not in line and f"{NAME}Run1/dim12" in line for line in out)
