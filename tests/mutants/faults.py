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
    "exact/closed_forms/location_scale.py",
    "gap + 0.5 * (jnp.square(u) + jnp.square(distance * inverse))",
    "gap + 0.5 * jnp.square(u) + jnp.square(distance * inverse)",
    "exact/test_drop_in.py::test_univariate[Normal-Normal-<lambda>-()]",
)
fault(
    "normal: the slope along Q's scale without the means",
    "exact/closed_forms/location_scale.py",
    "along_q = -inverse * (both + z * z)",
    "along_q = -inverse * both",
    "exact/test_closed_forms.py::test_value_and_gradient[normal-float64]",
)
fault(
    "gamma: the rates exchanged",
    "exact/closed_forms/gamma.py",
    "c, rate_step = a_p * (b_q / b_p), (b_q - b_p) / b_p",
    "c, rate_step = a_p * (b_p / b_q), (b_p - b_q) / b_q",
    "exact/test_drop_in.py::test_univariate[Gamma-Gamma-<lambda>-()]",
)
fault(
    "categorical: labels that are padded are given the logit 0",
    "exact/closed_forms/categorical.py",
    "constant_values=0.0 if is_probs else -jnp.inf",
    "constant_values=0.0",
    "exact/test_more_labels.py::test_labels_that_one_side_lacks",
)
fault(
    "ratios: a gap where Q has nothing is 0 instead of infinite",
    "numerics/ratios.py",
    "| (p == q), q - p, jnp.abs(p) + jnp.abs(q) + jnp.inf)",
    "| (p == q), q - p, 0.0)",
    "exact/test_edges.py::test_edge",
)
fault(
    "log gamma: the sign of the second Bernoulli number",
    "numerics/log_gamma.py",
    "_BERNOULLI = (1 / 6, -1 / 30,",
    "_BERNOULLI = (1 / 6, 1 / 30,",
    "exact/test_closed_forms.py::test_value_and_gradient[gamma-float64]",
)
fault(
    "multivariate normal: the wrong factor divides the distance of the means",
    "exact/closed_forms/multivariate.py",
    "shift, factor = (mean_p - mean_q)[..., None], factor_of(q)",
    "shift, factor = (mean_p - mean_q)[..., None], factor_of(p)",
    "exact/test_drop_in.py::test_multivariate_normals_broadcast",
)
fault(
    "truncated normal: only one side of the mass outside P's interval",
    "exact/closed_forms/truncated.py",
    "for low, high in ((q.low, p.low), (p.high, q.high)):",
    "for low, high in ((q.low, p.low), (q.low, p.low)):",
    "exact/test_closed_forms.py::test_value_and_gradient[normal truncated on both sides-float32]",
)

# Pairs of unlike families.
fault(
    "cross family: the support is not compared",
    "exact/cross_family/cross.py",
    "(jnp.asarray(low_p) < low_q - low) | (",
    "(jnp.asarray(low_p) < low_q - low) & (",
    "exact/test_escapes.py::test_only_what_escapes_is_infinite",
)
fault(
    "cross family: a Gumbel Q's term in x with the wrong sign",
    "exact/cross_family/cross.py",
    'terms: list[Term] = [(-1.0 / scale, "x", ())',
    'terms: list[Term] = [(1.0 / scale, "x", ())',
    "exact/test_expectations.py::test_statistics",
)
fault(
    "cross family: Student's tail with df instead of df + 1",
    "exact/cross_family/cross.py",
    "(-0.5 * (df + 1.0),",
    "(-0.5 * df,",
    "exact/test_expectations.py::test_statistics",
)
# Composite laws: parts, bijections, mixtures.
fault(
    "composite: bijections removed without being compared",
    "exact/composite/bijections.py",
    "return _is_bijection(a) and equal_parameters(a, b)",
    "return _is_bijection(a) and type(a) is type(b)",
    "exact/test_structure.py::test_maps_that_differ_are_worked_into_the_base",
)
fault(
    "composite: a joint law weights by Q's labels",
    "exact/composite/structure.py",
    "probs = label_probs(p.first, p.labels)",
    "probs = label_probs(first, p.labels)",
    "exact/test_chains.py::test_a_joint_law_of_counts",
)
fault(
    "composite: a batch axis inserted at the wrong place",
    "exact/composite/mixtures.py",
    "place = jnp.ndim(x) - event - right",
    "place = jnp.ndim(x) - event",
    "exact/test_mixture.py::test_an_axis_is_put_into_a_batch[Normal]",
)

