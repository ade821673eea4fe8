"""The runs of networks for images: by network, and what each is worth at each stage."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dlrt_names.log_schema import PARAMETERS
from evaluation.images import KINDS, Network, find_network
from evaluation.logs import Log, Setting
from evaluation.series import Cell, group, none_first, singular, words

Networks = Mapping[Network, Cell]

# What a log says of an epoch, and what was measured, by one name each.
_LOGGED = {
    "parameters": PARAMETERS,
    "validation accuracy": "val_accuracy",
    "test accuracy": "test_accuracy",
}
_MEASURED = {
    "parameters": "parameters",
    "test accuracy": "test_accuracy",
    "accuracy under attack": "attacked_accuracy",
    "flops": "flops",
    "latency": "latency_ms",
}
QUANTITIES = tuple({**_LOGGED, **_MEASURED})

DENSE, COMPRESSED, FINE_TUNED = "dense", "compressed", "fine-tuned"
TRAINED = "trained"
STAGES = (DENSE, TRAINED, COMPRESSED, FINE_TUNED)

# What tells networks of a kind apart, if it differs, and in which words.
_OF_SETTING = (
    *("epochs", "optimizer", "learning_rate", "schedule", "batch_size", "val_size"),
    *("integrator", "max_rank"),
)
_WORDS = {
    "vocabulary": "{:g} words",
    "layers": "layers {}",
    "scheme": "{}",
    "allocation": "by {}",
    "source": "from {}",
    "attack": "attack {:g}",
    "load_model": "of {}",
    "dense_epochs": "{:g} epochs dense",
    "svd_epochs": "{:g} epochs of singular values",
    "sparsity": "sparsity {:g}",
    "orthogonality": "orthogonality {:g}",
    "momentum": "momentum {:g}",
    "weight_decay": "weight decay {:g}",
    "augment": "{}",
    "image_size": "images of {}",
    "stop": "widths until epoch {:g}",
    "threshold": "threshold {:g}",
    "samples": "{:g} samples",
}
_METHODS = {
    "dense": "dense",
    "fixed": "DLRT fixed",
    "adaptive": "DLRT adaptive",
    "decomposed": "singular values",
    "compressed": "compressed",
    "evolved": "evolve",
}


class Point(NamedTuple):
    """A network at one stage of its runs.

    Args:
        key: The network.
        stage: One of `STAGES`.
        samples: Values over runs by quantity, nan where there is none.
    """

    key: Network
    stage: str
    samples: dict[str, np.ndarray]

    def mean(self, quantity: str) -> float:
        """The mean over the runs that have a value."""
        known = self.samples[quantity][~np.isnan(self.samples[quantity])]
        return float(known.mean()) if len(known) else np.nan


def networks(logs: Iterable[Log], excluded: Iterable[Log] = ()) -> dict[Network, Cell]:
    """Every network and its runs: by images, architecture, kind, and how large."""
    return group(logs, excluded, lambda log: find_network(log.configuration), _order)


def families(cells: Networks) -> dict[tuple[str, str], dict[Network, Cell]]:
    """The networks of each architecture and data set, which can be compared."""
    found: dict[tuple[str, str], dict[Network, Cell]] = {}
    for key, cell in cells.items():
        family = key.architecture, key.setting.data
        found.setdefault(family, {})[key] = cell
    return found


def _order(key: Network) -> tuple:
    first = key.architecture, key.setting.data, KINDS.index(key.kind)
    return (*first, key.method or "", none_first(key._replace(kind="")))


def names(keys: Sequence[Network]) -> list[str]:
    """Names that tell networks of a family apart, no longer than needed."""
    return [
        ", ".join([_method(key), *_size(key), *_differences(key, keys)]) for key in keys
    ]


def lines(keys: Sequence[Network]) -> list[str]:
    """What to call the method of each network: those that differ in size share it.

    How long networks are trained is said where it differs between any of them.
    """
    lengths = {key.setting.epochs for key in keys} - {0}
    return [
        ", ".join([_method(key), *_differences(key, keys, lengths)]) for key in keys
    ]


def _method(key: Network) -> str:
    if key.kind != COMPRESSED or key.method is None:
        return _METHODS[key.kind]
    return f"{key.method} adaptive" if key.setting.tolerance else key.method


def _size(key: Network) -> list[str]:
    """What a network may be as large as, in words."""
    found = []
    if key.budget is not None:
        name, amount = key.budget
        text = amount if isinstance(amount, str) else f"{amount:,.15g}"
        found.append(f"{name} {text}")
    if key.kind == "fixed" and key.ranks is not None:
        found.append(f"rank {','.join(map(str, key.ranks))}")
    if key.max_parameters is not None:
        found.append(f"{key.max_parameters:,.15g} parameters")
    if key.max_memory is not None:
        found.append(f"{key.max_memory / 1e6:g} MB")
    if key.setting.tolerance:
        found.append(f"tolerance {key.setting.tolerance:g}")
    return found


def _differences(
    key: Network, keys: Sequence[Network], lengths: Iterable[int] = ()
) -> list[str]:
    """What else tells a network from others of its kind.

    Args:
        key: The network.
        keys: All networks.
        lengths: Numbers of epochs to tell it from as well.
    """
    kind = [other for other in keys if other.kind == key.kind]
    alike = [other for other in kind if other.training == key.training]
    found = []
    if key.training is not None and len(alike) < len(kind):
        found.append(key.training)
    for name in _OF_SETTING:
        values = {getattr(other.setting, name) for other in alike}
        if name == "epochs":
            values |= set(lengths)
        if len(values) > 1 and getattr(key.setting, name):
            tuning = name == "epochs" and bool(lengths) and key.kind == COMPRESSED
            found.append(words(name, key.setting) + " of fine-tuning" * tuning)
    for name, text in _WORDS.items():
        value = getattr(key, name)
        if value is not None and len({getattr(other, name) for other in alike}) > 1:
            found.append(singular(text.format(value), value))
    starts = {other.ranks for other in alike}
    if key.kind == "adaptive" and len(starts) > 1 and key.ranks is not None:
        found.append(f"from rank {','.join(map(str, key.ranks))}")
    return found


def stages(log: Log) -> dict[str, dict[str, float]]:
    """What a run says of its network, by stage and quantity.

    Of the epochs, that with the best validation accuracy counts, the model of which is
    kept. What was measured afterwards goes before what was logged.
    """
    if find_network(log.configuration).kind != COMPRESSED:
        return {TRAINED: _logged(log, log.selected())}
    found = {}
    if log.epochs[0] == 0:
        found[COMPRESSED] = _logged(log, 0)
    if log.epochs[-1] > 0:
        found[FINE_TUNED] = _logged(log, log.selected())
    for stage, values in log.tests.items():
        if stage in STAGES:
            found[stage] = found.get(stage, {}) | _measured(values)
    return found


def _logged(log: Log, index: int) -> dict[str, float]:
    return {name: float(log.column(c)[index]) for name, c in _LOGGED.items()}


def _measured(values: Mapping[str, float]) -> dict[str, float]:
    return {name: values[c] for name, c in _MEASURED.items() if c in values}


def points(cells: Networks) -> list[Point]:
    """All networks of a family at all stages.

    The dense network that several compressions start from is one, its measurements are
    means over them; it is left out where it was trained on other images.
    """
    found: dict[tuple[Network, str], dict[int, list[dict[str, float]]]] = {}
    for key, cell in cells.items():
        for number, log in enumerate(cell.logs):
            for stage, values in stages(log).items():
                which, run = key, number
                if stage == DENSE:
                    if key.source is not None:
                        continue
                    which, run = _before(key), log.seed or 0
                runs = found.setdefault((which, stage), {})
                runs.setdefault(run, []).append(values)
    order = sorted(found, key=lambda item: (*_order(item[0]), STAGES.index(item[1])))
    return [Point(*item, _samples(found[item].values())) for item in order]


def _before(key: Network) -> Network:
    """The dense network that a compression starts from."""
    kept = ("dataset", "dataset_size", "val_size")
    setting = Setting(**{name: getattr(key.setting, name) for name in kept})
    return Network(
        replace(setting, epochs=int(key.dense_epochs or 0)),
        key.architecture,
        DENSE,
        training="before compression",
        attack=key.attack,
        load_model=key.load_model,
        augment=key.augment,
        image_size=key.image_size,
    )


def _samples(runs: Iterable[list[dict[str, float]]]) -> dict[str, np.ndarray]:
    """Values by quantity, one for each run, a mean where it has several."""
    found = {name: [] for name in QUANTITIES}
    for several in runs:
        for name, values in found.items():
            known = [
                one[name] for one in several if not np.isnan(one.get(name, np.nan))
            ]
            values.append(np.mean(known) if known else np.nan)
    return {name: np.array(values) for name, values in found.items()}
