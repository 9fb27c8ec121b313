"""`kullback control ENV`: train a policy, go on with a training, or evaluate a policy that was saved."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpyro.distributions as dist
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import kullback as kl
from kullback.cli.folder import Folder, name_for, settings_of
from kullback.cli.options import STRIP, EvaluationOptions, OptimalOptions, OutputOptions, TrainingOptions
from kullback.control.agent import Agent
from kullback.control.catalogue import RULES
from kullback.control.envs.spec import make, table_of
from kullback.control.learning.temperature import Annealed, TargetKL
from kullback.control.view.film import check_film, film
from kullback.errors import InputError
from kullback.report.terminal import make_console, wrapped
from kullback.result import Estimate, Fit, Status
from kullback.rule import Request, Rule, rules_called
from kullback.runtime.files import check_writable

TEMPERATURE, OF_TABLE = "0.1", "0.01"  # reward per nat, unless given
INTERRUPTED, FAILED = 130, 1


def control(
    target: OptimalOptions, training: TrainingOptions, output: OutputOptions, evaluation: EvaluationOptions
) -> int:
    """Train, resume or evaluate; returns the exit status."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # films are drawn in memory: pygame needs no screen
    if evaluation.evaluate is not None:
        return _evaluate(evaluation.evaluate, target, training.seed, output.film, evaluation)
    return _train(target, training, output, evaluation)


def _train(
    target: OptimalOptions, training: TrainingOptions, output: OutputOptions, evaluation: EvaluationOptions
) -> int:
    console = make_console()
    Request(seed=training.seed, steps=training.steps)  # raises before anything is written
    optimal = _optimal(target, evaluation)
    problem = kl.KL(_policy(optimal, training.hidden), optimal)
    plan = problem.plan(_known_rule(training.rule))
    rule = _until(plan.rule, training.until, optimal)
    films, why_none = _films(output.film, target.env)
    folder = Folder(output.out or Path(name_for(target.env)), output.tensorboard)
    settings, inside = _settings(target, training, optimal), list(filter(_is_inside, films))
    done = folder.open(settings, inside)
    console.print(Text(str(plan)), soft_wrap=True)
    _say(console, f"Resumes at step {done:,} of {folder.checkpoint}." if done else "")
    began = time.monotonic()
    with folder.logger() as logger:
        fit = problem.minimize(
            seed=training.seed, rule=rule, steps=training.steps, checkpoint=folder.checkpoint, logger=logger
        )
    seconds = time.monotonic() - began
    console.print()
    numbers = dict(fit.diagnostics)
    if optimal.model is not None and not target.compiled and not isinstance(numbers.get("greedy_return"), Estimate):
        numbers |= _in_person(fit, target, training.seed, evaluation)
    console.print(score_table(numbers, fit.objective, optimal.discount))
    fit.save(folder.policy)
    _say(console, remarks(numbers))
    if "episodes" in numbers and "episodes" not in fit.diagnostics:
        _say(console, f"Returns and length are of {numbers['episodes']} fresh episodes of the environment itself.")
    made = _film(films, folder.path, target.env, training.seed, fit)
    folder.close(settings, inside)
    _say(console, _at_end(fit, done, seconds, numbers, optimal))
    _say(console, f"In {folder.path}: {', '.join([*folder.files(), *made])}.")
    _say(console, why_none)
    if fit.status is Status.INTERRUPTED:
        return INTERRUPTED
    return FAILED if fit.status is Status.DIVERGED else 0


def _evaluate(
    saved: Path, target: OptimalOptions, seed: int, asked_films: tuple[str, ...], evaluation: EvaluationOptions
) -> int:
    """Play a saved policy in fresh episodes, with the settings that it was trained with unless others are given."""
    console = make_console()
    fit = kl.load(saved)
    asked = settings_of(saved.parent)
    is_same = asked.get("env") == target.env
    asked = {name: asked.get(name) for name in ("temperature", "discount", "horizon")} if is_same else {}
    if "temperature" in fit.diagnostics:
        asked["temperature"] = f"{float(fit.diagnostics['temperature'])!r}"  # what a target or a schedule ended at
    given = {name: getattr(target, name) for name in asked if getattr(target, name) is not None}
    optimal = _optimal(dataclasses.replace(target, **{**asked, **given}), evaluation)
    agent = Agent(fit, optimal.env)
    films = () if asked_films == STRIP else asked_films
    for path in films:
        check_film(path, target.env)
    problem = kl.KL(fit.q, optimal)
    found = problem.estimate(seed=seed, rule="fresh episodes")
    how = optimal.known().facts
    numbers = dict(found.diagnostics)
    count = numbers["episodes"]
    about = f"{saved} in {optimal.name}: {how}; {count} fresh episodes as it draws, and others greedily."
    console.print(Text(wrapped(about)), soft_wrap=True)
    if optimal.model is not None:
        exact = problem.estimate(rule="policy evaluation")
        numbers |= {name: exact.diagnostics[name] for name in ("kl", "kl_excess")}
    console.print()
    console.print(score_table(numbers, found, optimal.discount))
    _say(console, remarks(numbers))
    made = [str(film(_place(path, saved.parent), target.env, agent, seed=seed)) for path in films]
    _say(console, _verdict(numbers.get("greedy_return"), optimal))
    _say(console, f"Written: {', '.join(made)}." if made else "")
    return 0


