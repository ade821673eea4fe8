"""The loaded text, as `load_text` returns it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Text:
    """Lines of text in three parts, for language models.

    Every line has text, is in Unicode form NFC, and has no space at either
    end.

    Args:
        name: Which text this is. After a fallback this is the name of the
            text that was loaded, not the one that was preferred.
        source: Where it came from: `"DLRT_DATA_DIR"`, `"tensorflow-datasets"`,
            `"embedded"` or the path of the file or folder that was asked for.
        train: Lines to train on.
        validation: Lines to choose settings by.
        test: Lines to report results on.
    """

    name: str
    source: str
    train: tuple[str, ...] = field(repr=False)
    validation: tuple[str, ...] = field(repr=False)
    test: tuple[str, ...] = field(repr=False)
