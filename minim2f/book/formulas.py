"""Formulas as MathML, which browsers draw by themselves: no script and no network."""

from __future__ import annotations

import re

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

UNKNOWN = re.compile(r">\s*(\\[A-Za-z]+)")  # the converter hands on commands that it does not know
ARG = re.compile(r"\\arg(?![A-Za-z])")


def mathml(tex: str, display: str = "inline") -> str:
    """A formula as a `<math>` element.

    Args:
        tex: the formula in TeX, without its dollar signs.
        display: "inline" within a line, "block" on a line of its own.

    Raises:
        ModuleNotFoundError: latex2mathml, of the extra `notebooks`, is not installed.
        ValueError: the formula uses a command that cannot be drawn.
    """
    try:
        from latex2mathml.converter import convert
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "formulas need latex2mathml: python -m pip install latex2mathml, "
            "or the extra of minim2f that brings it, [notebooks]"
        ) from error
    drawn = convert(ARG.sub(r"\\operatorname{arg}", tex), display=display)
    if unknown := UNKNOWN.search(drawn):
        raise ValueError(f"no page can draw {unknown[1]} in the formula {tex.strip()}")
    return drawn


def markdown_to_html(source: str) -> str:
    """Markdown as HTML, formulas as MathML; a filter for nbconvert in place of its own."""
    return MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)


class _Renderer(IPythonRenderer):
    """nbconvert's renderer leaves formulas to a script; this one draws them."""

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return mathml(body)
