"""Quadrature on a line or a plane: the rule, where the mass lies, the integrals, and the adaptive boxes."""
