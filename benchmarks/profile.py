"""Where the time of a training step goes, by kind of operation (TensorFlow)."""

import collections
import tempfile
from pathlib import Path

import keras

from benchmarks import reports
from benchmarks.networks import Case, images

_STEPS = 10

# Prefixes of TensorFlow's fused and accelerated versions of an operation.
_PREFIXES = ("_Mkl", "Native", "_")


def operations(model: keras.Model, case: Case) -> dict[str, tuple[float, float]]:
    """Milliseconds and number of executions in a step, by kind of operation.

    Operations run side by side, so the sum of their times is longer than a step.

    Raises:
        ValueError: If the backend is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "A profile needs the TensorFlow backend. Received: "
            f"backend={keras.backend.backend()!r}"
        )
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    x, y = images(_STEPS * case.batch)
    model.fit(x, y, case.batch, verbose=0)
    with tempfile.TemporaryDirectory() as directory:
        with tf.profiler.experimental.Profile(directory):
            model.fit(x, y, case.batch, verbose=0)
        (file,) = Path(directory).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace()
        space.ParseFromString(file.read_bytes())
    seconds: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                kind = _kind_of(name)
                if kind is not None:
                    seconds[kind] += event.duration_ps / 1e9 / _STEPS
                    counts[kind] += 1
    return {
        kind: (value, counts[kind] / _STEPS) for kind, value in seconds.most_common()
    }


def _kind_of(name: str) -> str | None:
    """The kind of operation of an event "graph/node:Kind", `None` for other events."""
    node, _, kind = name.rpartition(":")
    if not node or node.endswith((":", " ")) or " " in kind or "::" in name:
        return None
    for prefix in _PREFIXES:
        kind = kind.removeprefix(prefix)
    return kind


def format_table(
    columns: dict[str, dict[str, tuple[float, float]]], lines: int = 16
) -> str:
    """Markdown, a line for each kind of operation, the most expensive ones first."""
    kinds: dict[str, float] = {}
    for found in columns.values():
        for kind, (milliseconds, _) in found.items():
            kinds[kind] = max(kinds.get(kind, 0.0), milliseconds)
    names = sorted(kinds, key=lambda kind: -kinds[kind])
    chosen = {name: [name] for name in names[:lines]}
    chosen |= {"others": names[lines:], "all": names}

    def sum_of(kinds: list[str], found: dict[str, tuple[float, float]]) -> str:
        milliseconds = sum(found.get(kind, (0.0, 0.0))[0] for kind in kinds)
        count = sum(found.get(kind, (0.0, 0.0))[1] for kind in kinds)
        return f"{milliseconds:.2f} ms ({count:.0f})"

    return reports.format_table(
        ["operation", *columns],
        (
            [label, *(sum_of(kinds, found) for found in columns.values())]
            for label, kinds in chosen.items()
        ),
    )