# What is known of a side.
fault(
    "known: a row of weight 0 outside the support counts",
    "known/samples.py",
    "inside = inside | (p.weights == 0)",
    "inside = inside | (p.weights < 0)",
    "estimate/test_support.py::test_a_row_without_weight_does_not_count",
)
fault(
    "known: a tilted sample loses its own weights",
    "known/density.py",
    "    p = base * ratio",
    "    p = ratio / len(ratio)",
    "known/test_density.py::test_weights_are_those_of_the_base_tilted",
)
fault(
    "known: rows of a batch without what all share",
    "known/adaptors/numpyro_distributions.py",
    "jnp.broadcast_to(parameter, (*batch, *own))[rows]",
    "jnp.broadcast_to(parameter, (*batch, *own))[jnp.sort(rows)]",
    "known/test_rows.py::test_rows_have_the_log_probabilities_of_the_whole[categorical]",
)

# Families.
fault(
    "families: a temperature takes the place of the one before",
    "families/tempered.py",
    'jnp.exp(free["log_temperature"]) * before["temperature"]',
    'jnp.exp(free["log_temperature"])',
    "supervised/test_temperature.py::test_a_fitted_conditional_is_tempered",
)
fault(
    "families: blocks of a column merged without the distance of their means",
    "families/initialisation/scaling.py",
    "squares = squares + spread + np.square(difference) * (total * weight / (total + weight))",
    "squares = squares + spread",
    "families/initialisation/test_scaling.py::test_a_memory_mapped_table_is_read_in_blocks",
)
# Plans.
fault(
    "plan: the cost goes before the guarantee",
    "plan.py",
    "return (len(self.applies.dropped), self.guarantee.rank, self.cost)",
    "return (len(self.applies.dropped), self.cost, self.guarantee.rank)",
    "plan/test_planning.py::test_fewest_terms_dropped_then_guarantee_then_cost",
)
fault(
    "plan: an infinite fit is not refused",
    "plan.py",
    "if out is not None and out.where.all():",
    "if out is not None and not out.where.any():",
    "families/test_form.py::test_a_family_whose_support_cannot_hold_p_is_refused",
)

