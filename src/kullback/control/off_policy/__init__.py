"""Off-policy learning from a replay buffer: soft actor-critic, and tilt and project."""
