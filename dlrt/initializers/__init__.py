"""Initial values of low-rank layers."""

from dlrt.initializers.dense_spectrum import DenseSpectrum as DenseSpectrum
