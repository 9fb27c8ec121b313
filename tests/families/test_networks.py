"""Networks against a forward pass in NumPy, and what training alone does."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

import kullback as kl
from kullback.errors import InputError
from kullback.families.networks import InputSizes, network_from_spec, sized_network

OPTIONS = [
    {},
    {"residual": True},
    {"normalization": "layer"},
    {"residual": True, "normalization": "layer", "dropout": 0.2},
]


def drawn(network, rng):
    """Parameters of a network, none of them 0 or 1."""
    return jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), network.init(rng))


def forward(layers, x, residual, normalization):
    """The network in NumPy, with silu."""
    for layer in layers[:-1]:
        new = x @ layer["weight"] + layer["bias"]
        if normalization:
            mean, variance = new.mean(1, keepdims=True), new.var(1, keepdims=True)
            new = (new - mean) / np.sqrt(variance + 1e-5) * layer["gain"] + layer["shift"]
        new = new * expit(new)
        x = x + new if residual and new.shape == x.shape else new
    return x @ layers[-1]["weight"] + layers[-1]["bias"]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_forward_pass_is_that_of_numpy(options, rng):
    network = kl.MLP(hidden=(5, 5, 4), **options).sized(InputSizes((3,)), 2)
    params, x = drawn(network, rng), rng.normal(size=(7, 3))
    want = forward(params, x, options.get("residual"), options.get("normalization"))
    with jax.enable_x64(True):
        np.testing.assert_allclose(network.apply(params, jnp.asarray(x)), want, rtol=1e-12)
    again = network_from_spec(network.spec(), None)
    assert again == network


def slopes_of_rectified(layers, x, cotangent):
    """By hand: the gradients of Σ cotangent · output for a network of one hidden layer of rectified units."""
    (first, last), inner = layers, x @ layers[0]["weight"] + layers[0]["bias"]
    outer = np.maximum(inner, 0.0)
    back = (cotangent @ last["weight"].T) * (inner > 0)
    of = lambda rows, g: {"weight": rows.T @ g, "bias": g.sum(0)}  # noqa: E731
    return [of(x, back), of(outer, cotangent)], back @ first["weight"].T


@pytest.mark.parametrize("outputs", [1, 2, 32, 33])
def test_slopes_of_rectified_networks_are_those_of_numpy_in_both_modes(outputs, rng):
    network = kl.MLP(hidden=(6,), activation="relu").sized(InputSizes((3,)), outputs)
    params, x, cotangent = drawn(network, rng), rng.normal(size=(9, 3)), rng.normal(size=(9, outputs))
    x[0], params[0]["bias"][:2] = 0.0, 0.0  # a unit at the very kink, whose slope counts as 0
    want = slopes_of_rectified(params, x, cotangent)
    with jax.enable_x64(True):
        at = jax.tree.map(jnp.asarray, (params, x))
        got = jax.vjp(network.apply, *at)[1](jnp.asarray(cotangent))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13), got, want)
        along = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), at)
        forward = jnp.vdot(jax.jvp(network.apply, at, along)[1], cotangent)
        leaves = zip(*map(jax.tree.leaves, (along, want)), strict=True)
        np.testing.assert_allclose(forward, sum(np.vdot(a, b) for a, b in leaves), rtol=1e-12)
        stacked = jax.tree.map(lambda a: jnp.stack([a, 2.0 * a]), at)
        np.testing.assert_allclose(jax.vmap(network.apply)(*stacked)[0], network.apply(*at), rtol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weights_are_penalized_and_biases_gains_and_shifts_are_not(options, rng):
    network = kl.MLP(hidden=(5, 4), **options).sized(InputSizes((3,)), 2)
    assert [w.shape for w in network.penalized(network.init(rng))] == [(3, 5), (5, 4), (4, 2)]


def test_dropout_zeroes_a_share_and_scales_the_rest_in_training_alone(rng, key):
    network = kl.MLP(hidden=(50,), activation="relu", dropout=0.3).sized(InputSizes((2,)), 50)
    (first, _), x = drawn(network, rng), rng.normal(size=(200, 2))
    params = [first, {"weight": np.eye(50), "bias": np.zeros(50)}]
    kept = np.asarray(network.apply(params, jnp.asarray(x)))
    dropped = np.asarray(network.apply(params, jnp.asarray(x), key))
    np.testing.assert_allclose(kept, np.maximum(x @ first["weight"] + first["bias"], 0), rtol=1e-4, atol=1e-5)
    active = kept > 0
    zero = active & (dropped == 0)
    np.testing.assert_allclose(dropped[active & ~zero], kept[active & ~zero] / 0.7, rtol=1e-5)
    # A false alarm in 10⁹ runs.
    low, high = stats.binom(active.sum(), 0.3).ppf([5e-10, 1 - 5e-10])
    assert low <= zero.sum() <= high
    assert network.stochastic
    assert not kl.MLP().sized(InputSizes((2,)), 1).stochastic


def test_outputs_start_near_zero_however_deep(rng):
    for options in OPTIONS:
        network = kl.MLP(hidden=(32,) * 8, **options).sized(InputSizes((4,)), 3)
        outputs = np.asarray(network.apply(network.init(rng), jnp.asarray(rng.normal(size=(50, 4)))))
        assert 0 < np.abs(outputs).max() < 0.5


class Dropping(eqx.Module):
    """A module with dropout, whose call needs a key in training."""

    linear: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __init__(self, key):
        self.linear, self.dropout = eqx.nn.Linear(3, 2, key=key), eqx.nn.Dropout(0.5)

    def __call__(self, x, *, key):
        return self.dropout(self.linear(x), key=key)


def test_a_module_gets_a_key_in_training_and_is_at_rest_otherwise(rng, key):
    module = Dropping(key)
    network = sized_network(module, InputSizes((3,)), 2)
    params, x = network.init(rng), jnp.asarray(rng.normal(size=(40, 3)), jnp.float32)
    want = np.asarray(x) @ np.asarray(module.linear.weight).T + np.asarray(module.linear.bias)
    np.testing.assert_allclose(network.apply(params, x), want, rtol=1e-5, atol=1e-6)
    trained = np.asarray(network.apply(params, x, key))
    dropped = trained == 0
    np.testing.assert_allclose(trained[~dropped], 2 * want[~dropped], rtol=1e-5, atol=1e-6)
    # 80 entries: a false alarm in 10⁹ runs.
    assert 12 <= dropped.sum() <= 68
    assert network.stochastic
    assert [w.shape for w in network.penalized(params)] == [(2, 3)]
    assert network_from_spec(network.spec(), module) == network


def test_a_module_without_dropout_is_not_stochastic(rng, key):
    network = sized_network(eqx.nn.MLP(3, 2, 4, 1, key=key), InputSizes((3,)), 2)
    assert not network.stochastic
    first, other = network.init(rng), network.init(rng, 1)
    for a, b in zip(network.penalized(first), network.penalized(other), strict=True):
        assert not np.array_equal(a, b)
        np.testing.assert_array_equal(np.sort(a, None), np.sort(b, None))


@pytest.mark.parametrize("hidden", [(), (6,), (5, 4)])
def test_labels_enter_dense_layers_one_hot(hidden, rng):
    """Value and gradient of the product with the matrix, a label without a row included."""
    labels = np.array([3, 0, 4, 4, 7])
    by_label = sized_network(kl.MLP(hidden=hidden), InputSizes((), 5), 2)
    one_hot = sized_network(kl.MLP(hidden=hidden), InputSizes((5,), None), 2)
    params, out = drawn(by_label, rng), rng.normal(size=(len(labels), 2))
    given = (labels[:, None] == np.arange(5)).astype(np.float32)
    for a, b in zip(
        jax.tree.leaves(jax.vjp(lambda w: by_label.apply(w, labels), params)[1](out.astype(np.float32))),
        jax.tree.leaves(jax.vjp(lambda w: one_hot.apply(w, given), params)[1](out.astype(np.float32))),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_label.apply(params, labels), one_hot.apply(params, given), rtol=1e-5, atol=1e-6)


def test_labels_enter_a_module_one_hot(rng, key):
    module = eqx.nn.Linear(4, 2, key=key)
    network = sized_network(module, InputSizes((), 4), 2)
    outputs = network.apply(network.init(rng), np.array([2, 0]))
    np.testing.assert_allclose(outputs, np.asarray(module.weight).T[[2, 0]] + np.asarray(module.bias), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hidden": 64}, "hidden"),
        ({"residual": "yes"}, "residual"),
        ({"normalization": "batch"}, "normalization"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": "some"}, "dropout"),
    ],
)
def test_bad_options_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        kl.MLP(**options)


def test_names_say_the_options():
    assert str(kl.MLP()) == "MLP(64, 64)"
    assert str(kl.MLP((8,), residual=True, normalization="layer", dropout=0.1)) == (
        "MLP(8, residual, layer norm, dropout 0.1)"
    )