def _optimal(target: OptimalOptions, evaluation: EvaluationOptions) -> kl.Optimal:
    env = make(target.env)
    return kl.Optimal(
        env,
        temperature=_temperature(target.temperature or _usual(env)),
        discount=target.discount,
        horizon=_horizon(target.horizon),
        compiled=target.compiled,
        episodes=evaluation.episodes,
        budget=evaluation.budget,
    )


def _usual(env: Any) -> str:
    return TEMPERATURE if table_of(env)[0] is None else OF_TABLE


def _in_person(fit: Fit, target: OptimalOptions, seed: int, evaluation: EvaluationOptions) -> dict[str, Any]:
    """The returns of an exactly solved policy, played in the environment itself."""
    settled = dataclasses.replace(target, temperature=f"{float(fit.diagnostics['temperature'])!r}")
    played = kl.KL(fit.q, _optimal(settled, evaluation)).estimate(seed=seed, rule="fresh episodes")
    return {name: played.diagnostics[name] for name in ("greedy_return", "sampled_return", "steps", "episodes")}


def _settings(target: OptimalOptions, training: TrainingOptions, optimal: kl.Optimal) -> dict[str, Any]:
    """The settings that a resumed training must share, as JSON has them."""
    return {
        "env": target.env,
        "temperature": target.temperature or _usual(optimal.env),
        "discount": optimal.discount,
        "horizon": target.horizon,
        "seed": training.seed,
        "rule": training.rule,
        "hidden": list(training.hidden),
        "compiled": target.compiled,
    }


def _temperature(text: str) -> Any:
    """A number; "first:last", which is annealed; or "target:nats", which finds it."""
    first, colon, last = text.partition(":")
    try:
        if not colon:
            return float(first)
        return TargetKL(float(last)) if first == "target" else Annealed(float(first), float(last))
    except ValueError as error:
        if isinstance(error, InputError):
            raise InputError(f"temperature: of {text!r}, {error}") from None
        raise InputError(
            f"temperature: {text!r} cannot be read; write 0.1, 1:0.01 (from 1 to 0.01), or target:0.1 (nats a step)"
        ) from None


def _horizon(text: str | None) -> int | str | None:
    if text is None or text == "limit":
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f'horizon: {text!r} is neither a number of steps nor "limit"') from None


def _policy(optimal: kl.Optimal, hidden: tuple[int, ...]) -> kl.Conditional:
    """A policy over the environment's actions: a table where the transition table is known, else a network."""
    if optimal.model is not None:
        return kl.Conditional(kl.MLP(hidden) if hidden else kl.Table(), dist.Categorical)
    network = kl.MLP(hidden) if hidden else kl.MLP()
    kind = optimal.task.env.facts.actions.kind
    return kl.Conditional(network, {"switches": dist.Bernoulli, "box": kl.TanhNormal}.get(kind, dist.Categorical))


def _known_rule(name: str | None) -> str | None:
    """The name, if a rule for environments has it or is known as it. Raises `InputError` where none is."""
    rules = [rule for rule in RULES if rule.question == "reverse"]
    if name is not None and not rules_called(name, rules):
        names = ", ".join(rule.name.replace("–", "-") for rule in rules)
        raise InputError(f"rule: there is no rule {name!r} for environments; there are {names}")
    return name


def _until(rule: Rule, text: str | None, optimal: kl.Optimal) -> Rule:
    """The rule with the mean return at which it stops."""
    if text is None:
        return rule
    if not any(field.name == "until" for field in dataclasses.fields(rule)):
        raise InputError(f"until: the rule is {rule.name}, which has its answer at once; leave --until out")
    threshold = _threshold(optimal)
    if text == "solved" and threshold is None:
        raise InputError(f"until: the authors of {optimal.name} state no return at which it is solved; pass a number")
    try:
        return dataclasses.replace(rule, until=threshold if text == "solved" else float(text))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'until: {text!r} is neither a return nor "solved"') from None


def _threshold(optimal: kl.Optimal) -> float | None:
    """The return at which the environment's authors call it solved."""
    return getattr(getattr(optimal.env, "spec", None), "reward_threshold", None)


def _films(asked: tuple[str, ...], env: str) -> tuple[tuple[str, ...], str]:
    """The films that can be made; and why the usual one cannot, where none was asked for."""
    if asked != STRIP:
        for path in asked:
            check_film(path, env)
            if not _is_inside(path):
                check_writable(path, "film")
        return asked, ""
    try:
        check_film(STRIP[0], env)
        return STRIP, ""
    except InputError as error:
        why = f"No strip of frames: {error}."
    try:
        check_film("strip.txt", env)
        return ("strip.txt",), ""
    except InputError:
        return (), why


