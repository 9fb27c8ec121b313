"""What rules that learn from episodes share: policies beside priors, values, temperatures, and fresh episodes."""
