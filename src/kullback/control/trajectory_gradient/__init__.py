"""On-policy learning: the gradient of the KL between trajectories, with proximal updates."""
