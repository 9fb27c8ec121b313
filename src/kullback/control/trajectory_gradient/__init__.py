"""On-policy learning, as PPO: the gradient of the KL between trajectories, in proximal updates (`update.learned`)."""
