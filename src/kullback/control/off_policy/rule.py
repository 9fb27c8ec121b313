"""What rules that learn off-policy share: their settings, what they need, and how they run."""

from __future__ import annotations

import abc
import warnings
from dataclasses import InitVar, dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kullback.arguments import positive
from kullback.control.envs.simulator import Compiled
from kullback.control.learning.critics import Critic, action_critic, state_critic
from kullback.control.learning.training import (
    PlayingRule,
    Stopping,
    Training,
    asked_or_usual,
    outside_the_box,
    playable,
    stepper_of,
)
from kullback.control.off_policy.noise import noise_of
from kullback.control.off_policy.playing import CompiledPlaying, OffPolicy, SteppedPlaying
from kullback.control.off_policy.replay import MOST_LABELS, Columns
from kullback.control.off_policy.update import (
    TWINS,
    Improvement,
    Layouts,
    OffPolicyConfig,
    OffPolicyHyperparameters,
    Options,
    Sizes,
)
from kullback.control.task import Task, bounded
from kullback.errors import InputError
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.dense import Dense, Rows
from kullback.families.learnable import Learnable
from kullback.families.networks import SizedNetwork
from kullback.known import Known
from kullback.rule import Applies, Missing, Request
from kullback.runtime.random import words_from
from kullback.training.optimiser import checked, settings_in_words
from kullback.training.ravel import Layout, on_host

_CRITICS, _SEED = 6, 7  # streams of random numbers
THRESHOLD_COMPILED, THRESHOLD_STEPPED = 0.1, 0.5  # of the way to `until` where greedy episodes are first played
LINE = 500  # environment steps between lines of history, at least


@dataclass(frozen=True)
class Usual:
    """How much is played and learned at a time; `OffPolicyRule` says what each is."""

    lanes: int
    block: int
    updates: float
    batch: int
    rate: float
    tau: float
    warmup: int
    exploring: float
    noise: str | float
    steps: int


BOX = Usual(
    lanes=1,
    block=4,
    updates=1.0,
    batch=128,
    rate=3e-3,
    tau=0.02,
    warmup=100,
    exploring=0.0,
    noise="pink",
    steps=100_000,
)
# The value of a state is then a sum and no draw, so that the targets may follow faster.
CHOICE = replace(BOX, tau=0.1, noise=16.0)
TABLE = Usual(
    lanes=16,
    block=4,
    updates=0.0625,
    batch=256,
    rate=0.03,
    tau=0.05,
    warmup=1_000,
    exploring=0.25,
    noise="white",
    steps=400_000,
)


