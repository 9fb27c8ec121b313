"""Reaching goals by iterated supervised learning: the program against its definition, and shortest paths."""

import gymnasium as gym
import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.control.goals.worlds import CELLS, SIZE, Grid, distances, shortest, world

import kullback as kl
from kullback.control import FiniteMDP, Reaching, RelabelledImitation
from kullback.control.data import as_one_label
from kullback.control.goals.episodes import (
    Actor,
    Block,
    Program,
    _ahead,
    _left,
    _weight,
    at_start,
    learn,
    practice,
    relabelled_losses,
)
from kullback.errors import FileError, InputError, PlanError
from kullback.families.dense import InputSizes
from kullback.result import Status
from kullback.training import driver

TABLE = kl.Conditional(kl.Table(), dist.Categorical)
NETWORK = kl.Conditional(kl.MLP(), dist.Categorical)
LAKE = {"map_name": "8x8", "is_slippery": False}
ENOUGH = 300  # greedy episodes: of a policy that reaches 99 % of its goals, fewer than 95 % of them are reached in
# fewer than 1 of 100,000 trials (binomial)


def minimized(reaching, q, seed=0, **settings):
    return kl.KL(reaching, q).minimize(rule=RelabelledImitation(**settings), seed=seed, quiet=True)


def excess(shown, least):
    """Steps beyond the shortest path, of the goals that were reached."""
    best = np.array([least(s, g) for s, g in zip(shown.start, shown.goal, strict=True)])
    assert (shown.steps[shown.reached] >= best[shown.reached]).all()
    return (shown.steps - best)[shown.reached]


def test_a_table_finds_shortest_paths():
    """In a grid whose observations say what is achieved and wanted; labels joined to s · G + g."""
    reaching = Reaching(world("Grid"), horizon=20, labels=True)
    fit = minimized(reaching, TABLE, steps=16_000, batch=512)
    shown = reaching.attempts(fit.q, episodes=ENOUGH)
    assert shown.reached.mean() >= 0.95
    assert excess(shown, shortest).mean() < 0.3
    sampled = reaching.attempts(fit.q, episodes=ENOUGH, greedy=False)
    assert sampled.reached.mean() >= 0.95
    d = fit.diagnostics
    assert d["greedy_reached"].value >= 0.95
    assert d["sampled_steps"].value > d["greedy_steps"].value - 1.0
    # More likely one step towards the goal than all others together, where there is one shortest path.
    probs = fit.q(reaching.inputs([CELLS.index((0, 0))], [2])).probs[0]
    assert np.argmax(probs) == 0


@pytest.mark.parametrize(("steps", "batch", "share"), [(10_000, 128, 0.85), (20_000, None, 0.95)])
@pytest.mark.long  # the table above, the box and the lanes below are quick
def test_a_network_finds_shortest_paths(steps, batch, share):
    """The same from rows and columns, side by side; the longer training, with its usual batches, reaches nearly all."""
    reaching = Reaching(world("Squares"), horizon=20)
    fit = minimized(reaching, NETWORK, steps=steps, batch=batch)
    assert fit.status is Status.STEP_LIMIT
    shown = reaching.attempts(fit.q, episodes=ENOUGH, seed=3)
    assert shown.reached.mean() >= share
    assert excess(shown, shortest).mean() < 0.3


@pytest.mark.long
def test_the_lake_from_one_corner():
    """FrozenLake without slipping, holes as goals like any other: all start in a corner, and no goals are given."""
    reaching = Reaching(gym.make("FrozenLake-v1", **LAKE), horizon=50)
    fit = minimized(reaching, NETWORK, steps=40_000)
    table = gym.make("FrozenLake-v1", **LAKE).unwrapped.P
    ends = {s: any(over for a in table[s] for _, there, _, over in table[s][a] if there == s) for s in table}
    least = distances(lambda s: [] if ends[s] else [table[s][a][0][1] for a in range(4)], 0)
    goals = np.array(sorted(least))
    shown = reaching.attempts(fit.q, goals)
    assert shown.reached.mean() >= 0.95
    assert (shown.steps - [least[g] for g in goals])[shown.reached].mean() < 1.0


