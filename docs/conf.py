"""The documentation as a site: ``python -m sphinx -W --keep-going docs site``."""

import importlib
import inspect
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, get_origin

from docutils import nodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms.post_transforms import SphinxPostTransform

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import hcl_jax  # noqa: E402
from scripts.theory_report.formulas import mathml  # noqa: E402

SHORT = 34
"""The most characters of a cell that stays in one line."""

KINDS = ("function", "class", "exception", "data", "module")


class Entry(NamedTuple):
    """A public name, the directive that documents it, the first line of what it says, and whether
    hcl_jax itself has it too."""

    name: str
    kind: str
    line: str
    again: bool


def entries_of(module: str) -> list[Entry]:
    """The public names of a module."""
    contents = importlib.import_module(module)
    entries = (_entry(contents, name) for name in contents.__all__)
    return sorted(entries, key=lambda entry: KINDS.index(entry.kind))


def _entry(module: ModuleType, name: str) -> Entry:
    value = getattr(module, name)
    kind = _kind(value)
    text = _text_of(name, value) if kind == "data" else inspect.getdoc(value) or ""
    again = module is not hcl_jax and getattr(hcl_jax, name, None) is value
    return Entry(name, kind, text.partition("\n")[0], again)


def _kind(value: object) -> str:
    if inspect.ismodule(value):
        return "module"
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "data" if get_origin(value) or not callable(value) else "function"


def _text_of(name: str, value: object) -> str:
    """The string below an assignment, in whichever module that stands, or what is assigned."""
    for module in sorted(loaded for loaded in sys.modules if loaded.startswith("hcl_jax")):
        found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
        if found:
            return " ".join(found)
    is_type = get_origin(value) is not None
    return (
        f"The type ``{value}``.".replace("typing.", "")
        if is_type
        else f"An instance of `{type(value).__name__}`."
    )


def equations_are_literal(app, what, name, obj, options, lines):
    """An indented block between paragraphs is an equation, not a quotation; tables stay tables."""
    for i in range(len(lines) - 2, 0, -1):
        before, blank, after = lines[i - 1 : i + 2]
        starts = before and not before.startswith(" ") and not blank and after.startswith("    ")
        if starts and not after.lstrip().startswith(("=", ">>>")):
            lines[i : i + 1] = ["", "::", ""]


def stars_are_no_emphasis(app, what, name, obj, options, lines):
    """The shape ``Float[Array, '*batch n']`` is no emphasis where it is the type of a field."""
    for i, line in enumerate(lines):
        if line.startswith(":vartype"):
            lines[i] = line.replace("*", r"\*")


def copy_benchmarks(app):
    """The pages of benchmarks stand beside their numbers, outside of this directory."""
    shutil.copytree(
        ROOT / "benchmarks",
        ROOT / "docs" / "benchmarks",
        ignore=shutil.ignore_patterns("*.json"),
        dirs_exist_ok=True,
    )


def adapt_pages(app, docname, source):
    """Links to the pages of benchmarks lead to their copies; names of files become titles."""
    text = source[0].replace("](../benchmarks/", "](benchmarks/")
    source[0] = re.sub(r"\[[\w/]+\.md\]\(", "[](", text)


class TidyBlocks(SphinxPostTransform):
    """The line that ends a doctest goes, and tables of short cells are marked as numbers."""

    default_priority = 300

    def run(self, **kwargs):
        """Changes blocks of this page."""
        for block in self.document.findall(nodes.literal_block):
            text = block.astext().rstrip()
            if text != block.astext() and block.rawsource == block.astext():
                block.rawsource = text
                block[:] = [nodes.Text(text)]
        for body in self.document.findall(nodes.tbody):
            cells = [entry.astext() for entry in body.findall(nodes.entry)]
            if cells and max(map(len, cells)) <= SHORT:
                body.parent.parent["classes"].append("numbers")


class LinkNames(SphinxPostTransform):
    """``hcl_jax.scl`` in the text of a page leads to the reference."""

    default_priority = 400

    def run(self, **kwargs):
        """Looks up every literal of this page."""
        objects = self.env.domains.python_domain.objects
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext().removesuffix("()")
            found = next((n for n in (text, f"hcl_jax.{text}") if n in objects and "." in n), None)
            if found and not isinstance(literal.parent, nodes.reference):
                page, anchor = objects[found].docname, objects[found].node_id
                here = self.env.docname
                target = self.app.builder.get_relative_uri(here, page) if page != here else ""
                link = nodes.reference("", "", refuri=f"{target}#{anchor}", internal=True)
                literal.replace_self(link)
                link += literal
                literal["classes"].append("named")


def visit_formula(translator, node):
    """A formula as MathML, which needs neither a script nor the network."""
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def visit_displayed_formula(translator, node):
    """The same for one that stands by itself."""
    translator.body.append(f'<div class="formula">{mathml(node.astext(), display=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    """Napoleon has priority 500: equations are marked before, what it writes is mended after."""
    app.add_html_math_renderer("mathml", (visit_formula, None), (visit_displayed_formula, None))
    app.connect("builder-inited", copy_benchmarks)
    app.connect("source-read", adapt_pages)
    app.add_post_transform(LinkNames)
    app.add_post_transform(TidyBlocks)
    app.connect("autodoc-process-docstring", equations_are_literal, priority=100)
    app.connect("autodoc-process-docstring", stars_are_no_emphasis, priority=900)


project = "hcl-jax"
author = "hcl-jax developers"
project_copyright = "hcl-jax developers, Apache-2.0"
version = release = hcl_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["**.ipynb_checkpoints"]
templates_path = ["_templates"]
html_theme = "sphinx_book_theme"
html_title = "hcl-jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"show_toc_level": 2, "use_download_button": False}
html_show_sourcelink = False

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
html_math_renderer = "mathml"
nb_execution_mode = "off"  # what is committed is shown; `-D nb_execution_mode=force` runs them
nb_execution_timeout = 600
nb_execution_raise_on_error = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autosummary_generate = True
autosummary_context = {"entries_of": entries_of}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]
suppress_warnings = ["config.cache"]  # functions in autosummary_context are not pickled
