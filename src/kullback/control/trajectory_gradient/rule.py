"""The rule that learns a policy from its own episodes, by the gradient of the KL between trajectories.

Blocks are played on the device, or stepped on the host with updates on the device. A state is one pytree of arrays.
Hyperparameters that are no sizes are arguments, so that another rate compiles nothing.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped, UInt32

from kullback.arguments import positive
from kullback.control.envs.simulator import Lanes, Stepper, Transition, fresh_lanes, moved_lanes, start_lanes
from kullback.control.learning.critics import state_critic
from kullback.control.learning.policy import Fixed, RunningMoments, at_start, scaled
from kullback.control.learning.training import (
    CURVE,
    Playing,
    PlayingRule,
    Stopping,
    Training,
    asked_or_usual,
    nothing_counted,
    nothing_played,
    outside_the_box,
    playable,
    stepper_of,
)
from kullback.control.task import Task
from kullback.control.trajectory_gradient.update import (
    Block,
    Keys,
    OnPolicyConfig,
    OnPolicyHyperparameters,
    OnPolicyState,
    Options,
    Sizes,
    keys_of,
    learned,
)
from kullback.errors import InputError
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.dense import Rows
from kullback.families.learnable import Learnable
from kullback.known import Known
from kullback.result import Guarantee
from kullback.rule import Applies, Missing, Question, Request
from kullback.runtime.export_cache import Effort, program
from kullback.runtime.random import key_of, words_from
from kullback.training.optimiser import begin, checked, settings_in_words
from kullback.training.ravel import Layout, on_host


@program
def start_playing(config: OnPolicyConfig, parameters: PyTree, seed: UInt32[Array, " 2"]) -> Lanes:
    """Fresh episodes in every lane of a compiled simulator."""
    assert config.simulator is not None
    key = key_of(seed)
    return start_lanes(config.simulator, parameters, key, config.sizes.lanes)


@partial(jax.jit, static_argnums=0)
def act(
    config: OnPolicyConfig,
    fixed: Fixed,
    x: Float[Array, " p"],
    inputs: RunningMoments,
    observation: Shaped[Array, "n ..."],
    mask: Bool[Array, "n k"] | None,
    hyper: OnPolicyHyperparameters,
    updates: Int[Array, ""],
    t: Int[Array, ""],
) -> Shaped[Array, "n ..."]:
    """What every lane does at step t of a block, for simulators that only step."""
    key = keys_of(config, hyper, updates).actions[t]
    return config.acting.at(config.layout.tree(x)[0], scaled(fixed, inputs), observation, mask).draw(key)[0]


@program(effort=Effort.FULL)
def learn(
    config: OnPolicyConfig, fixed: Fixed, state: OnPolicyState, block: Block, hyper: OnPolicyHyperparameters
) -> OnPolicyState:
    """The state after learning from a block that was played on the host."""
    return learned(config, fixed, state, block, hyper, keys_of(config, hyper, state.counters.updates))


@program(effort=Effort.FULL)
def improve(
    config: OnPolicyConfig, fixed: Fixed, parameters: PyTree, state: OnPolicyState, hyper: OnPolicyHyperparameters
) -> OnPolicyState:
    """As many blocks as the budget says; fewer where the total is reached, an update fails, or an evaluation is due."""
    stopping = hyper.stopping

    def going(s: OnPolicyState) -> Bool[Array, ""]:
        more = (s.recording.count < jnp.minimum(stopping.budget, CURVE)) & (s.counters.steps < stopping.total)
        return more & (s.counters.failed == 0) & ~s.counters.evaluate

    def one(s: OnPolicyState) -> OnPolicyState:
        keys = keys_of(config, hyper, s.counters.updates)
        lanes, block = collected(config, fixed, parameters, s, keys)
        return learned(config, fixed, s._replace(lanes=lanes), block, hyper, keys)

    recording = state.recording._replace(count=jnp.zeros_like(state.recording.count))
    return lax.while_loop(going, one, state._replace(recording=recording))


def collected(
    config: OnPolicyConfig, fixed: Fixed, parameters: PyTree, state: OnPolicyState, keys: Keys
) -> tuple[Lanes, Block]:
    """The lanes after a block of steps, and the block."""
    assert config.simulator is not None
    simulator, now = config.simulator, scaled(fixed, state.inputs)
    free = config.layout.tree(state.descent.x)[0]

    def step(lanes: Lanes, given: tuple[Key[Array, ""], Key[Array, " n"], Lanes]) -> tuple[Lanes, Block]:
        key, keys, instead = given
        here = config.acting.at(free, now, lanes.observation, lanes.mask)
        action, _ = here.draw(key)
        after, seen = moved_lanes(simulator, parameters, lanes, action, keys, instead)
        return after, block_of(seen, lanes.elapsed)

    fresh = jax.vmap(partial(fresh_lanes, simulator, parameters))(keys.lanes[1])
    return lax.scan(step, state.lanes, (keys.actions, keys.lanes[0], fresh))


def block_of(seen: Transition, elapsed: Int[Array, " n"] | Int[np.ndarray, " n"]) -> Block:
    """A step of every lane as a part of a block, on the device or on the host."""
    return on_host(
        Block,
        observation=seen.observation,
        mask=seen.mask,
        action=seen.action,
        reward=seen.reward,
        terminated=seen.terminated,
        truncated=seen.truncated,
        following=seen.following,
        valid=seen.valid,
        elapsed=elapsed,
    )


class OnPolicy(Playing):
    """The state at the start, and the policy in it; the work of a call is blocks."""

    most = CURVE
    screened = 10

    @abc.abstractmethod
    def lanes(self) -> Any:
        """Where the lanes stand at the start."""

    def init(self) -> OnPolicyState:
        training, dtype = self.training, jnp.result_type(float)
        policy = training.fixed.policy
        counters, recording = nothing_counted(dtype)
        return on_host(
            OnPolicyState,
            descent=begin(training.start, training.config.descent),
            inputs=at_start(policy["x_mean"], policy["x_scale"]),
            values=at_start(0.0, 1.0),
            power=np.zeros((), dtype),
            log_alpha=np.asarray(training.hyper.temperature[0], dtype),
            counters=counters,
            statistics=nothing_played(2, training.config.sizes.lanes, dtype),
            lanes=self.lanes(),
            recording=recording,
        )

    def free(self, state: OnPolicyState) -> Any:
        return self.training.config.layout.tree(np.asarray(state.descent.x))[0]

    def ended(self, state: OnPolicyState) -> tuple[Array, Array]:
        return state.log_alpha, state.descent.steps


class CompiledPlaying(OnPolicy):
    """Everything on the device: several blocks a call."""

    cheap = 50

    def __init__(self, training: Training) -> None:
        super().__init__(training, 4)

    def lanes(self) -> Any:
        compiled = self.training.task.env.compiled
        assert compiled is not None
        return start_playing(self.training.config, compiled.parameters, self.training.hyper.seed)

    def played(self, state: OnPolicyState) -> OnPolicyState:
        training = self.training
        assert training.task.env.compiled is not None
        return improve(
            training.config, training.fixed, training.task.env.compiled.parameters, state, training.within(self.budget)
        )


class SteppedPlaying(OnPolicy):
    """The environments on the host, the policy's actions and its learning on the device."""

    cheap = 1

    def __init__(self, training: Training, stepper: Stepper) -> None:
        super().__init__(training, 1, stepper)
        self.stepper = stepper

    def lanes(self) -> Any:
        self.stepper.reset(int(self.training.hyper.seed[0]))
        return self.standing(self._now(np.zeros(self.stepper.lanes, np.int32)))

    def _now(self, elapsed: np.ndarray) -> dict[str, Any]:
        return {"elapsed": elapsed, "environment": self.stepper.state()}

    def played(self, state: OnPolicyState) -> OnPolicyState:
        self.take_up(state.lanes, state.lanes["environment"])
        elapsed = np.asarray(state.lanes["elapsed"])
        device, training = state._replace(lanes=()), self.training
        for _ in range(self.budget):
            block, elapsed = self._block(device, elapsed)
            device = learn(training.config, training.fixed, device, block, training.hyper)
            counters = device.counters
            if bool(counters.evaluate) or int(counters.failed) or int(counters.steps) >= training.hyper.stopping.total:
                break
        return device._replace(lanes=self.standing(self._now(elapsed)))

    def _block(self, state: OnPolicyState, elapsed: np.ndarray) -> tuple[Block, np.ndarray]:
        """A block of steps of every lane, and how long their episodes then are."""
        training, stepper, steps = self.training, self.stepper, []
        for t in range(training.config.sizes.block):
            action = np.asarray(
                act(
                    training.config,
                    training.fixed,
                    state.descent.x,
                    state.inputs,
                    stepper.observation,
                    stepper.mask,
                    training.hyper,
                    state.counters.updates,
                    np.int32(t),
                )
            )
            seen = stepper.step(action)
            steps.append(block_of(seen, elapsed))
            over = seen.terminated | seen.truncated
            elapsed = np.where(over, 0, elapsed + seen.valid).astype(np.int32)
        block = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
        reward = np.where(block.valid, block.reward, 0.0)
        return block._replace(reward=reward.astype(jnp.result_type(float))), elapsed


