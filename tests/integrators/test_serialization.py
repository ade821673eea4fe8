"""Integrators of one's own in saved models."""

import keras
import numpy as np
import pytest
from conftest import EAGER

import dlrt
from dlrt import integrators


class Damped(integrators.ParallelBUG):
    """Known to nobody."""

    name = "damped"

    def __init__(self, factor=0.5):
        self.factor = factor

    def get_config(self):
        return {"factor": self.factor}


@keras.saving.register_keras_serializable(package="tests")
class Registered(Damped):
    name = "registered"


class Forgetful(Damped):
    def get_config(self):
        return {}


class Demanding(Damped):
    def __init__(self, factor):
        super().__init__(factor)

    def get_config(self):
        return {}


class Unserializable(Damped):
    def get_config(self):
        return {"factor": object()}


class Unknowing(Damped):
    def get_config(self):
        return {"factor": self.factor, "more": 1}


def model_with(integrator):
    x = keras.Input((4,))
    y = dlrt.layers.LowRankDense(3, rank=2)(x)
    model = dlrt.Model(x, y)
    optimizer = dlrt.optimizers.LowRank(keras.optimizers.SGD(0.1), integrator)
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize(
    "integrator, custom_objects",
    [
        (Registered(0.25), None),
        (Damped(0.25), {"Damped": Damped}),
        (integrators.get("kls"), None),
    ],
    ids=["registered", "custom_objects", "built-in"],
)
def test_a_saved_model_has_its_integrator(integrator, custom_objects, tmp_path):
    model_with(integrator).save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras", custom_objects)
    found = restored.optimizer.integrator
    assert type(found) is type(integrator)
    assert vars(found) == vars(integrator)
    restored.run_eagerly = EAGER
    restored.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)


def test_a_class_that_is_unknown_when_a_model_is_loaded(tmp_path):
    model_with(Damped()).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="`integrator` .*custom_objects.*Damped"):
        keras.saving.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("cls", [Forgetful, Demanding, Unserializable, Unknowing])
def test_what_would_not_come_back_is_refused_when_it_is_saved(cls, tmp_path):
    with pytest.raises(ValueError, match=f"`get_config` of {cls.__name__} must return"):
        model_with(cls(0.25)).save(tmp_path / "model.keras")


def test_optimizers_have_been_saved_with_the_name_of_the_integrator():
    optimizer = dlrt.optimizers.LowRank(keras.optimizers.SGD(0.1), "augmented_bug")
    config = {**optimizer.get_config(), "integrator": "augmented_bug"}
    restored = dlrt.optimizers.LowRank.from_config(config)
    assert restored.integrator is optimizer.integrator
