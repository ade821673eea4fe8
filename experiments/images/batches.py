"""Training images that are shifted and mirrored at random."""

import numpy as np

from experiments.runs.image_data import ShuffledBatches

# The most pixels by which an image is shifted: He et al., 2016, arXiv:1512.03385,
# section 4.2.
_SHIFT = 4


class AugmentedBatches(ShuffledBatches):
    """`ShuffledBatches` of images `(N, h, w, c)` that look different every epoch.

    The changes of an image depend only on seed, epoch and batch.
    """

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = super().__getitem__(index)
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return augment(x, rng), y

    def for_fit(self) -> "AugmentedBatches":
        return self


def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images `(N, h, w, c)`, shifted by up to 4 pixels, half of them mirrored.

    Pixels shifted in from outside are black.
    """
    count, height, width, _ = images.shape
    padding = ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0))
    padded = np.pad(images, padding)
    down, right = rng.integers(0, 2 * _SHIFT + 1, (2, count, 1))
    rows = down + np.arange(height)
    columns = right + np.arange(width)
    mirrored = rng.random(count) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    numbers = np.arange(count)[:, None, None]
    return padded[numbers, rows[:, :, None], columns[:, None, :]]
