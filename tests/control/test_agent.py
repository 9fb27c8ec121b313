"""A fitted policy acts in the format of any environment, one observation or many, and refuses what is not one."""

from types import SimpleNamespace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from scipy.stats import chisquare

import kullback as kl
from kullback.control import FiniteMDP
from kullback.control.agent import Agent
from kullback.control.envs.spaces import actions_of, observations_of
from kullback.errors import InputError
from kullback.families import FittedConditional
from kullback.known import ConditionalFacts, Known, describe
from kullback.known.support import from_constraint

spaces = gym.spaces
FALSE_ALARM = 1e-6
N = 5

OBSERVATIONS = {
    "box": spaces.Box(-3.0, 3.0, (4,), np.float32),
    "image": spaces.Box(0, 255, (3, 2), np.uint8),
    "number": spaces.Box(-1.0, 1.0, (), np.float32),
    "labels": spaces.Discrete(6, start=2),
    "dict": spaces.Dict(there=spaces.Discrete(3), here=spaces.Box(-1.0, 1.0, (2,))),
    "tuple": spaces.Tuple([spaces.MultiBinary(3), spaces.Dict(x=spaces.Box(0.0, 1.0, (2, 2)))]),
    "choices": spaces.MultiDiscrete([2, 3]),
}
ACTIONS = {
    "choice": spaces.Discrete(3, start=-1),
    "choices": spaces.MultiDiscrete([2, 4], start=[5, -2]),
    "switches": spaces.MultiBinary(3),
    "box": spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32)),
    "number": spaces.Box(-1.0, 1.0, (), np.float64),
    "tuple": spaces.Tuple([spaces.Discrete(2), spaces.MultiDiscrete([3, 2])]),
    "dict": spaces.Dict(turn=spaces.Box(-1.0, 1.0, (2,)), go=spaces.Box(0.0, 3.0, (1,))),
}
DISTRIBUTIONS = {"switches": dist.Bernoulli, "box": kl.TanhNormal, "number": kl.TanhNormal, "dict": kl.TanhNormal}


class Still(gym.Env):
    """An environment of which there are spaces and nothing else."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


def policy(env, distribution=dist.Categorical, network=None, seed=0, **options):
    """A conditional for the environment's spaces, with parameters that matter."""
    seen, acted = observations_of(env.observation_space), actions_of(env.action_space)
    known = Known(
        name="Still",
        event_shape=acted.shape,
        support=from_constraint(acted.support),
        atoms=np.arange(acted.categories) if acted.kind == "choice" else None,
        conditioning=ConditionalFacts(seen.example),
    )
    q = kl.Conditional(network or kl.MLP(hidden=(8,)), distribution, **options)
    learnable, rng = describe(q, "q").matched(known).learnable, np.random.default_rng(seed)
    one = learnable.initial(rng, 0)
    leading = (learnable.members,) if learnable.members > 1 else ()
    free = jax.tree.map(lambda leaf: rng.normal(size=(*leading, *np.shape(leaf))), one)
    return FittedConditional(learnable.structure, learnable.fixed, q.name, free, learnable.members)


def agent_for(seen="box", acted="choice", seed=0, **options):
    env = Still(OBSERVATIONS[seen], ACTIONS[acted])
    return Agent(policy(env, DISTRIBUTIONS.get(acted, dist.Categorical), **options), env, seed)


def some(space, n, seed=0):
    """n observations, one by one and as a vector environment has them."""
    space.seed(seed)
    rows = [space.sample() for _ in range(n)]
    return rows, concatenate(space, rows, create_empty_array(space, n))


@pytest.mark.parametrize(("seen", "acted"), [(seen, "choice") for seen in OBSERVATIONS] + [("box", a) for a in ACTIONS])
@pytest.mark.parametrize("greedy", [True, False], ids=["greedy", "drawn"])
def test_actions_are_in_the_space_one_by_one_and_in_batches(seen, acted, greedy):
    agent = agent_for(seen, acted)
    rows, batch = some(agent.observation_space, N)
    alone = [agent(row, greedy=greedy) for row in rows]
    assert all(action in agent.action_space for action in alone)
    together = agent(batch, greedy=greedy)
    assert together in batch_space(agent.action_space, N)
    if greedy:
        expected = concatenate(agent.action_space, alone, create_empty_array(agent.action_space, N))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), together, expected)


@pytest.mark.parametrize("n", [1, 3, 9, 600])
def test_a_batch_of_any_size_is_each_of_its_rows(n, precision):
    agent = agent_for()
    rows, batch = some(agent.observation_space, n)
    assert agent(batch, greedy=True).shape == (n,)
    assert list(agent(batch, greedy=True)) == [agent(row, greedy=True) for row in rows]
    if n > 8:
        assert len({tuple(agent(batch)) for _ in range(5)}) > 1


