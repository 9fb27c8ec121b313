"""How many fresh episodes are played, within how many steps, and what means over them are worth."""

import io
import re
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import kullback as kl
from kullback.control import FiniteMDP, FreshEpisodes, Optimal, Reaching, RelabelledImitation
from kullback.control.learning import episodes as playing
from kullback.control.learning.assessment import mean_of, telling
from kullback.errors import InputError
from kullback.result import Guarantee, Status


class Coin(gym.Env):
    """Each step pays 1 and is the last with probability `stop`; steps are counted over all instances."""

    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(2)
    made = 0

    def __init__(self, stop=0.5):
        self.stop = stop

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        Coin.made += 1
        return 0, 1.0, bool(self.np_random.random() < self.stop), False, {}


gym.register("kullback-test/Coin-v0", Coin, max_episode_steps=50)
gym.register("kullback-test/EndlessCoin-v0", Coin)


@pytest.fixture(scope="module")
def q():
    target = Optimal("kullback-test/Coin-v0", episodes=2)
    rule = kl.control.TrajectoryGradient(lanes=2, block=4, epochs=1, minibatches=1)
    return kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target).minimize(steps=8, rule=rule).q


def played(q, seed=0, env="kullback-test/Coin-v0", discount=1.0, **fresh):
    """Fresh episodes, and the steps that they took."""
    Coin.made = 0
    found = kl.KL(q, Optimal(gym.make(env, stop=fresh.pop("stop", 0.5)), discount=discount, **fresh)).estimate(
        seed=seed
    )
    return found, Coin.made


def test_as_many_episodes_as_are_asked_for(q):
    for episodes in (2, 7, 25, 40):
        assert played(q, episodes=episodes)[0].diagnostics["episodes"] == episodes
    assert played(q)[0].diagnostics["episodes"] == 100
    found = kl.KL(q, Optimal("kullback-test/Coin-v0", episodes=5)).estimate(rule=FreshEpisodes(episodes=3))
    assert found.diagnostics["episodes"] == 3


