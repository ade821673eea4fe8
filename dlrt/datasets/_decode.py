"""Pixels of image files, whatever their mode and depth."""

import functools
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from dlrt.datasets._files import reporting

# The formats, as Pillow calls them. Others that it opens call other programs, hold
# drawings or videos, or go by suffixes that data of other kinds have too.
_FORMATS = (
    *("JPEG", "PNG", "MPO", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF"),
    *("DIB", "PCX", "QOI", "TGA"),
)
_WHITE = (255, 255, 255, 255)
# Of TIFF files.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_SAMPLE_FORMAT, _SIGNED = 339, 2

Size = tuple[int, int]


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes of files that are images, in lower case."""
    # Where no images are read, Pillow is not waited for.
    from PIL import Image

    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in _formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that Pillow has been built with."""
    from PIL import Image

    Image.init()
    return tuple(kind for kind in _FORMATS if kind in Image.OPEN)


def decode(name: str, read: Callable[[], bytes], image_size: Size | None) -> np.ndarray:
    """Returns the pixels of an image, upright, and on white where transparent.

    They are of shape `(h, w)` if it is grey, else `(h, w, 3)`, from 0 for black to 255,
    of type uint8, or float32 of an image with more bits. A `DatasetFileError` calls it
    `name` if it can't be read, is larger than Pillow's limit, has several frames, or
    values whose white is not known.
    """
    from PIL import Image, UnidentifiedImageError

    with reporting(name), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        content = read()
        if not content:
            raise ValueError("it is empty")
        try:
            image = Image.open(io.BytesIO(content), formats=_formats())
        except UnidentifiedImageError:
            # Its message names a buffer.
            raise ValueError(
                "it is damaged, or no image in one of the formats "
                f"{', '.join(_formats())}"
            ) from None
        with image:
            pixels = _plain(image)
        if image_size is not None:
            height, width = image_size
            pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(pixels)


def _plain(image: Any) -> Any:
    """An image of mode "L" or "RGB", or "F" with values up to 255."""
    from PIL import Image, ImageOps

    # The first picture of the format MPO is the photograph, others are previews.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ValueError(f"it has {image.n_frames} frames or pages, and may have one")
    levels = _levels(image)
    if levels is not None:
        return _deep(image, *levels)
    if image.format == "PNG" and image.mode == "L" and "transparency" in image.info:
        # Of grey with 2 or 4 bits, Pillow scales the pixels alone.
        image.info["transparency"] *= {"L;2": 85, "L;4": 17}.get(image.tile[0].args, 1)
    image = ImageOps.exif_transpose(image)
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert("L" if grey else "RGB")


def _levels(image: Any) -> tuple[int, int] | None:
    """The values of black and white in an image with more than 8 bits."""
    tags = getattr(image, "tag_v2", {})
    short = 32 not in tags.get(_BITS_PER_SAMPLE, ())
    if short and _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise ValueError("it has signed values, whose black and white are not known")
    if image.mode.startswith("I;16"):
        (bits, *_) = tags.get(_BITS_PER_SAMPLE, (16,))
        levels = 0, 2**bits - 1
        return levels[::-1] if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else levels
    # Pillow scales these to 16 bits.
    if image.mode == "I" and image.format == "PPM":
        return 0, 2**16 - 1
    if image.mode in ("I", "F"):
        raise ValueError(
            f"it has pixels of 32 bits (mode {image.mode!r}), whose values for black "
            "and white are not known; save it with 8 or 16 bits"
        )
    return None


def _deep(image: Any, black: int, white: int) -> Any:
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    pixels = np.asarray(upright).astype(np.float32)
    values = (pixels - black) * np.float32(255 / (white - black))
    if "transparency" in image.info:
        values[pixels == image.info["transparency"]] = 255
    return Image.fromarray(values)