@dataclass(frozen=True)
class OffPolicyRule(PlayingRule):
    """Learning from transitions that are kept. A setting of None is chosen by what the policy and the actions are.

    lanes, block  environments side by side, and the steps of each in a round, after which there are updates
    updates    updates for each environment step
    batch      transitions in an update
    rate       the first step size of Adam; after 1,000 updates it falls as 1/√(their number), and linearly to 0 besides
    tau        how far the critics' targets move to them at each update
    warmup     transitions drawn from the prior before there are updates
    exploring  share of the lanes that follow the prior in every other round, at random, so that exploring never ends
    capacity   the most transitions that are kept; the oldest make room
    noise      "pink", "white", or the steps over which it forgets; what is done at a step has the policy's law in any
               case
    until      end as soon as the greedy policy returns this on average over fresh episodes, as many as `Optimal` says
    steps      environment steps of the whole training
    optimiser  an Optax transformation in the place of Adam with adaptive clipping, for the policy and the critics; its
               updates are multiplied by `rate`, whose first value is then 1 unless given
    wandering  the name of `exploring` until this version

    These are the settings of a user, and so more than ten fields.
    """

    lanes: int | None = None
    block: int | None = None
    updates: float | None = None
    batch: int | None = None
    rate: float | None = None
    tau: float | None = None
    warmup: int | None = None
    exploring: float | None = None
    capacity: int = 1_000_000
    noise: str | float | None = None
    until: float | None = None
    steps: int | None = None
    optimiser: optax.GradientTransformation | None = field(default=None, repr=False, kw_only=True)
    wandering: InitVar[float | None] = field(default=None, kw_only=True)

    signed = frozenset({"until"})

    def __post_init__(self, wandering: float | None) -> None:
        if wandering is not None:
            warnings.warn("wandering: is now exploring=", DeprecationWarning, stacklevel=3)
            object.__setattr__(self, "exploring", wandering)
        super().__post_init__()
        checked(self.optimiser)
        for name in ("updates", "rate"):
            if (value := getattr(self, name)) is not None:
                positive(name, value)
        if self.tau is not None and not 0 < self.tau <= 1:
            raise InputError(f"tau: {self.tau!r} is not in (0, 1]; 0.02 is usual")
        if self.exploring is not None and not 0 <= self.exploring < 1:
            raise InputError(f"exploring: {self.exploring!r} is no share of at least 0 and below 1")
        if self.noise is not None:
            noise_of(self.noise)

    @property
    @abc.abstractmethod
    def costs(self) -> tuple[float, float]:
        """For actions in a box, and for actions to choose from."""

    @abc.abstractmethod
    def improvement(self) -> Improvement:
        """How the policy is improved."""

    def check(self, p: Known, q: Known) -> Applies | Missing:
        task = playable(p, q)
        if isinstance(task, Missing):
            return task
        actions, labels = task.env.facts.actions, task.env.facts.observations.labels
        if actions.kind in ("choices", "switches"):
            reason = "its critics value one action to choose, or actions in a box"
            return Missing(reason, 'rule="trajectory gradient"')
        if actions.kind == "box" and not actions.is_bounded:
            reason = "the actions have no bounds, by which critics could scale them"
            return Missing(reason, bounded(actions))
        if missing := outside_the_box(p, task):
            return missing
        if labels is not None and labels > MOST_LABELS:
            return Missing(f"{labels:,} labels are more than the kept transitions tell apart, {MOST_LABELS:,}")
        box, choice = self.costs
        assert p.learnable is not None and isinstance(p.learnable.structure, ConditionalStructure)
        sizes = self.sizes(task, p.learnable.structure)
        note = f"{sizes.updates:g} updates a step, {sizes.batch} transitions each, discount {task.discount:g}"
        note += task.closing.note
        return Applies(cost=choice if actions.is_discrete else box, dropped=("log Z",), note=note)

    def sizes(self, task: Task, structure: ConditionalStructure) -> Usual:
        is_table = isinstance(structure.network, Rows)
        return asked_or_usual(self, TABLE if is_table else CHOICE if task.env.facts.actions.is_discrete else BOX, task)

    def algorithm(self, task: Task, learnable: Learnable, request: Request) -> OffPolicy:
        structure = learnable.structure
        assert isinstance(structure, ConditionalStructure)
        sizes, dtype, compiled = self.sizes(task, structure), jnp.result_type(float), task.env.compiled
        stepper = stepper_of(task, sizes.lanes)
        lanes = sizes.lanes if stepper is None else stepper.lanes
        masked = _masks(compiled) if stepper is None else stepper.mask is not None
        rows = lanes * sizes.block
        actions = task.env.facts.actions
        free = learnable.initial(request.host_rng(0, 0), 0)
        critic = critic_of(structure.network, task)
        rng = request.host_rng(_CRITICS)
        critics = [critic.init(rng) for _ in range(TWINS)]
        config = OffPolicyConfig(
            acting=task.acting(structure),
            critic=critic,
            layouts=Layouts(policy=Layout.of(free), critic=Layout.of(critics[0])),
            columns=Columns(task.env.facts.observations, actions, masked),
            noise=noise_of(sizes.noise),
            improvement=self.improvement(),
            sizes=Sizes(
                lanes=lanes,
                block=sizes.block,
                updates=max(1, round(sizes.updates * rows)),
                batch=sizes.batch,
                exploring=min(int(sizes.exploring * lanes), lanes - 1),
                every=max(1, LINE // rows),
            ),
            options=Options(
                centred=not isinstance(critic.network, Rows),
                cut_ends=task.cut_ends,
                adapted=task.temperature.is_adapted,
            ),
            simulator=compiled,
            optimiser=self.optimiser,
        )
        number = lambda x: np.asarray(x, dtype)  # noqa: E731
        threshold = THRESHOLD_STEPPED if compiled is None else THRESHOLD_COMPILED
        stopping = Stopping.after(request.steps or sizes.steps, self.until, threshold)
        hyper = on_host(
            OffPolicyHyperparameters,
            rate=number(sizes.rate),
            tau=number(sizes.tau),
            warmup=np.int32(sizes.warmup),
            discount=number(task.discount),
            temperature=task.temperature.numbers.astype(dtype),
            capacity=np.int32(min(self.capacity, int(stopping.total))),
            stopping=stopping,
            seed=words_from(request.host_rng(_SEED)),
        )
        start = Layout.flat(free), np.stack([Layout.flat(one) for one in critics])
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


def critic_of(network: SizedNetwork, task: Task) -> Critic:
    """A critic as wide as the policy: of every action at once, or of an action in a box."""
    observations, actions = task.env.facts.observations, task.env.facts.actions
    if actions.is_discrete:
        critic = state_critic(network, observations, actions.categories)
    else:
        critic = action_critic(network, observations, actions)
    if isinstance(critic.network, Dense):
        # Kinks cost least, and values were learned as well with them.
        return replace(critic, network=replace(critic.network, activation="relu"))
    return critic


def _masks(compiled: Compiled | None) -> bool:
    """Whether a compiled simulator says which actions are allowed."""
    assert compiled is not None
    parameters = compiled.parameters
    state = jax.eval_shape(compiled.reset, parameters, jax.eval_shape(jax.random.key, 0))
    return jax.eval_shape(compiled.mask, parameters, state) is not None