def test_actions_in_a_box():
    """A point in the plane; the farthest goals are 14 steps of 0.2 away, and the nearest need a short one."""
    reaching = Reaching(world("Point"), horizon=25, within=0.1)
    q = kl.Conditional(kl.MLP((32, 32)), kl.TanhNormal)
    fit = minimized(reaching, q, until=0.98, steps=20_000, batch=64)
    assert fit.status is Status.CONVERGED
    assert "at least 98% of 100 commanded goals" in fit.message
    assert fit.history[-1]["step"] < 20_000
    shown = reaching.attempts(fit.q, episodes=ENOUGH)
    assert shown.reached.mean() >= 0.95
    far = np.abs(shown.goal - shown.start).max(1)
    assert (shown.steps[shown.reached] >= np.ceil((far[shown.reached] - 0.1) / 0.2 - 1e-3)).all()
    assert shown.steps[shown.reached].mean() < np.mean(far) / 0.2 + 4


@pytest.mark.parametrize("name", ["Line", "MaskedLine"])
def test_goals_achieved_so_far(name):
    """A line from its middle: nothing tells what to reach, and masks are kept to."""
    reaching = Reaching(world(name), horizon=12, labels=True)
    fit = minimized(reaching, TABLE, steps=3000, batch=256)
    shown = reaching.attempts(fit.q, np.arange(7))
    assert shown.reached.all()
    np.testing.assert_array_equal(shown.steps, np.abs(np.arange(7) - 3))


def test_a_timed_policy_arrives_when_its_steps_are_used_up():
    """Told that k steps are left for k cells, there is one way; told more, there are others."""
    reaching = Reaching(world("Line"), horizon=8, timed=True, labels=True)
    assert reaching.discount == 1.0
    fit = minimized(reaching, TABLE, steps=8000, batch=512)
    right = np.asarray(fit.q(reaching.inputs([3, 3, 4], [6, 6, 6], left=[3, 8, 2])).probs)[:, 1]
    assert right[0] > 0.9
    assert right[2] > 0.9
    assert 0.2 < right[1] < 0.8


def test_a_function_says_what_is_achieved():
    """The first coordinate of the point alone; goals from a list, and from a function."""
    flat = gym.wrappers.FilterObservation(gym.make(world("Point")), ["observation"])
    env = gym.wrappers.FlattenObservation(flat)
    rng = np.random.default_rng(0)
    listed = rng.uniform(-1, 1, size=(50, 1))
    drawn = lambda rng, n: rng.uniform(-1, 1, size=n)  # noqa: E731
    for goals in (listed, drawn):
        reaching = Reaching(env, achieved=lambda x: x[0], horizon=20, goals=goals, within=0.1)
        fit = minimized(reaching, kl.Conditional(kl.MLP((32,)), kl.TanhNormal), steps=3000, batch=64)
        assert fit.diagnostics["greedy_reached"].value > 0.9
        assert reaching.inputs(np.zeros((3, 2)), np.zeros(3)).shape == (3, 3)
    assert Reaching(env, achieved=lambda x: np.round(x).astype(int), horizon=5).goals.within == 0.0


def test_arrays_and_vector_environments_are_environments():
    """A ring of six states as a finite MDP; and a vector environment that resets a step later."""
    ring = FiniteMDP(np.stack([np.roll(np.eye(6), k, axis=1) for k in (1, 5)], axis=1), np.zeros(6))
    reaching = Reaching(ring, horizon=6, labels=True)
    fit = minimized(reaching, TABLE, steps=4000, batch=256)
    shown = reaching.attempts(fit.q, np.repeat(np.arange(6), 10))
    assert shown.reached.all()
    around = (shown.goal - shown.start) % 6
    np.testing.assert_array_equal(shown.steps, np.minimum(around, 6 - around))

    limited = gym.vector.SyncVectorEnv([lambda: gym.wrappers.TimeLimit(gym.make(world("Line")), 9)] * 3)
    task = Reaching(limited, horizon=9, labels=True).task
    stepper = task.env.stepper(3)
    q = kl.KL(Reaching(world("Line"), horizon=9, labels=True), TABLE)._q
    actor = Actor(task, q.learnable.structure, q.learnable.initial(np.random.default_rng(0), 0), q.learnable.fixed, 0)
    block = practice(task, stepper, actor, None, (0,)).block
    # What a lane achieved by its last step is not where its next episode begins, and dead transitions count 0.
    t, lane = np.nonzero(block.left == 1)
    assert (block.left == 0).any()
    assert ((block.achieved[t, lane] % 6 == 0) | (t == 8)).all()
    stepper.close()


