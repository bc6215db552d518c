"""The command `hcl-measure`, as `python -m hcl_jax.measure`."""

import sys

from hcl_jax.measure.command import main

if __name__ == "__main__":
    sys.exit(main())
