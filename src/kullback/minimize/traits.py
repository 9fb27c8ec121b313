"""What rules ask of their sides: whether one is a deep network, whether its weights have a prior, what a target is."""

from __future__ import annotations

from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.dense import Dense, Rows
from kullback.families.initialisation.guess import is_dispersion
from kullback.families.learnable import Learnable
from kullback.known import Known
from kullback.rule import Applies, Missing

ROWS_A_WEIGHT = 10  # below which residuals near 0 pass for certainty


def is_deep(learnable: Learnable) -> bool:
    """Whether the side is a network with hidden layers or of the user's own making."""
    structure = learnable.structure
    if not isinstance(structure, ConditionalStructure):
        return False
    return not isinstance(structure.network, Rows) and not structure.network.linear


def has_prior(learnable: Learnable) -> bool:
    """Whether the weights have a Gaussian prior."""
    return isinstance(learnable.fixed, dict) and "prior_scale" in learnable.fixed


def is_scarce(learnable: Learnable, rows: int) -> bool:
    """Whether rows are too few to learn how sure to be at each of them, though the weights have a prior."""
    structure = learnable.structure
    if not isinstance(structure, ConditionalStructure) or not has_prior(learnable):
        return False
    network, form = structure.network, structure.form
    if not isinstance(network, Dense) or not any(is_dispersion(form, name) for name in form.names):
        return False
    return rows < ROWS_A_WEIGHT * network.widths[0]


def prior_in_words(learnable: Learnable) -> str:
    """What a plan's note says of the prior on the weights, if there is one."""
    if not has_prior(learnable):
        return ""
    return f"; the mode of the posterior under a Gaussian prior of scale {float(learnable.fixed['prior_scale']):g}"


def reverse_target(p: Known, q: Known, gradient: bool = True) -> Applies | Missing:
    """Whether the fixed side q can be the target of a reverse KL, and what is dropped if it can."""
    assert p.learnable is not None
    if q.log_density is None:
        return Missing("the fixed side has no log-density to evaluate at chosen points", "log P up to a constant")
    if q.batch_shape or p.learnable.conditional:
        return Missing("one distribution is fitted at a time, and a side is conditional or a batch")
    if gradient and not q.differentiable:
        return Missing("the log-density comes from a library that JAX cannot differentiate", "a JAX log-density")
    return Applies(dropped=() if q.normalized else ("log Z",))
