import keras
import matplotlib.font_manager
import numpy as np
import pytest

import dlrt
from dlrt import linalg
from evaluation.graphics import __main__ as graphics
from evaluation.graphics import manifold, network, style, svd
from evaluation.graphics.network import Layer

pytestmark = pytest.mark.tensorflow_only

FILES = {
    f"{name}.{ending}"
    for name in ("network", "svd", "manifold")
    for ending in ("pdf", "png")
}


@pytest.fixture
def matrix():
    return np.random.default_rng(0).normal(size=(24, 16)) * 0.8 ** np.arange(16)


def texts(figure):
    """Everything that a reader of a figure reads."""
    found = [*figure.texts]
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes.xaxis.label]
    return [text.get_text() for text in found]


def test_the_parameters_of_a_layer_by_hand():
    layer = Layer(inputs=500, outputs=300, rank=20)
    assert layer.dense == 150_000
    assert layer.prediction == 16_000
    assert layer.training == 16_400


def test_the_parameters_of_a_layer_are_those_of_the_package():
    layer = Layer(inputs=30, outputs=20, rank=4)
    low_rank = dlrt.layers.LowRankDense(20, rank=4, use_bias=False)
    inputs = keras.Input((30,))
    model = keras.Model(inputs, low_rank(inputs))
    assert layer.prediction == dlrt.accounting.parameter_count(model)
    assert layer.training == dlrt.accounting.parameter_count(model, training=True)
    assert layer.dense == dlrt.accounting.dense_parameter_count(model)


@pytest.mark.parametrize("sizes", [(5, 4, 5), (5, 4, 0), (0, 4, 1)])
def test_a_layer_without_meaning_is_refused(sizes):
    with pytest.raises(ValueError, match=f"Received: rank {sizes[2]}"):
        Layer(*sizes)


def test_the_network_shows_the_counts():
    with style.style():
        shown = texts(network.draw(Layer(500, 300, 20)))
    assert r"$nm=500\cdot300=150\,000$" in shown
    assert r"$r(n+m)=20\cdot800=16\,000$" in shown
    assert any("$r^2=400$" in text for text in shown)


@pytest.mark.parametrize("tolerance", [0.01, 0.1, 0.3, 0.9])
def test_the_rank_is_the_one_of_the_package(matrix, tolerance):
    truncation = svd.truncate(matrix, tolerance)
    expected = linalg.truncation_rank(truncation.s, tolerance)
    assert truncation.rank == int(expected)
    r = truncation.rank
    assert truncation.tails[r] <= tolerance < truncation.tails[r - 1]


def test_the_tail_is_the_error_of_the_product(matrix):
    truncation = svd.truncate(matrix, 0.2)
    assert np.linalg.matrix_rank(truncation.product) == truncation.rank < 16
    error = np.linalg.norm(truncation.product - matrix) / np.linalg.norm(matrix)
    assert truncation.tails[truncation.rank] == pytest.approx(error, rel=1e-10)
    assert truncation.tails[0] == 1.0 and truncation.tails[-1] == 0.0


def test_the_rank_of_a_diagonal_matrix_by_hand():
    # The tails are 5, 3 and 0 of 5.
    truncation = svd.truncate(np.diag([4.0, 3.0]), 0.6)
    assert truncation.tails == pytest.approx([1.0, 0.6, 0.0])
    assert truncation.rank == 1
    assert svd.truncate(np.diag([4.0, 3.0]), 0.59).rank == 2


def test_the_decomposition_shows_rank_and_error(matrix):
    truncation = svd.truncate(matrix, 0.2)
    with style.style():
        shown = texts(svd.draw(truncation))
    assert any(f"$r={truncation.rank}$ of 16" in text for text in shown)
    error = truncation.tails[truncation.rank]
    assert any(rf"\|W-W_r\|_F={error:.3f}" in text for text in shown)


@pytest.mark.parametrize(
    "bad, tolerance",
    [
        (np.zeros((3, 3)), 0.2),
        (np.ones(3), 0.2),
        (np.full((3, 3), np.nan), 0.2),
        (np.ones((3, 3)), 0.0),
        (np.ones((3, 3)), 1.0),
    ],
)
def test_what_cannot_be_truncated_is_refused(bad, tolerance):
    with pytest.raises(ValueError, match="Received"):
        svd.truncate(bad, tolerance)


def test_the_steps_lie_on_the_manifold():
    times = np.linspace(0, 1, 5)
    for step in (manifold._K_STEP, manifold._L_STEP):
        line = manifold.surface(np.outer(times, step))
        # A straight line within the surface.
        assert np.diff(line, 2, axis=0) == pytest.approx(0.0, abs=1e-12)
    flow = manifold.exact_flow(times)
    above = flow[:, 2] - manifold.surface(flow[:, :2])[:, 2]
    assert above[0] == 0 and np.all(np.diff(above) > 0)
    end = manifold.surface(manifold.end_of_step())
    assert flow[-1, :2] == pytest.approx(end[:2])


def test_the_drawn_step_is_the_projection_of_its_parts():
    # W1 = W0 + K-step + L-step - S-step to first order.
    k, ell, s = (getattr(manifold, f"_{name}_STEP") for name in "KLS")
    assert manifold.end_of_step() == pytest.approx(k + ell - s)
    start = manifold.start_of_s_step()
    assert manifold.end_of_step() - start == pytest.approx(s)


@pytest.mark.slow
def test_the_command_writes_every_graphic(tmp_path, matrix, capsys):
    np.save(tmp_path / "w.npy", matrix)
    words = ["--weights", str(tmp_path / "w.npy"), "--output", str(tmp_path / "new")]
    assert graphics.main(words) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == FILES
    assert len(capsys.readouterr().out.splitlines()) == len(FILES)
    for path in (tmp_path / "new").iterdir():
        start = b"%PDF" if path.suffix == ".pdf" else b"\x89PNG"
        assert path.read_bytes().startswith(start)


@pytest.mark.slow
def test_the_same_drawing_is_the_same_file(tmp_path):
    def save(name):
        written = style.save(draw, tmp_path / name)
        return [path.read_bytes() for path in written]

    def draw():
        return network.draw(Layer(5, 4, 2))

    assert save("first") == save("second")


def test_the_fonts_come_with_matplotlib():
    found = matplotlib.font_manager.findfont("STIXGeneral", fallback_to_default=False)
    assert "matplotlib" in found


@pytest.mark.parametrize(
    "words, message",
    [
        (["--tolerance", "2"], "`tolerance` must lie in (0, 1). Received: 2.0"),
        (["--layer", "5", "4", "9"], "Received: rank 9"),
        (["--weights", "nothing.npy"], "nothing.npy"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_wrong_words_end_with_one_line(tmp_path, matrix, capsys, words, message):
    np.save(tmp_path / "w.npy", matrix)
    words = ["--output", str(tmp_path), "--weights", str(tmp_path / "w.npy"), *words]
    with pytest.raises(SystemExit) as error:
        graphics.main(words)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
