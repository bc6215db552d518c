"""What is left of formulas that were not set, in a page or a part of one."""

import re

RAW = re.compile(
    r"\\|\$|[A-Za-z]_[A-Za-z0-9](?!\w*\.md\b)|[\w)]\^|<=|>=|"
    r"\b(alpha|beta|gamma|delta|eta|kappa|lambda|mu|psi|rho|sigma|tau|oo|(?<![.\d])1e-?\d+)\b"
)
"""TeX, indices, powers, relations in two signs, names of Greek letters."""

UNREAD = re.compile(r"<(math|code|pre|style|title)\b.*?</\1>", re.DOTALL)


def unset_formulas(html):
    """Every piece of a formula that stands as text, with a few letters around it."""
    shown = re.sub(r"<[^>]*>", " ", UNREAD.sub("", str(html)))
    shown = shown.replace("&lt;", "<").replace("&gt;", ">")
    return [shown[max(0, m.start() - 20) : m.end() + 20] for m in RAW.finditer(shown)]
