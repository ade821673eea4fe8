"""dlrt: dynamical low-rank training for Keras."""

from importlib import metadata

from dlrt import accounting as accounting
from dlrt import callbacks as callbacks
from dlrt import compression as compression
from dlrt import datasets as datasets
from dlrt import evolution as evolution
from dlrt import initializers as initializers
from dlrt import integrators as integrators
from dlrt import layers as layers
from dlrt import linalg as linalg
from dlrt import optimizers as optimizers
from dlrt import regularizers as regularizers
from dlrt import surgery as surgery
from dlrt.compression import compress as compress
from dlrt.compression import decompose as decompose
from dlrt.factors import Factors as Factors
from dlrt.surgery.bases import align_bases as align_bases
from dlrt.surgery.convert import convert as convert
from dlrt.surgery.convert import merge as merge
from dlrt.surgery.convert import to_dense as to_dense
from dlrt.surgery.export import export as export
from dlrt.training.model import Model as Model
from dlrt.training.resize import compact as compact
from dlrt.training.resize import resize as resize

try:
    __version__ = metadata.version("dlrt")
except metadata.PackageNotFoundError:
    # A checkout that is used without having been installed.
    __version__ = "0.1.0"