@pytest.fixture(scope="module")
def known():
    """A policy over the grid, a program, and a block of two lanes with trajectories of several lengths."""
    rng = np.random.default_rng(0)
    reaching = Reaching(world("Grid"), horizon=20, labels=True)
    learnable = kl.KL(reaching, TABLE)._q.learnable
    free = learnable.initial(rng, 0) + rng.normal(size=(SIZE**4, 4))
    program = Program(learnable.structure, reaching.task.inputs, 0.7, 50, 512, 10.0)
    valid, over = np.ones((6, 2), bool), np.zeros((6, 2), bool)
    over[2, 0], over[3, 1], valid[4, 1] = True, True, False
    block = Block(rng.integers(25, size=(6, 2)), rng.integers(4, size=(6, 2)), rng.integers(25, size=(6, 2)),
                  _left(valid, over))  # fmt: skip
    return program, learnable, free, block


def examples(block, discount):
    """Every (observation, action, goal, h, weight) that a block holds, by the definition."""
    for lane in range(block.left.shape[1]):
        for t in range(len(block.left)):
            for h in range(1, block.left[t, lane] + 1):
                goal = block.achieved[t + h - 1, lane]
                yield block.observation[t, lane], block.action[t, lane], goal, h, discount**h


def test_steps_left_in_a_trajectory(known):
    np.testing.assert_array_equal(known[3].left.T, [[3, 2, 1, 3, 2, 1], [4, 3, 2, 1, 0, 1]])


@pytest.mark.parametrize("discount", [1.0, 0.7, 0.2])
def test_goals_ahead_are_drawn_in_proportion(discount):
    """Against γʰ on 1 … left by a χ² test: seven of them at 0.001 raise one false alarm in 140 runs of all seeds."""
    from scipy.stats import chisquare

    u = np.asarray(jax.random.uniform(jax.random.key(0), (20_000,)))
    for left in (1, 2, 5):
        counts = np.bincount(np.asarray(_ahead(u, np.full(20_000, left), discount)), minlength=left + 1)
        p = discount ** np.arange(1, left + 1)
        assert counts[0] == 0
        assert len(counts) == left + 1
        if left > 1:
            assert chisquare(counts[1:], 20_000 * p / p.sum()).pvalue > 0.001
        np.testing.assert_allclose(_weight(np.array([left, 0]), discount), [p.sum(), 0.0], rtol=1e-6)


@pytest.mark.usefixtures("precision")
def test_losses_are_those_of_all_relabelled_pairs(known):
    """The average of 2000 random relabellings against the sum over all pairs, within five standard errors."""
    program, learnable, free, block = known
    rows = list(examples(block, 0.7))
    s, a, g, _, w = (np.array(column) for column in zip(*rows, strict=True))
    d = program.structure.distribution(free, learnable.fixed, s * 25 + g)
    expected = -float(np.sum(w * np.asarray(d.log_prob(a))))
    memory = Block(*(leaf[None] for leaf in block))
    losses = jax.vmap(lambda key: relabelled_losses(program, learnable.fixed, free, memory, key)[0].sum())
    drawn = np.asarray(losses(jax.random.split(jax.random.key(1), 2000)), np.float64)
    assert abs(drawn.mean() - expected) < 5 * drawn.std() / np.sqrt(2000)
    weights = relabelled_losses(program, learnable.fixed, free, memory, jax.random.key(0))[1]
    assert float(weights.sum()) == pytest.approx(w.sum(), rel=1e-5)


