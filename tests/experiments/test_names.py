import itertools
import random

import numpy as np
import pytest

from experiments.runs import names
from experiments.runs.names import Name

pytestmark = pytest.mark.tensorflow_only

BASE = Name(dims=(1, 301), epochs=250, batch_size=256, learning_rate=0.001)
METHODS = [
    {},
    {"dlrt": True},
    {"dlrt": True, "ranks": (5, 6)},
    {"dlrt": True, "ranks": (1, 101)},
    {"dlrt": True, "tolerance": 0.2},
    {"dlrt": True, "tolerance": 0.025},
]
OPTIMIZERS = [{}, {"optimizer": "sgd"}]
NOISES = [{}, {"noise": 0.2}, {"noise": 0.001}]
SIZES = [{}, {"dataset_size": 0.1}, {"dataset_size": 0.07}, {"dataset_size": 0.125}]
REGULARIZERS = [
    {"regularizer": name, "regularizer_amount": amount}
    for name in names.REGULARIZERS
    for amount in (0.1, 1e-4)
] + [{}]
RUNS = [{}, {"run": 0}, {"run": 12}]


def name_of(**changes):
    return Name(**(vars(BASE) | changes))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_every_combination_of_words_is_read_back(method):
    texts = set()
    parts = (OPTIMIZERS, NOISES, SIZES, REGULARIZERS, RUNS)
    for combination in itertools.product(*parts):
        name = name_of(**method)
        for part in combination:
            name = Name(**(vars(name) | part))
        text = names.compose(name)
        assert names.parse(text) == name
        texts.add(text)
    # Two tests never share a name.
    assert len(texts) == np.prod([len(part) for part in parts])


@pytest.mark.parametrize("seed", range(20))
def test_random_names_are_read_back(seed):
    draw = random.Random(seed)
    for _ in range(50):
        first, rank = draw.randint(1, 5000), draw.randint(1, 800)
        dlrt = draw.random() < 0.6
        adaptive = dlrt and draw.random() < 0.5
        regularizer = draw.choice(["none", *names.REGULARIZERS])
        amount = round(10 ** draw.uniform(-6, 0), draw.randint(6, 12))
        name = Name(
            dims=(first, first + draw.randint(1, 500)),
            epochs=draw.randint(1, 1000),
            batch_size=2 ** draw.randint(0, 12),
            learning_rate=10 ** draw.uniform(-8, 1),
            dlrt=dlrt,
            ranks=(rank, rank + draw.randint(1, 50)) if dlrt and not adaptive else None,
            tolerance=draw.uniform(0.001, 0.999) if adaptive else None,
            optimizer=draw.choice(["adam", "sgd"]),
            noise=draw.choice([0.0, draw.random(), 10 ** draw.uniform(-9, -1)]),
            dataset_size=draw.choice([1.0, 1 - draw.random()]),
            regularizer=regularizer,
            regularizer_amount=0.0 if regularizer == "none" else amount,
            run=draw.choice([None, draw.randint(0, 2**32 - 1)]),
        )
        assert names.parse(names.compose(name)) == name


@pytest.mark.parametrize(
    "text, changes",
    [
        (
            "DLRTRank10-11TestDim1-301ep250batch256lr0-001Noise20Dataset10Run0",
            {
                "dlrt": True,
                "ranks": (10, 11),
                "noise": 0.2,
                "dataset_size": 0.1,
                "run": 0,
            },
        ),
        (
            "SGDTestDim1-301ep250batch256lr0-001RegFull1Run3",
            {
                "optimizer": "sgd",
                "regularizer": "full",
                "regularizer_amount": 0.01,
                "run": 3,
            },
        ),
        (
            "DLRTTol2-5TestDim1-301ep250batch256lr0-001L1L2Reg0-1",
            {
                "dlrt": True,
                "tolerance": 0.025,
                "regularizer": "l1l2",
                "regularizer_amount": 0.001,
            },
        ),
    ],
)
def test_a_name_of_the_thesis(text, changes):
    assert names.parse(text) == name_of(**changes)
    assert names.compose(name_of(**changes)) == text


def test_a_learning_rate_with_an_exponent_is_the_same_test():
    text = "TestDim1-301ep250batch256lr1e-3Noise20"
    assert names.parse(text) == name_of(noise=0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"ranks": (5, 6)},
        {"tolerance": 0.2},
        {"dlrt": True, "ranks": (5, 6), "tolerance": 0.2},
        {"dims": (5, 5)},
        {"dims": (0, 5)},
        {"dlrt": True, "ranks": (7, 3)},
        {"epochs": 0},
        {"epochs": 2.5},
        {"batch_size": -1},
        {"learning_rate": 0.0},
        {"learning_rate": -0.1},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"dlrt": True, "tolerance": 0.0},
        {"dlrt": True, "tolerance": 1.0},
        {"noise": -0.2},
        {"noise": 1.0},
        {"dataset_size": 0.0},
        {"dataset_size": 1.5},
        {"optimizer": "adamw"},
        {"regularizer": "l3"},
        # Without a regularizer there is no word for its factor.
        {"regularizer_amount": 1e-4},
        {"regularizer": "l2", "regularizer_amount": -1.0},
        {"run": -1},
    ],
    ids=str,
)
def test_what_the_grammar_cannot_say_is_refused(changes):
    with pytest.raises(ValueError):
        names.compose(name_of(**changes))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TestDim",
        "TestDim1-301",
        "TestDim301-1ep250batch256lr0-001",
        "TestDim0-301ep250batch256lr0-001",
        "TestDim1-301ep250batch256lr0-001\n",
        " TestDim1-301ep250batch256lr0-001",
        "TestDim1-301ep250batch256lr0.001",
        "testdim1-301ep250batch256lr0-001",
        "TestDim1-301ep250.0batch256lr0-001",
        "TestDim1-301ep0batch256lr0-001",
        "TestDim1-301ep250batch0lr0-001",
        "TestDim1-301ep250batch256lr0",
        "TestDim1-301ep250batch256lr1e400",
        "TestDim1-301ep250batch256lr1e99999999999999999999",
        "TestDim1-301ep250batch256lr0-001Noise100",
        "TestDim1-301ep250batch256lr0-001Noise",
        "TestDim1-301ep250batch256lr0-001Dataset0",
        "TestDim1-301ep250batch256lr0-001Dataset101",
        "TestDim1-301ep250batch256lr0-001Dataset10Noise20",
        "TestDim1-301ep250batch256lr0-001Reg",
        "TestDim1-301ep250batch256lr0-001Reg1e999",
        "TestDim1-301ep250batch256lr0-001Run",
        "TestDim1-301ep250batch256lr0-001Run-3",
        "TestDim1-301ep250batch256lr0-001Run0x",
        "Rank5-6TestDim1-301ep250batch256lr0-001",
        "DLRTRank6-5TestDim1-301ep250batch256lr0-001",
        "DLRTTol0TestDim1-301ep250batch256lr0-001",
        "DLRTTol100TestDim1-301ep250batch256lr0-001",
        "DLRTRank5-6Tol20TestDim1-301ep250batch256lr0-001",
        # Other digits than the ten of a name.
        "TestDim\u0661-301ep250batch256lr0-001",
    ],
)
def test_another_text_is_no_name(text):
    with pytest.raises(ValueError, match="Received"):
        names.parse(text)
