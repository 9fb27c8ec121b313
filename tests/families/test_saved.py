"""Fits survive a file; strangers' files do no harm; a fit can be made learnable again."""

import pickle

import equinox as eqx
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import FileError, InputError
from kullback.families.tempered import TemperedLogits


@pytest.fixture
def data(rng):
    x = rng.normal(size=(200, 2))
    return x, (x[:, 0] + rng.normal(size=200) > 0).astype(int)


def test_a_distribution_survives(tmp_path, data):
    fit = kl.KL(data[0], kl.Family(dist.MultivariateNormal)).minimize()
    fit.save(tmp_path / "fit")
    again = kl.load(tmp_path / "fit")
    np.testing.assert_array_equal(again.q.log_prob(data[0]), fit.q.log_prob(data[0]))
    assert again.objective.value == fit.objective.value
    assert again.status is fit.status
    assert dict(again.diagnostics) == dict(fit.diagnostics)
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "fit").read_bytes()


def test_a_conditional_survives_and_pickles(tmp_path, data):
    fit = kl.KL(kl.Pairs(*data), kl.Conditional(kl.Linear(), dist.Categorical)).minimize()
    fit.save(tmp_path / "fit")
    want = fit.q(data[0]).probs
    np.testing.assert_array_equal(kl.load(tmp_path / "fit").q(data[0]).probs, want)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fit.q))(data[0]).probs, want)


def test_a_mixture_survives(tmp_path, data):
    fit = kl.KL(data[0], kl.Mixture(kl.Family(dist.Normal), 2)).minimize()
    fit.save(tmp_path / "fit")
    np.testing.assert_array_equal(kl.load(tmp_path / "fit").q.log_prob(data[0]), fit.q.log_prob(data[0]))


def test_an_equinox_module_must_be_given_again(tmp_path, data, key):
    net = eqx.nn.MLP(2, 2, 4, 1, key=key)
    fit = kl.KL(kl.Pairs(*data), kl.Conditional(net, dist.Categorical)).minimize()
    fit.save(tmp_path / "fit")
    with pytest.raises(InputError, match="network="):
        kl.load(tmp_path / "fit")
    again = kl.load(tmp_path / "fit", network=net)
    np.testing.assert_array_equal(again.q(data[0]).probs, fit.q(data[0]).probs)


@pytest.mark.parametrize("content", [b"", b"not a file of ours", b"\x80\x04\x95"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "fit"
    path.write_bytes(content)
    with pytest.raises(FileError, match="path"):
        kl.load(path)


def test_a_missing_file_and_a_missing_folder_are_refused(tmp_path, data):
    with pytest.raises(FileError, match="no file"):
        kl.load(tmp_path / "none")
    fit = kl.KL(data[0], kl.Family(dist.Normal)).minimize()
    with pytest.raises(FileError, match="folder"):
        fit.save(tmp_path / "none" / "fit")


def test_a_failed_save_leaves_the_old_file_whole(tmp_path, data, monkeypatch):
    fit = kl.KL(data[0], kl.Family(dist.Normal)).minimize()
    fit.save(tmp_path / "fit")
    before = (tmp_path / "fit").read_bytes()

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="full"):
        fit.save(tmp_path / "fit")
    assert (tmp_path / "fit").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["fit"]


def test_a_class_of_the_users_own_is_refused_at_save(tmp_path):
    class Mine(dist.Normal):
        pass

    fit = kl.KL(np.arange(5.0), kl.Family(Mine)).minimize()
    with pytest.raises(FileError, match="file can hold"):
        fit.save(tmp_path / "fit")


@pytest.mark.parametrize("members", [1, 2])
def test_a_tempered_conditional_survives(tmp_path, data, members):
    side = kl.Conditional(kl.Linear(), dist.Categorical, ensemble=members)
    q = kl.KL(kl.Pairs(*data), side).minimize(rule="maximum likelihood").q
    fit = kl.KL(kl.Pairs(*data), kl.Tempered(q.tempered(0.25))).minimize()  # back to about 1
    assert 0.5 < float(fit.q.fixed["temperature"]) < 2.0
    fit.save(tmp_path / "fit")
    again = kl.load(tmp_path / "fit")
    np.testing.assert_array_equal(again.q(data[0]).logits, fit.q(data[0]).logits)
    assert not np.allclose(again.q(data[0]).logits, q.tempered(0.25)(data[0]).logits)
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "fit").read_bytes()
    with pytest.raises(InputError, match=r"^q: a tempered conditional cannot be made learnable; pass the one"):
        kl.learnable(again.q)


def test_a_temperature_by_itself_is_refused_at_save(tmp_path, rng):
    fit = kl.KL(kl.Pairs(rng.normal(size=(50, 2)), rng.integers(0, 2, 50)), TemperedLogits()).minimize()
    with pytest.raises(FileError, match="file can hold"):
        fit.save(tmp_path / "fit")


def test_learnable_starts_where_the_fit_stands(data):
    fit = kl.KL(kl.Pairs(*data), kl.Conditional(kl.Linear(), dist.Categorical)).minimize()
    again = kl.KL(kl.Pairs(*data), kl.learnable(fit.q)).minimize(steps=1, rule="maximum likelihood")
    assert abs(again.objective.value - fit.objective.value) < 1e-5
    mixture = kl.KL(data[0], kl.Mixture(kl.Family(dist.Normal), 2)).minimize()
    once = kl.KL(data[0], kl.learnable(mixture.q)).minimize(steps=1, rule="maximum likelihood")
    assert once.objective.value < mixture.objective.value + 1e-5


def test_learnable_refuses_what_it_cannot_take_apart():
    with pytest.raises(InputError, match="cannot be made learnable"):
        kl.learnable(3)
