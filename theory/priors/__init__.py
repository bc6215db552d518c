"""Tools for SCL under unequal priors, in ball arithmetic."""
