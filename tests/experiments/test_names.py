import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.runs import names
from experiments.runs.names import Name

pytestmark = pytest.mark.tensorflow_only

BASE = Name(dims=(1, 301), epochs=250, batch_size=256, learning_rate=0.001)


def name_of(**changes):
    return Name(**(vars(BASE) | changes))


def ranges(largest):
    first = st.integers(1, largest)
    return st.tuples(first, st.integers(1, 500)).map(lambda ends: (ends[0], sum(ends)))


SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True) | st.sampled_from(
    [0.2, 0.001, 0.07, 0.125]
)
METHODS = (
    st.just({})
    | st.fixed_dictionaries({"dlrt": st.just(True)}, optional={"ranks": ranges(800)})
    | st.fixed_dictionaries({"dlrt": st.just(True), "tolerance": SHARES})
)
REGULARIZERS = st.just({}) | st.fixed_dictionaries(
    {
        "regularizer": st.sampled_from(list(names.REGULARIZERS)),
        "regularizer_amount": st.floats(1e-9, 1.0),
    }
)
NAMES = st.builds(
    lambda method, regularizer, others: Name(**method, **regularizer, **others),
    METHODS,
    REGULARIZERS,
    st.fixed_dictionaries(
        {
            "dims": ranges(5000),
            "epochs": st.integers(1, 1000),
            "batch_size": st.integers(1, 4096),
            "learning_rate": st.floats(1e-9, 10.0),
        },
        optional={
            "optimizer": st.sampled_from(["adam", "sgd"]),
            "noise": SHARES,
            "dataset_size": SHARES,
            "run": st.integers(0, 2**32 - 1),
        },
    ),
)


@given(name=NAMES)
@settings(max_examples=200)
def test_names_are_read_back(name):
    assert names.parse(names.compose(name)) == name


@given(one=NAMES, other=NAMES)
def test_two_tests_never_share_a_name(one, other):
    assert (names.compose(one) == names.compose(other)) == (one == other)


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
