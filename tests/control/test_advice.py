"""Every remedy that an error names is tried: what it says to write is run, and then it works."""

import re

import gymnasium as gym
import gymnasium as gymnasium  # as the messages write it
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control import Optimal, TrajectoryGradient
from kullback.errors import InputError, PlanError
from kullback.rule import Applies

S = gym.spaces
BRIEF = TrajectoryGradient(lanes=2, block=8, epochs=1, minibatches=1, steps=32)
UNBOUNDED = S.Box(-np.inf, np.inf, (2,))
TEXT = S.Text(10)


class Mission(S.Space):
    """A space of sentences of its own kind, as MiniGrid has it."""

    def __init__(self):
        super().__init__(None, str)

    def sample(self, mask=None, probability=None):
        return "go to the green ball"

    def contains(self, x):
        return isinstance(x, str)


GRID = {"direction": S.Discrete(4), "image": S.Box(0, 255, (3, 3, 3), np.uint8), "mission": Mission()}


class Anything(gym.Env):
    """Whatever is seen and done, it is over after four steps; what is done must lie in its space."""

    def __init__(self, seen=None, actions=None):
        self.observation_space = S.Box(-1.0, 1.0, (2,)) if seen is None else seen
        self.action_space = S.Discrete(3) if actions is None else actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps == 4, False, {}


gym.register("kullback-test/Anything-v0", Anything, max_episode_steps=50)


def learn(env, policy=None, **asked):
    """A brief training, with the family that the environment is said to take."""
    target = Optimal(env, episodes=2, **asked)
    policy = policy or eval(target.known().takes)
    return kl.KL(policy, target).minimize(rule=BRIEF)


def said(trial, *arguments, error=InputError, **asked):
    with pytest.raises(error) as raised:
        trial(*arguments, **asked)
    return str(raised.value)


def code_in(message, start):
    """The first call in a message that begins with `start`, to its closing bracket."""
    at = message.index(start)
    depth = 0
    for end in range(at, len(message)):
        depth += {"(": 1, ")": -1}.get(message[end], 0)
        if message[end] == ")" and not depth:
            return message[at : end + 1]
    raise AssertionError(message)


@pytest.mark.parametrize("registered", [False, True])
def test_actions_without_bounds(registered):
    env = gym.make("kullback-test/Anything-v0", actions=UNBOUNDED) if registered else Anything(actions=UNBOUNDED)
    message = said(learn, env)
    wrapped = eval(code_in(message, "gymnasium.wrappers.TransformAction"))
    if registered:  # several at once are made with the wrapper
        assert learn(wrapped).q is not None
        return
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(2, 60, 2)).astype(np.float32)
    named = {"kl": kl, "dist": dist, "observations": x, "actions": a}
    prior = eval(code_in(message, "kl.KL(kl.Pairs") + ".minimize().q", named)
    assert learn(env, prior=prior).q is not None


def test_actions_bounded_on_one_side():
    half = Anything(actions=S.Box(np.array([0.0, -np.inf], np.float32), np.array([np.inf, 1.0], np.float32)))
    message = said(learn, half)
    env, box = half, S.Box(np.array([0.0, -3.0], np.float32), np.array([4.0, 1.0], np.float32))
    wrapped = eval(code_in(message, "gymnasium.wrappers.TransformAction"))
    assert Optimal(wrapped).task.env.facts.actions.high == (4.0, 1.0)
    assert env.action_space != box


def test_off_policy_rules_name_the_same():
    env = Anything(actions=UNBOUNDED)
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(2, 60, 2)).astype(np.float32)
    prior = kl.KL(kl.Pairs(x, a), kl.Conditional(kl.MLP((4,)), dist.Normal)).minimize().q
    q = kl.Conditional(kl.MLP((4,)), dist.Normal)
    verdict = kl.control.SoftActorCritic().check(*sides(q, Optimal(env, prior=prior)))
    wrapped = eval(code_in(verdict.unlock, "gymnasium.wrappers.TransformAction"))
    bounded = sides(kl.Conditional(kl.MLP((4,)), kl.TanhNormal), Optimal(wrapped))
    assert isinstance(kl.control.SoftActorCritic().check(*bounded), Applies)


def sides(p, q):
    expression = kl.KL(p, q)
    return expression._p, expression._q


