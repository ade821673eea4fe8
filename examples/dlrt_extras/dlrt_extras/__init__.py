"""Extensions of dlrt; importing this package makes them known to it."""

from dlrt_extras.convolution import (
    LowRankConv1DTranspose as LowRankConv1DTranspose,
)
from dlrt_extras.gratings import load_gratings as load_gratings
from dlrt_extras.greedy import allocate_greedily as allocate_greedily
from dlrt_extras.interpolative import Interpolative as Interpolative
from dlrt_extras.orthographic import Orthographic as Orthographic