# Estimates.
fault(
    "two samples: an estimate below 0 is clipped",
    "estimate/rows_compared.py",
    "value = p.mean(terms)",
    "value = max(0.0, p.mean(terms))",
    "estimate/test_two_samples.py::TestRemarks::test_negative_values_are_not_clipped",
)
fault(
    "density ratio: a row is scored by a model that saw it",
    "estimate/density_ratio/cross_fit.py",
    "yield self.training(~inside & self.fitted), np.flatnonzero(inside)",
    "yield self.training(self.fitted), np.flatnonzero(inside)",
    "estimate/test_density_ratio.py::test_no_row_is_scored_by_a_model_that_saw_it",
)
fault(
    "density ratio: cells of Q count as they are",
    "estimate/density_ratio/cross_fit.py",
    "of_q * wanted[in_q]",
    "of_q",
    "estimate/test_density_ratio.py::test_cells_count_in_q_as_they_do_in_p",
)
fault(
    "density ratio: the bound of an event takes the shares for the ends of their intervals",
    "estimate/density_ratio/bounds.py",
    "tail = (1.0 - LEVEL) / 2.0",
    "tail = 0.5",
    "estimate/test_density_ratio.py::test_the_bound_of_an_event_is_that_of_clopper_and_pearson",
)
fault(
    "density ratio: what no row of Q has is claimed",
    "estimate/density_ratio/overlap.py",
    "np.maximum(of_p - fifth, 0.0)",
    "np.zeros(len(of_p))",
    "estimate/test_density_ratio.py::test_overlap_by_hand",
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
    "estimate/sample_guarantee.py",
    "np.sqrt(fraction / (1.0 - fraction) * time)",
    "np.sqrt(fraction * time)",
    "estimate/test_sample_guarantee.py::test_subsamples_give_the_error_of_a_mean",
)
fault(
    "two samples: Q's weights are forgotten",
    "estimate/neighbours.py",
    " - log_weights(p, q, own=False)",
    "",
    "estimate/test_weighted_samples.py::test_right_on_average_and_calibrated",
)
fault(
    "two samples: what is beyond the reach of Q is not looked for",
    "estimate/sample_guarantee.py",
    "continuous = max(0.0, p.mean(found)",
    "continuous = 0.0 * max(0.0, p.mean(found)",
    "estimate/test_sample_guarantee.py::test_samples_apart_give_a_lower_bound",
)
fault(
    "reading: integers are labels by their type",
    "known/columns.py",
    'if any(part.values.dtype.kind not in "iuf" for part in parts):\n        return True',
    'if any(part.values.dtype.kind not in "f" for part in parts):\n        return True',
    "known/test_columns.py::test_measurements",
)
fault(
    "one sample: the scale of the columns is forgotten",
    "estimate/one_sample.py",
    "log_density=log_q + space.log_scale(rows)",
    "log_density=log_q",
    "estimate/test_one_sample.py::test_units_do_not_matter",
)
fault(
    "monte carlo: the pilot's slope with the wrong sign",
    "estimate/monte_carlo.py",
    "value = main.total[..., 0] - (slope",
    "value = main.total[..., 0] + (slope",
    "estimate/test_monte_carlo.py::test_unbiased_with_calibrated_errors",
)
fault(
    "monte carlo: strata are averaged without their weights",
    "estimate/draws.py",
    "table = share[..., None] * jnp.stack(columns, -1)",
    "table = drawn[..., None] * jnp.stack(columns, -1)",
    "estimate/test_strata.py::test_a_rare_component_is_never_missed[same family]",
)
fault(
    "monte carlo: the tail of the values is not looked at",
    "estimate/pareto_tail.py",
    "self.kept @ self.kept > MATERIAL * self.square",
    "self.kept @ self.kept > 2.0 * self.square",
    "estimate/test_strata.py::test_infinite_variance_and_infinite_mean_are_said[3.0-variance]",
)
fault(
    "composite: a shared bijection leaves the cross entropy as it is",
    "exact/table.py",
    "parts is not None and not parts.divergence_only and entropy_form(p) is None",
    "parts is not None and entropy_form(p) is None",
    "exact/test_structure.py::test_what_a_shared_bijection_says_of_the_cross_entropy[sigmoid]",
)
fault(
    "host: doubles are rounded on the way to a function of the user's",
    "known/host.py",
    "values = words.view(given)[..., 0] if",
    "values = words.view(given)[..., 0].astype(np.float32) if",
    "estimate/test_monte_carlo.py::test_host_densities_see_every_digit",
)
fault(
    "quadrature: no tail ever diverges",
    "estimate/quadrature/line.py",
    "SEEN / length) and growth - decay > -1e-4:",
    "SEEN / length) and growth - decay > 1e4:",
    "estimate/test_quadrature.py::test_divergent_integrals_are_infinite_with_the_reason",
)

