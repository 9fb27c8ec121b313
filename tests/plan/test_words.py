"""What a plan looks like, word for word; every line at most 80 columns wide."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl

NORMAL = dist.Normal(0.0, 1.0)
PEAKS = dist.MixtureSameFamily(dist.Categorical(probs=jnp.ones(2) / 2), dist.Normal(jnp.array([-2.0, 2.0]), 1.0))
CLOUD = dist.Normal(jnp.zeros(3), 1.0).to_event(1)


def energy(x):
    return -x @ x


PAIRS = {
    "distributions": (NORMAL, dist.Normal(1.0, 2.0)),
    "escape": (dist.Uniform(0.0, 2.0), dist.Uniform(0.0, 1.0)),
    "mixture": (PEAKS, NORMAL),
    "tables": (np.zeros((40, 2)), np.zeros((30, 2))),
    "unnormalised": (CLOUD, kl.Density(energy, (3,), dist.constraints.real_vector)),
    "forward": (np.zeros(50), kl.Family(dist.Normal)),
    "reverse": (kl.Family(dist.Normal), PEAKS),
}

REPR = {
    "distributions": """\
KL(P ‖ Q)
  P         Normal(loc=0, scale=1): log-probability, sampler, support ℝ
  Q         Normal(loc=1, scale=2): log-probability, sampler, support ℝ
  identity  KL(P‖Q) = E_P[log P − log Q], integrated in closed form
  rule      closed form
  guarantee exact""",
    "escape": """\
KL(P ‖ Q)
  P         Uniform(low=0, high=2): log-probability, sampler, support [0, 2]
  Q         Uniform(low=0, high=1): log-probability, sampler, support [0, 1]
  identity  KL(P‖Q) = ∞ where P(A) > 0 = Q(A)
  rule      support: P has mass on (1, 2] where Q has none
  guarantee exact""",
    "mixture": """\
KL(P ‖ Q)
  P         a mixture of 2 × Normal: log-probability, sampler, support ℝ
  Q         Normal(loc=0, scale=1): log-probability, sampler, support ℝ
  identity  KL(P‖Q) = ∫ P log(P/Q), by adaptive quadrature
  rule      quadrature
  guarantee exact""",
    "tables": """\
KL(P ‖ Q)
  P         a sample of 40 rows × 2: a sample
  Q         a sample of 30 rows × 2: a sample
  identity  KL(P‖Q) = E_P[log P/Q], log P/Q by classifiers, and by counts in the
            same balls
  rule      two samples
  guarantee consistent""",
    "unnormalised": """\
KL(P ‖ Q)
  P         Normal(scale=1) (3,), independent over (3,): log-probability,
            sampler, support ℝᵈ
  Q         Density(energy): log-density up to a constant, support ℝᵈ
  identity  KL(P‖Q) = E_P[log P − log Q], by draws of P
  drops     log Z
  rule      monte carlo
  guarantee unbiased""",
    "forward": """\
min KL(P ‖ Q) over Q
  P         a sample of 50 rows: a sample
  Q         Family(Normal): learnable, 2 parameters
  direction forward: Q is learnable, so Q covers all of P (mass-covering)
  identity  min KL(P‖Q) over an exponential family is where E_Q[T] = E_P[T]
  drops     H(P)
  rule      moment matching: statistics over the sample
  guarantee exact""",
    "reverse": """\
min KL(P ‖ Q) over P
  P         Family(Normal): learnable, 2 parameters
  Q         a mixture of 2 × Normal: log-probability, sampler, support ℝ
  direction reverse: P is learnable, so it seeks a mode of Q (mode-seeking)
  identity  KL(P‖Q) = E_P[log p − log q], with draws x = push(θ, ε) of fixed
            noise ε
  rule      fixed draws
  guarantee unbiased""",
}

EXPLAIN = {
    "mixture": """\
KL(P ‖ Q)
  P         a mixture of 2 × Normal: log-probability, sampler, support ℝ
  Q         Normal(loc=0, scale=1): log-probability, sampler, support ℝ
  identity  KL(P‖Q) = ∫ P log(P/Q), by adaptive quadrature
  rule      quadrature
  guarantee exact

