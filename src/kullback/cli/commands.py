"""The commands, one dataclass each. What is heavy is imported when a command runs, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg, subcommand

Side = Positional[Annotated[str, arg(metavar="SIDE")]]
Table = Positional[Annotated[Path, arg(metavar="CSV")]]


@dataclass(frozen=True)
class Demo:
    """Two peaks, estimates, supervised learning, control, inference and drift, in under two minutes."""

    out: Path = Path("report")
    """The folder for the page, index.html."""

    only: tuple[str, ...] = ()
    """Run these sections only, by name: two-peaks, classifier, policy, ..."""

    def run(self) -> int:
        from kullback.cli.cache import keep_compilations
        from kullback.report.demo import demo

        keep_compilations()
        demo(self.out, self.only)
        return 0


@dataclass(frozen=True)
class Explain:
    """Nothing is computed: the plan is printed, and why each other rule was not taken."""

    p: Side
    """The first side: a distribution of NumPyro such as "Normal(0, 1)", a learnable side such as "Family(Normal)", or a
    CSV file of samples."""

    q: Side
    """The second side, likewise."""

    def run(self) -> int:
        from kullback import KL
        from kullback.cli.expression import side

        print(KL(side(self.p, "P"), side(self.q, "Q")).explain())
        return 0


@dataclass(frozen=True)
class Estimate:
    """Jointly, and column by column, with standard errors, in nats."""

    a: Table
    """The first table, a CSV file with a header. Numbers with a decimal point are measurements; whole numbers and text
    are counts and labels."""

    b: Table
    """The second table; its columns are matched by name."""

    columns: tuple[str, ...] = ()
    """Use these columns only; unless given, all that both tables have."""

    seed: int = 0
    """The seed of the standard errors."""

    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        from kullback.cli.cache import keep_compilations
        from kullback.cli.estimate import estimate

        keep_compilations()
        estimate(self.a, self.b, self.columns, self.seed, self.json)
        return 0


@dataclass(frozen=True)
class Control:
    """A policy is trained; the same command goes on with a training that was stopped, or evaluates one that is done."""

    env: Positional[Annotated[str, arg(metavar="ENV")]]
    """A Gymnasium id, such as CartPole-v1 or phys2d/CartPole-v1."""

    temperature: Annotated[
        str | None, arg(metavar="A|A:B|target:N", help_behavior_hint="(default: 0.1; 0.01 for a table)")
    ] = None
    """Reward per nat, the lower the greedier: a number, one that falls from A to B, or what makes it N nats a step."""

    discount: Annotated[float | None, arg(metavar="G", help_behavior_hint="(default: 0.99; 1 for a table)")] = None
    """Probability that an episode goes on after a step, in (0, 1]."""

    horizon: Annotated[str | None, arg(metavar="H|limit", help_behavior_hint="(default: none)")] = None
    """Steps after which an episode ends; "limit" for the environment's own limit, which else only truncates."""

    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: as the rule says)")] = None
    """The most environment steps of all runs together; a larger number goes on with a training that is done."""

    seed: Annotated[int, arg(metavar="N")] = 0
    """The seed of everything that is drawn."""

    rule: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: as planned)")] = None
    """A rule by its name, instead of the planner's choice."""

    until: Annotated[str | None, arg(metavar="R|solved", help_behavior_hint="(default: at the last step)")] = None
    """Stop at this mean return of fresh greedy episodes; "solved" for what the environment's authors state."""

    hidden: Annotated[
        tuple[int, ...], arg(metavar="N...", help_behavior_hint="(default: 64 64; none with a table)")
    ] = ()
    """Widths of the policy's hidden layers."""

    out: Annotated[
        Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: ./cartpole-v1 for CartPole-v1)")
    ] = None
    """The folder for everything that is written."""

    tensorboard: bool = False
    """Write TensorBoard's events too."""

    film: Annotated[tuple[str, ...], arg(metavar="FILE...", help_behavior_hint="(default: strip.png)")] = ("strip.png",)
    """Show a greedy episode: .gif, .mp4, .png (a strip of frames) or .txt; a bare name lies in the folder."""

    compiled: bool = True
    """Play the compiled twin or the table of an environment that has one, or else the environment itself."""

    episodes: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 100, within the budget)")] = None
    """Fresh episodes at the end that say what the policy returns: N played greedily, and N as it draws."""

    budget: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 200,000 where it is stepped)")] = None
    """The most environment steps of these episodes, of which there are then fewer."""

    evaluate: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: train)")] = None
    """Train nothing, and play a policy that was saved in fresh episodes, greedily and as it draws."""

    def run(self) -> int:
        from kullback.cli.cache import keep_compilations
        from kullback.cli.control import control

        keep_compilations()
        return control(self)


@dataclass(frozen=True)
class Rules:
    """List the rules that the planner chooses from."""

    def run(self) -> int:
        from kullback.cli.rules import show_rules

        show_rules()
        return 0


def _command(name: str, description: str) -> object:
    return subcommand(name, description=description, prefix_name=False)


Command = (
    Annotated[Demo, _command("demo", "Run the whole story on real data, and write it as a page.")]
    | Annotated[Explain, _command("explain", "Say how a divergence would be computed, and why so.")]
    | Annotated[Estimate, _command("estimate", "Estimate the divergence between two tables.")]
    | Annotated[Control, _command("control", "Train a policy for an environment, or evaluate one.")]
    | Annotated[Rules, _command("rules", "List the rules that the planner chooses from.")]
)