def test_learning_ends_at_the_weighted_frequencies(known):
    """Of one block, P(a∣s, g) ∝ Σ γʰ over its examples: the table that many steps lead to, up to its noise."""
    program, learnable, _, block = known
    table = np.full((625, 4), 0.0)
    for s, a, g, _, w in examples(block, 0.7):
        table[s * 25 + g, a] += w
    seen = table.sum(1) > 0
    memory = Block(*(np.stack([leaf, 0 * leaf]) for leaf in block))  # the second block is not filled
    learner = at_start(learnable.initial(np.random.default_rng(0), 0))
    for n in range(30):
        learner, _ = learn(program, learnable.fixed, memory, np.int32(1), learner, np.float32(0.05), jax.random.key(n))
    probs = np.asarray(program.structure.distribution(learner.average, learnable.fixed, np.arange(625)).probs)
    np.testing.assert_allclose(probs[seen], table[seen] / table[seen].sum(1, keepdims=True), atol=0.08)


def test_inputs():
    s, g = np.array([3, 4]), np.array([0, 24])
    joined = Reaching(world("Grid"), horizon=20, labels=True)
    np.testing.assert_array_equal(joined.inputs(s, g), s * 25 + g)
    timed = Reaching(world("Grid"), horizon=20, labels=True, timed=True)
    np.testing.assert_array_equal(timed.inputs(s, g, 3), (2 * 25 + s) * 25 + g)
    beside = Reaching(world("Grid"), horizon=20, timed=True).inputs(s, g, [20, 10])
    np.testing.assert_allclose(beside[:, 0], [1.0, 0.0])
    np.testing.assert_array_equal(beside[:, 1:].argmax(1), s)
    np.testing.assert_array_equal(beside[:, 26:].argmax(1), g)
    assert as_one_label([InputSizes((), 2), InputSizes((), 3)], [np.array([1]), np.array([2])]) == 5


def test_the_plan():
    divergence = kl.KL(Reaching(world("Grid"), horizon=20, labels=True), TABLE)
    assert str(divergence) == (
        "min KL(P ‖ Q) over Q\n"
        "  P         Reaching(KullbackGrid-v0): 4 atoms, 4 actions, horizon 20, goals of\n"
        "            the environment among 25, discount 0.8, support {0, 1, 2, 3}\n"
        "  Q         Conditional(Table(), Categorical): learnable, 2500 parameters\n"
        "  direction forward: Q is learnable, so Q covers all of P (mass-covering)\n"
        "  identity  KL(P‖Q) = H(P, Q) − H(P) with P(a∣s, g) ∝ π(a∣s) P(g achieved\n"
        "            later∣s, a), π the last Q\n"
        "  drops     H(P)\n"
        "  rule      relabelled imitation: P moves with Q; the share of goals reached is\n"
        "            reported\n"
        "  guarantee consistent"
    )


def test_a_fit_is_a_policy_like_any_other(tmp_path):
    reaching = Reaching(world("Squares"), horizon=20)
    first = minimized(reaching, NETWORK, steps=3000, episodes=8, batch=64)
    assert first.objective.dropped == ("H(P)",)
    assert first.objective.standard_error > 0
    assert [line["step"] for line in first.history] == list(range(160, 3041, 160))
    assert set(first.history[0]) == {"step", "train_nll", "heldout_nll", "reached"}
    assert first.history[0]["heldout_nll"] == pytest.approx(np.log(4), abs=0.01)
    first.save(tmp_path / "fit")
    x = reaching.inputs([[0, 0]], [[0, 4]])
    loaded = kl.load(tmp_path / "fit")
    np.testing.assert_allclose(loaded.q(x).probs, first.q(x).probs, atol=1e-6)
    warm = minimized(reaching, kl.learnable(loaded.q), steps=160, episodes=8, batch=64)
    assert warm.history[0]["heldout_nll"] < first.history[0]["heldout_nll"] - 0.1


