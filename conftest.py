"""Modules whose optional packages are not installed are left out of the collection of doctests."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["scripts/torch_contenders.py"]
