"""Formulas in TeX as MathML that browsers set well: latex2mathml, and what it leaves undone.

Signs are told from subtractions, names of functions from operators, and a formula within a line may
be broken after a relation, a plus or a minus, as TeX does.
"""

import re
from collections.abc import Iterator
from itertools import zip_longest
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markupsafe import Markup

RELATIONS = frozenset("=<>≤≥≠→∈≈")
MINUS = "\N{MINUS SIGN}"
BINARY = frozenset(f"+{MINUS}")
OPENING = frozenset("([,|⟨") | RELATIONS | BINARY
"""A minus after one of these is a sign."""

PRIMES = ("\N{PRIME}", "\N{DOUBLE PRIME}")

TIGHT = frozenset("/|…∞")
"""What stands without space around it."""


def mathml(formula: str, *, display: bool = False) -> Markup:
    """A formula in TeX as MathML; ValueError names one that is none.

    Example:
        >>> print(mathml(r"\\tau"))
        <math><mrow><mi>τ</mi></mrow></math>
    """
    if formula.count("{") != formula.count("}"):
        raise ValueError(f"not a formula: {formula!r} (braces)")
    try:
        root = ElementTree.fromstring(convert(formula.strip()))
    except Exception as error:  # the package has a dozen of its own, without a base
        raise ValueError(f"not a formula: {formula!r} ({type(error).__name__})") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if "\\" in (element.text or "") or element.text == "&":
            raise ValueError(f"{element.text} in {formula!r} is not known")
    for row in root.iter():
        _unscript_prime(row)
        _tidy(list(row))
    children = list(root[0])
    groups = [children] if display else _lines(children)
    kind = ' display="block"' if display else ""
    written = ("".join(ElementTree.tostring(e, "unicode") for e in group) for group in groups)
    return Markup("<wbr>").join(
        Markup(f"<math{kind}><mrow>{line}</mrow></math>") for line in written
    )


def _unscript_prime(element: Element) -> None:
    """Sets a prime beside its letter: the sign is raised, and too small as a superscript."""
    if element.tag in ("msup", "msubsup") and element[-1].text in PRIMES:
        base, prime = list(element)[:-1], element[-1]
        prime.tag, prime.attrib = "mo", {"lspace": "0", "rspace": "0"}
        element.tag, element[:] = "mrow", [base[0], prime]
        if len(base) == 2:
            with_index = Element("msub")
            with_index.extend(base)
            element[0] = with_index


def _tidy(row: list[Element]) -> None:
    """Says what kind of operator the operators of a row are, and spaces names of functions."""
    before, bars = "(", 0
    for element, following in zip_longest(row, row[1:]):
        text = element.text or ""
        if re.fullmatch(r"[A-Za-z]{2,}", text) and element.tag in ("mo", "mi"):
            element.tag = "mo"
            opens = following is None or (following.text or "") in OPENING
            element.set("lspace", "0" if before in OPENING else "0.17em")
            element.set("rspace", "0" if opens else "0.17em")
        elif element.tag == "mo" and text in (MINUS, "±", "∓") and before in OPENING:
            element.set("form", "prefix")
        elif element.tag == "mo" and text in TIGHT:
            element.attrib |= {"stretchy": "false", "lspace": "0", "rspace": "0"}
        bars += text == "|"
        closes = text == "|" and bars % 2 == 0
        before = text if element.tag == "mo" and not closes else "operand"


def _lines(row: list[Element]) -> Iterator[list[Element]]:
    """The parts of a formula between which a line may end."""
    line: list[Element] = []
    for element in row:
        line.append(element)
        text = element.text or ""
        if element.tag == "mo" and text in RELATIONS | BINARY and element.get("form") is None:
            element.set("form", "infix")
            if len(line) > 1:
                yield line
                line = []
    if line:
        yield line
