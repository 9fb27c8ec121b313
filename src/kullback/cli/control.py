"""`kullback control ENV`: train a policy, go on with a training, or evaluate a policy that was saved."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpyro.distributions as dist
from rich.console import Console
from rich.text import Text

import kullback as kl
from kullback.cli.folder import Folder, name_for, settings_of
from kullback.cli.scores import remarks, score_table
from kullback.control.agent import Agent
from kullback.control.catalogue import RULES
from kullback.control.learning.temperature import Annealed, TargetKL
from kullback.control.tabular.environment import make, table_of
from kullback.control.view.film import check_film, film
from kullback.errors import InputError
from kullback.report.terminal import make_console, wrapped
from kullback.result import Estimate, Fit, Status
from kullback.rule import Request
from kullback.runtime.files import check_writable

if TYPE_CHECKING:
    from kullback.cli.commands import Control

TEMPERATURE, OF_TABLE = "0.1", "0.01"  # reward per nat, unless given
STRIP = ("strip.png",)  # unless other films are asked for; where it cannot be made, that is no error
INTERRUPTED, FAILED = 130, 1


def control(options: Control) -> int:
    """Train, resume or evaluate; returns the exit status."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # films are drawn in memory: pygame needs no screen
    return _evaluate(options) if options.evaluate is not None else _train(options)


def _train(options: Control) -> int:
    console = make_console()
    Request(seed=options.seed, steps=options.steps)  # raises before anything is written
    optimal = _optimal(options)
    problem = kl.KL(_policy(optimal, options.hidden), optimal)
    plan = problem.plan(_known_rule(options.rule))
    rule = _until(plan.rule, options.until, optimal)
    films, why_none = _films(options)
    folder = Folder(options.out or Path(name_for(options.env)), options.tensorboard)
    settings, inside = _settings(options, optimal), list(filter(_is_inside, films))
    done = folder.open(settings, inside)
    console.print(Text(str(plan)), soft_wrap=True)
    _say(console, f"Resumes at step {done:,} of {folder.checkpoint}." if done else "")
    began = time.monotonic()
    with folder.logger() as logger:
        fit = problem.minimize(
            seed=options.seed, rule=rule, steps=options.steps, checkpoint=folder.checkpoint, logger=logger
        )
    seconds = time.monotonic() - began
    console.print()
    numbers = dict(fit.diagnostics)
    if optimal.model is not None and not options.compiled and not isinstance(numbers.get("greedy_return"), Estimate):
        numbers |= _in_person(fit, options)
    console.print(score_table(numbers, fit.objective, optimal.discount))
    fit.save(folder.policy)
    _say(console, remarks(numbers))
    if "episodes" in numbers and "episodes" not in fit.diagnostics:
        _say(console, f"Returns and length are of {numbers['episodes']} fresh episodes of the environment itself.")
    made = _film(films, folder.path, options, fit)
    folder.close(settings, inside)
    _say(console, _at_end(fit, done, seconds, numbers, optimal))
    _say(console, f"In {folder.path}: {', '.join([*folder.files(), *made])}.")
    _say(console, why_none)
    if fit.status is Status.INTERRUPTED:
        return INTERRUPTED
    return FAILED if fit.status is Status.DIVERGED else 0


def _evaluate(options: Control) -> int:
    console = make_console()
    assert options.evaluate is not None
    fit = kl.load(options.evaluate)
    asked = settings_of(options.evaluate.parent)
    asked = {name: asked.get(name) for name in ("temperature", "discount", "horizon")} if _is_of(asked, options) else {}
    if "temperature" in fit.diagnostics:
        asked["temperature"] = f"{float(fit.diagnostics['temperature'])!r}"  # what a target or a schedule ended at
    given = {name: getattr(options, name) for name in asked if getattr(options, name) is not None}
    optimal = _optimal(dataclasses.replace(options, **{**asked, **given}))
    agent = Agent(fit, optimal.env)
    films = () if options.film == STRIP else options.film
    for path in films:
        check_film(path, options.env)
    problem = kl.KL(fit.q, optimal)
    found = problem.estimate(seed=options.seed, rule="fresh episodes")
    how = optimal.known().facts
    numbers = dict(found.diagnostics)
    count = numbers["episodes"]
    about = f"{options.evaluate} in {optimal.name}: {how}; {count} fresh episodes as it draws, and others greedily."
    console.print(Text(wrapped(about)), soft_wrap=True)
    if optimal.model is not None:
        exact = problem.estimate(rule="policy evaluation")
        numbers |= {name: exact.diagnostics[name] for name in ("kl", "kl_excess")}
    console.print()
    console.print(score_table(numbers, found, optimal.discount))
    _say(console, remarks(numbers))
    made = [str(film(_place(path, options.evaluate.parent), options.env, agent, seed=options.seed)) for path in films]
    _say(console, _verdict(numbers.get("greedy_return"), optimal))
    _say(console, f"Written: {', '.join(made)}." if made else "")
    return 0


