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
    | Annotated[Rules, _command("rules", "List the rules that the planner chooses from.")]
)