FAMILIES = {
    "Categorical": dist.Categorical,
    "Bernoulli": dist.Bernoulli,
    "Normal": dist.Normal,
    "Poisson": dist.Poisson,
    "TanhNormal": kl.TanhNormal,
}
SPACES = {
    "choice": (S.Discrete(3), {"Categorical"}),
    "choices": (S.MultiDiscrete([3, 2]), {"Categorical"}),
    "switches": (S.MultiBinary(3), {"Bernoulli"}),
    "box": (S.Box(-2.0, 2.0, (1,)), {"TanhNormal"}),
}


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_that_cannot_act_names_one_that_can(kind, family):
    actions, right = SPACES[kind]
    env, q = Anything(actions=actions), kl.Conditional(kl.MLP((4,)), FAMILIES[family])
    if family in right:
        assert kl.KL(q, Optimal(env)).plan().rule is not None
        return
    message = said(lambda: kl.KL(q, Optimal(env)).plan(), error=(InputError, PlanError))
    named = eval(re.search(r"kl\.Conditional\(kl\.MLP\(\), [\w.]+\)", message)[0])
    assert kl.KL(named, Optimal(env)).plan().rule is not None


def test_a_family_for_a_transition_table():
    for q in (kl.Conditional(kl.Table(), kl.TanhNormal), kl.Conditional(kl.Table(), dist.Normal)):
        message = said(lambda q=q: kl.KL(q, Optimal("FrozenLake-v1")).plan(), error=(InputError, PlanError))
        named = eval(code_in(message, "kl.Conditional(kl.Table(), dist.Categorical"))
        assert kl.KL(named, Optimal("FrozenLake-v1")).plan().rule.name == "soft value iteration"


@pytest.mark.parametrize(
    "seen",
    [
        S.Dict(GRID),
        S.Dict(a=S.Dict(t=TEXT, b=S.Discrete(2)), c=S.Discrete(2)),
        S.Tuple((S.Discrete(2), TEXT)),
        S.Dict(g=S.Graph(S.Discrete(3), S.Discrete(3)), x=S.Discrete(2)),
        S.Dict(s=S.Sequence(S.Discrete(3)), x=S.MultiBinary(2)),
    ],
    ids=["minigrid", "nested", "tuple", "graph", "sequence"],
)
def test_parts_of_observations_that_no_network_reads(seen):
    env = Anything(seen)
    wrapped = eval(code_in(said(learn, env), "gymnasium.wrappers.FilterObservation"))
    assert learn(wrapped).q is not None


@pytest.mark.parametrize("seen", [TEXT, S.Sequence(S.Discrete(3)), S.Dict(t=TEXT)], ids=["text", "sequence", "dict"])
def test_observations_that_no_network_reads(seen):
    env, box = Anything(seen), S.Box(0.0, 100.0, (1,))

    def f(observation):
        return np.array([len(observation)], np.float32)

    wrapped = eval(code_in(said(learn, env), "gymnasium.wrappers.TransformObservation"), globals() | locals())
    assert learn(wrapped).q is not None


def test_boxes_of_whole_numbers_and_mixtures():
    env = Anything(actions=S.Box(-1, 3, (2,), np.int64))
    wrapped = eval(code_in(said(learn, env), "gymnasium.wrappers.TransformAction"))
    assert learn(wrapped).q is not None
    env, space = Anything(actions=S.Dict(a=S.Discrete(2), b=S.Box(-1.0, 1.0, (1,)))), S.Discrete(2)

    def f(action):
        return {"a": action, "b": np.array([0.5], np.float32)}

    wrapped = eval(code_in(said(learn, env), "gymnasium.wrappers.TransformAction"), globals() | locals())
    assert learn(wrapped).q is not None


