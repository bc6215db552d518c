"""Losses of few rows take tiles and bands here, as those of many rows do."""

import pytest

from hcl_jax.losses._blockwise import one_tile


@pytest.fixture(autouse=True)
def several_tiles(monkeypatch):
    """No set of rows is one tile; `tests/losses/test_one_tile.py` takes this back."""
    monkeypatch.setattr(one_tile, "ONE_TILE", 0)
