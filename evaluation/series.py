"""Groups logs to curves: networks of one setting over width or over rank."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from dlrt_names.log_schema import CONVERTED, is_reserved
from evaluation.collection import Collection
from evaluation.logs import Log, Setting

K = TypeVar("K", bound=Hashable)

# The fewest networks of a curve over each size. Methods of two ranks are two curves
# over width rather than a curve over rank at every width.
AXES = {"width": 2, "rank": 3}

_WORDS = {
    "dataset": "{}",
    "dataset_size": "{:.4%} of the images",
    "noise": "{:.4%} label noise",
    "epochs": "{} epochs",
    "optimizer": "{}",
    "learning_rate": "learning rate {:g}",
    "schedule": "{} schedule",
    "batch_size": "batch {}",
    "regularizer": "regularizer {}",
    "regularizer_amount": "factor {:g}",
    "val_size": "{:.4g} for validation",
}
# Fields that say how a low-rank or a dense network is trained; they differ between
# these two by nature.
_OF_METHOD = {
    "subcommand": "{}",
    "integrator": "{}",
    "fine_tune_epochs": "{} epochs of fine-tuning",
    "max_rank": "at most rank {}",
}
# What a log says of a run, but not of its network.
_OF_RUN = ("seed", "test", "score_interval", "beams", CONVERTED)


class Key(NamedTuple):
    """What the networks of a series share."""

    setting: Setting
    width: int | None
    rank: int | None


@dataclass(frozen=True)
class Cell:
    """The runs of one network: the same but for the seed.

    Args:
        logs: Those that count.
        excluded: Those that don't, since they diverged, failed or lack epochs.
    """

    logs: tuple[Log, ...]
    excluded: tuple[Log, ...] = ()


@dataclass(frozen=True)
class Series:
    """A curve: networks that differ in one size only.

    Args:
        label: What the legend calls it.
        axis: "width" or "rank"; the size that differs.
        key: What the networks share.
        cells: The networks by their size, in its order.
    """

    label: str
    axis: str
    key: Key
    cells: dict[int, Cell]

    @property
    def setting(self) -> Setting:
        return self.key.setting

    @property
    def sizes(self) -> list[int]:
        """The sizes of which a run counts."""
        return [size for size, cell in self.cells.items() if cell.logs]


def series_over(axis: str, collection: Collection) -> list[Series]:
    """All series that are long enough.

    Args:
        axis: "width" or "rank"; only networks of a fixed rank have the latter.
        collection: The logs.
    """
    groups: dict[Key, dict[int, Cell]] = {}
    for (setting, width, rank), cell in cells_of(collection).items():
        if axis == "width":
            groups.setdefault(Key(setting, None, rank), {})[width] = cell
        elif rank is not None:
            groups.setdefault(Key(setting, width, None), {})[rank] = cell
    groups = {key: cells for key, cells in groups.items() if len(cells) >= AXES[axis]}
    return [
        Series(label, axis, key, dict(sorted(cells.items())))
        for label, (key, cells) in zip(labels(groups), groups.items(), strict=True)
    ]


def cells_of(collection: Collection) -> dict[Key, Cell]:
    """Every network and its runs, dense ones first, then by rank, then by width."""
    return group(
        collection.logs,
        collection.excluded,
        key=lambda log: Key(log.setting, log.width, log.rank),
        order=_order,
    )


def group(
    logs: Iterable[Log],
    excluded: Iterable[Log],
    key: Callable[[Log], K],
    order: Callable[[K], tuple],
) -> dict[K, Cell]:
    """Networks and their runs.

    Args:
        logs: The logs that count.
        excluded: Those that don't.
        key: What the runs of a network have in common.
        order: By which networks are sorted.
    """
    found: dict[K, tuple[list[Log], list[Log]]] = {}
    for number, part in enumerate((logs, excluded)):
        for log in part:
            found.setdefault(key(log), ([], []))[number].append(log)
    return {
        which: Cell(*map(tuple, found[which])) for which in sorted(found, key=order)
    }


def none_first(values: Iterable) -> tuple:
    """What tuples that may have `None` in some places can be sorted by."""
    return tuple((value is not None, value) for value in values)


def _order(key: Key) -> tuple:
    return (key.setting, key.rank or 0, key.width or 0)


def labels(keys: Iterable[Key], beside: Iterable[Key] = ()) -> list[str]:
    """Names that tell keys apart, no longer than needed.

    Args:
        keys: The keys to name.
        beside: Others to tell them from.
    """
    keys = list(keys)
    every = [*keys, *beside]
    settings = [key.setting for key in every]
    widths = {key.width for key in keys}
    shared = [name for name in _WORDS if len({getattr(s, name) for s in settings}) > 1]
    return [
        ", ".join(
            [
                method(key),
                *([f"width {key.width}"] if len(widths) > 1 and key.width else []),
                *(words(name, key.setting) for name in shared),
                *_of_method(key, every),
            ]
        )
        for key in keys
    ]


def method(key: Key) -> str:
    """How the networks are trained, in two words."""
    if not key.setting.low_rank:
        return "dense"
    if key.setting.tolerance:
        return f"DLRT tolerance {key.setting.tolerance:g}"
    return "DLRT" if key.rank is None else f"DLRT rank {key.rank}"


def words(name: str, setting: Setting) -> str:
    """A field of a setting in words."""
    value = getattr(setting, name)
    text = singular({**_WORDS, **_OF_METHOD}[name].format(value), value)
    head, sign, tail = text.partition("%")
    if not sign:
        return text
    return f"{head.rstrip('0').rstrip('.')} %{tail}"


def singular(text: str, value: Any) -> str:
    """A text about epochs, of which there may be a single one."""
    return text.replace("epochs", "epoch") if value == 1 else text


def _of_method(key: Key, keys: Sequence[Key]) -> list[str]:
    same = [
        other.setting
        for other in keys
        if other.setting.low_rank == key.setting.low_rank
        and bool(other.setting.tolerance) == bool(key.setting.tolerance)
    ]
    return [
        words(name, key.setting)
        for name in _OF_METHOD
        if getattr(key.setting, name) and len({getattr(s, name) for s in same}) > 1
    ]


def pick(sizes: Iterable[int], most: int, wanted: Sequence[int] = ()) -> list[int]:
    """Some of the sizes: the wanted ones that are there, or evenly spread ones."""
    sizes = sorted(set(sizes))
    if wanted:
        return [size for size in sizes if size in wanted]
    if len(sizes) <= most:
        return sizes
    steps = [round(i * (len(sizes) - 1) / (most - 1)) for i in range(most)]
    return [sizes[step] for step in steps]


def count_note(cells: Iterable[tuple[str, Cell]]) -> str:
    """Says how many runs stand behind each of some networks.

    Args:
        cells: The networks, with what to call them.
    """
    cells = list(cells)
    counts = [len(cell.logs) for _, cell in cells]
    if not counts:
        return "no runs"
    usual = max(set(counts), key=lambda count: (counts.count(count), count))
    text = f"{usual} {'run' if usual == 1 else 'runs'}"
    if len(cells) > 1:
        text += " of each network"
    by_count: dict[int, list[str]] = {}
    for (name, _), count in zip(cells, counts, strict=True):
        if count != usual:
            by_count.setdefault(count, []).append(name)
    odd = [f"{count} of {_some(by_count[count])}" for count in sorted(by_count)]
    if odd:
        text += f", but {'; '.join(odd)}"
    for what, said in (
        ("not counted", _states),
        ("last epochs other than planned", _ends),
        ("settings in which runs differ", _differences),
    ):
        found = [f"{name} ({said(cell)})" for name, cell in cells if said(cell)]
        if found:
            text += f"; {what}: {_some(found)}"
    return text


def uneven(collection: Collection) -> list[str]:
    """Names the networks of series whose runs are not like the others."""
    notes = []
    for axis in AXES:
        for series in series_over(axis, collection):
            cells = [(f"{axis} {size}", cell) for size, cell in series.cells.items()]
            counts = {len(cell.logs) for _, cell in cells}
            odd = any(_ends(cell) or _differences(cell) for _, cell in cells)
            if len(counts) > 1 or odd:
                notes.append(f"{series.label}: {count_note(cells)}")
    return notes


def _states(cell: Cell) -> str:
    states = [log.state for log in cell.excluded]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


def _ends(cell: Cell) -> str:
    """The last epochs of the runs, unless they are those of the setting."""
    found = {int(log.epochs[-1]) for log in cell.logs}
    planned = {log.setting.epochs for log in cell.logs}
    return "" if found <= planned else ", ".join(map(str, sorted(found)))


def _differences(cell: Cell) -> str:
    """The settings besides those of the network in which its runs differ."""
    said: dict[str, set[str]] = {}
    for log in cell.logs:
        for name, value in log.configuration.items():
            if value is not None and name not in _OF_RUN and not is_reserved(name):
                said.setdefault(name, set()).add(str(value))
    return ", ".join(name for name, values in said.items() if len(values) > 1)


def _some(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
