"""The reverse KL on draws pushed from noise, as a function of parameters in a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from kullback.families.learnable import Learnable
from kullback.families.mixture import MixtureStructure
from kullback.known import Known
from kullback.known.static import Static
from kullback.minimize.frame import Frame, from_frame, is_full_rank, natural, outcome, own_frame, placed, to_frame
from kullback.minimize.reparameterise import Push, weighted_draws
from kullback.minimize.runaway import walled
from kullback.rule import Request
from kullback.training.ravel import Layout


@dataclass(frozen=True)
class Pushed:
    """A learnable side whose draws follow from noise, and its target.

    frame     the coordinates of the parameters; None for their own
    improper  whether log p was seen not to fall along a ray
    """

    learnable: Learnable
    layout: Layout
    push: Push
    target: Known
    frame: Frame | None = None
    improper: bool = False

    @property
    def static(self) -> Static:
        return Static((self.learnable.structure, self.layout, self.push))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.target.event_shape or ()

    @property
    def is_mixture(self) -> bool:
        return isinstance(self.learnable.structure, MixtureStructure)

    def noise(self, draws: int, request: Request) -> Float[np.ndarray, "n ..."]:
        """Noise that covers the law evenly, to fit by."""
        return self.push.noise.even(request.host_rng(1), draws, self.event_shape)

    def reaching(self) -> Pushed:
        """The same problem, on noise that reaches into the tails."""
        return replace(self, push=self.push.reaching())

    def objective(self, noise: np.ndarray) -> Partial:
        """The divergence on this noise, a function of parameters in the frame [n]."""
        return Partial(
            fixed_draw_divergence, self.static, self.learnable.fixed, self.target.log_density, noise, self.frame
        )

    def reframed(self, vectors: Float[np.ndarray, "s n"]) -> tuple[Pushed, Float[np.ndarray, "s n"]]:
        """The problem in the coordinates of a law found, the first of these parameters, and all of them there."""
        if self.frame is None:
            return self, vectors
        problem = replace(self, frame=own_frame(self.learnable.structure, self.layout.tree(vectors[0])))
        return problem, problem.framed(vectors)

    def framed(self, vectors: Float[np.ndarray, "s n"]) -> Float[np.ndarray, "s n"]:
        """Parameters in the coordinates of the frame."""
        trees = [to_frame(self.learnable.structure, self.frame, self.layout.tree(vector)) for vector in vectors]
        return np.stack([Layout.flat(tree) for tree in trees])

    def natural(self, vector: Float[np.ndarray, " n"], gradient: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        """A gradient in the frame in units of the law there; empty of a law that has no location and scale."""
        return natural(self.learnable.structure, self.frame, self.layout.tree(vector), self.layout.tree(gradient))

    def unframed(self, vectors: Float[np.ndarray, "s n"]) -> Float[np.ndarray, "s n"]:
        """Parameters from those in the frame."""
        trees = [from_frame(self.learnable.structure, self.frame, self.layout.tree(vector)) for vector in vectors]
        return np.stack([Layout.flat(tree) for tree in trees])


def fixed_draw_divergence(
    static: Static, fixed: Any, target: Any, noise: Any, frame: Frame | None, vector: Float[Array, " n"]
) -> Float[Array, ""]:
    """Σ w_i (log q(x_i) − log p(x_i)) over the pushed draws; infinite beyond the walls of the parameters."""
    structure, layout, _ = static.value
    log_q, log_p, w = terms(static, fixed, target, noise, frame, vector)
    return walled(structure, layout, vector, jnp.sum(w * (log_q - log_p)))


def terms(
    static: Static, fixed: Any, target: Any, noise: Any, frame: Frame | None, vector: Float[Array, " n"]
) -> tuple[Float[Array, " m"], Float[Array, " m"], Float[Array, " m"]]:
    """log q and log p at the pushed draws, and the weights of these, which sum to 1."""
    structure, layout, push = static.value
    free = layout.tree(vector)
    placed_free = free if frame is None else placed(structure, frame, free)
    x, log_q, w = weighted_draws(push, structure.distribution(placed_free, fixed), noise)
    if frame is not None and is_full_rank(structure):
        x, log_det = outcome(frame, x)
        log_q = log_q - log_det
    return log_q, target(x), w
