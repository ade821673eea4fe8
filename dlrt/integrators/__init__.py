"""Integrators for matrix differential equations on the manifold of low-rank matrices.

| name | gradients a step | rank |
|---|---|---|
| `parallel_bug` | 1 | fixed or adaptive |
| `kls` | 2 | fixed |
| `augmented_bug` | 2 | fixed or adaptive |
| `projector_splitting` | 3 | fixed |
| `factorized` (the baseline without geometry) | 1 | fixed |
"""

from dlrt.integrators._integrate import euler as euler
from dlrt.integrators._integrate import integrate as integrate
from dlrt.integrators._integrate import runge_kutta as runge_kutta
from dlrt.integrators._integrate import step as step
from dlrt.integrators._integrator import Integrator as Integrator
from dlrt.integrators._integrator import Phase as Phase
from dlrt.integrators._integrator import Truncation as Truncation
from dlrt.integrators._integrator import Update as Update
from dlrt.integrators._integrator import get as get
from dlrt.integrators._integrator import names as names
from dlrt.integrators._integrator import register as register
from dlrt.integrators._integrator import serialize as serialize
from dlrt.integrators.augmented_bug import AugmentedBUG as AugmentedBUG
from dlrt.integrators.factorized import Factorized as Factorized
from dlrt.integrators.kls import KLS as KLS
from dlrt.integrators.parallel_bug import ParallelBUG as ParallelBUG
from dlrt.integrators.projector_splitting import (
    ProjectorSplitting as ProjectorSplitting,
)
