"""The commands, one dataclass each. What is heavy is imported when a command runs, so that --help is quick."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg, subcommand

from kullback.cli.options import (
    ColumnOptions,
    DriftOptions,
    EvaluationOptions,
    OptimalOptions,
    OutputOptions,
    TrainingOptions,
)

Side = Positional[Annotated[str, arg(metavar="SIDE")]]
Csv = Positional[Annotated[Path, arg(metavar="FILE")]]

QUESTIONS = {
    "estimate": "Estimate KL(P‖Q), both sides fixed",
    "forward": "Minimise the forward KL, Q learnable",
    "reverse": "Minimise the reverse KL, P learnable",
}


@dataclass(frozen=True)
class Demo:
    """Two peaks, estimates, supervised learning, control, inference and drift, in under two minutes."""

    out: Path = Path("report")
    """The folder for the page, index.html."""

    only: tuple[str, ...] = ()
    """Run these sections only, by name: two-peaks, classifier, policy, ..."""

    def run(self) -> int:
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

    a: Csv
    """The first table: CSV with a header, Parquet or Feather. How its columns are read is decided by their values."""

    b: Csv
    """The second table; its columns are matched by name."""

    columns: tuple[str, ...] = ()
    """Use these columns only; unless given, all that both tables have."""

    seed: int = 0
    """The seed of the standard errors."""

    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        from kullback.cli.estimate import estimate

        keep_compilations()
        estimate(self.a, self.b, self.columns, self.seed, self.json)
        return 0


@dataclass(frozen=True)
class Drift:
    """Exact tests, divergences both ways, and in words what moved, by how much and where."""

    reference: Positional[Annotated[Path, arg(metavar="REFERENCE")]]
    """The table to compare with: CSV with any delimiter and a header (also .gz), TSV, Parquet or Feather."""

    current: Positional[Annotated[Path, arg(metavar="CURRENT")]]
    """The table of now; columns are matched by name."""

    columns: Annotated[ColumnOptions, arg(name="")]
    options: Annotated[DriftOptions, arg(name="")]

    def run(self) -> int:
        from kullback.cli.drift import compare_files

        return compare_files(self.reference, self.current, self.columns, self.options)


@dataclass(frozen=True)
class Control:
    """A policy is trained; the same command goes on with a training that was stopped, or evaluates one that is done."""

    optimal: Annotated[OptimalOptions, arg(name="")]
    training: Annotated[TrainingOptions, arg(name="")]
    output: Annotated[OutputOptions, arg(name="")]
    evaluation: Annotated[EvaluationOptions, arg(name="")]

    def run(self) -> int:
        from kullback.cli.control import control

        keep_compilations()
        return control(self.optimal, self.training, self.output, self.evaluation)


@dataclass(frozen=True)
class Rules:
    """Every rule by the question that it answers, those of control last: its name, what it needs of P and Q, what else
    it is called, and what its answer is worth."""

    def run(self) -> int:
        from rich.console import Console
        from rich.table import Table

        from kullback.catalogue import DEFAULT_RULES
        from kullback.control.catalogue import GOAL_RULES, RULES

        console = Console(highlight=False)
        for question, title in QUESTIONS.items():
            table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
            table.add_column("rule", no_wrap=True)
            table.add_column("needs")
            table.add_column("guarantee", no_wrap=True)
            for rule in (*DEFAULT_RULES, *RULES, *GOAL_RULES):
                if rule.question == question:
                    about = [f"P: {rule.needs_p}", f"Q: {rule.needs_q}"]
                    about += [f"also known as {', '.join(rule.aliases)}"] if rule.aliases else []
                    table.add_row(rule.name, "\n".join(about), rule.guarantee.value)
            console.print(f"\n[bold]{title}[/bold]")
            console.print(table)
        return 0


def keep_compilations() -> None:
    """Keep what JAX compiles beside the kept programs, unless JAX_COMPILATION_CACHE_DIR says another place.

    Programs of this package are kept whatever the command; this is for all that a command compiles besides.
    """
    import jax

    from kullback.runtime.cache_folder import root

    folder = root()
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") or folder is None:
        return
    folder = folder / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a home that cannot be written costs time, not answers
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _command(name: str, description: str) -> object:
    return subcommand(name, description=description, prefix_name=False)


Command = (
    Annotated[Demo, _command("demo", "Run the whole story on real data, and write it as a page.")]
    | Annotated[Explain, _command("explain", "Say how a divergence would be computed, and why so.")]
    | Annotated[Estimate, _command("estimate", "Estimate the divergence between two tables.")]
    | Annotated[Drift, _command("drift", "Say what moved between two tables, and fail a pipeline where too much did.")]
    | Annotated[Control, _command("control", "Train a policy for an environment, or evaluate one.")]
    | Annotated[Rules, _command("rules", "List the rules that the planner chooses from.")]
)
