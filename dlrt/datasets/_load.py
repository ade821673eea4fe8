"""`load`: one data set from the first place that has it."""

import os
import warnings
from pathlib import Path

from dlrt.datasets._dataset import Arrays, Dataset, scale
from dlrt.datasets._download import BASE_URL
from dlrt.datasets._image_folders import read_folder
from dlrt.datasets._named import ENVIRONMENT_VARIABLE, find_path, load_named
from dlrt_names.data_sets import IMAGES

_PARTS = Arrays._fields[:4]
# What the images of a folder may take once they are scaled: float32, in colour.
_MOST_BYTES = 2**35
_PIXEL_BYTES = 12


def load(
    name: str | os.PathLike[str] = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """Loads a data set of images in classes.

    `"mnist"`, `"fashion_mnist"` (28x28) and `"cifar10"` (32x32 in colour) are
    searched for in this order:

    1. In `data_dir` or, without that argument, in the directory that the
       environment variable `DLRT_DATA_DIR` names: `<name>.npz`, which holds
       `x_train`, `y_train`, `x_test` and `y_test` as unsigned bytes; of
       `"cifar10"` a folder of that name, as below, or one in `cifar10.tar.gz`.
    2. The cache of `keras.datasets`, below `KERAS_HOME` or `~/.keras`.
    3. A download, which fills that cache: the one that `keras.datasets` uses,
       or of `"cifar10"` the binary version from its author.

    No file is ever deleted or overwritten, and none that holds pickled objects is
    loaded. `"digits"` comes with the package and is searched for nowhere.

    A folder holds images as `train/<class>/<image>` and `test/<class>/<image>`,
    or as `<class>/<image>`, of which every fifth of a class is for testing. The
    parts may be called "Training" and "Testing" too, in any case, or "seg_train" and
    "seg_test", and lie within the classes; one called "val", "valid", "validation"
    or "dev" is for testing where there is no other for that. Images are upright as
    their EXIF tags say, on white where they are transparent; those with 16 bits keep
    them. What is in the folder besides is left out, and folders within those of
    classes count as one, with a warning that counts and names them.

    Args:
        name: One of these, what `register` has added, and `"auto"`, which is MNIST
            where it can be had, else the digits with a warning; or the path of a
            folder. One with the name of a data set is reached as `"./<name>"` or as
            a `Path`.
        data_dir: A directory to search first, see above.
        image_size: Height and width that the images of a folder are scaled to.
            Without it, all of them must have the same.

    Returns:
        A `Dataset`; its `name` and `source` tell what was loaded from where.

    Raises:
        ValueError: If `name` is neither a data set nor an existing folder,
            `image_size` is no pair of positive integers, for no folder or so large
            that images would take more than 32 GiB, or `data_dir` or
            `DLRT_DATA_DIR` is not an existing directory.
        DatasetFileError: A `ValueError`, if a file in such a directory cannot be
            used, such as images with several frames, with values of 32 bits, or above
            the limit of Pillow. No other place is searched then.
        DatasetUnavailableError: An `OSError`, if the data set is in no place.

    Example:
    >>> dataset = load("digits")
    >>> dataset
    Dataset(name='digits', num_classes=10, source='embedded')
    >>> dataset.x_train.shape, dataset.x_test.shape
    ((1437, 28, 28), (360, 28, 28))
    """
    if name in IMAGES:
        if image_size is not None:
            raise ValueError(
                "`image_size` is for the images of a folder. Received: "
                f"image_size={image_size}, name={name!r}"
            )
        warning = (
            "MNIST could not be had. THE SMALL EMBEDDED DIGITS ARE USED INSTEAD: "
            "results are not MNIST results. Set the environment variable "
            f"{ENVIRONMENT_VARIABLE} to a folder with mnist.npz, or load "
            f'"digits".\nmnist.npz is at {BASE_URL}mnist.npz. '
        )
        name, arrays = load_named(IMAGES, str(name), warning, data_dir)
        if not isinstance(arrays, tuple) or len(arrays) < len(_PARTS):
            raise TypeError(
                f"The loader of {name!r} must return `Arrays`, or a tuple of "
                f"{', '.join(_PARTS)}. Received: {type(arrays).__name__}"
            )
        arrays = Arrays(*arrays)
    else:
        path = find_path(name, IMAGES, "a folder", Path.is_dir)
        if image_size is not None:
            _check_size(path, image_size)
        name = path.absolute().name
        arrays = read_folder(path, image_size)._replace(source=str(path))
    if arrays.remarks:
        warnings.warn(f"{name}: {'; '.join(arrays.remarks)}", stacklevel=2)
    return scale(name, arrays)


def _check_size(folder: Path, image_size: tuple[int, int]) -> None:
    pair = isinstance(image_size, tuple | list) and len(image_size) == 2
    if not (pair and all(type(n) is int and n > 0 for n in image_size)):
        raise ValueError(
            "`image_size` must be a pair of positive integers, height and width. "
            f"Received: image_size={image_size!r}"
        )
    count = sum(path.is_file() for path in folder.rglob("*"))
    needed = count * image_size[0] * image_size[1] * _PIXEL_BYTES
    if needed > _MOST_BYTES:
        raise ValueError(
            f"`image_size` must be smaller: images may take {_MOST_BYTES / 2**30:g} "
            f"GiB, and the {count} files in {folder} would take up to "
            f"{needed / 2**30:.3g}. Received: image_size={tuple(image_size)}"
        )
