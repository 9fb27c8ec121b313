"""What a policy looks like at work: rollouts, films and contact sheets."""
