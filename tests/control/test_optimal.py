"""Policies as sides: fits, plans, files, imitation, and input that is not usable."""

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control import FiniteMDP, Optimal, rollout
from kullback.errors import InputError, PlanError

LOOP = np.eye(2)[[[0, 1], [0, 0]]]


def policy(network=None):
    return kl.Conditional(network or kl.Table(), dist.Categorical)


def test_a_table_is_the_solution(tmp_path):
    target = Optimal("FrozenLake-v1", temperature=0.01)
    fit = kl.KL(policy(), target).minimize()
    d = fit.diagnostics
    assert fit.status.ok
    assert fit.objective.guarantee is kl.Guarantee.EXACT
    assert fit.objective.value == d["kl"] == pytest.approx(d["least_kl"], abs=1e-9)
    assert 0 <= d["kl_excess"] < 1e-10
    assert d["least_kl"] > 1.0
    assert d["soft_value"] == pytest.approx(d["sampled_value"] - 0.01 * d["prior_kl"], abs=1e-9)
    assert d["trajectory_steps"] == pytest.approx(d["occupancy"].sum())

    again = kl.KL(fit.q, target).estimate()
    assert again.value == pytest.approx(d["kl"], abs=1e-9)
    fit.save(tmp_path / "policy")
    loaded = kl.load(tmp_path / "policy")
    np.testing.assert_allclose(loaded.q(np.arange(16)).probs, fit.q(np.arange(16)).probs, atol=1e-6)
    assert kl.KL(loaded.q, target).estimate().value == pytest.approx(d["kl"], abs=1e-9)


def test_networks_are_projected_on_and_imitate():
    target = Optimal("FrozenLake-v1", temperature=0.01)
    fit = kl.KL(policy(kl.MLP((32,))), target).minimize()
    assert fit.plan.rule.name == "soft value iteration, projected"
    assert 0 < fit.diagnostics["kl_excess"] < 0.05
    assert fit.objective.value == pytest.approx(fit.diagnostics["least_kl"] + fit.diagnostics["kl_excess"])

    shown = rollout("FrozenLake-v1", fit.q, episodes=20, seed=0)
    copy = kl.KL(shown.pairs(), policy()).minimize()
    imitation = kl.KL(copy.q, target).estimate()
    assert imitation.diagnostics["sampled_return"] > 0.3
    assert imitation.value > fit.diagnostics["least_kl"]


def test_a_fitted_policy_is_a_prior():
    target = Optimal("FrozenLake-v1", temperature=0.01)
    first = kl.KL(policy(), target).minimize()
    second = kl.KL(policy(), Optimal("FrozenLake-v1", temperature=0.01, prior=first.q)).minimize()
    assert second.diagnostics["sampled_return"] > first.diagnostics["sampled_return"]
    # Tilting twice at one temperature is tilting once at half of it, where the dynamics are deterministic.
    calm = gym.make("FrozenLake-v1", is_slippery=False)
    once = kl.KL(policy(), Optimal(calm, 0.05)).minimize()
    tilted = kl.KL(policy(), Optimal(calm, 0.1, prior=kl.KL(policy(), Optimal(calm, 0.1)).minimize().q)).minimize()
    assert tilted.diagnostics["sampled_return"] == pytest.approx(once.diagnostics["sampled_return"], abs=1e-5)


def test_a_horizon_makes_the_policy_depend_on_time():
    target = Optimal(FiniteMDP(LOOP, [[1.0, 0.0], [0, 0]], [1], 0), temperature=1.0, horizon=3)
    fit = kl.KL(policy(), target).minimize()
    rows = np.asarray(fit.q(np.arange(6)).probs).reshape(3, 2, 2)
    assert rows[0, 0, 0] > rows[1, 0, 0] > rows[2, 0, 0] == pytest.approx(np.e / (1 + np.e), abs=1e-6)
    assert fit.diagnostics["kl_excess"] < 1e-9
    timed = Optimal(target.env, prior=fit.q, horizon=3).problem
    assert timed.log_prior.shape == (3, 2, 2)


