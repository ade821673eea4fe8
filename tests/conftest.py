import keras
import pytest

if keras.backend.backend() == "jax":
    import jax

    # Makes float64 available; what asks for float32 still gets it.
    jax.config.update("jax_enable_x64", True)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(1)


def compiler():
    """What compiles a function of tensors on this backend."""
    if keras.backend.backend() == "jax":
        return jax.jit
    import tensorflow

    return tensorflow.function


@pytest.fixture
def compiled():
    return compiler()
