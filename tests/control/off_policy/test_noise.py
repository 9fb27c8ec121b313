"""Correlated noise: standard normal at every step, correlated as it says, and choices that have the policy's law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kullback.control.off_policy.noise import PINK, WHITE, Noise, gumbel, noise_of
from kullback.errors import InputError

LANES, STEPS = 4_000, 60


def played(noise, key, shape=(LANES,), steps=STEPS):
    """The noise at successive steps [steps, *shape]."""
    start_key, key = jax.random.split(key)
    keys = jax.random.split(key, steps)
    return np.asarray(jax.lax.scan(noise.next, noise.start(start_key, shape), keys)[1])


@pytest.mark.parametrize("noise", [WHITE, PINK, Noise((0.9,))], ids=["white", "pink", "ten steps"])
def test_each_step_is_standard_normal(noise, precision):
    z = played(noise, jax.random.key(0))
    assert z.dtype == precision
    # Of 60 × 3 numbers each within 4.5 standard errors: false alarms 1 in 1,000.
    assert np.abs(z.mean(1)).max() < 4.5 / np.sqrt(LANES)
    assert np.abs(z.var(1) - 1.0).max() < 4.5 * np.sqrt(2.0 / LANES)
    assert np.abs((np.abs(z) < 0.6744897501960817).mean(1) - 0.5).max() < 4.5 * 0.5 / np.sqrt(LANES)


@pytest.mark.parametrize("noise", [WHITE, PINK, Noise((0.9,))], ids=["white", "pink", "ten steps"])
@pytest.mark.parametrize("lag", [1, 7, 40])
def test_steps_are_correlated_as_it_says(noise, lag):
    z = played(noise, jax.random.key(1))
    found = (z[0] * z[lag]).mean()
    # The product of two standard normals has a variance of at most 2: within 4.5 standard errors, 7 in a million.
    assert abs(found - np.mean(np.array(noise.persistence) ** lag)) < 4.5 * np.sqrt(2.0 / LANES)


def test_pink_falls_as_one_over_the_frequency():
    z = played(PINK, jax.random.key(2), (200,), 1024)
    power = (np.abs(np.fft.rfft(z, axis=0)) ** 2).mean(1)
    frequency = np.fft.rfftfreq(1024)
    between = (frequency > 1 / 256) & (frequency < 1 / 8)
    slope = np.polyfit(np.log(frequency[between]), np.log(power[between]), 1)[0]
    assert -1.3 < slope < -0.7


def test_choices_by_it_have_the_law_of_the_policy():
    p = np.array([0.6, 0.25, 0.14, 0.01])
    z = played(Noise((0.95,)), jax.random.key(3), (20_000, 4), 30)
    choice = np.asarray(jnp.argmax(jnp.log(p) + gumbel(jnp.asarray(z)), -1))
    for step in (0, 13, 29):
        share = np.bincount(choice[step], minlength=4) / 20_000
        # 12 shares within 4.5 standard errors: false alarms 1 in 12,000.
        assert (np.abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / 20_000)).all()
    assert (choice[0] == choice[1]).mean() > (p**2).sum() + 0.1


def test_gumbel_noise_is_finite_far_out():
    assert np.isfinite(gumbel(jnp.linspace(-6.0, 6.0, 101, dtype=jnp.float32))).all()


@pytest.mark.parametrize("setting", ["red", 0.5, True, float("inf"), None])
def test_other_settings_are_refused(setting):
    with pytest.raises(InputError, match="noise"):
        noise_of(setting)


def test_settings():
    assert noise_of("pink") is PINK
    assert noise_of("white") is WHITE
    assert noise_of(16).persistence == (0.9375,)