def _film(films: tuple[str, ...], folder: Path, env: str, seed: int, fit: Fit) -> list[str]:
    """Play an episode greedily for each film; the names of what was written."""
    agent = Agent(fit, env) if films else None
    made = []
    for path in films:
        assert agent is not None
        place = film(_place(path, folder), env, agent, seed=seed)
        made.append(place.name if place.parent == folder else str(place))
    return made


def _place(path: str, folder: Path) -> Path:
    """A bare name lies in the folder of the training."""
    return folder / path if _is_inside(path) else Path(path)


def _is_inside(path: str) -> bool:
    return Path(path).name == path


def _at_end(fit: Fit, done: int, seconds: float, numbers: dict[str, Any], optimal: kl.Optimal) -> str:
    """How it ended, how fast it was, and whether that counts as solved."""
    steps = int(fit.history[-1].get("step", 0)) - done if fit.history else 0
    if fit.status is Status.INTERRUPTED:
        words = [f"Interrupted at step {steps + done:,}; the same command goes on from there."]
    else:
        words = [_sentence(fit.message or fit.status.value).replace("steps=", "--steps")]
    if steps:
        words.append(f"{steps:,} steps in {seconds:.1f} s, {steps / seconds:,.0f} a second, with all compilation.")
    elif done:
        words.append("None were left to make, so the policy was played again.")
    else:
        words.append(f"It took {seconds:.1f} s.")
    words.append(_verdict(numbers.get("greedy_return"), optimal))
    return " ".join(filter(None, words))


def _verdict(greedy: float | Estimate | None, optimal: kl.Optimal) -> str:
    threshold = _threshold(optimal)
    if threshold is None or greedy is None:
        return ""
    if isinstance(greedy, Estimate) and greedy.diagnostics.get("cut"):
        return f"It counts as solved at {threshold:g}; whether that is reached, episodes that were cut do not tell."
    reached = "reached" if float(greedy) >= threshold else "not reached"
    error = greedy.standard_error if isinstance(greedy, Estimate) else 0.0
    is_close = abs(float(greedy) - threshold) < 2.0 * error
    return f"It counts as solved at {threshold:g}, which is {reached}{', within two standard errors' * is_close}."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _say(console: Console, text: str) -> None:
    if text:
        console.print(Text("\n" + wrapped(text)), soft_wrap=True)


# The scores of a policy, as a table of at most 80 columns: name of a diagnostic, what it is called, its unit
SCORES = (
    ("greedy_return", "greedy return", "reward an episode"),
    ("sampled_return", "sampled return", "reward an episode"),
    ("soft_value", "soft value", "reward an episode"),
    ("prior_kl", "KL to the prior", "nats an episode"),
    ("steps", "length", "steps an episode"),
    ("kl", "KL(π‖P_opt)", "nats, exact"),
    ("kl_excess", "of which avoidable", "nats, exact"),
    ("kl_lower_bound", "KL(π‖P_opt), at least", "nats, on average"),
    ("temperature", "temperature", "reward a nat"),
)


def score_table(numbers: Mapping[str, Any], objective: Estimate, discount: float) -> Table:
    """Returns, soft value, nats and lengths with standard errors, and what the objective is worth."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    for name in ("value", "± s.e."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unit")
    for name, shown, unit in SCORES:
        if name in numbers:
            discounted = name in ("soft_value", "prior_kl") and discount < 1.0
            unit += f", discount {discount:g}" if discounted else ""
            bold = "bold" if name == "greedy_return" else None
            table.add_row(shown, *map(Text, figures(numbers[name])), unit, style=bold)
    if "kl" not in numbers:
        worth = f"nats, {objective.guarantee.value}"
        worth += f"; {', '.join(objective.dropped)} dropped" if objective.dropped else ""
        table.add_row(Text(objective.quantity), *map(Text, figures(objective)), worth)
    return table


def remarks(numbers: Mapping[str, Any]) -> str:
    """What is to be said of the estimates in the table, each remark once, beside what it is said of."""
    said: dict[str, list[str]] = {}
    for name, shown, _ in SCORES:
        reason = numbers[name].reason if isinstance(numbers.get(name), Estimate) else ""
        for remark in filter(None, reason.split("; ")):
            said.setdefault(remark, []).append(shown)
    return " ".join(f"{_capital(', '.join(names))}: {remark}." for remark, names in said.items())


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def figures(x: float | Estimate) -> tuple[str, str]:
    """A number and its standard error, to two digits of the latter; "–" where there is none."""
    value = float(x.value if isinstance(x, Estimate) else x)
    error = float(x.standard_error) if isinstance(x, Estimate) else math.nan
    if not math.isfinite(error) or not math.isfinite(value):
        return f"{value:,.6g}", "–"
    if error == 0.0:
        return f"{value:,.6g}", "0"
    digits = min(6, max(0, 1 - math.floor(math.log10(error))))
    return f"{value:,.{digits}f}", f"{error:,.{digits}f}"
