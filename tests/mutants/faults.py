"""The planted faults: what is wrong, in which file, the text, what stands in its place, and the tests that notice."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One fault. `file` is below src/kullback; `text` stands exactly once in it; `tests` are below tests/."""

    words: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]


FAULTS: list[Fault] = []


def fault(words: str, file: str, text: str, replacement: str, *tests: str) -> None:
    FAULTS.append(Fault(words, file, text, replacement, tests))


# Exact forms and their numerics.
fault(
    "normal: the distance of the means not halved",
    "exact/forms/normal.py",
    "gap + 0.5 * (jnp.square(u) + jnp.square(distance * inverse))",
    "gap + 0.5 * jnp.square(u) + jnp.square(distance * inverse)",
    "exact/test_drop_in.py::test_univariate[Normal-Normal-<lambda>-()]",
)
fault(
    "normal: the slope along Q's scale without the means",
    "exact/forms/normal.py",
    "along_q = -inverse * (both + z * z)",
    "along_q = -inverse * both",
    "exact/test_closed_forms.py::test_value_and_gradient[normal-float64]",
)
fault(
    "gamma: the rates exchanged",
    "exact/forms/gamma.py",
    "c, rate_step = a_p * (b_q / b_p), (b_q - b_p) / b_p",
    "c, rate_step = a_p * (b_p / b_q), (b_p - b_q) / b_q",
    "exact/test_drop_in.py::test_univariate[Gamma-Gamma-<lambda>-()]",
)
fault(
    "geometric: trials multiplied by the chance of an end instead of divided",
    "exact/forms/counts.py",
    "jnp.where(trial == 0, 0.0, trial / jnp.where(trial == 0, 1.0, probs))",
    "jnp.where(trial == 0, 0.0, trial * jnp.where(trial == 0, 1.0, probs))",
    "exact/test_closed_forms.py::test_value_and_gradient[geometric-float32]",
)
fault(
    "discrete uniform: one count too few",
    "exact/forms/counts.py",
    "return jnp.log(high - low + 1.0)",
    "return jnp.log(high - low)",
    "exact/test_counts.py::test_entropy",
)
fault(
    "categorical: labels that are padded are given the logit 0",
    "exact/forms/categorical.py",
    "constant_values=0.0 if is_probs else -jnp.inf",
    "constant_values=0.0",
    "exact/test_counts.py::test_unlike_pairs[float64-great shape]",
)
fault(
    "a gap where Q has nothing is 0 instead of infinite",
    "exact/numerics/ratios.py",
    "| (p == q), q - p, jnp.abs(p) + jnp.abs(q) + jnp.inf)",
    "| (p == q), q - p, 0.0)",
    "exact/test_edges.py::test_edge",
)
fault(
    "Bernoulli number: the sign of the second",
    "exact/numerics/log_gamma.py",
    "_BERNOULLI = (1 / 6, -1 / 30,",
    "_BERNOULLI = (1 / 6, 1 / 30,",
    "exact/test_closed_forms.py::test_value_and_gradient[gamma-float64]",
)
fault(
    "multivariate normal: the wrong factor divides the distance of the means",
    "exact/forms/multivariate.py",
    "shift, factor = (mean_p - mean_q)[..., None], factor_of(q)",
    "shift, factor = (mean_p - mean_q)[..., None], factor_of(p)",
    "exact/test_drop_in.py::test_multivariate_normals_broadcast",
)
fault(
    "truncated normal: only one side of the mass outside P's interval",
    "exact/forms/truncated.py",
    "for low, high in ((q.low, p.low), (p.high, q.high)):",
    "for low, high in ((q.low, p.low), (q.low, p.low)):",
    "exact/test_closed_forms.py::test_value_and_gradient[normal truncated on both sides-float32]",
)

# Unlike families.
fault(
    "unlike: a Gumbel Q's term in x with the wrong sign",
    "exact/unlike/statistics.py",
    'terms: list[Term] = [(-1.0 / scale, "x", ())',
    'terms: list[Term] = [(1.0 / scale, "x", ())',
    "exact/test_expectations.py::test_statistics",
)
fault(
    "unlike: Student's tail with df instead of df + 1",
    "exact/unlike/statistics.py",
    "(-0.5 * (df + 1.0),",
    "(-0.5 * df,",
    "exact/test_expectations.py::test_statistics",
)
fault(
    "unlike: the shortfall of a normal without its density",
    "exact/unlike/shortfalls.py",
    "return scale * (z * ndtr(z) + jnp.exp(-0.5 * z * z - HALF_LOG_2PI))",
    "return scale * z * ndtr(z)",
    "exact/test_pairs.py::test_pair[normal-laplace]",
)
fault(
    "unlike: the variance of a Laplace law counts one side",
    "exact/unlike/moments.py",
    "jnp.square(left) + jnp.square(right)",
    "2.0 * jnp.square(left)",
    "exact/test_expectations.py::test_expectation[asymmetric laplace-(x\\u2212m)\\xb2]",
)

