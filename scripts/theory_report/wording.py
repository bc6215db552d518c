"""Words with formulas, as claims are written: TeX between dollars, names of the code in backticks.

`typeset` makes HTML of them, with the MathML that the pages of the theory have; `plain` makes text
for a terminal and for JSON.
"""

import re

from markupsafe import Markup, escape

from scripts.theory_report.formulas import mathml

PUNCTUATION = re.compile(r"(<math>(?:(?!<math).)*</math>)</span>([,.;:)]+)")
"""What must not begin a line, with the last part of the formula before it."""

SIGNS = {
    "le": "<=",
    "ge": ">=",
    "ne": "!=",
    "to": "->",
    "pm": "+-",
    "mp": "-+",
    "ast": "*",
    "dots": "..",
    "infty": "oo",
    "ell": "l",
    "mid": "|",
    "lvert": "|",
    "rvert": "|",
    "langle": "<",
    "rangle": ">",
    "lbrace": "{",
    "rbrace": "}",
}
"""Commands of TeX for a terminal."""

OPENING = ("lvert", "lbrace", "langle")
"""Those after which there is no space."""

NAMES = frozenset(
    {
        *("alpha", "beta", "gamma", "delta", "zeta", "eta", "theta", "kappa", "lambda", "mu", "pi"),
        *("rho", "sigma", "tau", "varphi", "varrho", "psi", "omega", "Gamma"),
        *("exp", "log", "max", "min", "sum", "prod"),
    }
)
"""Commands that are their own names there."""


def typeset(text: str) -> Markup:
    r"""The words as HTML; ValueError names a formula that is none, and a dollar without another.

    Example:
        >>> print(typeset(r"$\tau$ & more"))
        <span class="math inline"><math><mrow><mi>τ</mi></mrow></math></span> &amp; more
    """
    parts = []
    for number, part in enumerate(_parts(text)):
        if number % 2:
            parts.append(Markup('<span class="math inline">{}</span>').format(mathml(part)))
        else:
            parts.append(Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(part)))))
    return without_lone_signs(Markup("").join(parts))


def without_lone_signs(html: str) -> Markup:
    """HTML in which no line begins with the punctuation after a formula."""
    together = r'<span class="together">\1\2</span></span>'
    return Markup(PUNCTUATION.sub(together, str(html)))  # Markup would escape its parts


def plain(text: str) -> str:
    r"""The words as text; ValueError as for `typeset`.

    Example:
        >>> plain(r"$\lambda_{\min}(S) \le -B$, $\beta_c$ and $\lvert \mu_y \rvert^2$")
        'lambda_min(S) <= -B, beta_c and |mu_y|^2'
    """
    parts = _parts(text)
    return "".join(_plain(part) if n % 2 else part for n, part in enumerate(parts))


def _parts(text: str) -> list[str]:
    """Words and formulas in turn, words first."""
    parts = text.split("$")
    if len(parts) % 2 == 0:
        raise ValueError(f"a dollar without another in {text!r}")
    return parts


def _plain(formula: str) -> str:
    """A formula as text."""

    def sign(found: re.Match[str]) -> str:
        name, space = found.groups()
        if name not in SIGNS and name not in NAMES:
            raise ValueError(f"\\{name} in {formula!r} is not known")
        return SIGNS.get(name, name) + ("" if name in OPENING else space)

    text = re.sub(r"\\(?:operatorname|mathrm)\{([^{}]*)\}", r"\1", formula)
    text = re.sub(r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)", text)
    text = re.sub(r" (?=\\(?:rvert|rbrace|rangle)\b)", "", text)
    text = re.sub(r"\\([A-Za-z]+)( ?)", sign, text)
    return re.sub(r"([_^])\{(-?[\w']+)\}", r"\1\2", text)
