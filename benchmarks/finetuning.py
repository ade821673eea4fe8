"""Measures how fast a converted network recovers, against two plain factors.

    python -m benchmarks.finetuning                        about a minute
    python -m benchmarks.finetuning --rates 1e-3 --epochs 4

A network of three 1-D convolutions reads the images of MNIST row by row. It is trained,
converted to a rank at which it has lost most of its accuracy, and fine-tuned with Adam:
by `LowRank`, with and without scaled steps, and as two plain layers in place of each.
All three start from the same matrices, with the same ranks, rates and batches. Figures
are written to `results/finetuning.csv`.
"""

from typing import Any

from experiments.cli import quiet

quiet.import_keras()

import keras  # noqa: E402

import dlrt  # noqa: E402
from benchmarks import reports  # noqa: E402
from benchmarks.common_options import above, make_parser, whole  # noqa: E402
from benchmarks.networks import compile_model  # noqa: E402
from benchmarks.places import RESULTS  # noqa: E402
from dlrt.datasets import Dataset, load  # noqa: E402
from experiments.cli.command import input_errors  # noqa: E402

_FILTERS = (32, 64, 64)
_BATCH, _TRAINED, _TESTED, _EPOCHS = 64, 4000, 2000, 6


def make_dense_network() -> keras.Model:
    """The network as Keras makes it, in training."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((28, 28))
    for filters in _FILTERS:
        x = keras.layers.Conv1D(filters, 5, padding="same", activation="relu")(x)
    x = keras.layers.GlobalMaxPooling1D()(x)
    return compile_with_adam(keras.Model(inputs, keras.layers.Dense(10)(x)), 1e-3)


def compile_with_adam(
    model: keras.Model, rate: float, low_rank: dict[str, Any] | None = None
) -> keras.Model:
    """The model, ready for `fit` with Adam, in `LowRank` if its options are given."""
    adam = keras.optimizers.Adam(rate)
    return compile_model(model, adam, low_rank, metrics=["accuracy"])


def measure(data: Dataset, rank: int, rates: list[float], epochs: int) -> list[dict]:
    """One row for each kind of fine-tuning and rate: test accuracies, in percent."""
    x, y = data.x_train[:_TRAINED], data.y_train[:_TRAINED]
    test = data.x_test[:_TESTED], data.y_test[:_TESTED]

    def accuracy(model: keras.Model) -> float:
        found = model.evaluate(*test, 1000, verbose=0)
        return round(100 * found[1], 1)

    dense = make_dense_network()
    dense.fit(x, y, _BATCH, _EPOCHS, verbose=0)
    rows = []
    for rate in rates:
        for kind in ("two-factor", "low-rank", "low-rank, unscaled"):
            model = dlrt.convert(dense, rank=rank)
            if kind == "two-factor":
                model = compile_with_adam(dlrt.merge(model), rate)
            else:
                scaling = "none" if kind.endswith("unscaled") else "auto"
                model = compile_with_adam(model, rate, {"update_scaling": scaling})
            row = {
                "kind": kind,
                "rank": rank,
                "rate": rate,
                "dense": accuracy(dense),
                "converted": accuracy(model),
            }
            keras.utils.set_random_seed(1)
            for epoch in range(1, epochs + 1):
                model.fit(x, y, _BATCH, verbose=0)
                row[f"epoch {epoch}"] = accuracy(model)
            rows.append(row)
    return rows


def main() -> None:
    parser = make_parser("benchmarks.finetuning", __doc__)
    parser.add_argument("--rank", type=whole(1, min(_FILTERS)), default=3)
    parser.add_argument("--rates", type=above(0, 1), nargs="+", default=[1e-4, 3e-4])
    parser.add_argument("--epochs", type=whole(1, 10**6), default=2)
    arguments = parser.parse_args()
    with input_errors():
        data = load("mnist")
    rows = measure(data, arguments.rank, arguments.rates, arguments.epochs)
    print(reports.format_csv(rows))
    reports.write_csv(RESULTS / "finetuning.csv", rows)


if __name__ == "__main__":
    main()
