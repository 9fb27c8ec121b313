"""A teacher's answers instead of labels: forward and reverse KL, label smoothing, temperature, in batches."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import log_softmax, rel_entr, softmax

import kullback as kl
from kullback.errors import InputError

ROWS, CLASSES = 300, 3
HELD = 2  # the stream of random numbers that says which rows are held out
STUDENT = kl.Conditional(kl.MLP(hidden=(8,)), dist.Categorical)


@pytest.fixture
def teacher(rng):
    x = rng.normal(size=(ROWS, 2))
    return x, softmax(2 * x @ rng.normal(size=(2, CLASSES)), axis=1)


def answers(fit, x):
    """q(y∣x) from the numbers that a file holds, in double and without our code."""
    first, last = ({name: np.asarray(value, np.float64) for name, value in layer.items()} for layer in fit.q.free)
    fixed = {name: np.asarray(fit.q.fixed[name], np.float64) for name in ("x_mean", "x_scale", "gain", "offset")}
    hidden = (x - fixed["x_mean"]) / fixed["x_scale"] @ first["weight"] + first["bias"]
    hidden = hidden / (1 + np.exp(-hidden))
    return softmax(fixed["offset"] + fixed["gain"] * (hidden @ last["weight"] + last["bias"]), axis=1)


def held_out(seed=0):
    """Rows held out, rows trained on: 50 where a tenth is fewer, by NumPy's generator."""
    rows = np.random.default_rng([seed, HELD]).permutation(ROWS)
    return rows[:50], rows[50:]


def check(fit, x, divergence, weights=None):
    weights = np.ones(ROWS) if weights is None else weights
    q = answers(fit, x)
    for rows, name in zip(held_out(), ("heldout_kl", "train_kl"), strict=True):
        want = np.average(divergence(q)[rows], weights=weights[rows])
        np.testing.assert_allclose(fit.diagnostics[name], want, rtol=1e-4, atol=1e-7)


def test_forward(teacher):
    x, p = teacher
    fit = kl.KL(kl.Pairs(x, dist.Categorical(probs=p)), STUDENT).minimize(rule="minibatches", steps=600)
    check(fit, x, lambda q: rel_entr(p, q).sum(1))
    uniform = rel_entr(p, np.full_like(p, 1 / CLASSES)).sum(1).mean()
    assert fit.diagnostics["heldout_kl"] < 0.1 * uniform


def test_reverse_to_another_fit(teacher, rng):
    x, p = teacher
    labels = np.array([rng.choice(CLASSES, p=row) for row in p])
    linear = kl.KL(kl.Pairs(x, labels), kl.Conditional(kl.Linear(), dist.Categorical)).minimize()
    fit = kl.KL(STUDENT, linear.q.on(x)).minimize(rule="reverse minibatches", steps=600)
    target = softmax(np.asarray(linear.q(x).logits, np.float64), axis=1)
    check(fit, x, lambda q: rel_entr(q, target).sum(1))
    uniform = rel_entr(np.full_like(target, 1 / CLASSES), target).sum(1).mean()
    assert fit.diagnostics["heldout_kl"] < 0.1 * uniform


def test_weights_count_inputs(teacher, rng):
    x, p = teacher
    weights = rng.uniform(0.1, 3.0, ROWS)
    pairs = kl.Pairs(x, dist.Categorical(probs=p), weights)
    fit = kl.KL(pairs, STUDENT).minimize(rule="minibatches", steps=300)
    check(fit, x, lambda q: rel_entr(p, q).sum(1), weights)


def test_smoothed_labels_are_cross_entropy_less_the_entropy_of_the_smoothed(teacher, rng):
    x, p = teacher
    hard = np.eye(CLASSES)[p.argmax(1)]
    smooth = 0.9 * hard + 0.1 / CLASSES
    fit = kl.KL(kl.Pairs(x, dist.Categorical(probs=smooth)), STUDENT).minimize(rule="minibatches", steps=300)
    entropy = -(smooth * np.log(smooth)).sum(1)
    check(fit, x, lambda q: -(smooth * np.log(q)).sum(1) - entropy)


def test_a_teacher_in_chunks_gives_the_same_students(teacher):
    x, p = teacher
    student = kl.Conditional(kl.MLP(hidden=(8,)), dist.Categorical, ensemble=2)
    whole, chunked = (
        kl.KL(kl.Pairs(x, dist.Categorical(probs=p)), student).minimize(
            rule=kl.rules.Minibatches(memory=memory), steps=60
        )
        for memory in (None, 4096)
    )
    for a, b in zip(jax.tree.leaves(whole.q.free), jax.tree.leaves(chunked.q.free), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(chunked.diagnostics["train_kl"], whole.diagnostics["train_kl"], rtol=1e-5)


def test_normal_answers_are_matched_in_either_direction(rng):
    """The teacher is within the student's reach, so both divergences come near 0 and the parameters agree."""
    x = rng.normal(size=(ROWS, 2))
    loc, scale = x[:, 0], np.full(ROWS, 0.5)
    student = kl.Conditional(kl.Linear(), dist.Normal)
    pairs = kl.Pairs(x, dist.Normal(loc, scale))
    settings = {"rate": 0.03, "patience": 10}
    forward = kl.KL(pairs, student).minimize(rule=kl.rules.Minibatches(**settings), tolerance=1e-7)
    reverse = kl.KL(student, pairs).minimize(rule=kl.rules.ReverseMinibatches(**settings), tolerance=1e-7)
    for fit in (forward, reverse):
        assert 0 <= fit.diagnostics["train_kl"] < 1e-4
        np.testing.assert_allclose(fit.q(x).loc, loc, atol=0.03)
        np.testing.assert_allclose(fit.q(x).scale, scale, atol=0.03)


def test_a_temperature_divides_the_logits(teacher, rng):
    x, p = teacher
    fit = kl.KL(kl.Pairs(x, p.argmax(1)), STUDENT).minimize(steps=100)
    for temperature in (0.5, 3.0):
        want = softmax(np.log(answers(fit, x)) / temperature, axis=1)
        np.testing.assert_allclose(softmax(fit.q.tempered(temperature)(x).logits, axis=1), want, rtol=1e-4)
    soft = fit.q.tempered(4.0).on(x)
    student = kl.KL(soft, STUDENT).minimize(rule="minibatches", steps=300)
    target = softmax(log_softmax(np.log(answers(fit, x)) / 4.0, axis=1), axis=1)
    check(student, x, lambda q: rel_entr(target, q).sum(1))
    assert fit.q.tempered(2.0).tempered(2.0).fixed["temperature"] == 4.0
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="positive number"):
            fit.q.tempered(bad)


def test_what_has_no_logits_has_no_temperature(rng):
    x = rng.normal(size=(40, 2))
    fit = kl.KL(kl.Pairs(x, x[:, 0]), kl.Conditional(kl.Linear(), dist.Normal, scale=1.0)).minimize()
    with pytest.raises(InputError, match="no logits to temper"):
        fit.q.tempered(2.0)