@pytest.mark.usefixtures("precision")
def test_a_resumed_run_is_the_same(tmp_path, monkeypatch):
    reaching = Reaching(world("Point"), horizon=10, within=0.1)
    rule = RelabelledImitation(episodes=4, updates=5, memory=120)
    q = kl.Conditional(kl.MLP((8,)), kl.TanhNormal)
    run = lambda **more: kl.KL(reaching, q).minimize(rule=rule, seed=5, quiet=True, **more)  # noqa: E731
    whole = run(steps=320)
    monkeypatch.setattr(driver, "_SAVE_EVERY", 0.0)
    run(steps=160, checkpoint=tmp_path / "run")
    rest = run(steps=320, checkpoint=tmp_path / "run")
    for x, y in zip(jax.tree.leaves((whole.q.free, whole.q.fixed)), jax.tree.leaves((rest.q.free, rest.q.fixed)),
                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(x, y)
    assert whole.history == rest.history
    assert whole.objective.value == rest.objective.value
    with pytest.raises(FileError, match="belongs to another problem"):
        kl.KL(reaching, q).minimize(rule=rule, seed=6, steps=320, quiet=True, checkpoint=tmp_path / "run")


def test_an_environment_that_cannot_be_made_again_is_played_alone():
    reaching = Reaching(Grid(), horizon=20, labels=True)
    fit = minimized(reaching, TABLE, steps=400)
    assert len(fit.history) == 20
    assert 0 < fit.diagnostics["sampled_reached"].value < 1


BAD = [
    (lambda: Reaching(world("Grid")), "horizon: KullbackGrid-v0 has no time limit"),
    (lambda: Reaching(world("Grid"), horizon=0), "horizon: 0 is no positive number"),
    (lambda: Reaching(world("Grid"), horizon=20, discount=0.0), "discount: 0.0 is not in"),
    (lambda: Reaching("CartPole-v1"), "within: goals of CartPole-v1 are real numbers"),
    (lambda: Reaching("CartPole-v1", within=-1.0), "within: -1.0 is no distance"),
    (lambda: Reaching("CartPole-v1", achieved=3, within=1.0), "achieved: int is no function"),
    (lambda: Reaching("CartPole-v1", lambda s: "here", within=1.0), "achieved: it returns <U4"),
    (lambda: Reaching(world("Grid"), horizon=20, goals=[25]), "goals: pass integers .* from 0 to 24"),
    (lambda: Reaching(world("Point"), horizon=20, within=0.1, goals=np.zeros((2, 3))), "goals: shape"),
    (lambda: Reaching(world("Point"), horizon=20, within=0.1, goals=np.full((2, 2), np.nan)), "goals: shape"),
    (lambda: Reaching(world("Point"), horizon=20, within=0.1, labels=True).known(), "labels: labels=True joins"),
    (lambda: Reaching(world("Grid"), horizon=5000, timed=True, labels=True).known(), "3,125,000 inputs are too many"),
    (lambda: Reaching(world("Grid"), horizon=20).inputs([1, 2], [3]), "goal: 1 of them beside 2 observations"),
    (lambda: Reaching(world("Grid"), horizon=20).inputs([1], [3], 21), "left: it is not between 1 and"),
    (lambda: Reaching(world("Line"), horizon=20).attempts(None), "goals: those achieved while learning"),
    (lambda: RelabelledImitation(episodes=0), "episodes: 0"),
    (lambda: RelabelledImitation(rate=-1.0), "rate: -1.0"),
    (lambda: RelabelledImitation(explore=1.0), "explore: 1.0"),
    (lambda: RelabelledImitation(until=1.5), "until: 1.5"),
    (lambda: minimized(Reaching(world("Line"), horizon=9, goals=lambda rng, n: [1]), NETWORK, steps=9), "returned 1"),
]


@pytest.mark.parametrize(("act", "message"), BAD, ids=range(len(BAD)))
def test_says_what_is_wrong(act, message):
    with pytest.raises(InputError, match=message):
        act()


def test_what_is_no_policy_is_refused():
    reaching = Reaching(world("Line"), horizon=9)
    several = kl.Conditional(kl.MLP(), dist.Categorical, ensemble=2)
    blind, counting = kl.Family(dist.Categorical), kl.Conditional(kl.MLP(), dist.Poisson)
    for q, said in ((counting, "Poisson"), (blind, "does not depend"), (several, "a mixture")):
        with pytest.raises(PlanError, match=said):
            kl.KL(reaching, q).plan("relabelled imitation")
