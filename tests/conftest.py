import functools
import gc
import os
import re
import resource
from pathlib import Path

import hypothesis

# Where TensorFlow leaves this off, by the kind of processor, it has no convolutions of
# channels that come first.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import pytest

from dlrt.phrases import generate

if keras.backend.backend() == "jax":
    import jax
    from keras.src.backend.jax import random as jax_random
    from keras.src.backend.jax.core import Variable as _Variable

    # Makes float64 available; what asks for float32 still gets it.
    jax.config.update("jax_enable_x64", True)

    def _on_device(values, dtype):
        """An array of NumPy as one of JAX: given its type, nothing is compiled."""
        return jax.numpy.asarray(values.astype(dtype), dtype=dtype)

    def _drawn_by_numpy(name, draw):
        """A function of Keras that draws, without compiling where it is not traced.

        JAX compiles a program for every shape that is drawn, and tests draw the
        weights of models in hundreds of shapes: this took most of their time.
        """
        of_keras = getattr(jax_random, name)

        def drawn(shape, *bounds, dtype=None, seed=None, **named):
            key = jax_random.jax_draw_seed(seed)
            if isinstance(key, jax.core.Tracer):
                return of_keras(shape, *bounds, dtype=dtype, seed=key, **named)
            rng = np.random.default_rng(np.asarray(key))
            values = draw(rng, shape, *bounds, **named)
            return _on_device(values, dtype or keras.config.floatx())

        setattr(jax_random, name, drawn)

    def _uniform(rng, shape, minval=0.0, maxval=1.0):
        return rng.uniform(minval, maxval, shape)

    def _normal(rng, shape, mean=0.0, stddev=1.0):
        return mean + stddev * rng.standard_normal(shape)

    _drawn_by_numpy("uniform", _uniform)
    _drawn_by_numpy("normal", _normal)

    def _assigned(variable, value, dtype=None, of_keras=_Variable._convert_to_tensor):
        # JAX compiles a program for every shape that changes its type, too.
        if isinstance(value, np.ndarray) and dtype is not None:
            return _on_device(value, dtype)
        return of_keras(variable, value, dtype)

    _Variable._convert_to_tensor = _assigned

if keras.backend.backend() == "tensorflow":
    import tensorflow

    # What is compiled here runs for moments: optimizing it takes longer.
    tensorflow.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )


SLOW = pytest.mark.slow


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="also what is marked slow")
    parser.addoption(
        "--full-size",
        action="store_true",
        help="only what is marked full_size: tests that take minutes each",
    )


# Whether tests of a few steps take them eagerly, as tracing takes longer than these.
# On JAX every operation would be compiled by itself.
EAGER = keras.backend.backend() == "tensorflow"


# What is drawn for a property is the same every time.
for name, most in (("quick", 20), ("all", 300)):
    hypothesis.settings.register_profile(
        name, derandomize=True, max_examples=most, deadline=None
    )


def pytest_configure(config):
    profile = "all" if config.getoption("--all") else "quick"
    hypothesis.settings.load_profile(profile)


# After those that `-m` and `-k` leave out.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    full_size = config.getoption("--full-size")
    slow = full_size or config.getoption("--all")

    def wanted(item):
        right_size = ("full_size" in item.keywords) == full_size
        return right_size and (slow or "slow" not in item.keywords)

    kept = [item for item in items if wanted(item)]
    if keras.backend.backend() != "tensorflow" and not slow:
        kept = ends_of_parameters(kept)
    left_out = set(items) - set(kept)
    items[:] = kept
    config.hook.pytest_deselected(items=list(left_out))


def ends_of_parameters(items):
    """The first and the last case of every test.

    Where backends differ, they do so in one case as in the next: what cases there are
    is a matter of the quick tests on TensorFlow.
    """
    cases = {}
    for item in items:
        cases.setdefault(item.nodeid.split("[")[0], []).append(item)
    ends = {item for several in cases.values() for item in (several[0], several[-1])}
    return [item for item in items if item in ends]


def slow(*cases):
    """Cases of a parameter that run with --all alone; a tuple is several parameters."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=SLOW)
        for case in cases
    ]


# Tracing makes many objects that stay, and looks through all of them again and again
# cost a tenth of the time.
gc.freeze()
gc.set_threshold(50_000)


def pytest_runtest_teardown(item, nextitem):
    """Lets go of the models of a module, and of what is compiled if there is much."""
    if nextitem is not None and nextitem.path == item.path:
        return
    keras.utils.clear_session(free_memory=False)
    gc.collect()
    if keras.backend.backend() == "jax" and resident_memory() > 2 * 2**30:
        jax.clear_caches()


def resident_memory():
    """Bytes in use by this process, where Linux tells."""
    path = Path("/proc/self/statm")
    if not path.exists():
        return 0
    return int(path.read_text().split()[1]) * resource.getpagesize()


def pytest_sessionfinish(session):
    """A process of pytest-xdist tells the one that started it its largest memory."""
    if hasattr(session.config, "workeroutput"):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        session.config.workeroutput["peak"] = usage.ru_maxrss


peaks = []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    peaks.append(getattr(node, "workeroutput", {}).get("peak", 0))


def pytest_terminal_summary(terminalreporter):
    if peaks:
        most = ", ".join(f"{peak / 2**20:.1f}" for peak in sorted(peaks))
        terminalreporter.write_line(f"Largest memory of each process in GB: {most}")


# 62,000 pairs, the same at every call, take seconds.
generate.generate_parts = functools.cache(generate.generate_parts)


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


def as_program(function):
    """The function; on JAX compiled as one, not one operation after the other."""
    return jax.jit(function) if keras.backend.backend() == "jax" else function
