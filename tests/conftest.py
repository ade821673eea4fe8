import gc
import re

import keras
import pytest

if keras.backend.backend() == "jax":
    import jax

    # Makes float64 available; what asks for float32 still gets it.
    jax.config.update("jax_enable_x64", True)

if keras.backend.backend() == "tensorflow":
    import tensorflow

    # What is compiled here runs for moments: optimizing it takes longer.
    tensorflow.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )


# Tracing makes many objects that stay, and looks through all of them again and again
# cost a tenth of the time.
gc.freeze()
gc.set_threshold(50_000)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(1)


def label(value):
    """An id for a parameter that is the same in every process."""
    text = str(sorted(value) if isinstance(value, set) else value)
    return re.sub(r" (object )?at 0x[0-9a-f]+", "", text)


def compiler():
    """What compiles a function of tensors on this backend."""
    if keras.backend.backend() == "jax":
        return jax.jit
    return tensorflow.function


@pytest.fixture
def compiled():
    return compiler()