# Minimising.
fault(
    "shuffle: the same order in every epoch",
    "training/epochs.py",
    "_mixed(jnp.asarray(epoch, jnp.uint32) ^ _mixed(seed[1]))",
    "_mixed(_mixed(seed[1]))",
    "training/test_shuffle.py::test_seeds_epochs_and_members_have_words_of_their_own",
)
fault(
    "lbfgs: the second loop runs in the order of the first",
    "minimize/lbfgs.py",
    "        i = (newest + 1 + j) % m\n",
    "        i = (newest - j) % m\n",
    "minimize/test_lbfgs.py::test_as_few_evaluations_as_scipys",
)
fault(
    "EM: the weights of the rows are forgotten in the second step",
    "minimize/normal_components.py",
    "joint * (self.w[part] / total)",
    "joint / (len(self.w) * total)",
    "minimize/test_mixtures.py::test_weights_count_rows[Normal]",
)
fault(
    "fixed draws: the components of a mixture count alike",
    "minimize/reparameterise.py",
    "each[:, None] * jnp.asarray(d.mixing_distribution.probs)",
    "each[:, None] * jnp.full(d.mixture_size, 1.0 / d.mixture_size)",
    "minimize/test_reverse.py::test_mixtures_and_other_families_can_be_pushed",
)
fault(
    "checkpoint: the data are no part of what problem it is",
    "training/epochs.py",
    "return fingerprint(self.title, *parts, *own, *data, self.seed)",
    "return fingerprint(self.title, *parts, *own, self.seed)",
    "training/test_minibatches.py::test_a_checkpoint_of_other_data_is_refused",
)
fault(
    "keeping: a resumed run logs again what was logged",
    "training/driver.py",
    "self.logged = len(history)",
    "self.logged = 0",
    "training/test_driving.py::test_a_resumed_run_logs_what_is_new",
)
fault(
    "keeping: two trainings share a checkpoint",
    "training/driver.py",
    "fcntl.LOCK_EX | fcntl.LOCK_NB",
    "fcntl.LOCK_SH | fcntl.LOCK_NB",
    "training/test_checkpoint.py::test_a_checkpoint_is_of_one_training_at_a_time",
)
fault(
    "files: a digest that does not agree passes",
    "runtime/files.py",
    'and spec["version"] > 1:',
    'and spec["version"] > 2:',
    "runtime/test_damaged_files.py::test_one_bit_more_or_less_changes_nothing_silently",
)
fault(
    "arguments: a count of one less than the least passes",
    "arguments.py",
    "if exact < least or",
    "if exact < least - 1 or",
    "contracts/test_arguments.py::test_wrong_values_are_refused_in_our_own_sentence",
)
fault(
    "minimum of the scale: the largest is taken",
    "training/evaluation.py",
    "least = jnp.min(outputs, (0, 1))",
    "least = jnp.max(outputs, (0, 1))",
    "training/test_min_scale.py::test_the_objective_is_that_of_the_law_with_its_minimum",
)
fault(
    "early stopping: the last parameters are returned, not the best",
    "training/early_stopping.py",
    "better = usable & (value < m.best.value) & clear",
    "better = usable",
    "training/test_epochs.py::test_the_history_tells_what_happened",
)
fault(
    "early stopping: the last iterate instead of the mean of an epoch",
    "training/early_stopping.py",
    "x=jnp.where(better, m.x_sum / steps, m.best.x)",
    "x=jnp.where(better, m.descent.x, m.best.x)",
    "training/test_epochs.py::test_the_history_tells_what_happened",
)
fault(
    "minibatches: rows that are held out are learned from",
    "training/batches.py",
    "train, held = table.part(~watched), table.part(watched) if kept else None",
    "train, held = table, table.part(watched) if kept else None",
    "training/test_epochs.py::test_the_values_are_those_of_numpy",
)
fault(
    "minibatches: the prior is not divided by the weight of the data",
    "training/epochs.py",
    "negative_log_prior(config, fixed, vector) / hyper.total_weight, loss",
    "negative_log_prior(config, fixed, vector), loss",
    "training/test_minibatches.py::test_a_prior_is_ridge",
)
fault(
    "minibatches: padding of the held-out rows counts",
    "training/batches.py",
    "np.where(np.arange(length) < self.size, self.relative(numbers), 0.0)",
    "self.relative(numbers)",
    "training/test_epochs.py::test_the_values_are_those_of_numpy",
)
# Supervised learning.
fault(
    "crps: counts beyond the upper end cost nothing",
    "supervised/crps.py",
    "total = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)",
    "total = np.maximum(low - y, 0.0)",
    "supervised/test_crps.py::test_closed_forms",
)
fault(
    "calibration: bins count alike",
    "supervised/calibration.py",
    "np.average(np.abs(self.observed - self.predicted), weights=self.weights)",
    "np.average(np.abs(self.observed - self.predicted))",
    "supervised/test_uneven.py::test_bins_count_by_their_rows",
)
fault(
    "classifier: labels by their place and not by their name",
    "supervised/classifier.py",
    "return self.classes_[np.exp(log_p).argmax(1)]",
    "return np.exp(log_p).argmax(1)",
    "supervised/test_uneven.py::test_labels_are_predicted_by_their_names",
)
fault(
    "quantiles: a falling transform does not turn the tails",
    "supervised/univariate.py",
    "return self.forward(np.where(self.rising, *turned))",
    "return self.forward(turned[0])",
    "supervised/test_quantiles.py::test_a_falling_transform_turns_the_tails",
)
fault(
    "log score: the standard error without the weights",
    "supervised/scores.py",
    "error = np.sqrt(np.sum((share * (losses - mean)) ** 2)",
    "error = np.sqrt(np.mean((losses - mean) ** 2) / rows",
    "supervised/test_uneven.py::test_the_standard_error_of_a_weighted_mean",
)