def test_ids_of_packages(tmp_path, monkeypatch):
    (tmp_path / "a_package_of_tests.py").write_text(
        "import gymnasium\n"
        "lake = 'gymnasium.envs.toy_text.frozen_lake:FrozenLakeEnv'\n"
        "gymnasium.register('OfAPackage-v0', lake, max_episode_steps=9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    message = said(Optimal, "OfAPackage-v0")
    assert 'import the package that registers it, or write "module:id"' in message
    assert Optimal("a_package_of_tests:OfAPackage-v0").problem.limit == 9
    assert Optimal("OfAPackage-v0").problem.limit == 9  # imported by now
    assert "did you mean CartPole-v1" in said(Optimal, "CartPol-v1")


@pytest.mark.parametrize("horizon", [7, 700])
def test_a_horizon_that_is_not_the_limit(horizon):
    message = said(lambda: Optimal("CartPole-v1", compiled=False, horizon=horizon).task)
    env = eval(code_in(message, "gymnasium.make"))
    assert Optimal(env, compiled=False, horizon=horizon).task.env.facts.limit == horizon


def test_a_class_or_a_function_in_place_of_an_environment():
    for given, words in ((Anything, r"Anything is a class; pass an instance of it, Anything\(\)"),
                         (lambda: Anything(), "a function is no environment; pass what it returns"),
                         (3, "int is no environment; supported are Gymnasium ids")):  # fmt: skip
        with pytest.raises(InputError, match=f"env: {words}"):
            Optimal(given)


def test_an_environment_without_spaces_or_with_empty_ones():
    class Bare(gym.Env):
        action_space = S.Discrete(2)

    with pytest.raises(InputError, match="env: Bare has no observation_space"):
        Optimal(Bare())
    for empty in (S.Box(0.0, 1.0, (0,)), S.Dict({})):
        message = said(lambda env: Optimal(env), Anything(seen=empty))
        env = Anything(seen=empty)
        assert learn(eval(code_in(message, "gymnasium.wrappers.TransformObservation"))).q is not None
        with pytest.raises(InputError, match=r"env: the action space .* is empty; give it a part"):
            Optimal(Anything(actions=empty))
        assert env.observation_space == empty


def test_a_box_as_wide_as_its_numbers_go_bounds_nothing():
    message = said(learn, Anything(actions=S.Box(-3e38, 3e38, (2,))))
    assert "have no bounds" in message


@pytest.mark.parametrize("over", [lambda env: env, lambda env: gym.wrappers.TimeLimit(env, 3)])
def test_clipped_actions_lie_in_the_box_that_they_are_clipped_to(over):
    inner = Anything(actions=S.Box(-2.0, 3.0, (2,)))
    env = over(gym.wrappers.ClipAction(inner))
    fit = kl.KL(kl.Conditional(kl.MLP((4,)), kl.TanhNormal), Optimal(env)).minimize(rule=BRIEF)
    assert Optimal(env).task.env.facts.actions.bounds[1].tolist() == [3.0, 3.0]
    agent = kl.control.Agent(fit, env)
    drawn = np.array([agent(env.reset()[0]) for _ in range(50)])
    assert inner.action_space.contains(drawn[0])
    assert ((drawn > -2.0) & (drawn < 3.0)).all()
    envs = gym.wrappers.vector.ClipAction(gym.vector.SyncVectorEnv([lambda: Anything(actions=S.Box(-2.0, 3.0, (2,)))]))
    assert Optimal(envs).task.env.facts.actions.bounds[0].tolist() == [-2.0, -2.0]


def test_a_schedule_of_temperatures_ends_where_it_should():
    """In four blocks: the last one is learned from at the last temperature."""
    rule = TrajectoryGradient(lanes=2, block=8, epochs=1, minibatches=1, steps=64)
    target = Optimal(Anything(), temperature=kl.control.Annealed(1.0, 0.125))
    fit = kl.KL(kl.Conditional(kl.MLP((4,)), dist.Categorical), target).minimize(rule=rule)
    assert fit.diagnostics["temperature"] == pytest.approx(0.125, rel=1e-5)


@pytest.mark.parametrize("env", ["CartPole-v1", "FrozenLake-v1"])
def test_sides_in_the_wrong_order_are_told_to_turn_round(env):
    target, q = Optimal(env), kl.Conditional(kl.MLP(), dist.Categorical)
    message = said(kl.KL(target, q).minimize, error=PlanError)
    turned = eval(code_in(message, "kl.KL(kl.Conditional"), {"kl": kl, "dist": dist, "P": target})
    assert turned.plan().question == "reverse"
    policy = turned.minimize(steps=32, rule=BRIEF).q
    named = {"kl": kl, "env": env, "policy": policy, "Q": q}
    assert eval(code_in(message, "kl.KL(kl.control").replace("100", "2"), named).plan().question == "forward"
