"""What the chapters share: one setup, honest comparisons, figures with alt text, exercises.

    from minim2f.book import exercise, same, setup, show, where_we_are
    from minim2f.book import library_table, shape_table, table

The library itself never imports this package.
"""

from minim2f.book.exercise import exercise
from minim2f.book.same import same
from minim2f.book.setup import setup
from minim2f.book.show import show
from minim2f.book.tables import library_table, shape_table, table
from minim2f.book.where_we_are import where_we_are

__all__ = [
    "exercise",
    "library_table",
    "same",
    "setup",
    "shape_table",
    "show",
    "table",
    "where_we_are",
]
