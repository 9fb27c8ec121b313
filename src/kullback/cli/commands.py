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
    """Run the whole story on real data, and write it as a page: report/index.html.

    Two peaks, estimates, supervised learning, inference and control, in under two minutes.
    """

    out: Path = Path("report")
    """The folder for the page."""

    only: tuple[str, ...] = ()
    """Run these sections only, by name."""

    def run(self) -> int:
        from kullback.cli.cache import keep_compilations
        from kullback.report.demo import demo

        keep_compilations()
        demo(self.out, self.only)
        return 0


@dataclass(frozen=True)
class Explain:
    """Say how KL(P‖Q) would be estimated or minimised, and why each other rule was not taken.

    A side is a distribution of NumPyro, a learnable side, or a CSV file of samples:
    "Normal(0, 1)", "Family(Normal)", "Mixture(Family(Normal), 2)", data.csv. Nothing is computed.
    """

    p: Side
    """The first side."""

    q: Side
    """The second side."""

    def run(self) -> int:
        from kullback import KL
        from kullback.cli.expression import side

        print(KL(side(self.p, "P"), side(self.q, "Q")).explain())
        return 0


@dataclass(frozen=True)
class Estimate:
    """Estimate KL(A‖B) between two tables: jointly, and column by column.

    Columns are matched by name. Numbers with a decimal point are measurements, everything else is a label or a count.
    """

    a: Table
    """The first table, a CSV file with a header."""

    b: Table
    """The second table."""

    columns: tuple[str, ...] = ()
    """Use these columns only; all that both tables have unless given."""

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


Command = (
    Annotated[Demo, subcommand("demo", prefix_name=False)]
    | Annotated[Explain, subcommand("explain", prefix_name=False)]
    | Annotated[Estimate, subcommand("estimate", prefix_name=False)]
    | Annotated[Rules, subcommand("rules", prefix_name=False)]
)
