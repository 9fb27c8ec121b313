"""The options of commands, in records by what they are about. What is typed is the name of a field alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

STRIP = ("strip.png",)  # unless other films are asked for; where it cannot be made, that is no error


@dataclass(frozen=True)
class OptimalOptions:
    """What is optimal: the environment, and the settings of `kl.Optimal`."""

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

    compiled: bool = True
    """Play the compiled twin or the table of an environment that has one, or else the environment itself."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a policy is trained."""

    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: as the rule says)")] = None
    """The most environment steps of all runs together; a larger number goes on with a training that is done."""

    seed: Annotated[int, arg(metavar="N")] = 0
    """The seed of everything that is drawn."""

    rule: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: as planned)")] = None
    """A rule by its name or an alias, instead of the planner's choice."""

    until: Annotated[str | None, arg(metavar="R|solved", help_behavior_hint="(default: at the last step)")] = None
    """Stop at this mean return of fresh greedy episodes; "solved" for what the environment's authors state."""

    hidden: Annotated[
        tuple[int, ...], arg(metavar="N...", help_behavior_hint="(default: 64 64; none with a table)")
    ] = ()
    """Widths of the policy's hidden layers."""


@dataclass(frozen=True)
class OutputOptions:
    """What is written, and where."""

    out: Annotated[
        Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: ./cartpole-v1 for CartPole-v1)")
    ] = None
    """The folder for everything that is written."""

    tensorboard: bool = False
    """Write TensorBoard's events too."""

    film: Annotated[tuple[str, ...], arg(metavar="FILE...", help_behavior_hint="(default: strip.png)")] = STRIP
    """Show a greedy episode: .gif, .mp4, .png (a strip of frames) or .txt; a bare name lies in the folder."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How a policy is evaluated: the one that was trained, or one that was saved."""

    episodes: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 100, within the budget)")] = None
    """Fresh episodes at the end that say what the policy returns: N played greedily, and N as it draws."""

    budget: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 200,000 where it is stepped)")] = None
    """The most environment steps of these episodes, of which there are then fewer."""

    evaluate: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: train)")] = None
    """Train nothing, and play a policy that was saved in fresh episodes, greedily and as it draws."""


@dataclass(frozen=True)
class ColumnOptions:
    """Which columns of two tables are compared, and how they are read."""

    columns: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: all shared)")] = ()
    """Compare these columns only; others are not read."""

    as_measured: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: by values)")] = ()
    """Columns of numbers that are compared by distances."""

    as_label: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: by values)")] = ()
    """Columns whose values have no order, such as codes."""

    as_count: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: by values)")] = ()
    """Columns of whole numbers whose frequencies are compared."""

    ignore: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: none)")] = ()
    """Columns that are left out."""


@dataclass(frozen=True)
class DriftOptions:
    """What is decided and written."""

    by: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: none)")] = None
    """A column of the second table whose periods are compared one by one with the first table."""

    every: Annotated[str | None, arg(metavar="PERIOD", help_behavior_hint="(default: day, or each value)")] = None
    """How long a period is: hour, day, week, month, quarter, year, or a width for numbers."""

    fail_if: Annotated[tuple[str, ...], arg(metavar="COND...", help_behavior_hint="(default: none)")] = ()
    """Exit with status 3 where one of these holds: "kl>0.1", "p<0.01", "joint_p<0.01", "age.psi>0.2"."""

    level: Annotated[float, arg(metavar="P")] = 0.05
    """The adjusted p-value at which a column is said to have moved."""

    permutations: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 999, more if needed)")] = None
    """Permutations of each test."""

    rows: Annotated[int, arg(metavar="N")] = 10_000
    """Rows of each table that KL is estimated from; everything else is of all rows."""

    seed: Annotated[int, arg(metavar="N")] = 0
    """The seed of permutations and standard errors."""

    json: bool = False
    """Print everything as JSON."""

    report: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Write a page with pictures, which needs no network: drift.html."""