def _optimal(options: Control) -> kl.Optimal:
    env = make(options.env)
    return kl.Optimal(
        env,
        temperature=_temperature(options.temperature or _usual(env)),
        discount=options.discount,
        horizon=_horizon(options.horizon),
        compiled=options.compiled,
        episodes=options.episodes,
        budget=options.budget,
    )


def _usual(env: Any) -> str:
    return TEMPERATURE if table_of(env)[0] is None else OF_TABLE


def _in_person(fit: Fit, options: Control) -> dict[str, Any]:
    """What a policy that was solved for returns in the environment itself."""
    settled = dataclasses.replace(options, temperature=f"{float(fit.diagnostics['temperature'])!r}")
    played = kl.KL(fit.q, _optimal(settled)).estimate(seed=options.seed, rule="fresh episodes")
    return {name: played.diagnostics[name] for name in ("greedy_return", "sampled_return", "steps", "episodes")}


def _settings(options: Control, optimal: kl.Optimal) -> dict[str, Any]:
    """What the same training is asked for each time, as JSON has it."""
    return {
        "env": options.env,
        "temperature": options.temperature or _usual(optimal.env),
        "discount": optimal.discount,
        "horizon": options.horizon,
        "seed": options.seed,
        "rule": options.rule,
        "hidden": list(options.hidden),
        "compiled": options.compiled,
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
    """The rule of this name, dashes and capitals aside; raises `InputError` where there is none for environments."""
    names = {_typed(rule.name): rule.name for rule in RULES if rule.question == "reverse"}
    if name is not None and _typed(name) not in names:
        raise InputError(f"rule: there is no rule {name!r} for environments; there are {', '.join(names)}")
    return None if name is None else names[_typed(name)]


def _typed(name: str) -> str:
    return name.lower().replace("–", "-").replace("-", " ")


def _until(rule: Any, text: str | None, optimal: kl.Optimal) -> Any:
    """The rule, told at which mean return it may stop."""
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


def _films(options: Control) -> tuple[tuple[str, ...], str]:
    """The films that can be made; and why the usual one cannot, where none was asked for."""
    if options.film != STRIP:
        for path in options.film:
            check_film(path, options.env)
            if not _is_inside(path):
                check_writable(path, "film")
        return options.film, ""
    try:
        check_film(STRIP[0], options.env)
        return STRIP, ""
    except InputError as error:
        why = f"No strip of frames: {error}."
    try:
        check_film("strip.txt", options.env)
        return ("strip.txt",), ""
    except InputError:
        return (), why


def _film(films: tuple[str, ...], folder: Path, options: Control, fit: Fit) -> list[str]:
    """Play an episode greedily for each film; the names of what was written."""
    agent = Agent(fit, options.env) if films else None
    made = []
    for path in films:
        assert agent is not None
        place = film(_place(path, folder), options.env, agent, seed=options.seed)
        made.append(place.name if place.parent == folder else str(place))
    return made


def _place(path: str, folder: Path) -> Path:
    """A bare name lies in the folder of the training."""
    return folder / path if _is_inside(path) else Path(path)


def _is_inside(path: str) -> bool:
    return Path(path).name == path


def _is_of(settings: dict[str, Any], options: Control) -> bool:
    return settings.get("env") == options.env


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


def _verdict(greedy: Any, optimal: kl.Optimal) -> str:
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
