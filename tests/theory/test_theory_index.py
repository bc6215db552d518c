"""docs/theory_index.md lists every statement of the pages, with all claims that name it."""

import importlib
import re
from pathlib import Path

import pytest

from scripts.theory_report.documents import STATEMENT
from scripts.theory_report.sections import PAGES
from theory.claims import CLAIMS, MODULES

ROOT = Path(__file__).parents[2]
INDEX = (ROOT / "docs" / "theory_index.md").read_text()
ROWS = [line for line in INDEX.splitlines() if line.startswith("| [")]
STATEMENTS = [
    (page, name) for page in PAGES for name in STATEMENT.findall((ROOT / page).read_text())
]


def row_of(page, name):
    [row] = [row for row in ROWS if row.startswith(f"| [{name}]({Path(page).name}#")]
    return row


def test_there_are_statements():
    assert len(STATEMENTS) == len(set(STATEMENTS)) > 15


@pytest.mark.parametrize(("page", "name"), STATEMENTS)
def test_every_statement_is_listed_with_its_claims(page, name):
    row = row_of(page, name)
    found = [
        claim.name
        for claim in CLAIMS
        if claim.reference.startswith(f"{page}, ")
        and re.search(rf"\b{re.escape(name)}(?!\w)", claim.reference)
    ]
    assert not [claim for claim in found if f'"{claim}"' not in row]


def test_every_claim_that_is_named_is_in_the_file_that_is_named():
    names = {claim.name: module.__name__ for module in MODULES for claim in module.CLAIMS}
    listed = set()
    for row in ROWS:
        for file, claims in re.findall(r"\[`(\w+)`\]\([^)]*\): ([^;|]*)", row):
            for claim in re.findall(r'"([^"]+)"', claims):
                assert names[claim] == f"theory.claims.{file}"
                listed.add(claim)
    assert set(re.findall(r'"([^"]+)"', INDEX)) == listed


def test_what_is_named_of_the_library_exists():
    names = re.findall(r"`(hcl_jax[\w.]*)`", INDEX)
    assert names
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