# Control.
fault(
    "soft backup: the prior's weight is forgotten",
    "control/tabular/soft_bellman.py",
    "return self.log_weight + self.gain + self.onward @ value",
    "return self.gain + self.onward @ value",
    "control/test_trajectories.py::test_infinite_horizon_is_the_limit_of_finite_ones",
)
fault(
    "control: a table's return goes on beyond the time limit",
    "control/tabular/evaluation.py",
    "_summed(_chain(undiscounted, policy), gain, limit)",
    "_summed(_chain(undiscounted, policy), gain, 10 * limit)",
    "control/test_environment_return.py::test_the_return_of_a_table_ends_with_the_time_limit",
)
fault(
    "control: rewards beyond the time limit are counted in what is played",
    "control/learning/episodes.py",
    "sums.returns + counts * reward,",
    "sums.returns + reward,",
    "control/test_environment_return.py::test_what_is_played_returns_the_same",
)
fault(
    "control: the standard error of few episodes is that of many",
    "control/learning/assessment.py",
    "stdtrit(n - 1, LEVEL) / ndtri(LEVEL)",
    "1.0",
    "control/learning/test_assessment.py::test_the_interval_of_few_episodes_covers",
)
fault(
    "control: part of an episode is taken for the return of a whole one",
    "control/learning/training.py",
    "mean = -np.inf if is_cut_short(task, played) else float(np.mean(returns))",
    "mean = float(np.mean(returns))",
    "control/learning/test_assessment.py::test_part_of_an_episode_is_not_taken_for_the_return_of_a_whole_one",
)
fault(
    "control: a critic that has seen nothing speaks in units of 1",
    "control/trajectory_gradient/update.py",
    "jnp.where(units.count > 0, units.scale, 0.0)",
    "units.scale",
    "control/learning/test_units_of_reward.py::test_the_unit_of_reward_changes_nothing",
)
fault(
    "control: of tied actions the first is taken",
    "control/learning/policy.py",
    "best = self.log_policy >= jnp.max(self.log_policy, -1, keepdims=True) - TIE",
    "best = jnp.arange(self.log_policy.shape[-1]) == jnp.argmax(self.log_policy, -1)[..., None]",
    "control/test_ties.py",
)
fault(
    "control: a policy may take choices that are not there",
    "control/task.py",
    'np.where(actions.exists.ravel(), learnable.fixed["offset"], NEVER)',
    'learnable.fixed["offset"]',
    "control/learning/test_choices.py::test_every_place_has_its_own_number_of_choices",
)
fault(
    "control data: returns to go without their discount",
    "control/data.py",
    "running[e] = r + discount * running[e]",
    "running[e] = r + running[e]",
    "control/test_data.py::test_returns_to_go",
)
fault(
    "trajectory gradient: advantages are carried beyond a time limit",
    "control/learning/critics.py",
    "carried = jnp.where(over | ~valid, 0.0, discount * lam)",
    "carried = jnp.where(terminated | ~valid, 0.0, discount * lam)",
    "control/learning/test_cut_off.py::test_nothing_is_carried_from_one_episode_to_the_one_before",
)
fault(
    "trajectory gradient: a time limit is taken for an end",
    "control/trajectory_gradient/update.py",
    "ended = over if config.options.cut_ends else block.terminated",
    "ended = over",
    "control/learning/test_cut_off.py::test_a_time_limit_is_no_end_unless_a_horizon_was_asked_for",
)
fault(
    "trajectory gradient: the divergence of a step is a reward",
    "control/trajectory_gradient/update.py",
    "soft = (block.reward - alpha * kl.reshape(shape))",
    "soft = (block.reward + alpha * kl.reshape(shape))",
    "control/trajectory_gradient/test_gradient.py::test_gradient_is_that_of_the_trajectory_kl",
)
fault(
    "off-policy: the value that follows without its divergence",
    "control/off_policy/update.py",
    "values(batch.following), -1) - alpha * kl, kl",
    "values(batch.following), -1), kl",
    "control/off_policy/test_soft_actor_critic.py::test_soft_values_are_sums_over_choices",
)
fault(
    "off-policy: bootstrapped beyond an end",
    "control/off_policy/update.py",
    "ahead = units.discount * (1.0 - batch.ended)\n    target",
    "ahead = units.discount * jnp.ones_like(batch.ended)\n    target",
    "control/off_policy/test_soft_actor_critic.py::test_time_limits_cut_off_but_do_not_end[True]",
)
fault(
    "off-policy: a time limit is taken for an end",
    "control/off_policy/playing.py",
    "(flat.terminated | flat.truncated if config.options.cut_ends else flat.terminated)",
    "(flat.terminated | flat.truncated)",
    "control/off_policy/test_soft_actor_critic.py::test_time_limits_cut_off_but_do_not_end[False]",
)
fault(
    "off-policy: the targets are the critics",
    "control/off_policy/update.py",
    "values = config.lesser(learner.targets, fixed)",
    "values = config.lesser(learner.critics.x, fixed)",
    "control/off_policy/test_soft_actor_critic.py::test_soft_values_are_sums_over_choices",
)
fault(
    "tilt and project: the gain multiplied by the price",
    "control/off_policy/tilt_and_project.py",
    "return jax.nn.log_softmax(log_base + gain / price)",
    "return jax.nn.log_softmax(log_base + gain * price)",
    "control/off_policy/test_tilt_and_project.py::test_the_tilted_policy_is_the_product_of_powers",
)
fault(
    "tilt and project: the prior is forgotten",
    "control/off_policy/tilt_and_project.py",
    "alpha * (here.log_policy - here.log_prior)",
    "alpha * here.log_policy",
    "control/off_policy/test_projection.py::test_it_comes_to_the_tilted_prior",
)
fault(
    "tilt and project: what should follow slowly is the new policy",
    "control/off_policy/tilt_and_project.py",
    "return policy, old + self.follow * (policy.x - old)",
    "return policy, policy.x",
    "control/off_policy/test_projection.py::test_the_old_policy_follows_slowly",
)
fault(
    "replay: the latest step is never looked back at",
    "control/off_policy/replay.py",
    "at = replay.count - lanes * (1 + back.astype(jnp.int32))",
    "at = replay.count - lanes * (2 + back.astype(jnp.int32))",
    "control/off_policy/test_replay.py::test_the_latest_of_lanes_that_do_not_explore",
)
fault(
    "reaching: the goal ahead is that of one step later",
    "control/goals/episodes.py",
    "jnp.minimum(t + ahead - 1,",
    "jnp.minimum(t + ahead,",
    "control/goals/test_reaching.py::test_losses_are_those_of_all_relabelled_pairs",
)
fault(
    "simulators: a time limit one step late",
    "control/envs/simulator.py",
    "(elapsed >= limit)",
    "(elapsed > limit)",
    "control/envs/test_functional.py::test_lanes",
)
fault(
    "simulators: an episode's last observation is the next one's first",
    "control/envs/stepping.py",
    "            self._read_final(info, over, following)\n",
    "",
    "control/envs/test_vector.py::test_the_valid_transitions_are_those_of_single_environments",
)
fault(
    "simulators: every episode of a lane has the same seed",
    "control/envs/lane.py",
    'struct.pack("<3q", seed, lane, episode)',
    'struct.pack("<3q", seed, lane, 0)',
    "control/envs/test_stepping.py::test_the_seed_and_the_actions_determine_everything",
)
fault(
    "simulators: what is dropped from the memory is still counted",
    "control/envs/lane.py",
    "        self._begun -= first\n",
    "",
    "control/envs/test_restoring.py::test_a_run_that_is_saved_and_restored_goes_on_bit_for_bit",
)
# Reports and commands.
fault(
    "report: cells of a table are not escaped",
    "report/page.py",
    "{escape(cell)}",
    "{cell}",
    "report/test_page.py::test_the_page_fetches_nothing",
)
fault(
    "report: bars of one standard error, called two",
    "report/sections/estimation.py",
    "values, 2 * errors,",
    "values, errors,",
    "report/test_bars.py::test_bars_of_growing_samples_are_two_standard_errors_to_either_side",
)
fault(
    "report: the band of a calibration curve is one-sided",
    "report/figures.py",
    "for p in (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)]",
    "for p in (1.0 - LEVEL, LEVEL)]",
    "report/test_bars.py::test_bands_of_a_calibration_curve_leave_a_fortieth_out_at_either_end",
)
fault(
    "cli: a checkpoint of other settings is gone on with",
    "cli/folder.py",
    "            self._same(settings)\n",
    "",
    "cli/test_control.py::test_a_folder_of_other_settings_is_not_gone_on_with",
)

