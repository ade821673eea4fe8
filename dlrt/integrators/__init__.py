"""Integrators for matrix differential equations on the manifold of low-rank matrices.

| name | gradients a step | rank |
|---|---|---|
| `parallel_bug` | 1 | fixed or adaptive |
| `kls` | 2 | fixed |
| `augmented_bug` | 2 | fixed or adaptive |
| `projector_splitting` | 3 | fixed |
| `factorized` (the baseline without geometry) | 1 | fixed |

Your own integrator is a subclass of `Integrator` with `phases` and `update`, registered
by `register`. For its formulas use `dlrt.linalg` (`orthonormalize`, `complement`,
`reorthonormalize`, `polar_factor`) and, here, `augment`, `nearest_gauge`, `truncate`.
"""

from dlrt.integrators._augmentation import augment as augment
from dlrt.integrators._augmentation import nearest_gauge as nearest_gauge
from dlrt.integrators._augmentation import truncate as truncate
from dlrt.integrators._integrate import euler as euler
from dlrt.integrators._integrate import integrate as integrate
from dlrt.integrators._integrate import runge_kutta as runge_kutta
from dlrt.integrators._integrate import step as step
from dlrt.integrators.augmented_bug import AugmentedBUG as AugmentedBUG
from dlrt.integrators.base import Integrator as Integrator
from dlrt.integrators.base import Phase as Phase
from dlrt.integrators.base import Truncation as Truncation
from dlrt.integrators.base import Update as Update
from dlrt.integrators.base import get as get
from dlrt.integrators.base import names as names
from dlrt.integrators.base import register as register
from dlrt.integrators.base import serialize as serialize
from dlrt.integrators.factorized import Factorized as Factorized
from dlrt.integrators.kls import KLS as KLS
from dlrt.integrators.parallel_bug import ParallelBUG as ParallelBUG
from dlrt.integrators.projector_splitting import (
    ProjectorSplitting as ProjectorSplitting,
)
