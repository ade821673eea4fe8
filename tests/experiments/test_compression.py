"""Compression runs: from a trained network to a smaller one, and what they refuse."""

import json
import sys

import keras
import numpy as np
import pytest
from conftest import slow
from run_folders import (
    failure,
    interrupt_second_epoch,
    refused_without_checkpoint,
    rows_of,
    workbook,
)

import dlrt
from dlrt.callbacks import read_history, read_table
from experiments import compression
from experiments.images import compression_config, measuring, networks
from experiments.images.batches import augment
from experiments.images.config import LANGUAGE_MODELS, NETWORKS

pytestmark = pytest.mark.tensorflow_only

SMALL = ("--dataset", "digits", "--dataset-size", 0.2, "--batch-size", 32)
IMAGE_NETWORKS = [
    name for name in NETWORKS if name not in ("alexnet_full", *LANGUAGE_MODELS)
]
DENSE = "lenet5-dense-reference-digits-seed0"


def run(logs, *settings):
    """Runs a compression in this process; returns the exit status."""
    words = [*SMALL, "--log-dir", logs, "--verbose", 0, *settings]
    return compression.main([str(word) for word in words])


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A folder with a trained dense network."""
    folder = tmp_path_factory.mktemp("runs")
    assert run(folder, "--method", "svd", "--dense-epochs", 3, "--run-name", "one") == 0
    return folder


class TestNetworks:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", IMAGE_NETWORKS)
    @pytest.mark.parametrize("shape", [(28, 28, 1), *slow(((32, 32, 3),))])
    def test_take_images_of_all_data_sets(self, name, shape):
        model = networks.build(name, shape, 10)
        assert model.output_shape == (None, 10)
        ranks = dict.fromkeys(networks.full_ranks(model), 2)
        low_rank = networks.build(name, shape, 10, ranks, weight_decay=1e-4)
        assert dlrt.accounting.ranks(low_rank) == ranks
        assert len(low_rank.losses) == len(ranks)
        assert low_rank(np.ones((1, *shape), "float32")).shape == (1, 10)

    def test_sizes(self):
        """By hand, of the sizes in the papers, without biases and normalisation."""
        model = networks.build("resnet20", (32, 32, 3), 10)
        kernels = 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
        shortcuts, output = 16 * 32 + 32 * 64, 64 * 10
        found = sum(
            np.prod(weight.shape) for weight in model.weights if weight.name == "kernel"
        )
        assert found == kernels + shortcuts + output
        full = networks.build("alexnet_full", (224, 224, 3), 1000)
        assert full.get_layer("flatten").output.shape == (None, 6 * 6 * 256)


class TestAugmentation:
    def test_is_a_shift_and_half_of_the_time_a_mirror(self):
        images = np.zeros((400, 12, 10, 2), "float32")
        images[:, 5, 4, 1] = 1
        moved = augment(images, np.random.default_rng(0))
        number, row, column, channel = np.nonzero(moved)
        np.testing.assert_array_equal(number, np.arange(400))
        assert set(channel) == {1}
        assert set(row) == set(range(1, 10))
        # Mirrored, column 4 of ten is column 5.
        assert set(column) == set(range(0, 10))

    def test_depends_on_the_generator_only(self):
        images = np.random.default_rng(1).random((5, 8, 8, 3))
        one, two = (augment(images, np.random.default_rng(3)) for _ in range(2))
        np.testing.assert_array_equal(one, two)


class TestRuns:
    @pytest.mark.slow
    def test_without_training(self, logs):
        rows, configuration = read_history(workbook(logs / "one"))
        assert [row["phase"] for row in rows] == ["compressed"]
        assert configuration["budget"] == "ratio 4.0"
        assert rows[0]["parameters prediction"] <= 431_080 / 4
        saved = 1 - rows[0]["parameters prediction"] / 431_080
        assert rows[0]["compression"] == pytest.approx(saved)
        layers = read_table(workbook(logs / "one"), "layers")
        assert [row["name"] for row in layers] == [
            *("conv_1", "conv_2", "dense_1", "output")
        ]
        assert layers[0]["shape"] == "5x5x1x20"
        model = keras.saving.load_model(logs / "one" / "last.keras")
        assert model.count_params() == rows[0]["parameters prediction"]
        assert (logs / DENSE / "best.keras").exists()

    @pytest.mark.slow
    def test_fine_tuning_and_tests(self, logs, capsys):
        settings = ("--method", "alds", "--preset", "strong", "--train", "--test")
        assert run(logs, *settings, "-e", 2, "--learning-rate", 1e-3) == 0
        output = capsys.readouterr().out
        assert "dense network: " in output
        name = "low-rank-lenet5-digits-compress-alds-ratio8-seed0"
        rows = rows_of(logs / name)
        assert [row["phase"] for row in rows] == ["compressed", *["fine-tuned"] * 2]
        (saved,) = {row["compression"] for row in rows}
        assert 7 / 8 <= saved < 0.9 and f"{100 * saved:.1f} %" in output
        assert rows[-1]["loss"] < rows[0]["loss"]
        tests = json.loads((logs / name / "tests.json").read_text())
        assert list(tests) == ["dense", "compressed", "fine-tuned"]
        assert tests["compressed"]["test_accuracy"] == pytest.approx(
            rows[0]["test_accuracy"]
        )
        assert tests["dense"]["parameters"] == 431_080
        for found in tests.values():
            assert found["attacked_accuracy"] <= found["test_accuracy"]
            assert found["latency_ms"] > 0

    @pytest.mark.slow
    def test_ranks_by_sensitivity(self, logs):
        settings = ("--method", "cp", "--allocation", "sensitivity", "--ratio", 6)
        assert run(logs, *settings, "--run-name", "cp") == 0
        layers = read_table(workbook(logs / "cp"), "layers")
        # Layers that matter much may keep their kernels.
        structures = {row["type"]: row["structure"] for row in layers}
        assert structures["Conv2D"] in ("cp", "dense")
        assert structures["Dense"] in ("pointwise", "dense")
        assert set(structures.values()) != {"dense"}
        assert rows_of(logs / "cp")[0]["parameters prediction"] <= 431_080 / 6

    def test_only_some_layers(self, logs):
        # A quarter of the 25,500 parameters of the convolutions' kernels.
        settings = ("--layers", "conv.*", "--parameters", 431_080 - 19_125)
        assert run(logs, *settings, "--run-name", "convolutions") == 0
        layers = read_table(workbook(logs / "convolutions"), "layers")
        assert [row["name"] for row in layers] == ["conv_1", "conv_2"]
        assert sum(row["parameters"] for row in layers) <= 6_375

    @pytest.mark.slow
    @pytest.mark.parametrize("scheme", ["pointwise", "separable"])
    def test_singular_values_are_trained_first(self, scheme, logs, capsys):
        settings = ("--method", "hoyer", "--ratio", 5, "--scheme", scheme, "--train")
        more = ("--svd-epochs", 2, "-e", 1, "--learning-rate", 1e-3)
        assert run(logs, *settings, *more, "--run-name", f"hoyer-{scheme}") == 0
        rows = rows_of(logs / f"svd-{scheme}-lenet5-digits-h0.1-seed0")
        assert [row["phase"] for row in rows] == ["decomposed"] * 2
        rows = rows_of(logs / f"hoyer-{scheme}")
        assert rows[0]["parameters prediction"] <= 431_080 / 5
        if scheme == "pointwise":
            # A second run finds the first one's network.
            capsys.readouterr()
            again = (*settings, *more, "--run-name", "again")
            assert run(logs, *again) == 0
            assert "decomposed network: " in capsys.readouterr().out
            assert rows_of(logs / "again")[0]["loss"] == rows[0]["loss"]

    @pytest.mark.slow
    def test_low_rank_layers_adapt_within_the_budget(self, logs):
        settings = ("--method", "dlrt", "--ratio", 5, "--train", "-t", "0.5")
        assert run(logs, *settings, "-e", 3, "--run-name", "adapted") == 0
        rows = rows_of(logs / "adapted")
        sizes = [row["parameters prediction"] for row in rows]
        assert sizes[0] <= 431_080 / 5
        assert sizes[-1] < sizes[0]

    @pytest.mark.slow
    def test_interrupted_run_ends_as_an_uninterrupted_one(
        self, logs, monkeypatch, capsys
    ):
        settings = ("--method", "svd", "--train", "-e", 2, "--run-name")
        assert run(logs, *settings, "whole") == 0
        interrupt_second_epoch(monkeypatch)
        assert run(logs, *settings, "cut") == 130
        monkeypatch.undo()
        assert run(logs, *settings, "cut", "--resume") == 0
        words = (logs, *settings, "cut", "--resume")
        refused_without_checkpoint(capsys, run, logs / "cut", *words)
        expected, found = rows_of(logs / "whole"), rows_of(logs / "cut")
        assert [row["epoch"] for row in found] == [0, 1, 2]
        for row, wanted in zip(found, expected, strict=True):
            assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
        assert len(read_table(workbook(logs / "cut"), "layers")) == 4

    @pytest.mark.slow
    def test_transfer_to_images_with_other_classes(self, logs, tmp_path):
        from PIL import Image

        rng = np.random.default_rng(0)
        for part, count in (("train", 20), ("test", 5)):
            for number, name in enumerate(("dark", "light", "striped")):
                folder = tmp_path / "shades" / part / name
                folder.mkdir(parents=True)
                for index in range(count):
                    pixels = rng.integers(0, 100, (28, 28)) + 100 * (number == 1)
                    pixels[::4] += 80 * (number == 2)
                    Image.fromarray(pixels.astype("uint8")).save(
                        folder / f"{index}.png"
                    )
        settings = ("--method", "svd", "--train", "-e", 2, "--run-name", "moved")
        data = ("--transfer", tmp_path / "shades", "--dataset-size", 1)
        load = ("-l", logs / DENSE / "best.keras")
        assert run(logs, *settings, *data, *load) == 0
        rows, configuration = read_history(workbook(logs / "moved"))
        assert configuration["train_images"] == 50
        assert rows[-1]["loss"] < rows[0]["loss"]
        model = keras.saving.load_model(logs / "moved" / "best.keras")
        assert model.output_shape == (None, 3)


class TestAttack:
    def test_moves_pixels_against_the_network(self):
        """Of a linear network, where the gradient is known."""
        layer = keras.layers.Dense(2, use_bias=False)
        model = keras.Sequential(
            [keras.Input((2, 2, 1)), keras.layers.Flatten(), layer]
        )
        layer.kernel.assign([[1, -1], [1, -1], [-1, 1], [-1, 1]])
        x = np.array([[0.6, 0.6, 0.5, 0.5], [0.9, 0.9, 0.1, 0.1]], "float32")
        y = np.array([0, 0])
        images = x.reshape(2, 2, 2, 1)
        # The first has a margin of 0.1 a pixel, the second of 0.8.
        assert measuring.accuracy_under_attack(model, images, y, 0.01) == 1
        assert measuring.accuracy_under_attack(model, images, y, 0.1) == 0.5
        assert measuring.accuracy_under_attack(model, images, y, 0.5) == 0


class TestWrongInput:
    @pytest.mark.parametrize(
        ("settings", "part"),
        [
            (("--ratio", "2", "--flops", "9"), "At most one"),
            (("--ratio", "0.5"), "at least 1"),
            (("--parameters", "10"), "`budget` is too small"),
            (("--ranks", "conv_1"), "conv_1=8"),
            (("--ranks", "conv_9=3"), "conv_9"),
            (("--method", "pca"), "pca"),
            (("--layers", "conv("), "`--layers` must be a regular expression"),
            (("--layers", "conv", "--ranks", "conv_1=2"), "`--layers` must be left"),
            (("--layers", "conv"), "`layers` must select"),
            (("--scheme", "tucker", "--method", "dlrt"), "`--scheme` must"),
            (("--tolerance", "0.2", "--train"), "`--tolerance` must be left out"),
            (("--transfer", "mnist"), "`--transfer` must come with --train"),
            (("--attack", "2"), "`--attack` must lie"),
            (("--dense-epochs", "0"), "`--dense-epochs`"),
            (("--method", "hoyer", "--scheme", "grouped"), "`--scheme` must be one of"),
            (("--sparsity", "-1"), "`--sparsity` must be a number"),
            (("--sparsity", "1"), "`--sparsity` must come with `--method hoyer`"),
            (("--svd-epochs", "1"), "`--svd-epochs` must come with `--method hoyer`"),
            (("--attack", "0.2"), "`--attack` must come with `--test`"),
            (("--momentum", "0.5"), "`--momentum` must come with `--optimizer sgd`"),
            (("-l", "nowhere.keras"), "--load-model"),
            (("--dataset", "nowhere"), "`--dataset` must be one of"),
            (("--image-size", "3"), "as 32x32"),
            (("--image-size", "3x3"), "`--image-size` must come with a folder"),
        ],
    )
    def test_is_named(self, settings, part, logs, capsys):
        before = sorted(path.name for path in logs.iterdir())
        assert part in failure(capsys, run, logs, *settings)
        assert sorted(path.name for path in logs.iterdir()) == before

    def test_missing_extra(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "tensorly", None)
        for settings in (("--method", "cp"), ("--scheme", "cp")):
            line = failure(capsys, run, tmp_path, *settings)
            assert "pip install -e .[cp]" in line
            # No dense network has been trained for nothing.
            assert not list(tmp_path.iterdir())

    def test_model_for_other_images(self, logs, tmp_path, capsys):
        networks.build("cnn", (32, 32, 3), 10).save(tmp_path / "other.keras")
        line = failure(capsys, run, logs, "-l", tmp_path / "other.keras")
        assert "images of shape (28, 28, 1) in 10 classes" in line

    def test_images_that_are_too_large(self):
        with pytest.raises(ValueError, match="see `--image-size`.*51,005,000 inputs"):
            networks.build("lenet5", (4052, 4052, 1), 10)

    def test_ranks_of_layers(self):
        config = compression_config.parse(["--ranks", "conv_1=8,conv_2=16x20"], "x")
        assert config.budget == ("ranks", {"conv_1": 8, "conv_2": (16, 20)})
