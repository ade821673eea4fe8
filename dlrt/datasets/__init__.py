"""Image classification data sets: found, checked, scaled and split."""

from dlrt.datasets._dataset import Dataset
from dlrt.datasets._errors import (
    DatasetFallbackWarning,
    DatasetFileError,
    DatasetUnavailableError,
)
from dlrt.datasets._load import load
from dlrt.datasets._split import Splits, split

__all__ = [
    "Dataset",
    "DatasetFallbackWarning",
    "DatasetFileError",
    "DatasetUnavailableError",
    "Splits",
    "load",
    "split",
]
