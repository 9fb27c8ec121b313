"""The same network, the other way round: imitation of a policy is a forward KL."""

from __future__ import annotations

import numpyro.distributions as dist

import kullback as kl
from kullback.control import rollout
from kullback.report.record import Section, Table

CODE = """\
q = kl.Conditional(kl.MLP(hidden=(32,)), dist.Categorical)
kl.KL(q, kl.Optimal("FrozenLake-v1", temperature=0.002)).minimize()  # acting: reverse
kl.KL(kl.Pairs(states, actions), q).minimize()                       # imitating: forward"""

LAKE, TEMPERATURE = "FrozenLake-v1", 0.002


def imitation(episodes: tuple[int, ...] = (10, 100, 1000), hidden: int = 32) -> Section:
    """Fit one network to the reward, and the same one to demonstrations of growing number."""
    target = kl.Optimal(LAKE, temperature=TEMPERATURE)
    q = kl.Conditional(kl.MLP(hidden=(hidden,)), dist.Categorical)
    acting = kl.KL(q, target)
    actor = acting.minimize(quiet=True)
    rows = [
        ("from the reward", "–", _number(actor.diagnostics["sampled_return"]), _nats(actor.diagnostics["kl_excess"]))
    ]
    numbers, plan = {"actor": actor.diagnostics["sampled_return"]}, ""
    for count in episodes:
        shown = rollout(LAKE, actor.q, count, seed=0)
        imitating = kl.KL(shown.pairs(), q)
        found = kl.KL(imitating.minimize(quiet=True).q, target).estimate().diagnostics
        plan = plan or f"{imitating}"
        rows.append(
            (
                f"from {count:,} episodes",
                f"{len(shown.actions):,}",
                _number(found["sampled_return"]),
                _nats(found["kl_excess"]),
            )
        )
        numbers[f"imitator_{count}"] = found["sampled_return"]
    return Section(
        key="imitation",
        title="Flip the order, and it is imitation",
        lead="One network, one line. As the first argument, against the reward, it acts; as the second, against "
        "pairs of states and actions that another policy took, it imitates, and that is supervised learning again.",
        code=CODE,
        plans=(("Acting", f"{acting}"), ("Imitating", plan)),
        tables=(
            Table(
                ("the same network", "steps seen", "expected return", "excess KL"),
                tuple(rows),
                f"{LAKE} at temperature {TEMPERATURE:g}. The returns and the KL of each policy above the least "
                "attainable, in nats a trajectory, are computed from the transition table.",
            ),
        ),
        numbers=numbers,
    )


def _number(x: float) -> str:
    return f"{x:.4f}"


def _nats(x: float) -> str:
    return f"{x:.4f}"
