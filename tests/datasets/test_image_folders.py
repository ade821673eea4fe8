"""CIFAR-10 and images in class folders. None of these tests leaves the machine."""

import io
import os
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from dlrt.datasets import (
    DatasetFileError,
    DatasetUnavailableError,
    _decode,
    _download,
    _keras_cache,
    load,
    split,
)
from dlrt.datasets._files import read_cifar10

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture(autouse=True)
def no_other_places(tmp_path, monkeypatch):
    def no_network(*args):
        raise OSError("no network in tests")

    monkeypatch.delenv("DLRT_DATA_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(_download, "download", no_network)


def write_image(path, color, size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three classes, of which each image has a colour of its own."""
    root = tmp_path / "pets"
    for part, count in (("train", 3), ("test", 2)):
        for number, name in enumerate(("cat", "dog", "emu")):
            for index in range(count):
                color = (60 * number, 20 * index, 255 if part == "test" else 0)
                write_image(root / part / name / f"{index}.png", color)
    return root


class TestFolders:
    def test_parts_classes_and_pixels(self, folder):
        dataset = load(folder)
        assert dataset.name == "pets"
        assert dataset.source == str(folder)
        assert dataset.class_names == ("cat", "dog", "emu")
        assert dataset.num_classes == 3
        # Height comes first.
        assert dataset.x_train.shape == (9, 4, 6, 3)
        assert dataset.x_train.dtype == "float32"
        np.testing.assert_array_equal(dataset.y_train, np.repeat([0, 1, 2], 3))
        np.testing.assert_array_equal(dataset.y_test, np.repeat([0, 1, 2], 2))
        np.testing.assert_allclose(
            dataset.x_train[4, 0, 0], np.array([60, 20, 0]) / 255, rtol=1e-6
        )
        assert len(split(dataset, val_size=3).x_train) == 6

    def test_without_parts_every_fifth_image_is_for_testing(self, tmp_path):
        for name in ("a", "b"):
            for index in range(11):
                write_image(tmp_path / "all" / name / f"{index:02}.png", (index, 0, 0))
        dataset = load(str(tmp_path / "all"))
        assert len(dataset.x_train) == 18
        test = (255 * dataset.x_test[:, 0, 0, 0]).round()
        np.testing.assert_array_equal(test, [4, 9, 4, 9])

    def test_grey_images_have_no_channels(self, tmp_path):
        for part in ("train", "test"):
            write_image(tmp_path / "grey" / part / "a" / "1.png", 7, mode="L")
        assert load(tmp_path / "grey").x_train.shape == (1, 4, 6)
        write_image(tmp_path / "grey" / "train" / "a" / "2.png", (1, 2, 3))
        mixed = load(tmp_path / "grey").x_train
        assert mixed.shape == (2, 4, 6, 3)
        np.testing.assert_allclose(mixed[0], 7 / 255)

    def test_images_are_scaled_where_asked_for(self, folder):
        write_image(folder / "train" / "cat" / "large.jpg", (9, 9, 9), size=(50, 70))
        with pytest.raises(DatasetFileError, match="one size.*`image_size`.*70x50"):
            load(folder)
        dataset = load(folder, image_size=(8, 10))
        assert dataset.x_train.shape == (10, 8, 10, 3)

    def test_other_files_are_left_out(self, folder):
        (folder / "train" / "cat" / "notes.txt").write_text("none")
        (folder / "train" / "cat" / ".hidden.png").write_bytes(b"none")
        (folder / "train" / ".cache").mkdir()
        write_image(folder / "train" / ".cache" / "1.png", (0, 0, 0))
        (folder / "train" / "fox").mkdir()
        write_image(folder / "train" / "1.png", (0, 0, 0))
        write_image(folder / "preview" / "a" / "1.png", (0, 0, 0))
        with pytest.warns(UserWarning) as caught:
            assert len(load(folder).x_train) == 9
        (warning,) = caught
        assert warning.filename == __file__
        assert str(warning.message) == (
            "pets: hidden files left out: 2 (train/.cache/1.png, "
            "train/cat/.hidden.png); files that are no images left out: 1 "
            "(train/cat/notes.txt); folders without images left out: 1 (train/fox); "
            "images outside of class folders left out: 2 (preview/a/1.png, "
            "train/1.png)"
        )

    @pytest.mark.parametrize("content", [b"", b"no image", b"half"], ids=repr)
    @pytest.mark.parametrize("parts", [True, False])
    def test_damaged_image_is_named(self, folder, content, parts):
        if not parts:
            folder = folder / "train"
            for index in range(5):
                write_image(folder / "emu" / f"1{index}.png", (0, 0, 0))
        path = sorted(folder.rglob("*.png"))[-1]
        path.write_bytes(path.read_bytes()[:50] if content == b"half" else content)
        with pytest.raises(DatasetFileError, match="cannot be read") as caught:
            load(folder)
        assert str(caught.value).startswith(f"{path}: ")
        assert "<" not in str(caught.value)

    @pytest.mark.parametrize(
        "train, test",
        [
            ("Training/{}", "Testing/{}"),
            ("TRAIN/{}", "Test/{}"),
            ("pets/train/{}", "pets/test/{}"),
            ("training/images/{}", "testing/images/{}"),
            ("{}/train", "{}/test"),
            ("training_set/{}", "test_set/{}"),
            ("seg_train/seg_train/{}", "seg_test/seg_test/{}"),
            ("TrainImages/{}", "testimages/{}"),
        ],
    )
    def test_folders_of_parts(self, folder, train, test):
        for part, new in (("train", train), ("test", test)):
            for name in ("cat", "dog", "emu"):
                target = folder / "as people have them" / new.format(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                (folder / part / name).rename(target)
        for part in ("train", "test"):
            (folder / part).rmdir()
        dataset = load(folder)
        assert dataset.class_names == ("cat", "dog", "emu")
        np.testing.assert_array_equal(dataset.y_train, np.repeat([0, 1, 2], 3))
        np.testing.assert_array_equal(dataset.y_test, np.repeat([0, 1, 2], 2))
        assert dataset.x_test[0, 0, 0, 2] == 1

    def test_validation_part(self, folder):
        write_image(folder / "Valid" / "cat" / "1.png", (0, 0, 0))
        with pytest.warns(UserWarning, match="validation left out: 1.*Valid/cat/1.png"):
            assert len(load(folder).x_test) == 6
        (folder / "test").rename(folder / "elsewhere")
        with pytest.warns(UserWarning, match="images in Valid are taken for testing"):
            assert len(load(folder).x_test) == 1

    @pytest.mark.parametrize("names", [("bullet_train", "car"), ("testA", "training")])
    def test_words_in_the_names_of_classes(self, tmp_path, names):
        for name in names:
            for index in range(5):
                write_image(tmp_path / "all" / name / f"{index}.png", (0, 0, 0))
        assert load(tmp_path / "all").class_names == names

    def test_folders_within_those_of_classes_are_named(self, folder):
        (folder / "train").rename(folder / "one")
        (folder / "test").rename(folder / "other")
        with pytest.warns(UserWarning, match=r"of that class: 6 \(one/cat, one/dog, "):
            assert load(folder).class_names == ("one", "other")

    @pytest.mark.parametrize(
        "folders", [("Training", "Testing"), ("train", "test"), ("my_train", "my_test")]
    )
    def test_parts_without_classes(self, tmp_path, folders):
        for name in folders:
            for index in range(5):
                write_image(tmp_path / "all" / name / f"{index}.png", (0, 0, 0))
        with pytest.raises(DatasetFileError, match="no images in class folders"):
            load(tmp_path / "all")

    def test_two_folders_for_a_part(self, folder):
        write_image(folder / "Training" / "cat" / "1.png", (0, 0, 0))
        with pytest.raises(DatasetFileError, match="for train: Training, train"):
            load(folder)

    def test_links_to_folders_are_followed(self, folder):
        (folder / "train" / "cat").rename(folder.parent / "cats")
        (folder / "train" / "cat").symlink_to(folder.parent / "cats")
        assert load(folder).class_names == ("cat", "dog", "emu")
        (folder / "train" / "cat" / "all").symlink_to(folder)
        with pytest.raises(DatasetFileError, match="train/cat/all: is a link"):
            load(folder)

    def test_pipes_are_not_waited_for(self, folder):
        os.mkfifo(folder / "train" / "cat" / "9.png")
        with pytest.raises(DatasetFileError, match=r"cat/9\.png.*no regular file"):
            load(folder)

    def test_class_without_training_images(self, folder):
        write_image(folder / "test" / "fox" / "1.png", (0, 0, 0))
        with pytest.raises(DatasetFileError, match="classes that train has not: fox"):
            load(folder)

    def test_part_that_is_missing(self, folder):
        (folder / "test").rename(folder / "elsewhere")
        with pytest.raises(DatasetFileError, match="no images.* of test"):
            load(folder)
        (folder / "empty").mkdir()
        with pytest.raises(DatasetFileError, match="train and test"):
            load(folder / "empty")

    @pytest.mark.parametrize("size", [(0, 3), (3,), 8, (2.5, 3), "ab"])
    def test_wrong_image_size(self, folder, size):
        with pytest.raises(ValueError, match="`image_size` must be a pair"):
            load(folder, image_size=size)

    @pytest.mark.parametrize("size", [(99_999, 99_999), (1, 10**12)])
    def test_image_size_that_takes_all_memory(self, folder, size):
        with pytest.raises(ValueError, match="`image_size` must be smaller: .*32 GiB"):
            load(folder, image_size=size)

    def test_image_size_without_folder(self):
        with pytest.raises(ValueError, match="`image_size` is for"):
            load("digits", image_size=(8, 8))


def first_pixel(tmp_path, image, name="1.png", **kwargs):
    """What `load` makes of the first pixel of an image, from 0 to 1."""
    for part in ("train", "test"):
        path = tmp_path / "all" / part / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **kwargs)
    return np.asarray(load(tmp_path / "all").x_train[0, 0, 0], "float64")


def palette(size=(6, 4)):
    image = Image.new("P", size, 1)
    image.putpalette([9, 9, 9, 0, 51, 255])
    return image


DEEP = np.full((4, 6), 32896, "uint16")


@pytest.mark.parametrize(
    "image, name, kwargs, expected",
    [
        (Image.new("1", (6, 4), 1), "1.png", {}, 1),
        (Image.new("L", (6, 4), 51), "1.gif", {}, (0.2, 0.2, 0.2)),
        (Image.new("L", (6, 4), 51), "1.png", {"transparency": 51}, 1),
        (Image.new("LA", (6, 4), (0, 51)), "1.png", {}, 0.8),
        (Image.new("RGBA", (6, 4), (0, 0, 0, 0)), "1.png", {}, (1, 1, 1)),
        (
            Image.new("RGBA", (6, 4), (255, 0, 0, 51)),
            "1.webp",
            {"lossless": True},
            (1, 0.8, 0.8),
        ),
        (
            Image.new("RGB", (6, 4), (0, 51, 0)),
            "1.png",
            {"transparency": (0, 51, 0)},
            (1, 1, 1),
        ),
        (
            Image.new("RGB", (6, 4)),
            "1.jpg",
            {"format": "MPO", "append_images": [Image.new("RGB", (6, 4), (255,) * 3)]},
            (0, 0, 0),
        ),
        (palette(), "1.png", {}, (0, 0.2, 1)),
        (palette(), "1.png", {"transparency": 1}, (1, 1, 1)),
        (palette(), "1.gif", {"transparency": 1}, (1, 1, 1)),
        (Image.new("CMYK", (6, 4), (255, 0, 51, 0)), "1.tif", {}, (0, 1, 0.8)),
        (
            Image.new("HSV", (6, 4), (0, 255, 255)).convert("YCbCr"),
            "1.tiff",
            {},
            (1, 0, 0),
        ),
        (Image.fromarray(DEEP), "1.png", {}, 32896 / 65535),
        (Image.fromarray(DEEP), "1.tif", {}, 32896 / 65535),
        # White is zero.
        (Image.fromarray(DEEP), "1.tif", {"tiffinfo": {262: 0}}, 1 - 32896 / 65535),
        (Image.fromarray(DEEP), "1.pgm", {}, 32896 / 65535),
        (Image.fromarray(DEEP), "1.png", {"transparency": 32896}, 1),
    ],
)
def test_modes_and_depths(tmp_path, image, name, kwargs, expected):
    found = first_pixel(tmp_path, image, name, **kwargs)
    assert found.shape == np.shape(expected)
    # A pixel of YCbCr is rounded twice.
    np.testing.assert_allclose(found, expected, atol=0.01 if "tiff" in name else 1e-6)


def test_transparent_grey_of_few_bits():
    def chunk(kind, data):
        end = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + end

    header = (1).to_bytes(4, "big") * 2 + bytes([4, 0, 0, 0, 0])
    for transparent, expected in ((4, 255), (5, 68)):
        content = b"\x89PNG\r\n\x1a\n" + b"".join(
            chunk(kind, data)
            for kind, data in (
                (b"IHDR", header),
                (b"tRNS", bytes([0, transparent])),
                (b"IDAT", zlib.compress(b"\0\x40")),
                (b"IEND", b""),
            )
        )
        assert (
            _decode.decode("1.png", lambda content=content: content, None) == expected
        )


def test_deep_images_are_scaled(tmp_path):
    first_pixel(tmp_path, Image.fromarray(DEEP))
    dataset = load(tmp_path / "all", image_size=(2, 2))
    assert dataset.x_train.shape == (1, 2, 2)
    np.testing.assert_allclose(dataset.x_train, 32896 / 65535, rtol=1e-6)


def test_cameras_say_what_is_up(tmp_path):
    image = Image.new("RGB", (6, 4))
    image.paste((255, 255, 255), (0, 0, 6, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    first_pixel(tmp_path, image, exif=exif)
    x = load(tmp_path / "all").x_train
    assert x.shape == (1, 6, 4, 3)
    assert x[0, :, -1].min() == 1 and x[0, :, :-1].max() == 0


@pytest.mark.parametrize(
    "image, name, message",
    [
        (Image.new("I", (6, 4), 9), "1.tif", "pixels of 32 bits.*'I'.*8 or 16 bits"),
        (Image.new("F", (6, 4), 0.5), "1.tif", "pixels of 32 bits.*'F'"),
        *((Image.new("L", (6, 4)), name, "2 frames") for name in ("1.gif", "1.tif")),
        (Image.new("L", (200, 60)), "1.png", "12000 pixels.*bomb"),
        (Image.new("L", (200, 100)), "1.png", "20000 pixels.*bomb"),
    ],
)
def test_refused_images(tmp_path, monkeypatch, image, name, message):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9999)
    other = Image.new(image.mode, image.size, 99)
    frames = {"save_all": True, "append_images": [other]} if "frames" in message else {}
    with pytest.raises(DatasetFileError, match=rf"test/a/{name}: .*{message}"):
        first_pixel(tmp_path, image, name, **frames)


def test_signed_values_are_refused(tmp_path):
    image = Image.new("L", (6, 4))
    with pytest.raises(DatasetFileError, match=r"1\.tif: .*signed values"):
        first_pixel(tmp_path, image, "1.tif", tiffinfo={339: 2})


def write_archive(path, folder):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "cifar10")


class TestCifar10:
    def test_own_archive_is_as_the_folder(self, folder, tmp_path):
        own = tmp_path / "own"
        own.mkdir()
        write_archive(own / "cifar10.tar.gz", folder)
        packed = load("cifar10", own)
        assert packed.name == "cifar10"
        assert packed.source == "data_dir"
        unpacked = load(folder)
        np.testing.assert_array_equal(packed.x_train, unpacked.x_train)
        np.testing.assert_array_equal(packed.y_test, unpacked.y_test)
        folder.rename(own / "cifar10")
        np.testing.assert_array_equal(load("cifar10", own).x_test, unpacked.x_test)

    def test_damaged_image_in_an_archive_is_named(self, folder, tmp_path):
        (folder / "train" / "cat" / "1.png").write_bytes(b"no image")
        path = tmp_path / "cifar10.tar.gz"
        write_archive(path, folder)
        with pytest.raises(DatasetFileError) as caught:
            load("cifar10", tmp_path)
        assert f"{path}, cifar10/train/cat/1.png: cannot be" in str(caught.value)

    def test_damaged_archive_is_named(self, folder, tmp_path):
        path = tmp_path / "cifar10.tar.gz"
        write_archive(path, folder)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(DatasetFileError, match=r"cifar10\.tar\.gz: cannot be read"):
            load("cifar10", tmp_path)

    def test_binary_version_in_the_cache(self, tmp_path, monkeypatch):
        cache = tmp_path / "keras" / "datasets"
        cache.mkdir(parents=True)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(12, dtype=np.uint8) % 10
        write_binary(cache / "cifar-10-binary.tar.gz", images, labels)
        dataset = load("cifar10")
        assert dataset.source == "the Keras cache"
        np.testing.assert_allclose(dataset.x_train, images[:10] / 255, rtol=1e-6)
        np.testing.assert_array_equal(dataset.y_train, labels[:10])
        np.testing.assert_allclose(dataset.x_test, images[10:] / 255, rtol=1e-6)

    def test_binary_version_that_is_none(self, tmp_path):
        path = tmp_path / "cifar-10-binary.tar.gz"
        write_binary(path, np.zeros((12, 32, 32, 3), "uint8"), np.full(12, 11, "uint8"))
        with pytest.raises(DatasetFileError, match=r"labels in \[0, 10\).*y_train"):
            read_cifar10(path)
        with tarfile.open(path, "w:gz"):
            pass
        with pytest.raises(DatasetFileError, match="cannot be read"):
            read_cifar10(path)

    def test_unavailable_names_every_place(self, tmp_path):
        with pytest.raises(DatasetUnavailableError) as caught:
            load("cifar10", tmp_path)
        message = str(caught.value)
        for part in ("no cifar10.tar.gz", "cifar-10-binary.tar.gz", "no network"):
            assert part in message

    def test_its_file_is_downloaded_from_its_author(self):
        (file,) = _keras_cache.CIFAR10.files
        assert file.url == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


def write_binary(path, images, labels):
    """Two images a batch of training, the last two for testing."""
    planes = np.moveaxis(images, -1, 1).reshape(len(images), -1)
    records = np.concatenate([labels[:, None], planes], axis=1).astype("uint8")
    with tarfile.open(path, "w:gz") as archive:
        for number, start in enumerate(range(0, len(records), 2), start=1):
            last = start + 2 >= len(records)
            name = "test_batch.bin" if last else f"data_batch_{number}.bin"
            content = records[start : start + 2].tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        archive.addfile(tarfile.TarInfo("cifar-10-batches-bin/readme.html"))
