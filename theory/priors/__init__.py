"""Tools for SCL under unequal priors."""