_CRITIC, _SEED = 4, 5  # streams of random numbers
THRESHOLD_COMPILED, THRESHOLD_STEPPED = 0.1, 0.6  # of the way to `until` where greedy episodes are first played


@dataclass(frozen=True)
class Usual:
    """How much is played and learned at a time where the user says nothing; `TrajectoryGradient` explains each."""

    lanes: int
    block: int
    epochs: int
    minibatches: int
    rate: float
    steps: int


TABLE = Usual(lanes=64, block=64, epochs=4, minibatches=4, rate=3e-2, steps=2_000_000)
COMPILED = Usual(lanes=8, block=64, epochs=10, minibatches=4, rate=3e-3, steps=200_000)
STEPPED = Usual(lanes=8, block=128, epochs=10, minibatches=8, rate=1e-3, steps=300_000)


@dataclass(frozen=True)
class TrajectoryGradient(PlayingRule):
    """On-policy learning of KL(π‖P_opt): the gradient over trajectories, with proximal updates.

    The KL of later steps enters through the rewards-to-go, that of the own step in closed form where there is one.
    Advantages and the KL are divided by one scale, the root mean square of recent advantages, so that the temperature
    stays reward per nat. With lam=1, one epoch, one minibatch and clip=inf an update follows the plain gradient.

    lanes, block  environments side by side, and the steps of each between updates
    epochs, minibatches  how often the updates go through a block, and in how many parts
    rate, decay   step size of Adam, and whether it falls linearly to 0 over the training
    clip          how far a ratio of probabilities may move from 1 before its row no longer pulls; inf: no limit
    lam           λ of the advantages: 1 is unbiased whatever the critic says, less lets the critic speak
    value_weight  of the critic's squared error in units of its targets' deviation
    trust         the most mean KL(π_old‖π) in nats by which a block may move the policy, or None
    discounted_states  whether a state counts γᵗ, as the gradient says; without it, as is usual, that factor is left out
    until         end as soon as the greedy policy returns this on average over as many fresh episodes as `Optimal` says
    steps         environment steps of the whole training
    optimiser     an Optax transformation in the place of Adam with adaptive clipping; its updates are multiplied by
                  `rate`, which is then 1 unless given

    These are the settings of a user, and so more than ten fields. What is None is chosen by whether the policy is a
    table and the environment is compiled: `TABLE`, `COMPILED` and `STEPPED`. Gradients far longer than usual are
    shortened.
    """

    lanes: int | None = None
    block: int | None = None
    epochs: int | None = None
    minibatches: int | None = None
    rate: float | None = None
    decay: bool = True
    clip: float = 0.2
    lam: float = 0.95
    value_weight: float = 0.5
    trust: float | None = None
    discounted_states: bool = False
    until: float | None = None
    steps: int | None = None
    optimiser: optax.GradientTransformation | None = field(default=None, repr=False)

    name: ClassVar[str] = "trajectory gradient"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = (
        "∇J = E Σ γᵗ [∇log π(a∣s) (r + γ V(s′) − V(s)) − α ∇KL(π(·∣s)‖π₀(·∣s))], J = −α (KL(π‖P_opt) − log Z)"
    )
    needs_p: ClassVar[str] = "a Conditional that acts in the environment"
    needs_q: ClassVar[str] = "an environment that can be played"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 5.0
    source: ClassVar[str] = (
        "Schulman et al. (2016), arXiv:1506.02438, eq. 16; Schulman et al. (2017), arXiv:1707.06347, eq. 7; "
        "Levine (2018), arXiv:1805.00909, section 4.1"
    )
    aliases: ClassVar[tuple[str, ...]] = ("PPO", "proximal policy optimization", "GAE", "policy gradient", "A2C")

    signed = frozenset({"until"})

    def __post_init__(self) -> None:
        super().__post_init__()
        checked(self.optimiser)
        for name in ("rate", "clip", "value_weight", "trust"):
            if (value := getattr(self, name)) is not None:
                positive(name, value)
        if self.lam > 1:
            raise InputError(f"lam: {self.lam!r} is not between 0 and 1; 0.95 is usual")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        task = playable(p, q)
        if isinstance(task, Missing):
            return task
        if missing := outside_the_box(p, task):
            return missing
        assert p.learnable is not None and isinstance(p.learnable.structure, ConditionalStructure)
        cost = 6.6 if not task.env.facts.actions.is_discrete else 5.0 if task.env.compiled is not None else 5.5
        sizes = self.sizes(task, p.learnable.structure)
        note = (
            f"{sizes.lanes} lane{'s' * (sizes.lanes > 1)} × {sizes.block} steps an update, discount {task.discount:g}"
        )
        if task.discount < 1.0 and not self.discounted_states:
            note += ", without the factor γᵗ of states"
        return Applies(cost=cost, dropped=("log Z",), note=note + task.closing.note)

    def sizes(self, task: Task, structure: ConditionalStructure) -> Usual:
        usual = STEPPED if task.env.compiled is None else TABLE if isinstance(structure.network, Rows) else COMPILED
        return asked_or_usual(self, usual, task)

    def algorithm(self, task: Task, learnable: Learnable, request: Request) -> OnPolicy:
        structure = learnable.structure
        assert isinstance(structure, ConditionalStructure)
        sizes, dtype, compiled = self.sizes(task, structure), jnp.result_type(float), task.env.compiled
        stepper = stepper_of(task, sizes.lanes)
        lanes = sizes.lanes if stepper is None else stepper.lanes
        minibatches = _divisor(lanes * sizes.block, sizes.minibatches)
        free = learnable.initial(request.host_rng(0, 0), 0)
        critic = state_critic(structure.network, task.env.facts.observations)
        both = (free, critic.init(request.host_rng(_CRITIC)))
        config = OnPolicyConfig(
            acting=task.acting(structure),
            critic=critic,
            layout=Layout.of(both),
            policy_size=Layout.flat(free).size,
            sizes=Sizes(lanes=lanes, block=sizes.block, epochs=sizes.epochs, minibatches=minibatches),
            options=Options(
                discounted=self.discounted_states,
                cut_ends=task.cut_ends,
                adapted=task.temperature.is_adapted,
                trusting=self.trust is not None,
            ),
            simulator=compiled,
            optimiser=self.optimiser,
        )
        number = lambda x: np.asarray(x, dtype)  # noqa: E731
        threshold = THRESHOLD_STEPPED if compiled is None else THRESHOLD_COMPILED
        hyper = on_host(
            OnPolicyHyperparameters,
            rate=number(sizes.rate),
            last_rate=number(0.0 if self.decay else sizes.rate),
            clip=number(self.clip),
            lam=number(self.lam),
            value_weight=number(self.value_weight),
            trust=number(np.inf if self.trust is None else self.trust),
            discount=number(task.discount),
            temperature=task.temperature.numbers.astype(dtype),
            stopping=Stopping.after(request.steps or sizes.steps, self.until, threshold),
            seed=words_from(request.host_rng(_SEED)),
        )
        start = Layout.flat(both).astype(dtype)
        training = Training(
            title=self.name,
            task=task,
            config=config,
            hyper=hyper,
            fixed=task.fixed(learnable.fixed),
            start=start,
            settings=settings_in_words(self),
        )
        return CompiledPlaying(training) if stepper is None else SteppedPlaying(training, stepper)


def _divisor(rows: int, parts: int) -> int:
    """The largest number of equal parts that is at most `parts`."""
    return max(k for k in range(1, min(parts, rows) + 1) if rows % k == 0)
