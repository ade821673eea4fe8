"""What the command line lets a user choose from; its help waits for no library."""

# The kinds of figures.
KINDS = (
    *("curves", "epochs", "maps", "clouds", "ranks", "published"),
    *("transformers", "images"),
)
# The formats of figures, without the metadata by which two files of one figure differ.
FORMATS: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
