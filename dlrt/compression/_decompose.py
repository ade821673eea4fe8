"""Models whose kernels are trained as singular vectors and values."""

from typing import Any

import keras
import numpy as np

from dlrt.checks import is_number
from dlrt.compression._selected import check_finite, select_layers
from dlrt.compression.structures import make_structure
from dlrt.regularizers import Hoyer
from dlrt.regularizers.amount import check_amount
from dlrt.surgery.decomposed import DECOMPOSABLE, make_row, recompose
from dlrt.surgery.rebuild import rebuild
from dlrt.surgery.recurrent import project_recurrent, restore_recurrent
from dlrt.surgery.replacements import Layer, Replacement
from dlrt.surgery.selection import LayerFilter, check_built

# The structures that `recompose` can undo.
_STRUCTURES = ("pointwise", "separable")


def decompose(
    model: keras.Model,
    *,
    structure: str = "pointwise",
    layers: LayerFilter = None,
    orthogonality: float = 1.0,
    sparsity: Any = 0.1,
) -> keras.Model:
    """A copy of a model with kernels `U diag(s) Vᵀ` of full rank, to be made low-rank.

    Each layer becomes three in a row, with the kernels `U`, `s` (in a
    `dlrt.layers.SingularValues`) and `Vᵀ` of its singular value decomposition. Compile
    and train the copy as any model: regularizers keep the singular vectors orthonormal
    and drive singular values to zero. Then `dlrt.compress(model, "hoyer", budget)`
    keeps the largest of these. Yang et al., 2020, arXiv:2004.09031.

    `Dense`, `EinsumDense`, `Conv1D` and `Conv2D` layers are decomposed, both kernels of
    `LSTM`, `GRU` and `SimpleRNN` layers as `dlrt.compress` names them, and rows of such
    three layers once more, with exactly orthonormal vectors. `dlrt.to_dense` goes
    the other way. Factors have no regularizer of the kernel.

    Args:
        model: A built Sequential or functional Keras model; it is not changed.
        structure: How kernels are folded: `"pointwise"` or `"separable"`, see
            `dlrt.compress`.
        layers: Which layers: a regular expression or a list of names, matched in full,
            or a function of the layer. Defaults to all that can be.
        orthogonality: Factor of `dlrt.regularizers.Orthogonality` of `U` and `V`, at
            least 0.
        sparsity: Regularizer of `s`, `None` for none; or a number, at least 0, the
            factor of `dlrt.regularizers.Hoyer`.

    Returns:
        A new model with the same outputs, not compiled.

    Raises:
        ValueError: If an argument is out of range; the model is not built, can't be
            rebuilt or has weights that are not finite; or `layers` names one that can't
            be decomposed.

    Example:

    >>> model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10)])
    >>> decomposed = dlrt.decompose(model, sparsity=0.01)
    >>> [tuple(weight.shape) for weight in decomposed.weights]
    [(20, 10), (10,), (10, 10), (10,)]
    """
    if structure not in _STRUCTURES:
        raise ValueError(
            f"`structure` must be one of {list(_STRUCTURES)}. Received: "
            f"structure={structure!r}"
        )
    check_amount(orthogonality, "orthogonality")
    if is_number(sparsity):
        regularizer: Any = Hoyer(check_amount(float(sparsity), "sparsity"))
    else:
        regularizer = keras.regularizers.get(sparsity)
    check_built(model)
    check_finite(model.weights)
    model, layers = project_recurrent(recompose(model), layers)
    chosen = select_layers(model, layers)
    for layer in chosen:
        if not isinstance(layer, DECOMPOSABLE):
            raise ValueError(
                f"Layer {layer.name!r} of type {type(layer).__name__} can't be "
                "decomposed. Leave it out with `layers`."
            )
    new = {
        id(layer): _decompose_layer(layer, structure, orthogonality, regularizer)
        for layer in chosen
    }
    return restore_recurrent(rebuild(model, lambda layer: new.get(id(layer))))


def _decompose_layer(
    layer: Layer, structure: str, orthogonality: float, sparsity: Any
) -> Replacement:
    folded: Any = make_structure(structure, layer)
    (matrix,) = folded.fold()
    u, s, vt = np.linalg.svd(np.asarray(matrix, "float64"), full_matrices=False)
    pair = folded.build_layers([(u, vt)])
    first, second, *_ = pair.weights
    kernels = [first, s, second]
    return make_row(layer, pair.layer.layers, kernels, orthogonality, sparsity)
