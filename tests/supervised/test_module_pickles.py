"""Estimators with an Equinox network survive pickle, joblib and copies; those with ours also a saver of plain data."""

import copy
import io
import pickle
import subprocess
import sys
from enum import Enum

import equinox as eqx
import jax
import joblib
import numpy as np
import pytest

import kullback as kl
from kullback.errors import InputError
from kullback.result import Status


class Own(eqx.Module):
    first: eqx.nn.Linear
    last: eqx.nn.Linear
    width: int = eqx.field(static=True)

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.first, self.last, self.width = eqx.nn.Linear(3, 8, key=one), eqx.nn.Linear(8, 2, key=two), 8

    def __call__(self, x, key=None):
        return self.last(jax.nn.tanh(self.first(x)))


def chain(key):
    one, two = jax.random.split(key)
    activation, dropout = eqx.nn.Lambda(jax.nn.relu), eqx.nn.Dropout(0.1)
    return eqx.nn.Sequential([eqx.nn.Linear(3, 8, key=one), activation, dropout, eqx.nn.Linear(8, 2, key=two)])


NETWORKS = {
    "multilayer perceptron": lambda key: eqx.nn.MLP(3, 2, 8, 1, key=key),
    "a lambda": lambda key: eqx.nn.MLP(3, 2, 8, 1, activation=lambda z: z * jax.nn.sigmoid(z), key=key),
    "of the user's own": Own,
    "chain with dropout": chain,
}


def by_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


COPIES = {"pickle": lambda m: pickle.loads(pickle.dumps(m)), "joblib": by_joblib, "deepcopy": copy.deepcopy}


@pytest.fixture(scope="module", params=NETWORKS)
def model(request):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    network = NETWORKS[request.param](jax.random.key(0))
    return kl.KLRegressor(network=network, steps=5, random_state=0).fit(x, x[:, 0]), x


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_predicts_the_same_and_goes_on(model, way):
    model, x = model
    other = COPIES[way](model)
    np.testing.assert_array_equal(other.predict(x), model.predict(x))
    np.testing.assert_array_equal(COPIES[way](model.q_)(x).loc, model.q_(x).loc)
    other.partial_fit(x, x[:, 1])
    assert not np.array_equal(other.predict(x), model.predict(x))
    assert other.fit(x, x[:, 0]).predict(x) == pytest.approx(model.predict(x), rel=1e-5, abs=1e-6)


def test_another_process_predicts_the_same(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    model = kl.KLRegressor(network=chain(jax.random.key(0)), steps=5, random_state=0).fit(x, x[:, 0])
    (tmp_path / "model").write_bytes(pickle.dumps((model, x)))
    code = "import pickle, sys; m, x = pickle.load(open(sys.argv[1], 'rb')); print(m.predict(x).tobytes().hex())"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "model"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == model.predict(x).tobytes().hex()


def parts(state):
    """Everything in a state: through mappings, sequences and states of objects of ours, as skops goes through it."""
    yield state
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, tuple | list) else ()
    if type(state).__module__.startswith("kullback") and not isinstance(state, type):
        inner = [state.__getstate__()]
    for part in inner:
        yield from parts(part)


def test_the_state_is_plain_data(rng):
    """skops takes arrays, numbers, text, classes and objects by their state; it cannot build members of an Enum."""
    x = rng.normal(size=(64, 3))
    model = kl.KLRegressor(steps=5, random_state=0).fit(x, x[:, 0])
    for part in parts(model.__getstate__()):
        assert not isinstance(part, Enum)
        assert isinstance(part, type) or not callable(part) or type(part).__module__.startswith("kullback")
    assert COPIES["pickle"](model).fit_.status is Status.STEP_LIMIT


def test_a_saver_of_data_alone_is_told_that_a_module_is_code(model):
    for kept in (model[0].q_.structure.network, model[0].__getstate__()["network"]):
        with pytest.raises(InputError, match=r"network: an Equinox module is code.* kl.load\(path, network=\)"):
            kept.__getstate__()
