"""Whether adaptive ranks find the rank of a target, from any rank at the start.

    python -m benchmarks.teacher                       about five minutes
    python -m benchmarks.teacher --seeds 0 --starts 2

The target is `W0 + D` with `W0: (128, 96)` known, `D` of low rank and 0.7 times as
large. A low-rank layer learns `D` from random inputs, one gradient a step:
`parallel_bug`, Adam 3e-3 with cosine decay, 15 epochs of 64 steps. In the rows
"changing" the target changes twice, and the learning rate starts anew; there the rank
includes two candidates but at the end. Figures are written to `results/teacher.csv`.
"""

import time
from typing import Any

from experiments.cli import quiet

quiet.import_keras()

import keras  # noqa: E402
import numpy as np  # noqa: E402

import dlrt  # noqa: E402
from benchmarks import reports  # noqa: E402
from benchmarks.common_options import add_seeds, make_parser, whole  # noqa: E402
from benchmarks.places import RESULTS  # noqa: E402

_SHAPE = 128, 96
_RATIO = 0.7
_SAMPLES, _BATCH, _EPOCHS = 4096, 64, 15
_STEPS = _EPOCHS * (_SAMPLES // _BATCH)
_STARTS = 2, 4, 8, 16, 32


class Student:
    """A low-rank layer beside a known kernel, to be trained on targets.

    Args:
        start: Rank at the start.
        tolerance: Relative tolerance of truncations.
        seed: Seed of the known kernel, the inputs and the layer.
        targets: How many targets will be trained on.
    """

    def __init__(self, start: int, tolerance: float, seed: int, targets: int = 1):
        keras.utils.set_random_seed(seed)
        self.random = np.random.default_rng(seed)
        inputs = keras.Input(_SHAPE[:1])
        known = keras.layers.Dense(_SHAPE[1], use_bias=False, trainable=False)
        self.layer = dlrt.layers.LowRankDense(
            _SHAPE[1],
            rank=start,
            use_bias=False,
            kernel_initializer=dlrt.initializers.DenseSpectrum(),
        )
        outputs = keras.layers.add([known(inputs), self.layer(inputs)])
        self.model = dlrt.Model(inputs, outputs)
        self.known = self._random(*_SHAPE) / np.sqrt(_SHAPE[0])
        known.set_weights([self.known])
        schedules = keras.optimizers.schedules
        rate = schedules.CosineDecayRestarts(3e-3, _STEPS, t_mul=1.0)
        self.model.compile(
            dlrt.optimizers.LowRank(
                keras.optimizers.Adam(rate),
                tolerance=tolerance,
                max_rank=40,
                # At the end the ranks stay, without candidates.
                truncation_stop=round((targets - 0.25) * _STEPS),
            ),
            "mse",
        )

    def _random(self, *shape: int) -> np.ndarray:
        return self.random.standard_normal(shape, "float32")

    def learn(self, rank: int) -> dict[str, Any]:
        """Trains on a new target of some rank; what it comes to."""
        target = self._random(_SHAPE[0], rank) @ self._random(rank, _SHAPE[1])
        target *= _RATIO * np.linalg.norm(self.known) / np.linalg.norm(target)
        x = self._random(_SAMPLES, _SHAPE[0])
        since = time.perf_counter()
        y = x @ (self.known + target)
        self.model.fit(x, y, batch_size=_BATCH, epochs=_EPOCHS, verbose=0)
        error = keras.ops.convert_to_numpy(self.layer.kernel) - target
        return {
            "target rank": rank,
            "rank": self.layer.rank,
            "error": f"{np.linalg.norm(error) / np.linalg.norm(target):.1e}",
            "seconds": round(time.perf_counter() - since, 1),
        }


def measure(starts: list[int], seeds: list[int]) -> list[dict[str, Any]]:
    """One row for each training."""
    rows = []
    for seed in seeds:
        for start in starts:
            # The twentieth singular value of such a target is less than a tenth of it.
            for rank, tolerance in ((5, 0.1), (20, 0.05)):
                found = Student(start, tolerance, seed).learn(rank)
                rows.append({"start": start, "seed": seed, **found})
        student = Student(starts[0], 0.05, seed, targets=3)
        for rank in (5, 12, 5):
            found = student.learn(rank)
            rows.append({"start": f"changing, {starts[0]}", "seed": seed, **found})
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("benchmarks.teacher", __doc__)
    add_seeds(parser, [0, 1, 2])
    parser.add_argument(
        "--starts",
        type=whole(1, 40),
        nargs="+",
        default=list(_STARTS),
        help="ranks at the start",
    )
    options = parser.parse_args(argv)
    rows = measure(options.starts, options.seeds)
    print(reports.format_table(list(rows[0]), (map(str, row.values()) for row in rows)))
    reports.write_csv(RESULTS / "teacher.csv", rows)


if __name__ == "__main__":
    main()