def test_the_plan():
    target = Optimal("FrozenLake-v1", temperature=0.1)
    assert str(target.known().facts) == "transition table 16 states × 4 actions, horizon ∞, temperature 0.1"
    assert str(kl.KL(policy(), target)) == (
        "min KL(P ‖ Q) over P\n"
        "  P         Conditional(Table(), Categorical): learnable, 64 parameters\n"
        "  Q         Optimal(FrozenLake-v1): 4 atoms, transition table 16 states × 4\n"
        "            actions, horizon ∞, temperature 0.1, support {0, 1, 2, 3}\n"
        "  direction reverse: P is learnable, so it seeks a mode of Q (mode-seeking)\n"
        "  identity  KL(π‖P_opt) = log Z − E_π[R]/α + KL(π‖π₀); V(s) = α log Σ_a π₀(a∣s)\n"
        "            exp(Q(s, a)/α)\n"
        "  rule      soft value iteration\n"
        "  guarantee exact"
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Optimal("FrozenLake"), "did you mean FrozenLake"),
        (lambda: Optimal("Taxi-v3"), "Taxi-v4"),
        (lambda: Optimal("Nothing-like-it-v9"), "pprint_registry"),
        (lambda: Optimal(3), "is no environment"),
        (lambda: Optimal("FrozenLake-v1", 0.0), "temperature"),
        (lambda: Optimal("FrozenLake-v1", -1.0), "temperature"),
        (lambda: Optimal("FrozenLake-v1", np.nan), "temperature"),
        (lambda: Optimal("FrozenLake-v1", discount=-0.1), "discount"),
        (lambda: Optimal("FrozenLake-v1", discount=1.1), "discount"),
        (lambda: Optimal("FrozenLake-v1", horizon=0), "horizon"),
        (lambda: Optimal("FrozenLake-v1", horizon=2.5), "horizon"),  # type: ignore[arg-type]
        (lambda: Optimal("FrozenLake-v1", horizon="soon"), "horizon"),
        (lambda: Optimal("CliffWalking-v1", horizon="limit"), "no step limit"),
        (lambda: Optimal("FrozenLake-v1", prior=np.ones((3, 4)) / 4).known(), r"prior: shape \(3, 4\)"),
        (lambda: Optimal("FrozenLake-v1", prior=np.ones((16, 4))).known(), "prior: each row"),
        (lambda: FiniteMDP(LOOP, [np.nan, 0.0]), "reward: it is nan after action 0 in state 0"),
        (lambda: FiniteMDP(LOOP, [0.0, 0.0, 0.0]), "reward: shape"),
        (lambda: FiniteMDP(LOOP * 0.5, [0.0, 0.0]), "sum to 0.5"),
        (lambda: FiniteMDP(-LOOP, [0.0, 0.0]), "negative"),
        (lambda: FiniteMDP(LOOP[0], [0.0, 0.0]), "transition: shape"),
        (lambda: FiniteMDP(LOOP, [0.0, 0.0], terminal=[5]), "terminal"),
        (lambda: FiniteMDP(LOOP, [0.0, 0.0], terminal=[0, 1]), "nothing to control"),
        (lambda: FiniteMDP(LOOP, [0.0, 0.0], start=7), "no state 7"),
        (lambda: FiniteMDP(LOOP, [0.0, 0.0], start=[0.5, 0.1]), "start"),
    ],
)
def test_bad_input(make, said):
    with pytest.raises(InputError, match=said):
        make()


def test_what_is_no_policy_says_what_would_be():
    target = Optimal("FrozenLake-v1")
    with pytest.raises(PlanError, match="Conditional"):
        kl.KL(kl.Family(dist.Categorical), target).minimize()
    with pytest.raises(PlanError, match="Bernoulli"):
        kl.KL(kl.Conditional(kl.Table(), dist.Bernoulli), target).plan("soft value iteration")
