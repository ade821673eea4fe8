"""Translates text, line by line, with a network that has been trained.

    python -m experiments.translate --model history_logs/RUN < text > translation

Every line of standard input is a sentence; its translation is the line of that number
on standard output, which is empty for a blank line. Lines are translated as they come.
A folder of a run holds best.keras, source.spm, target.spm and translation.json; with
the path of another .keras file, the others are beside it.
"""

import argparse
import contextlib
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.cli import command, quiet
from experiments.cli.checks import MOST, option
from experiments.cli.command import INTERRUPTED, UNWRITABLE
from experiments.translation.config import MOST_BEAMS, MOST_TOKENS

BEST = "best.keras"

# Lines read at once are translated in batches of sentences of similar length.
_READ_BYTES = 1 << 16

Translate = Callable[[Sequence[str]], list[str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Translates standard input; returns the exit status.

    0 stands for success, 2 for wrong input, 4 if the translation can't be written, and
    130 after Ctrl-C. What was translated before an error has been written.
    """
    options = _parse(command.words_of(arguments))
    try:
        with command.input_errors():
            translator = _load(options)
            translated = _translated(_lines(sys.stdin.fileno()), translator)
            return _write(translated)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = command.Parser(
        prog="python -m experiments.translate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder of a run, or a .keras file",
    )
    parser.add_argument(
        "--beams",
        type=int,
        default=1,
        help="hypotheses of a beam search, 1 for greedy search (default: 1)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=64,
        help="sentences that are translated at once (default: 64)",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        help="the most tokens of a sentence with its end; of a longer one, the "
        "beginning is translated (default: as in the training)",
    )
    options = parser.parse_args(words)
    for name, least, most in (
        ("beams", 1, MOST_BEAMS),
        ("batch_size", 1, MOST),
        ("max_length", 2, MOST_TOKENS),
    ):
        value = getattr(options, name)
        if value is None or least <= value <= most:
            continue
        bound = f"least {least}" if value < least else f"most {most}"
        parser.error(f"`{option(name)}` must be at {bound}. Received: {value}")
    return options


def _load(options: argparse.Namespace) -> Translate:
    path = options.model / BEST if options.model.is_dir() else options.model
    if not path.is_file():
        raise ValueError(
            f"`--model` must be a folder with {BEST}, or a .keras file. "
            f"Received: {options.model}"
        )
    quiet.import_keras()
    from experiments.translation import saved
    from experiments.translation.decoding import Translator

    vocabularies, max_length = saved.load_translation(path.parent)
    model = _load_model(path)
    saved.check_sizes(model, vocabularies)
    return Translator(
        model,
        vocabularies,
        max_length=options.max_length or max_length,
        beams=options.beams,
        batch_size=options.batch_size,
    )


def _load_model(path: Path) -> Any:
    import keras

    from experiments.runs import saved_files

    with saved_files.reading(
        path, "`--model` must be a saved network, but it", "--model"
    ):
        return keras.saving.load_model(path, compile=False)


def _lines(descriptor: int) -> Iterator[list[bytes]]:
    """The lines of a file, as many at a time as are there."""
    rest = b""
    while chunk := os.read(descriptor, _READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _translated(chunks: Iterator[list[bytes]], translate: Translate) -> Iterator[str]:
    """Text of whole lines, for each chunk of lines.

    Raises:
        ValueError: If a line is not UTF-8, after those before it.
    """
    number = 0
    for lines in chunks:
        sentences, wrong = _decoded(lines)
        spoken = iter(translate([sentence for sentence in sentences if sentence]))
        yield "".join(f"{next(spoken) if sentence else ''}\n" for sentence in sentences)
        number += len(sentences)
        if wrong:
            raise ValueError(f"line {number + 1} of the input must be UTF-8")
        _show(number)


def _decoded(lines: list[bytes]) -> tuple[list[str], bool]:
    """Lines as text, up to the first that is not UTF-8, and whether there was one.

    Text has the form of that of the training, see `dlrt.datasets.load_corpus`.
    """
    sentences: list[str] = []
    for line in lines:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return sentences, True
        sentences.append(unicodedata.normalize("NFC", text.strip()))
    return sentences, False


def _show(number: int) -> None:
    if sys.stderr.isatty() and not sys.stdout.isatty():
        print(f"\r{number} lines", end="", file=sys.stderr, flush=True)


def _write(texts: Iterator[str]) -> int:
    for text in texts:
        try:
            sys.stdout.buffer.write(text.encode())
            sys.stdout.buffer.flush()
        except OSError as error:
            # What is left in the buffer must not be tried again at the exit.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            reason = error.strerror or str(error)
            print(f"error: the output can't be written: {reason}", file=sys.stderr)
            return UNWRITABLE
    if sys.stderr.isatty() and not sys.stdout.isatty():
        print(file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
