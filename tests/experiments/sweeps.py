"""The smallest sweeps."""

from experiments.sweep import grid as _grid

NAME = "TestDim4-13ep400batch256lr0-01Noise20Dataset50"


def words(log_dir, **settings):
    settings = {
        "dataset": "digits",
        "dims": "4,12",
        "ranks": 3,
        "epochs": 400,
        "learning-rate": 0.01,
        "noise": 0.2,
        "dataset-size": 0.5,
        "log-dir": log_dir,
        **settings,
    }
    return [str(w) for key, value in settings.items() for w in (f"--{key}", value)]


def networks_of(**settings):
    return _grid.list_networks(_grid.Grid(epochs=(3,), dataset="digits", **settings))
