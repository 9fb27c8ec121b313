"""What every reverse rule on a log-density needs of its target."""

from __future__ import annotations

from kullback.known import Known
from kullback.rule import Applies, Missing


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
