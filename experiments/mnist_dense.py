"""Trains dense and low-rank networks on MNIST and its like.

    python -m experiments.mnist_dense fixed-rank --start-rank 20 --epochs 20

Exit status: 0 finished, 2 for what can't be done as asked, 3 where the loss has become
NaN or infinite, 130 interrupted.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import _options
from experiments._config import Config, selection_start


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a run with an optimizer and a schedule of its own.

    Args:
        name: Its name in the log.
        epochs: Number of epochs, at most.
        adaptive: Whether ranks change.
        until_settled: Whether it ends when the ranks have settled.
    """

    name: str
    epochs: int
    adaptive: bool = False
    until_settled: bool = False


def phases_of(config: Config) -> list[Phase]:
    """The phases of a run."""
    adaptive = config.tolerance is not None
    if config.fine_tune_epochs is not None:
        return [
            Phase("adaptive", config.epochs, adaptive=True, until_settled=True),
            Phase("fixed rank", config.fine_tune_epochs),
        ]
    return [Phase("adaptive" if adaptive else "training", config.epochs, adaptive)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    config = _options.parse(sys.argv[1:] if arguments is None else arguments)
    # Keras takes seconds to start; a mistyped option should not have to wait for it.
    from experiments._callbacks import NonFiniteLoss

    try:
        run(config)
    except NonFiniteLoss as error:
        print(
            f"error: {error}. The log and the checkpoints of the finished epochs are "
            "kept; try a smaller --learning-rate.",
            file=sys.stderr,
        )
        return 3
    except KeyboardInterrupt:
        print(
            "Interrupted. The same command with --resume goes on after the last "
            "finished epoch.",
            file=sys.stderr,
        )
        return 130
    return 0


def run(config: Config) -> None:
    """Prepares, trains and reports one run.

    Raises:
        SystemExit: With status 2 if something is wrong with what was asked for.
        NonFiniteLoss: If training diverges.
    """
    training = _prepare(config)
    training.train()
    training.summarize()


def _prepare(config: Config) -> "_Training":
    """Everything that can fail for what was asked, as one line and status 2."""
    from experiments import _data

    try:
        data = _data.load(config)
        config = dataclasses.replace(config, dataset=data.name)
        if config.subcommand == "train-from-prune" and config.load_model is None:
            weights = _dense_weights_for(config)
        else:
            weights = config.load_model
        return _Training(config, data, weights)
    except (ValueError, OSError) as error:
        _options.fail(str(error))


def _dense_weights_for(config: Config) -> Path:
    """The best model of the newest dense run that fits, trained first if need be."""
    from experiments import _runs

    found = _runs.newest_dense(config)
    if found is None:
        print("No finished dense run with this data set and width: training one first.")
        dense = _options.parse(
            [
                "dense-reference",
                *("--dataset", config.dataset),
                *("--dim-layer", str(config.dim_layer)),
                *("--epochs", str(config.epochs)),
                *("--dataset-size", str(config.dataset_size)),
                *("--noise", str(config.noise)),
                *("--val-size", str(config.val_size)),
                *("--batch-size", str(config.batch_size)),
                *("--seed", str(config.seed)),
                *("--log-dir", str(config.log_dir)),
                *(() if config.verbose is None else ("--verbose", str(config.verbose))),
            ]
        )
        run(dense)
        found = _runs.newest_dense(config)
    if found is None:
        raise ValueError(
            f"`--log-dir` has no finished dense run. Received: {config.log_dir}"
        )
    return found.best


class _Training:
    """A run from its first or next epoch to its last."""

    def __init__(self, config: Config, data: Any, weights: Path | None) -> None:
        from experiments import _callbacks, _checkpoint, _data, _network, _runs

        self._config = config
        self._data = data
        self._phases = phases_of(config)
        self._batches = _data.ShuffledBatches(
            *data.train, config.batch_size, config.seed
        )
        self._state = _checkpoint.State(0, 0, 0, {})
        self._pruned = weights is not None and config.subcommand == "train-from-prune"
        found = _runs.find(config) if config.resume else None
        if config.resume and found is None:
            raise _runs.missing(config)
        if found is None:
            # First the model, so that weights that don't fit leave nothing behind.
            model = _network.build(config, data.num_classes, weights)
            self._compile(model, 0)
            self._run = _runs.create(config)
        else:
            self._run = found
            _runs.stored_configuration(found, config)
        self._log = _callbacks.RunLog(
            self._run.workbook(config.network),
            {**config.record(), "data set source": data.source},
            resume=found is not None,
            changeable=(*_runs.CHANGEABLE, "data set source"),
        )
        try:
            self._log.open()
        except (OSError, ValueError):
            if found is None:
                self._run.remove()
            raise
        if found is not None:
            _checkpoint.remove_leftovers(found.directory)
            if found.last.exists():
                model, self._state = _checkpoint.load(found.last)
            else:
                model = _network.build(config, data.num_classes, weights)
            before = model.optimizer
            self._compile(model, self._state.phase)
            if before is not None:
                _checkpoint.copy_state(before, model.optimizer)
        self._model = model

    def train(self) -> None:
        """Runs the epochs that are left."""
        if self._pruned or not self._config.train:
            self._log_epoch_zero()
        if not self._config.train:
            return
        for index in range(self._state.phase, len(self._phases)):
            if index > self._state.phase:
                self._state = dataclasses.replace(
                    self._state, phase=index, phase_start=self._state.epoch
                )
                self._compile(self._model, index)
            self._train_phase(index)

    def _compile(self, model: Any, index: int) -> None:
        from experiments import _network

        phase = self._phases[index]
        _network.compile_model(
            model, self._config, phase.epochs, len(self._batches), phase.adaptive
        )

    def _train_phase(self, index: int) -> None:
        import dlrt
        from experiments import _callbacks, _data, _selection

        phase, state = self._phases[index], self._state
        end = state.phase_start + phase.epochs
        self._log.phase = phase.name
        first_truncation = state.phase_start + 2
        settled = _callbacks.StopWhenSettled(
            self._log, self._config.patience_ranks or 1, first_truncation
        )
        if phase.until_settled and _selection.settled(
            _selection.rows_of(self._log.path, phase.name),
            self._config.patience_ranks or 1,
            first_truncation,
        ):
            return
        if state.epoch >= end:
            return
        history = self._model.fit(
            self._batches,
            epochs=end,
            initial_epoch=state.epoch,
            validation_data=self._data.val,
            validation_batch_size=_data.EVALUATION_BATCH,
            shuffle=False,
            verbose=self._verbose(),
            callbacks=[
                self._batches.follow(),
                _callbacks.StopAtNonFinite(),
                _callbacks.TestEvaluation(self._data.test),
                dlrt.callbacks.RankLog(),
                self._log,
                _callbacks.Checkpoint(
                    self._run,
                    self._log,
                    index,
                    state.phase_start,
                    last_phase=index == len(self._phases) - 1,
                    first_epoch=state.phase_start
                    + selection_start(self._config, len(self._batches)),
                ),
                *([settled] if phase.until_settled else []),
            ],
        )
        finished = state.epoch + len(history.epoch)
        self._state = dataclasses.replace(state, epoch=finished)

    def _log_epoch_zero(self) -> None:
        """Logs what was loaded, before any training, as epoch 0."""
        from experiments import _callbacks, _selection

        if _selection.rows_of(self._log.path):
            return
        clock = _callbacks.Clock()
        logs: dict[str, float] = {}
        for prefix, part in (
            ("", self._data.train),
            ("val_", self._data.val),
            ("test_", self._data.test),
        ):
            logs |= _callbacks.evaluate(self._model, part, prefix)
        self._log.phase = "pruned" if self._pruned else "loaded"
        self._log.append(0, clock.seconds(), logs, self._model)
        print(
            f"{self._log.phase}: validation accuracy {logs['val_accuracy']:.4f}, "
            f"test accuracy {logs['test_accuracy']:.4f}"
        )

    def _verbose(self) -> int:
        if self._config.verbose is not None:
            return self._config.verbose
        return 1 if sys.stdout.isatty() else 2

    def summarize(self) -> None:
        """Prints what came out of the run."""
        from experiments import _selection

        rows = _selection.rows_of(self._log.path)
        last = self._phases[-1].name
        first = self._state.phase_start + selection_start(
            self._config, len(self._batches)
        )
        trained = [r for r in rows if r["phase"] == last and r["epoch"] >= first]
        best = _selection.best_row(trained or rows)
        if best is None:
            return
        ranks = _selection.ranks(best)
        print(f"\nRun        {self._run.name}")
        print(f"Data set   {self._data.name} ({self._data.source})")
        if ranks:
            print(f"Ranks      {', '.join(map(str, ranks))}")
        print(
            f"Parameters {best['parameters prediction']:,} for prediction, "
            f"{best['parameters training']:,} for training "
            f"(compression {best['compression']:.1%})"
        )
        print(
            f"Best epoch {best['epoch']} of {rows[-1]['epoch']} by validation accuracy: "
            f"validation {best['val_accuracy']:.2%}, test {best['test_accuracy']:.2%}"
        )
        print(f"Log        {_shown(self._log.path)}")


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
