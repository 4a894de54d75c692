"""Sphinx's configuration of the site; `minim2f.book.site` lays the pages that it builds."""

from __future__ import annotations

import re
from inspect import ismodule
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

import minim2f
from minim2f.book.formulas import mathml

project = "minim2f"
version = minim2f.__version__
project_copyright = "The minim2f contributors: code MIT, text and figures CC BY 4.0"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
templates_path = [str(Path(__file__).parent / "templates")]  # whole: autosummary looks elsewhere

# Furo loads neither fonts nor icons nor scripts from elsewhere.
html_theme = "furo"
html_title = "minim2f"
html_static_path = ["site.css", "../alt_text/formulas.css"]
html_css_files = ["site.css", "formulas.css"]
pygments_dark_style = "a11y-high-contrast-dark"
html_copy_source = False  # a student's edition must not carry the solutions along
html_use_index = False
html_math_renderer = "mathml"

nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # tables that cells have shown
nb_code_prompt_show = "Show the code that draws or tabulates this"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath"]
myst_update_mathjax = False
myst_url_schemes = {"http": None, "https": None, "site": "{{path}}#{{fragment}}"}

default_role = "literal"  # `names` in docstrings
napoleon_use_rtype = False  # the shape stands before what it is
autodoc_default_options = {"members": True, "member-order": "bysource", "ignore-module-all": True}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
_public = [getattr(minim2f, name) for name in minim2f.__all__]
_homes = [(one.__module__.removeprefix("minim2f."), one) for one in _public if not ismodule(one)]
autosummary_context = {"public": [f"{home}.{one.__name__}" for home, one in _homes]}
add_module_names = False
python_maximum_signature_line_length = 80
viewcode_line_numbers = True


def setup(app: Sphinx) -> None:
    """Adds what Sphinx has no switch for."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-process-docstring", _no_list, priority=600)  # after napoleon
    app.connect("autodoc-skip-member", _listed_already)
    app.connect("html-page-context", _finish)
    # Where a result stands in its page is read from that page, which a page on disk may not do.
    body = "DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = location.protocol !== 'file:';"
    app.add_js_file(None, body=body)


def _inline(self: nodes.NodeVisitor, node: nodes.math) -> None:
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _block(self: nodes.NodeVisitor, node: nodes.math_block) -> None:
    self.body.append(f"<div>{mathml(node.astext(), 'block')}</div>")
    raise nodes.SkipNode


def _no_list(
    app: Sphinx, what: str, name: str, member: object, options: object, lines: list[str]
) -> None:
    """`num_points: P.` describes by a letter, and opens no list."""
    lines[:] = [re.sub(r"(^ *|: )([A-Z])\.$", r"\1\2\.", line) for line in lines]


def _listed_already(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """The fields of a named tuple stand in its docstring, under "Attributes"."""
    return True if type(member).__name__ == "_tuplegetter" else None


def _finish(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Lines of source get the anchors that they have on GitHub, #L10; folds are read as written."""
    body = context.get("body", "")
    if page.startswith("_modules/"):
        number = r'<span class="linenos">( *(\d+))</span>'
        body = re.sub(number, r'<span class="linenos" id="L\2">\1</span>', body)
    context["body"] = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
