"""Wrong arguments end in errors that name them, and say what they were."""

import keras
import numpy as np
import pytest

import dlrt
from dlrt import accounting
from dlrt.callbacks import Evolve, HistoryLog

FACTORS = dlrt.Factors(np.eye(4, 2), np.eye(2), np.eye(3, 2))


def optimizer(**arguments):
    return dlrt.optimizers.LowRank(keras.optimizers.Adam(1e-3), **arguments)


def model():
    layer = dlrt.layers.LowRankDense(3, rank=2, name="h")
    return keras.Sequential([keras.Input((4,)), layer])


def dense():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def layer():
    return model().layers[0]


INTEGERS = [None, "1", 1.5, True, [], -1]
NUMBERS = [None, "0.2", [], 1j, True, float("nan"), -1]
OPTIONAL = [value for value in NUMBERS if value is not None]
ANYTHING = [None, "x", [], 0]

# Each with the argument, what makes use of it, and values that are none for it.
CASES = [
    ("inner_optimizer", dlrt.optimizers.LowRank, [*ANYTHING, {}]),
    *(
        (name, lambda value, name=name: optimizer(**{name: value}), values)
        for name, values in {
            "tolerance": [*OPTIONAL, 0, 1],
            "min_rank": [*INTEGERS, 0],
            "max_rank": [*INTEGERS[1:], 0],
            "truncation_start": INTEGERS,
            "truncation_interval": [*INTEGERS, 0],
            "truncation_stop": [*INTEGERS[1:], 0],
            "update_scaling": ["fast", None, np.ones(2)],
            "integrator": ["euler", None, []],
        }.items()
    ),
    *(
        (name, lambda value, name=name: dlrt.layers.LowRankDense(
            3, **{"rank": 2, name: value}
        ), values)
        for name, values in {
            "rank": [*INTEGERS, 0],
            "tolerance": [*OPTIONAL, 0, 1],
            "max_rank": [*INTEGERS[1:], 0],
        }.items()
    ),
    ("factors", lambda value: layer().set_factors(value), [
        *ANYTHING, FACTORS[:2], ("u", "s", "v"), FACTORS._replace(s=1j * np.eye(2)),
    ]),
    ("capacity", lambda value: layer().set_factors(FACTORS, value), [
        *INTEGERS[1:], 0, 8, 10**6,
    ]),
    ("weights", lambda value: layer().set_weights(value), [None, "abcd", 0]),
    ("model", lambda value: dlrt.resize(value, {}), ANYTHING),
    ("model", dlrt.compact, ANYTHING),
    ("capacities", lambda value: dlrt.resize(model(), value), [*ANYTHING, {"x": 1}]),
    (r"capacities\['h'\]", lambda value: dlrt.resize(model(), {"h": value}), [
        *INTEGERS, 0,
    ]),
    *(
        ("model", function, ANYTHING)
        for function in (
            accounting.ranks,
            accounting.low_rank_layers,
            accounting.parameter_count,
            accounting.dense_parameter_count,
            accounting.compression,
        )
    ),
    *(
        (name, lambda value, name=name: dlrt.convert(dense(), **{name: value}), values)
        for name, values in {
            "rank": [*INTEGERS[1:], 0],
            "tolerance": [*OPTIONAL, 0, 1],
            "ratio": [*OPTIONAL, 0, 1],
        }.items()
    ),
    *(
        ("layers", function, [0, 1.5, True, "("])
        for function in (
            lambda value: dlrt.convert(dense(), rank=1, layers=value),
            lambda value: dlrt.compress(dense(), "svd", {"ratio": 2}, layers=value),
            lambda value: dlrt.decompose(dense(), layers=value),
        )
    ),
    ("matrix", lambda value: dlrt.Factors.from_dense(value, 1), [
        *ANYTHING, np.ones(3), np.ones((0, 2)),
    ]),
    ("rank", lambda value: dlrt.Factors.from_dense(np.eye(4), value), [
        *INTEGERS[1:], 0, 5,
    ]),
    ("tolerance", lambda value: dlrt.Factors.from_dense(np.eye(4), None, value), [
        *OPTIONAL, 0, 1,
    ]),
    ("rank", FACTORS.truncated, [*INTEGERS, 0]),
    ("path", HistoryLog, [None, 0, []]),
    ("configuration", lambda value: HistoryLog("log.xlsx", value), ["x", [], 0]),
    ("changeable", lambda value: HistoryLog("log.xlsx", changeable=value), [
        None, "x", 0,
    ]),
    ("write_interval", lambda value: HistoryLog("log.xlsx", write_interval=value), [
        *NUMBERS,
    ]),
    *(
        (name, lambda value, name=name: Evolve(np.ones((4, 3)), **{name: value}),
         values)
        for name, values in {
            "threshold": [*NUMBERS, 1],
            "grow_threshold": [*OPTIONAL, 1],
            "start": INTEGERS,
            "stop": INTEGERS[1:],
            "seed": INTEGERS,
            "verbose": [None, "1", [], 2, np.ones(2)],
        }.items()
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "use", "values"), CASES, ids=[name for name, *_ in CASES]
)
def test_wrong_arguments_are_named(name, use, values):
    for value in values:
        with pytest.raises(
            (ValueError, TypeError), match=rf"(?s)`{name}` (must|needs).*Received"
        ):
            use(value)


def test_factors_of_a_layer_that_is_not_built():
    layer = dlrt.layers.LowRankDense(3, rank=2, name="h")
    with pytest.raises(ValueError, match="'h', which is not"):
        layer.set_factors(FACTORS)
    with pytest.raises(ValueError, match="'h', which is not"):
        _ = layer.factors


def test_weights_that_are_no_matrices():
    network = model()
    with pytest.raises(ValueError, match="shape"):
        network.set_weights([np.zeros(3)] * len(network.weights))
