"""Maximum likelihood in closed form, in double precision on the host: one file a kind of equation."""
