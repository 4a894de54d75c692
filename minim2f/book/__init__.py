"""What the chapters share: one setup, honest comparisons, figures with alt text, exercises.

    from minim2f.book import check, figure, library_table, same, setup, shape_table, strip, table

The library itself never imports this package.
"""

from minim2f.book.begin import setup
from minim2f.book.compare import same
from minim2f.book.quiz import check
from minim2f.book.road import strip
from minim2f.book.show import figure, library_table, shape_table, table

__all__ = ["check", "figure", "library_table", "same", "setup", "shape_table", "strip", "table"]
