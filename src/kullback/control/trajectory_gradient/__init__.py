"""On-policy learning, as PPO: the gradient of the KL between trajectories, with proximal updates (`update.learned`)."""
