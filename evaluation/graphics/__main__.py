"""Graphics that explain the method: `python -m evaluation.graphics [options]`.

They are drawn for print, each as PNG and PDF: a network and its low-rank form, the
truncated singular value decomposition of a trained weight matrix, and a step on the
manifold of matrices of one rank.
"""

import argparse
import sys
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from evaluation.graphics import manifold, network, style, svd
from evaluation.graphics.network import Layer
from experiments.cli import quiet
from experiments.cli.command import Parser, fail
from experiments.cli.settings import LOG_DIR

OUTPUT = LOG_DIR / "graphics"
# The sizes of a hidden layer of the MNIST runs.
LAYER = Layer(inputs=500, outputs=500, rank=20)
TOLERANCE = 0.2


def draw_all(
    output: Path, layer: Layer, weights: np.ndarray, tolerance: float
) -> list[Path]:
    """Draws all graphics.

    Args:
        output: Folder to write to, which is made if need be.
        layer: Sizes of the layer whose parameters are counted.
        weights: The weight matrix to decompose.
        tolerance: Relative tolerance of its truncation.

    Returns:
        The names of the files.

    Raises:
        ValueError: If the matrix is none, or the tolerance out of bounds.
    """
    truncation = svd.truncate(weights, tolerance)
    graphics: dict[str, Callable[[], Figure]] = {
        "network": partial(network.draw, layer),
        "svd": partial(svd.draw, truncation),
        "manifold": manifold.draw,
    }
    return [
        path
        for name, draw in graphics.items()
        for path in style.save(draw, output / name)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the graphics that the words on the command line ask for.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    given = _parser().parse_args(arguments)
    if given.output.exists() and not given.output.is_dir():
        fail(f"`--output` must be a folder. Received: --output {given.output}")
    try:
        layer = Layer(*given.layer)
        weights = _weights(given.weights)
        quiet.import_keras()
        for path in draw_all(given.output, layer, weights, given.tolerance):
            print(path)
    except (ValueError, OSError) as error:
        fail(str(error))
    return 0


def _weights(path: Path | None) -> np.ndarray:
    if path is not None:
        try:
            matrix = np.load(path, allow_pickle=False)
        except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
            raise _no_matrix(path, str(error)) from error
        if not isinstance(matrix, np.ndarray) or matrix.dtype.kind not in "fiu":
            raise _no_matrix(path, "it holds something else")
        return matrix
    # The backend takes seconds to start, and so does the training.
    quiet.import_keras()
    from evaluation.graphics.weights import trained_kernel

    return trained_kernel()


def _no_matrix(path: Path, why: str) -> ValueError:
    return ValueError(
        f"`--weights` must be a .npy file with a matrix of numbers, but {why}. "
        f"Received: --weights {path}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m evaluation.graphics",
        description="Draws graphics that explain the method, as PNG and PDF.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="DIR",
        help=f"folder to write to (default: history_logs/{OUTPUT.name})",
    )
    parser.add_argument(
        "--layer",
        type=int,
        nargs=3,
        default=(LAYER.inputs, LAYER.outputs, LAYER.rank),
        metavar=("N", "M", "R"),
        help="inputs, outputs and rank of the layer to count (default: "
        f"{LAYER.inputs} {LAYER.outputs} {LAYER.rank})",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help=".npy file of the matrix to decompose (default: trained for it)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="TAU",
        help=f"relative tolerance of the truncation (default: {TOLERANCE})",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
