"""Groups logs to curves: networks of one setting over width or over rank."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

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
}
# Fields that say how a low-rank or a dense network is trained; they differ between
# these two by nature.
_OF_METHOD = {"subcommand": "{}", "integrator": "{}"}


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
    return grouped(
        collection.logs,
        collection.excluded,
        key=lambda log: Key(log.setting, log.width, log.rank),
        order=_order,
    )


def grouped(
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


def labels(keys: Iterable[Key]) -> list[str]:
    """Names that tell keys apart, no longer than needed."""
    keys = list(keys)
    settings = [key.setting for key in keys]
    widths = {key.width for key in keys}
    shared = [name for name in _WORDS if len({getattr(s, name) for s in settings}) > 1]
    return [
        ", ".join(
            [
                method(key),
                *([f"width {key.width}"] if len(widths) > 1 and key.width else []),
                *(words(name, key.setting) for name in shared),
                *_of_method(key, keys),
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
    text = {**_WORDS, **_OF_METHOD}[name].format(getattr(setting, name))
    head, sign, tail = text.partition("%")
    if not sign:
        return text
    return f"{head.rstrip('0').rstrip('.')} %{tail}"


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
        if len({getattr(setting, name) for setting in same}) > 1
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
    excluded = [f"{name} ({_states(cell)})" for name, cell in cells if cell.excluded]
    if odd:
        text += f", but {'; '.join(odd)}"
    if excluded:
        text += f"; not counted: {_some(excluded)}"
    return text


def uneven(collection: Collection) -> list[str]:
    """Names the networks of series that have other numbers of runs than most."""
    notes = []
    for axis in AXES:
        for series in series_over(axis, collection):
            cells = [(f"{axis} {size}", cell) for size, cell in series.cells.items()]
            if len({len(cell.logs) for _, cell in cells}) > 1:
                notes.append(f"{series.label}: {count_note(cells)}")
    return notes


def _states(cell: Cell) -> str:
    states = [log.state for log in cell.excluded]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


def _some(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
