"""What a type checker says of calls of the losses: a user's editor knows every option."""

import json
import shutil
import subprocess

import pytest

CALLS = """
from functools import partial

import jax
import jax.numpy as jnp

import hcl_jax
from hcl_jax import parallel

z, y = jnp.ones((4, 2)), jnp.arange(4) % 2
where = parallel.over_axis("devices", exchange="ring")
value: jax.Array = hcl_jax.scl(z, y, collectives=where, temperature=0.5, normalize="unit_sphere")
value = hcl_jax.ucl(z, y, collectives=where, average="anchors", bank=hcl_jax.Bank(z))
value = hcl_jax.hscl(z, y, beta=5.0, collectives=where, weights=jnp.ones(4), quiet=True)
value = hcl_jax.hucl(z, y, beta=jnp.float32(5.0), num_negatives=8, key=jax.random.key(0))
later = hcl_jax.PairRule(lambda a, c: a["time"] < c["time"])
value = hcl_jax.supcon(z, {"time": y}, pair_rule=later)
value = parallel.objective(
    z, y, axis_name="devices", supervised=True, hardening=hcl_jax.hardening.exponential(5.0)
)
value, found = hcl_jax.with_statistics(hcl_jax.hscl)(z, y, beta=5.0)
mean: jax.Array = found.positives.mean
value, found = hcl_jax.with_statistics(partial(hcl_jax.hscl, beta=5.0))(z, y)
eta = hcl_jax.without_false_negatives(hcl_jax.hardening.no_hardening(), margin=0.1)
hcl_jax.scl(z, y, temprature=0.5)  # wrong
hcl_jax.scl(z, y, collectives=3)  # wrong
hcl_jax.ucl(z, y, average="rows")  # wrong
hcl_jax.ucl(z, y, normalize="sphere")  # wrong
hcl_jax.hscl(z, y)  # wrong
hcl_jax.hucl(z, y, beta=5.0, implementation="fast")  # wrong
hcl_jax.with_statistics(hcl_jax.hscl)(z, y)  # wrong
found.positives.means  # wrong
"""


@pytest.mark.slow
def test_options_are_known_and_wrong_ones_are_told(tmp_path):
    checker = shutil.which("pyright")
    if checker is None:
        pytest.skip("pyright is not installed")
    (tmp_path / "calls.py").write_text(CALLS)
    done = subprocess.run(
        [checker, "--outputjson", tmp_path / "calls.py"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    told = {d["range"]["start"]["line"] for d in found if d["severity"] == "error"}
    wrong = {n for n, line in enumerate(CALLS.splitlines()) if line.endswith("# wrong")}
    assert told == wrong, found