@pytest.mark.parametrize("budget", [4, 130, 1000, 20_000])
@pytest.mark.parametrize("stop", [0.5, 0.0])
def test_a_budget_is_kept_to(q, budget, stop):
    """No more steps than that, of short episodes and of those that last to the limit of 50."""
    found, steps = played(q, budget=budget, stop=stop)
    assert steps <= budget
    count = found.diagnostics["episodes"]
    assert 2 <= count <= 100
    if stop == 0.0:
        assert count == max(2, min(100, budget // 2 // 50))
        assert found.diagnostics["steps"].value == min(50, max(1, budget // 4))
    if budget == 20_000:
        assert count == 100
        assert found.guarantee is Guarantee.UNBIASED
    if budget == 1000 and stop == 0.5:
        assert count > 10  # those that are sure to fit are 10
        assert found.diagnostics["sampled_return"].guarantee is Guarantee.CONSISTENT


def test_episodes_are_whole_and_few_ones_say_so(q):
    """Episodes that must be cut are named, others are not; truth: steps until a coin falls are 1/p on average."""
    cut, _ = played(q, budget=40, stop=0.0)
    assert "had not ended after 10 steps and were cut" in cut.diagnostics["sampled_return"].reason
    few, _ = played(q, budget=400, stop=0.1)
    reason, count = few.diagnostics["sampled_return"].reason, few.diagnostics["episodes"]
    assert reason == f"only {count} of 100 episodes were sure to fit into the budget"


def test_the_default_budget_of_an_environment_without_end(q):
    """Without it 4,000,000 steps would be made. A trillion-sided coin never falls."""
    assert Optimal("kullback-test/EndlessCoin-v0").task.closing == (100, None, 1_000)
    assert Optimal("kullback-test/EndlessCoin-v0", episodes=7).task.closing == (7, None, 200_000 // 14)
    assert Optimal("kullback-test/EndlessCoin-v0", episodes=1000).task.closing == (1000, None, 1000)
    assert Optimal("kullback-test/Coin-v0", episodes=7).task.closing.note == ""
    found, steps = played(q, env="kullback-test/EndlessCoin-v0", stop=0.0, budget=2000, discount=0.9)
    assert steps <= 2000
    assert "were cut" in found.diagnostics["sampled_return"].reason
    # Discounted, what lies beyond is less than rounding, and it is right: Σ 0.9ᵗ = 10.
    assert found.diagnostics["soft_value"].reason == "only 2 of 100 episodes were sure to fit into the budget"
    assert found.diagnostics["soft_value"].value + found.diagnostics["prior_kl"].value == pytest.approx(10.0, rel=1e-6)


def test_a_budget_that_nobody_asked_for_cuts_nothing_that_ends(q, monkeypatch):
    monkeypatch.setattr("kullback.control.task.BUDGET", 100)
    found, steps = played(q, stop=0.0)
    assert found.diagnostics["episodes"] == 2
    assert found.diagnostics["steps"].value == 50
    assert "were cut" not in found.diagnostics["steps"].reason
    assert steps == 200


def test_what_is_cut_says_of_how_many_steps_it_is(q):
    found, _ = played(q, env="kullback-test/EndlessCoin-v0", stop=0.0, budget=400)
    assert found.diagnostics["sampled_return"].quantity == "E[R], sampled, of at most 100 steps"
    assert found.diagnostics["sampled_return"].value == 100.0


def test_arrays_count_as_their_problem_does():
    """A state that pays 1 for ever: discounted by 0.9 it is worth 10, in 10 expected steps."""
    stay = FiniteMDP(np.eye(1)[None], [1.0], start=0)
    target = Optimal(stay, discount=0.9, episodes=3)
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target).minimize()
    found = kl.KL(fit.q, target).estimate(rule="fresh episodes").diagnostics
    for name in ("greedy_return", "sampled_return", "steps"):
        assert fit.diagnostics[name] == pytest.approx(10.0, rel=1e-5)
        assert found[name].value == pytest.approx(10.0, rel=1e-5)


def test_goals_are_tried_as_often_as_asked_for():
    rule = RelabelledImitation(episodes=4, updates=2, batch=8, steps=64, fresh=6)
    lake = Reaching(gym.make("FrozenLake-v1", max_episode_steps=8), labels=True)
    fit = kl.KL(lake, kl.Conditional(kl.Table(), dist.Categorical)).minimize(rule=rule)
    assert fit.diagnostics["episodes"] == 6
    share = fit.diagnostics["sampled_reached"]
    assert share.value * 6 == pytest.approx(round(share.value * 6))
    with pytest.raises(InputError, match="fresh: 1 is not a whole number of at least 2"):
        RelabelledImitation(fresh=1)


def test_a_compiled_environment_keeps_to_it_as_well():
    target = Optimal("FrozenLake-v1", 0.01, budget=100_000)
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target).minimize()
    found = kl.KL(fit.q, target).estimate(rule="fresh episodes")
    assert found.diagnostics["episodes"] == 100  # in rounds of two, as none of them is sure to end before 20,000 steps
    assert found.guarantee is Guarantee.CONSISTENT
    error = found.diagnostics["greedy_return"].standard_error
    assert abs(found.diagnostics["greedy_return"].value - fit.diagnostics["greedy_return"]) < 4.5 * error
    less = kl.KL(fit.q, target).estimate(rule=FreshEpisodes(budget=2_000))
    assert less.diagnostics["steps"].value <= 500


@pytest.mark.parametrize("episodes", [2, 3, 5, 20])
def test_the_interval_of_few_episodes_covers(episodes):
    """Of normal returns: by scipy.stats.t, and 4,000 intervals cover as often as they say.

    The count is binomial, and within 4.5 standard deviations: false alarms 7 in a million.
    """
    rng = np.random.default_rng(episodes)
    x = rng.normal(3.0, 2.0, (4000, episodes))
    covered = 0
    for row in x:
        low, high = mean_of(row, "E[R]", "reward").interval(0.95)
        covered += low <= 3.0 <= high
    assert abs(covered - 0.95 * 4000) < 4.5 * np.sqrt(4000 * 0.95 * 0.05)
    truth = stats.t.interval(0.95, episodes - 1, x[0].mean(), x[0].std(ddof=1) / np.sqrt(episodes))
    assert mean_of(x[0], "E[R]", "reward").interval(0.95) == pytest.approx(truth, rel=1e-10)


def test_episodes_that_are_all_the_same_do_not_say_that_all_are(q):
    found, _ = played(q, episodes=10, stop=0.0)
    steps = found.diagnostics["steps"]
    assert steps.standard_error == 0.0
    # 10 of 10 alike leaves a share of 1 − 0.05^(1/10) others.
    assert "all 10 episodes gave the same: at 95 %, at most 0.26 of all do otherwise" in steps.reason


def test_until_looks_at_as_many_episodes_as_are_asked_for():
    rule = kl.control.TrajectoryGradient(lanes=2, block=4, epochs=1, minibatches=1, until=1.0)
    for asked, counts in (({"episodes": 6}, {6}), ({"budget": 200}, range(2, 100))):
        target = Optimal("kullback-test/Coin-v0", **asked)
        fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target).minimize(steps=400, rule=rule)
        assert int(re.search(r"on average over (\d+) fresh episodes$", fit.message)[1]) in counts


def test_a_compiled_environment_without_end_is_cut_and_the_plan_says_so():
    """The pendulum without its limit swings for ever: 4,000,000 steps became 1,000,000."""
    endless, ends = Optimal(gym.make("Pendulum-v1").unwrapped), Optimal("Pendulum-v1")
    assert endless.task.env.compiled is not None
    assert endless.task.closing == (100, None, 5_000)
    assert ends.task.closing == (100, None, 20_000)
    policy = kl.Conditional(kl.MLP((4,)), kl.TanhNormal)
    assert "then 100 fresh episodes of either kind of at most 5,000 steps" in kl.KL(policy, endless).explain()
    assert "fresh episodes" not in str(kl.KL(policy, ends).plan())
    rule = kl.control.SoftActorCritic(warmup=4, updates=0.25)
    fit = kl.KL(policy, replaced(endless, episodes=500)).minimize(rule=rule, steps=20)
    assert fit.diagnostics["steps"].value == 1_000
    assert fit.diagnostics["greedy_return"].quantity == "E[R], greedy, of at most 1,000 steps"


def replaced(target, **changes):
    return Optimal(target.env, **changes)


class Toll(Coin):
    """Each step costs 1, and only the time limit of 50 ends it: the return is −50. After its first episode an instance
    costs a quarter of that, so that a training has hopes; fresh episodes are those of others."""

    begun = 0

    def reset(self, *, seed=None, options=None):
        self.begun += 1
        return super().reset(seed=seed)

    def step(self, action):
        return 0, -1.0 if self.begun == 1 else -0.25, False, False, {}


gym.register("kullback-test/Toll-v0", Toll, max_episode_steps=50)


@pytest.mark.parametrize(("budget", "cut"), [(40, True), (None, False)])
def test_part_of_an_episode_is_not_taken_for_the_return_of_a_whole_one(budget, cut):
    """Of 10 steps the return is −10, which would reach −20; of a whole episode it is −50."""
    rule = kl.control.TrajectoryGradient(lanes=2, block=4, epochs=1, minibatches=1, until=-20.0)
    target = Optimal("kullback-test/Toll-v0", budget=budget, episodes=2)
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target).minimize(steps=2000, rule=rule)
    assert fit.status is Status.STEP_LIMIT
    assert max(line["return"] for line in fit.history) > -20.0
    greedy = fit.diagnostics["greedy_return"]
    assert greedy.value == (-10.0 if cut else -50.0)
    assert greedy.diagnostics["cut"] == (2 if cut else 0)


def test_a_line_says_how_far_they_are(q, monkeypatch):
    said = []
    task = Optimal("kullback-test/Coin-v0").task
    monkeypatch.setattr(playing, "TOLD", -1.0)
    how = task.acting(q.structure), q.free, task.fixed(q.fixed), True, np.random.default_rng(0)
    found = playing.play(task, *how, 20, None, said.append)
    assert said[0] == "0 of 20 fresh episodes played greedily · 0 steps"
    assert said[-1].startswith("20 of 20 fresh episodes")
    assert len(found.episodes.returns) == 20

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with telling(quiet=True) as tell:
        tell("nothing")
    assert terminal.getvalue() == ""
    with telling(quiet=False) as tell:
        tell("7 of 100 fresh episodes")
    assert "7 of 100 fresh episodes" in terminal.getvalue()


def test_an_interrupt_of_fresh_episodes_keeps_the_policy(monkeypatch):
    def interrupted(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("kullback.control.learning.assessment.assess", interrupted)
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), Optimal("kullback-test/Coin-v0")).minimize(steps=400)
    assert fit.status is Status.INTERRUPTED
    assert "estimate() plays them" in fit.message
    assert fit.objective.value == fit.trace[-1]
    assert fit.objective.standard_error == np.inf
    assert fit.q([0]).probs.shape == (1, 2)


@pytest.mark.parametrize("bad", [{"episodes": 1}, {"episodes": 2.5}, {"episodes": True}, {"budget": 0}, {"budget": 3},
                                 {"budget": np.nan}, {"episodes": np.inf}, {"budget": "all"}], ids=str)  # fmt: skip
def test_bad_numbers(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Optimal("FrozenLake-v1", **bad)
    with pytest.raises(InputError, match=next(iter(bad))):
        replace(FreshEpisodes(), **bad)


def test_a_file_keeps_what_the_numbers_are_worth(tmp_path):
    rule = kl.control.TrajectoryGradient(lanes=2, block=4, epochs=1, minibatches=1)
    target = Optimal("kullback-test/Coin-v0", budget=400)
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target).minimize(steps=8, rule=rule)
    fit.save(tmp_path / "policy")
    again = kl.load(tmp_path / "policy")
    for name in ("greedy_return", "sampled_return", "soft_value", "prior_kl", "steps"):
        kept, was = again.diagnostics[name], fit.diagnostics[name]
        told = ("value", "standard_error", "guarantee", "quantity", "reason", "unit")
        assert [getattr(kept, field) for field in told] == [getattr(was, field) for field in told]
    assert again.objective.unit == "nats"
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "policy").read_bytes()
