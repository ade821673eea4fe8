import pytest
from helpers import array
from surgery.models import convolutional

import dlrt


@pytest.mark.parametrize("name", ["plane", "strides", "dilated", "causal"])
def test_merged_convolutions(name):
    low_rank = dlrt.convert(convolutional(), rank=2, layers=name)
    merged = dlrt.merge(low_rank)
    pair = merged.get_layer(name).layers
    old = low_rank.get_layer(name)
    assert [type(x) for x in pair] == 2 * [type(old).keras_type]
    assert [x.name for x in pair] == [f"{name}_k", f"{name}_v"]
    assert [x.kernel_size for x in pair] == [
        old.kernel_size,
        (1,) * len(old.kernel_size),
    ]
    assert sum(array(x.kernel).size for x in pair) == 2 * sum(old.matrix_shape)


def test_grouped_convolutions_are_refused():
    with pytest.raises(ValueError, match="'grouped' has 2 groups.*`layers`"):
        dlrt.convert(convolutional(), rank=2, layers="grouped")
