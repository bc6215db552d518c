"""The command lines of hcl-jax; nothing imports this package."""
