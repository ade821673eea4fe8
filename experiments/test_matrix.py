"""A sweep of MNIST networks: `python -m experiments.test_matrix [options]`.

Trains every network of a grid over methods, widths, ranks, tolerances, noise and so on,
in parallel, and writes a workbook for each to `history_logs/`. Interrupt it at any time
and start the same command again: finished networks are kept, others continue at their
last checkpoint. Exit status: 0 when all are trained, 1 when some have failed, 2 after
wrong input, 4 when a file can't be written, 130 after Ctrl-C.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from experiments.archive.claims import Claims
from experiments.cli import command, quiet
from experiments.cli.checks import check_log_dir
from experiments.sweep import grid
from experiments.sweep.grid import Network
from experiments.sweep.options import Options, parse

_MODULE = "experiments.test_matrix"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a sweep and returns the exit status.

    Raises:
        SystemExit: With status 2 after wrong input, which one line on stderr names.
    """
    words = command.words_of(arguments)
    options = parse(words)
    with command.input_errors():
        networks, skipped = grid.list_networks(options.grid)
        check_log_dir(options.log_dir)
    for line in skipped:
        print(f"left out: {line}", file=sys.stderr)
    quiet.import_keras()
    if options.dry_run:
        from experiments.sweep import plan

        for line in plan.describe(networks, options.log_dir, options.workers):
            print(line)
        return 0
    return _train(networks, options, words)


def _train(networks: Sequence[Network], options: Options, words: Sequence[str]) -> int:
    from dlrt import datasets
    from experiments.sweep import engines, plan
    from experiments.sweep.progress import Progress

    with command.input_errors():
        Claims(options.log_dir).close()
        plan.check(networks, options.log_dir)
        # Chosen here, it is the same in all processes, and none of them warns again.
        with quiet.warnings_as_lines():
            dataset = datasets.load(options.grid.dataset).name
    units = grid.group(
        replace(network, config=replace(network.config, dataset=dataset))
        for network in networks
    )
    tests = {network.test for network in networks}
    counts = f"{len(networks)} networks in {len(tests)} tests"
    print(f"{counts}, in {options.log_dir}", flush=True)
    status = 0
    with Progress(networks) as progress:
        try:
            common = units, options.log_dir, options.checkpoint_seconds
            if options.engine == "ray":
                engines.train_on_ray(*common, options.address, progress)
            else:
                engines.train_locally(*common, options.workers, progress)
        except KeyboardInterrupt:
            status = command.INTERRUPTED
        except (ModuleNotFoundError, ConnectionError) as error:
            command.fail(str(error))
        except (OSError, engines.WorkersDied) as error:
            print(f"\nerror: {error}", file=sys.stderr)
            status = command.UNWRITABLE
    for network, reason in progress.wrong.items():
        print(f"failed: {network}: {reason}", file=sys.stderr)
    print(progress.line(), flush=True)
    if status:
        same = command.compose_command(_MODULE, words)
        print(f"\nContinue with the same command: {same}", file=sys.stderr)
    return status or (command.FAILED if progress.wrong else 0)


if __name__ == "__main__":
    sys.exit(main())