Rules not taken
  - support: the supports do not show P to have mass where Q has none
  - closed form: the table of exact forms has no entry for MixtureSameFamily
    against Normal
  - finite sum: P has no finite list of atoms
  - countable sum: P is not over counts without a greatest or a least one
  - cross entropy: applies, but drops H(P)
  - monte carlo: applies, but is unbiased where the chosen rule is exact
  - one sample: neither side is a sample
  - two samples: neither side is a sample
  - pairwise lower bound: applies, but is a lower bound where the chosen rule is
    exact
  - pairwise upper bound: applies, but is an upper bound where the chosen rule
    is exact
  - variational upper bound: applies, but is an upper bound where the chosen
    rule is exact

  source    Piessens et al. (1983), QUADPACK, section 2.2
  quadrature: also known as numerical integration, Gauss–Kronrod, QUADPACK""",
    "tables": """\
KL(P ‖ Q)
  P         a sample of 40 rows × 2: a sample
  Q         a sample of 30 rows × 2: a sample
  identity  KL(P‖Q) = E_P[log P/Q], log P/Q by classifiers, and by counts in the
            same balls
  rule      two samples
  guarantee consistent

Rules not taken
  - support: a sample of Q does not say where Q has no mass
  - closed form: P is not a distribution with a known formula
  - finite sum: P has no finite list of atoms
  - countable sum: P is not over counts without a greatest or a least one
  - quadrature: the log-density of P is not known
  - cross entropy: the normalised log-probability of Q is not known
  - monte carlo: P cannot be sampled
  - one sample: both sides are samples
  - pairwise lower bound: P is not a distribution with known components
  - pairwise upper bound: P is not a distribution with known components
  - variational upper bound: P is not a distribution with known components

  source    Sugiyama, Suzuki and Kanamori (2012), chapter 4; Wang, Kulkarni and
            Verdú (2009), eq. 29, corrected
  two samples: also known as density ratio, nearest neighbours, k-nearest
    neighbours, kNN, Wang–Kulkarni–Verdú""",
    "unnormalised": """\
KL(P ‖ Q)
  P         Normal(scale=1) (3,), independent over (3,): log-probability,
            sampler, support ℝᵈ
  Q         Density(energy): log-density up to a constant, support ℝᵈ
  identity  KL(P‖Q) = E_P[log P − log Q], by draws of P
  drops     log Z
  rule      monte carlo
  guarantee unbiased

Rules not taken
  - support: the supports do not show P to have mass where Q has none
  - closed form: Q is not a distribution with a known formula
  - finite sum: P has no finite list of atoms
  - countable sum: P is not over counts without a greatest or a least one
  - quadrature: outcomes of shape (3,) have more than two coordinates
  - cross entropy: the normalised log-probability of Q is not known
  - one sample: neither side is a sample
  - two samples: neither side is a sample
  - pairwise lower bound: Q is not a distribution with known components
  - pairwise upper bound: Q is not a distribution with known components
  - variational upper bound: Q is not a distribution with known components

  source    Owen (2013), Monte Carlo theory, methods and examples, 2.1, 8.9
  monte carlo: also known as MC, sampling, k1 estimator""",
}


@pytest.mark.parametrize("name", REPR)
def test_repr(name):
    assert repr(kl.KL(*PAIRS[name])) == REPR[name]


@pytest.mark.parametrize("name", EXPLAIN)
def test_explain(name):
    assert kl.KL(*PAIRS[name]).explain() == EXPLAIN[name]


@pytest.mark.parametrize("name", PAIRS)
def test_no_line_is_wider_than_a_terminal(name):
    assert max(map(len, kl.KL(*PAIRS[name]).explain().splitlines())) <= 80


def test_a_reason_is_a_clause():
    for p, q in PAIRS.values():
        for rule, reason in kl.KL(p, q).plan().rejected:
            assert not reason.endswith("."), rule.name
            assert reason[:1].islower() or reason[:2] in ("P ", "Q ", "P'", "Q'"), (rule.name, reason)