# Wholes: parts, bijections, mixtures.
fault(
    "wholes: bijections taken off without being compared",
    "exact/wholes/bijections.py",
    "return _is_bijection(a) and same(a, b)",
    "return _is_bijection(a) and type(a) is type(b)",
    "exact/test_structure.py::test_maps_that_differ_are_worked_into_the_base",
)
fault(
    "wholes: the volume of a map is taken off",
    "exact/wholes/bijections.py",
    "lambda value: value + total)",
    "lambda value: value - total)",
    "exact/test_structure.py::test_entropy_of_a_transformed_variable",
)
fault(
    "wholes: products keep the first block alone",
    "exact/wholes/chain_rule.py",
    "jnp.broadcast_to(sum(values, start=jnp.zeros(())), shape)",
    "jnp.broadcast_to(values[0], shape)",
    "exact/test_chains.py::test_products",
)
fault(
    "wholes: a joint law weights by Q's labels",
    "exact/wholes/chain_rule.py",
    "probs = label_probs(p.first, p.labels)",
    "probs = label_probs(first, p.labels)",
    "exact/test_chains.py::test_a_joint_law_of_counts",
)
fault(
    "wholes: the overlap of normals with a quarter too much",
    "exact/wholes/overlap.py",
    "return spread + 0.25 * jnp.square(mean_p - mean_q)",
    "return spread + 0.5 * jnp.square(mean_p - mean_q)",
    "exact/test_bounds.py::test_overlap",
)
fault(
    "wholes: a batch axis put in at the wrong place",
    "exact/wholes/batches.py",
    "place = jnp.ndim(x) - event - right",
    "place = jnp.ndim(x) - event",
    "exact/test_mixture.py::test_an_axis_is_put_into_a_batch[Normal]",
)

# What is known of a side.
fault(
    "known: the bounds of a support are closed the wrong way round",
    "known/support.py",
    "outside = (a < c) | (b > d)",
    "outside = (a < c) | (b < d)",
    "known/test_support.py::test_escape_names_the_element_of_a_batch",
)
fault(
    "known: a row of weight 0 outside the support counts",
    "known/support.py",
    "inside = inside | (p.weights == 0)",
    "inside = inside | (p.weights < 0)",
    "estimate/test_support.py::test_a_row_without_weight_does_not_count",
)
fault(
    "known: a tilted sample loses its own weights",
    "known/tilted_sample.py",
    "    p = base * ratio",
    "    p = ratio / len(ratio)",
    "known/test_tilted.py::test_weights_are_those_of_the_base_tilted",
)
fault(
    "known: rows of a batch without what all share",
    "known/rows.py",
    "jnp.broadcast_to(parameter, (*batch, *own))[rows]",
    "jnp.broadcast_to(parameter, (*batch, *own))[jnp.sort(rows)]",
    "known/test_rows.py::test_rows_have_the_log_probabilities_of_the_whole[categorical]",
)

# Families.
fault(
    "families: the temperature multiplies the one before in logarithm and not in value",
    "families/tempered.py",
    'jnp.exp(free["log_temperature"]) * before["temperature"]',
    'jnp.exp(free["log_temperature"])',
    "supervised/test_temperature.py::test_a_fitted_conditional_is_tempered",
)
fault(
    "families: blocks of a column merged without the distance of their means",
    "families/scaling.py",
    "squares = squares + spread + np.square(difference) * (total * weight / (total + weight))",
    "squares = squares + spread",
    "families/test_scaling.py::test_a_memory_mapped_table_is_read_in_blocks",
)
fault(
    "families: the start of a Weibull with the sign of Euler's number",
    "families/starts.py",
    "np.exp(mean + EULER / concentration)",
    "np.exp(mean - EULER / concentration)",
    "families/test_starts.py::test_the_start_of_positive_laws_has_the_moments_of_the_logarithms",
)

# Plans.
fault(
    "plan: the cost goes before the guarantee",
    "plan/plan.py",
    "return (len(self.applies.dropped), self.guarantee.rank, self.cost)",
    "return (len(self.applies.dropped), self.cost, self.guarantee.rank)",
    "plan/test_planning.py::test_fewest_terms_dropped_then_guarantee_then_cost",
)
fault(
    "plan: an infinite fit is not refused",
    "plan/plan.py",
    "if out is not None and out.where.all():",
    "if out is not None and not out.where.any():",
    "families/test_form.py::test_a_family_whose_support_cannot_hold_p_is_refused",
)

# Estimates.
fault(
    "two samples: the ball of P counts its own row",
    "estimate/neighbours.py",
    "count_x = _count(tree_x, ordered, radius) - 1",
    "count_x = _count(tree_x, ordered, radius)",
    "estimate/test_two_samples.py::test_log_ratios_against_a_direct_count",
)
fault(
    "two samples: an estimate below 0 is clipped",
    "estimate/neighbours.py",
    "return float(log_ratios(p, q, neighbours).mean() - digamma(len(p)) + digamma(len(q) + 1))",
    "return max(0.0, float(log_ratios(p, q, neighbours).mean() - digamma(len(p)) + digamma(len(q) + 1)))",
    "estimate/test_two_samples.py::TestRemarks::test_shared_rows",
)
fault(
    "two samples: columns of tables by position",
    "estimate/columns.py",
    "tuple(by_name[column.name] for column in ps)",
    "tuple(by_name.values())",
    "estimate/test_two_samples.py::TestTables::test_joint_and_per_column",
)
fault(
    "two samples: subsamples vary as independent ones would",
    "estimate/subsampling.py",
    "np.sqrt(fraction / (1.0 - fraction))",
    "np.sqrt(fraction)",
    "estimate/test_two_samples.py::test_standard_error_is_calibrated",
)
fault(
    "monte carlo: the pilot's slope with the wrong sign",
    "estimate/monte_carlo.py",
    "value = main.mean[..., 0] - (slope",
    "value = main.mean[..., 0] + (slope",
    "estimate/test_monte_carlo.py::test_unbiased_with_calibrated_errors",
)
# Minimising.
# Supervised learning.
# Control.
# Reports and commands.
# Laws, files, programs, loggers.
