"""What kernels are decomposed into, one module for each structure."""

from dlrt.compression.structures._structure import Choice as Choice
from dlrt.compression.structures._structure import Structure as Structure
from dlrt.compression.structures._structure import make_structure as make_structure
from dlrt.compression.structures._structure import (
    register_structure as register_structure,
)
from dlrt.compression.structures._structure import structure_names as structure_names
from dlrt.compression.structures.cp import CP as CP
from dlrt.compression.structures.folded import Folded as Folded
from dlrt.compression.structures.grouped import Grouped as Grouped
from dlrt.compression.structures.manifold import Manifold as Manifold
from dlrt.compression.structures.pointwise import Pointwise as Pointwise
from dlrt.compression.structures.separable import Separable as Separable
from dlrt.compression.structures.tucker import Tucker as Tucker
