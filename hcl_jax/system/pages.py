"""HTML pages that need no other file and no network: one frame, one style sheet, inline figures.

A template of a package extends `frame.html.j2` and imports its tables from `tables.html.j2`; both
lie beside this file, with the style sheet. What a template is given is text unless it is `Markup`.
Figures are SVG whose lines and letters have the colour of the page's text, light or dark.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hcl_jax.system.counting import counted

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

INK = "#010203"
"""The colour of lines and letters of figures, which a page replaces by its own."""

INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
"""Settings of matplotlib that have this colour in a figure for a page."""


def render(package: str, template: str, **values: Any) -> bytes:
    """The page of a template of a package."""
    import jinja2

    places = [jinja2.PackageLoader(name, ".") for name in (package, "hcl_jax.system")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(places),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    page = environment.get_template(template).render(**values)
    return page.encode(errors="backslashreplace")  # of names of files that are not UTF-8


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Figures that are made meanwhile have lines and letters of `INK`, and no background."""
    import matplotlib as mpl

    settings: dict[Any, Any] = dict.fromkeys(INKED, INK)
    settings |= {"axes.facecolor": "none", "figure.facecolor": "none", "legend.framealpha": 0}
    with mpl.rc_context(settings):
        yield


def svg(figure: "Figure", name: str) -> str:
    """A figure as SVG to stand in a page: the same on every run, its ids begin with the name."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # Numbers of several figures in one page must not be each other's.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    return re.sub(r'href="#', f'href="#{name}-', text)


def described(drawn: str, words: str) -> "Markup":
    """An SVG that says in words what it shows, where it cannot be seen."""
    from markupsafe import Markup

    head = Markup('<svg role="img" aria-label="{}" ').format(words)
    return head + Markup(drawn.removeprefix("<svg "))