# Laws, files, programs, loggers.
fault(
    "tanh normal: the width of the box is forgotten in the density",
    "distributions/tanh_normal.py",
    "return normal - jnp.log((self.high - self.low) / 2.0) - log_slope(u)",
    "return normal - log_slope(u)",
    "distributions/test_tanh_normal.py::test_the_log_probability",
)
fault(
    "files: written in place",
    "runtime/files.py",
    "            os.replace(aside, target)\n",
    "            target.write_bytes(content)\n            os.remove(aside)\n",
    "families/test_saved.py::test_a_failed_save_leaves_the_old_file_whole",
)
fault(
    "programs: the sources are no part of what a program is found by",
    "runtime/identity.py",
    "*flags, *processor(), *_SOURCES]",
    "*flags, *processor()]",
    "runtime/test_identity.py::test_any_change_of_a_source",
)
fault(
    "programs: types of arrays are not told apart",
    "runtime/export_cache.py",
    'return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)',
    'return leaf.shape, getattr(leaf, "weak_type", False)',
    "runtime/test_identity.py::test_types_and_shapes",
)
fault(
    "identity: a program is known by the sources beside it alone",
    "runtime/identity.py",
    "_sources(os.path.dirname(os.path.dirname(__file__)))",
    "_sources(os.path.dirname(__file__))",
    "runtime/test_identity.py::test_a_kept_program_is_known_by_every_source_and_the_version_of_this_package",
)
fault(
    "kept programs: those of every version in one folder",
    "runtime/cache_folder.py",
    'sys.modules[__name__.partition(".")[0]], "__version__"',
    'sys.modules[str(__package__)], "__version__"',
    "runtime/test_identity.py::test_a_kept_program_is_known_by_every_source_and_the_version_of_this_package",
)
fault(
    "programs: files that a group may write are read",
    "runtime/cache_folder.py",
    "stat.S_IWGRP | stat.S_IWOTH",
    "stat.S_IWOTH",
    "runtime/test_export_cache.py::test_what_others_may_write_is_not_read",
)
fault(
    "loggers: rows before a new column are not filled up",
    "runtime/loggers.py",
    '[*row, *[""] * len(new)] for row in rows',
    "row for row in rows",
    "runtime/test_loggers.py::test_a_new_name_widens_the_table",
)
fault(
    "loggers: a line that a crash cut short stays",
    "runtime/loggers.py",
    '        if content and not content.endswith(b"\\n"):\n            file.truncate',
    "        if not content:\n            file.truncate",
    "runtime/test_loggers.py::test_a_line_cut_short_by_a_crash_is_taken_away",
)

# Drift between tables.
fault(
    "drift: the observed assignment is not one of the permutations",
    "drifting/permutation.py",
    "Tested((1 + int(r)) / (1 + int(d)), float(groups.factor * o), int(d))",
    "Tested(int(r) / int(d), float(groups.factor * o), int(d))",
    "drift/test_reading.py::test_what_can_be_read_has_an_answer",
)
fault(
    "drift: ties are not counted",
    "drifting/permutation.py",
    "return (_permuted(tests, groups, rng, count) >= observed * (1 - TIES)).sum(0)",
    "return (_permuted(tests, groups, rng, count) > observed * (1 + TIES)).sum(0)",
    "drift/test_permutation.py::test_two_values_give_the_hypergeometric_p",
)
fault(
    "drift: products are not looked at",
    "drifting/features.py",
    "        blocks.append(block(scores, rng, products))\n",
    "        pass\n",
    "drift/test_permutation.py::test_changes_are_found",
)
fault(
    "drift: KL of the values present is not weighted by their share",
    "drifting/measures.py",
    "value=state.value + share * value.value,",
    "value=state.value + value.value,",
    "drift/test_measures.py::TestDivergence::test_missing_values_by_the_chain_rule",
)
