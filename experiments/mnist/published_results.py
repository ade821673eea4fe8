"""The published results of the original implementation on MNIST.

They are from Schotthöfer et al., Low-rank lottery tickets, NeurIPS 2022,
arXiv:2205.13571, and its supplement. Its networks of dense layers have one width.
"""

from collections.abc import Sequence

# By width: ranks of the hidden layers, and the percentage of test images that the epoch
# with the best validation accuracy gets right, after fine-tuning, up to 350 epochs.
LOW_RANK = {
    500: [
        ((176, 170, 171, 174), 98.47),
        ((81, 104, 111, 117), 98.49),
        ((52, 67, 73, 72), 98.37),
        ((35, 53, 51, 46), 98.10),
        ((27, 40, 37, 38), 97.95),
        ((20, 31, 32, 30), 97.41),
        ((17, 25, 26, 24), 97.44),
        ((13, 21, 24, 20), 96.53),
    ],
    784: [
        ((124, 120, 125, 126), 98.59),
        ((56, 67, 63, 59), 98.54),
        ((35, 49, 47, 43), 98.15),
        ((22, 29, 27, 27), 97.92),
        ((17, 23, 22, 23), 96.99),
    ],
}
DENSE = {500: 98.25, 784: 98.63}

# LeNet-5: ranks of the first three layers, the published number of parameters, and the
# percentage of test images, a mean of five runs of 120 epochs. The numbers of
# parameters are r (m + 1) for each of these layers, with m columns, and 5,000 for the
# last one: they leave out the other factor of each, n r, and biases.
LENET5 = [
    ((10, 23, 62), 37_445, 98.16),
    ((10, 20, 48), 30_278, 98.21),
    ((9, 16, 37), 24_542, 97.87),
    ((9, 16, 28), 20_033, 98.14),
    ((8, 8, 15), 13_091, 98.12),
    ((4, 6, 8), 9_398, 97.45),
    ((2, 4, 4), 7_250, 95.97),
    ((2, 2, 3), 6_647, 94.07),
]
LENET5_DENSE = 98.82

NUM_HIDDEN = 4
_NUM_INPUTS = 28 * 28
_NUM_CLASSES = 10


def low_rank_parameters(width: int, ranks: Sequence[int]) -> int:
    """Parameters for prediction: two factors a hidden layer, biases, the last layer.

    Args:
        width: Width of the hidden layers.
        ranks: Their ranks, from the input on.
    """
    inputs = [_NUM_INPUTS, *[width] * (len(ranks) - 1)]
    kernels = [rank * (n + width) for n, rank in zip(inputs, ranks, strict=True)]
    return sum(kernels) + len(ranks) * width + _NUM_CLASSES * (width + 1)


def dense_parameters(width: int) -> int:
    """Parameters of the dense network with hidden layers of a width."""
    hidden = (_NUM_INPUTS + 1) * width + (NUM_HIDDEN - 1) * (width + 1) * width
    return hidden + _NUM_CLASSES * (width + 1)
