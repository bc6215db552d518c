"""The pages of the theory as HTML: mathematics as MathML, proofs folded, places to link to.

A page is Markdown with mathematics in TeX between dollars. A statement with a name is a block quote
that begins with the name in bold, as in "> **Theorem A.**"; a proof begins with "Proof" and ends
with the block that has the sign ∎. Pictures are left out: the report draws its own.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from mdit_py_plugins.dollarmath import dollarmath_plugin

from scripts.theory_report.formulas import mathml
from scripts.theory_report.wording import without_lone_signs

ROOT = Path(__file__).parents[2]
PROOF = re.compile(r"\W*Proof\b[^.]*\.")
STATEMENT = re.compile(r"^> \*\*([^*]+?)\.?\*\*", re.MULTILINE)


class Part(NamedTuple):
    """A heading of a page and what stands under it, up to the next heading.

    Attributes:
        anchor: its id in the report.
        level: 1 for the title of a page.
        heading: its words.
        body: what stands under it.
        labels: what a reference may call it, in small letters: the beginning of the heading, its
            number as in "section 3", and the names of the statements in it.
    """

    anchor: str
    level: int
    heading: Markup
    body: Markup
    labels: tuple[str, ...]


class Document(NamedTuple):
    """A page, as the parts of which it consists; the first has its title."""

    path: str
    parts: tuple[Part, ...]


def read_document(path: str, *, beside: Sequence[str]) -> Document:
    """Reads a page, named from the root of the checkout; `beside` are the pages to link to.

    Raises ValueError where a formula is none, OSError if there is no such page.
    """
    source = (ROOT / path).read_text(encoding="utf-8")
    tokens = _parser(path).parse(source)
    for token in tokens:
        _link(token.children or [], path, beside)
    return Document(path, tuple(_parts(path, source, tokens)))


class UnknownPlaceError(LookupError):
    """A reference that leads nowhere."""


def find(documents: Sequence[Document], reference: str) -> Part:
    """The part that a reference means, such as "docs/escape.md, Theorem A (i)".

    After the comma stands a label of the part, the longest that fits, and what else is to be said.
    UnknownPlaceError says that there is no such part.
    """
    path, _, place = reference.partition(", ")
    fitting = [
        (len(label), part)
        for document in documents
        if document.path == path
        for part in document.parts
        for label in part.labels
        if re.match(rf"{re.escape(label)}(?!\w)", place.lower())
    ]
    if not fitting:
        raise UnknownPlaceError(f"no page of the report has the place {reference!r}")
    return max(fitting, key=lambda found: found[0])[1]


def _parser(path: str) -> MarkdownIt:
    """Markdown with tables and mathematics, as HTML."""

    def formula(content: str, options: dict[str, Any]) -> str:
        try:
            return mathml(content, display=options["display_mode"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.use(dollarmath_plugin, renderer=formula, allow_labels=False, double_inline=True)
    rules = {"table_open": '<div class="wide"><table>', "table_close": "</table></div>"}
    for name, tags in rules.items():
        parser.add_render_rule(name, lambda *_, tags=tags: tags)
    return parser


def _link(tokens: list[Token], path: str, beside: Sequence[str]) -> None:
    """Links to pages of the report lead into it; other pages are not there, and pictures go."""
    leads: list[bool] = []
    for token in tokens:
        if token.type == "image":
            token.type, token.content = "text", ""
        elif token.type == "link_open":
            target = _in_report(str(token.attrs["href"]), path, beside)
            leads.append(target is not None)
            token.attrs["href"] = target or ""
            token.hidden = target is None
        elif token.type == "link_close":
            token.hidden = not leads.pop()


def _in_report(link: str, path: str, beside: Sequence[str]) -> str | None:
    """Where a link of a page leads in the report, or None; the network it may always name."""
    if link.startswith("https:"):
        return link
    page, _, heading = link.partition("#")
    target = str(Path(path).parent / page) if page else path
    if target not in beside:
        return None
    return f"#{_anchor(target, heading)}"


def _anchor(path: str, heading: str) -> str:
    """The id of a part: the name of the page, and the heading as GitHub writes it in links."""
    slug = re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
    return f"{Path(path).stem}-{slug}" if slug else Path(path).stem


def _parts(path: str, source: str, tokens: list[Token]) -> Iterator[Part]:
    """The parts of a page; the source of each says which statements are in it."""
    parser, lines = _parser(path), source.splitlines()
    starts = [i for i, token in enumerate(tokens) if token.type == "heading_open"]
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        opening, words = tokens[start], tokens[start + 1]
        last = tokens[end].map if end < len(tokens) else None
        level, first = int(opening.tag[1:]), (opening.map or [0])[0]
        text = "\n".join(lines[first : last[0] if last else None])
        heading = parser.renderer.render([words], parser.options, {})
        anchor = _anchor(path, words.content if level > 1 else "")
        body = Markup("").join(_folded(parser, tokens[start + 3 : end]))
        yield Part(anchor, level, Markup(heading), body, _labels(words.content, text))


def _labels(heading: str, text: str) -> tuple[str, ...]:
    """What a part may be called."""
    number, words = re.fullmatch(r"(?:(\d+)\. )?(.*)", heading).groups()  # type: ignore[union-attr]
    names = [re.split(r"[:(,]", words)[0], *STATEMENT.findall(text)]
    names += [f"section {number}"] if number else []
    return tuple(name.strip().lower() for name in names)


def _folded(parser: MarkdownIt, tokens: list[Token]) -> Iterator[Markup]:
    """The blocks of a part, with proofs that can be unfolded."""
    proving = False
    for block in _blocks(tokens):
        words = " ".join(token.content for token in block)
        beginning = PROOF.match(words) if not proving else None
        if beginning:
            proving = True
            yield Markup("<details class='proof'><summary>Proof</summary>")
        yield without_lone_signs(parser.renderer.render(block, parser.options, {}))
        if proving and "∎" in words:
            proving = False
            yield Markup("</details>")
    if proving:
        yield Markup("</details>")


def _blocks(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens of each block that stands in no other."""
    depth, block = 0, []
    for token in tokens:
        depth += token.nesting
        block.append(token)
        if depth == 0:
            yield block
            block = []