def test_draws_are_those_of_the_policy():
    agent = agent_for(seed=3)
    x = agent.observation_space.sample()
    drawn = np.concatenate([agent(np.tile(x, (500, 1))) for _ in range(8)]) + 1
    expected = np.asarray(agent.policy(x[None]).probs, np.float64)[0]
    assert chisquare(np.bincount(drawn, minlength=3), 4000 * expected / expected.sum()).pvalue > FALSE_ALARM
    assert agent(x, greedy=True) + 1 == np.argmax(expected)


def test_the_seed_decides():
    x = np.zeros((N, 4), np.float32)
    one, same, other = (agent_for(seed=seed) for seed in (1, jax.random.key(1), 2))
    drawn = [[tuple(agent(x)) for _ in range(10)] for agent in (one, same, other)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert len(set(drawn[0])) > 1


def test_a_mask_allows_what_it_says():
    agent = agent_for()
    x = np.zeros((200, 4), np.float32)
    assert set(agent(x, mask=np.tile(np.array([0, 1, 0], np.int8), (200, 1)))) == {0}
    assert set(agent(x, mask=[[True, False, True]] * 200)) == {-1, 1}
    assert agent(x[0], greedy=True, mask=np.array([0, 0, 1], np.int8)) == 1
    assert agent.predict(x[:1], action_masks=np.array([[False, True, False]]))[0].tolist() == [0]
    assert agent.predict(x[0], action_masks=np.array([[False, True, False]]))[0] == 0
    for wrong, words in (([0, 0, 0], "allows nothing"), ([1, 1], "does not fit"), ([[1, 1, 1]] * 2, "does not fit")):
        with pytest.raises(InputError, match=f"^mask: .*{words}"):
            agent(x[0], mask=wrong)
    with pytest.raises(InputError, match=r"^mask: 3 of them beside 200"):
        agent(x, mask=np.ones((3, 3), bool))
    with pytest.raises(InputError, match="real numbers"):
        agent_for(acted="box")(x[0], mask=[1, 1])


def test_masks_of_several_choices():
    agent = agent_for(acted="choices")
    drawn = agent(np.zeros((50, 4), np.float32), mask=[(np.array([1, 0]), np.array([0, 1, 1, 0]))] * 50)
    assert set(drawn[:, 0]) == {5}
    assert set(drawn[:, 1]) <= {-1, 0}
    flat = np.array([0, 1, 0, 0, 0, 1], bool)  # as sb3-contrib has it
    assert agent(np.zeros(4, np.float32), mask=flat).tolist() == [6, 1]


@pytest.mark.parametrize(
    ("seen", "observation", "words"),
    [
        ("box", np.zeros(3, np.float32), r"shape \(3,\), and its space has \(4,\)"),
        ("box", np.zeros((2, 3), np.float32), r"shape \(2, 3\)"),
        ("box", np.zeros((2, 2, 4), np.float32), "shape"),
        ("box", np.array([0.0, np.nan, 0.0, 0.0], np.float32), "NaN"),
        ("box", np.array([[0.0, np.inf, 0.0, 0.0]], np.float32), "infinite"),
        ("box", "north", "shape"),
        ("box", [[1.0], [1.0, 2.0]], "no array|shape"),
        ("labels", 1, "Discrete"),
        ("labels", 8, "Discrete"),
        ("labels", np.array([2, 8]), "Discrete"),
        ("labels", 2.5, "2.5"),
        ("dict", {"here": np.zeros(2)}, "keys"),
        ("dict", np.zeros(5), "ndarray"),
        ("tuple", (), "parts"),
    ],
)
def test_what_is_no_observation_is_refused(seen, observation, words):
    with pytest.raises(InputError, match=f"^observation: .*({words})"):
        agent_for(seen)(observation)


def test_policies_that_do_not_fit_are_refused():
    env = Still(OBSERVATIONS["box"], ACTIONS["choice"])
    fits = policy(env)
    for seen, acted, words in (
        ("image", "choice", r"shape \(4,\).* some of shape \(3, 2\)"),
        ("labels", "choice", "integers below 6"),
        ("box", "choices", "outcomes"),
        ("box", "box", "outcomes"),
        ("box", "switches", "outcomes"),
    ):
        with pytest.raises(InputError, match=f"^q: .*{words}"):
            Agent(fits, Still(OBSERVATIONS[seen], ACTIONS[acted]))
    with pytest.raises(InputError, match="integers below 6"):
        Agent(policy(Still(OBSERVATIONS["labels"], ACTIONS["choice"])), env)
    with pytest.raises(InputError, match="outcomes"):
        Agent(fits, Still(OBSERVATIONS["box"], spaces.Discrete(4)))
    with pytest.raises(InputError, match=r"^q: dict is no policy"):
        Agent({}, env)
    for wrong in (SimpleNamespace(observation_space=1, action_space=2), 3, None):
        with pytest.raises(InputError, match=r"^env: .* is no environment"):
            Agent(fits, wrong)
    with pytest.raises(InputError, match="did you mean"):
        Agent(fits, "CartPole-v")


def test_ensembles_and_tempered_policies_act():
    env = Still(OBSERVATIONS["box"], ACTIONS["choice"])
    whole = policy(env, ensemble=3)
    x = np.linspace(-1.0, 1.0, 40, dtype=np.float32).reshape(10, 4)
    expected = np.argmax(np.asarray(whole(x).logits), -1) - 1
    np.testing.assert_array_equal(Agent(whole, env)(x, greedy=True), expected)
    cold = Agent(whole.tempered(1e-3), env)
    assert {tuple(cold(x)) for _ in range(20)} == {tuple(expected)}


def test_a_policy_with_mass_outside_the_box_is_clipped():
    env = Still(OBSERVATIONS["box"], ACTIONS["box"])
    agent = Agent(policy(env, dist.Normal, scale=100.0), env)
    drawn = agent(np.zeros((300, 4), np.float32))
    assert drawn in batch_space(env.action_space, 300)
    assert (drawn == env.action_space.high).any()
    assert (drawn == env.action_space.low).any()


def two_days():
    """Wait or sell; the price is 1 on the first day and 3 on the second: what to do depends on the day."""
    stay = np.array([[[1.0], [1.0]]])
    return FiniteMDP(stay, np.array([[0.0, 1.0]]), start=0)


def test_a_policy_that_depends_on_time_is_told_or_counts():
    env, horizon = two_days(), 3
    q = policy(Still(spaces.Discrete(horizon), spaces.Discrete(2)), network=kl.Table())
    free = np.array([[9.0, -9.0], [-9.0, 9.0], [9.0, -9.0]])
    agent = Agent(FittedConditional(q.structure, q.fixed, q.name, free), env)
    assert agent.horizon == horizon
    assert [agent(0, time=t) for t in range(horizon)] == [0, 1, 0]
    assert agent(np.zeros(2, int), time=[1, 2]).tolist() == [1, 0]
    state, start, seen = None, np.array([True, True]), []
    for done in ([False, True], [False, False], [True, False], [False, True]):
        action, state = agent.predict(np.zeros(2, int), state, start, deterministic=True)
        seen.append(action.tolist())
        start = np.array(done)
    assert seen == [[0, 0], [1, 0], [0, 1], [0, 0]]
    for wrong in (None, 3, -1):
        with pytest.raises(InputError, match=r"^time: "):
            agent(0, time=wrong)


def test_a_fit_acts_and_so_does_what_was_saved(tmp_path):
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), kl.Optimal("FrozenLake-v1", 0.01)).minimize(quiet=True)
    fit.save(tmp_path / "policy")
    env = gym.make("FrozenLake-v1")
    agent, again = Agent(fit, env), Agent(kl.load(tmp_path / "policy"), "FrozenLake-v1")
    labels = np.arange(16)
    np.testing.assert_array_equal(agent(labels, greedy=True), again(labels, greedy=True))
    logits = np.asarray(fit.q(labels).logits)
    chosen = logits[labels, agent(labels, greedy=True)]  # in some states several actions are as probable
    np.testing.assert_allclose(chosen, logits.max(-1), atol=2e-6)
    assert repr(agent) == "Agent(Conditional(Table(), Categorical), FrozenLake-v1)"
    env.close()


def test_predict_plays_a_vector_environment_as_stable_baselines_does():
    env = gym.make_vec("FrozenLake-v1", 3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"})
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), kl.Optimal("FrozenLake-v1", 0.01)).minimize(quiet=True)
    agent = Agent(fit, env)
    observations, _ = env.reset(seed=0)
    states, starts = None, np.ones(3, bool)
    for _ in range(20):
        actions, states = agent.predict(observations, state=states, episode_start=starts, deterministic=True)
        assert actions.dtype == np.int64
        assert states is None
        observations, _, terminated, truncated, _ = env.step(actions)
        starts = terminated | truncated
    env.close()


def test_a_functional_environment_gives_its_spaces():
    pytest.importorskip("gymnasium.envs.phys2d.cartpole")
    from gymnasium.envs.phys2d.cartpole import CartPoleFunctional

    env = CartPoleFunctional()
    agent = Agent(policy(env), env)
    assert agent(jnp.zeros(4)) in env.action_space


def test_evaluate_policy_of_stable_baselines():
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    env = gym.make("CartPole-v1")
    mean, _ = evaluation.evaluate_policy(Agent(policy(env), env), env, n_eval_episodes=3, warn=False)
    assert mean >= 1
    env.close()
