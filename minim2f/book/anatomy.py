"""The mould of a chapter, read off the template: its first cells, its parts in their order."""

from __future__ import annotations

import jupytext

from minim2f.book.chapter import headings
from minim2f.book.new import TEMPLATE

_CELLS = jupytext.reads((TEMPLATE / "chapter.py.txt").read_text("utf-8"), fmt="py:percent").cells

# The first cell of every chapter: title and promise, times, and where the matter is to be found.
CARD = _CELLS[0].source

# The first code cell of every chapter, tagged "setup".
SETUP = next(cell.source for cell in _CELLS if cell.cell_type == "code")

# The second-level headings of every chapter; the order never changes, so readers learn it once.
PARTS = headings("\n\n".join(cell.source for cell in _CELLS if cell.cell_type == "markdown"))
