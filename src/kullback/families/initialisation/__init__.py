"""Where a fit starts: location and scale of the data, standardised inputs and outputs, and a linear start."""
