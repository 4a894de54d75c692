"""The README's pictures, from scenes and the shipped model: minim2f book pictures."""

from __future__ import annotations

import minim2f
from minim2f import files, plots
from minim2f.book.chapter import NOTEBOOKS
from minim2f.book.show import to_png
from minim2f.data import open_dataset
from minim2f.demo import SHOWN
from minim2f.training.evaluation import comparison


def draw_pictures() -> None:
    """Draws notebooks/figures/demo.png and scenes.png."""
    model, scenes = minim2f.load("tiny"), open_dataset("scenes", "val", size=SHOWN)
    rows = [comparison(model, scenes[i]) for i in (0, 2, 10)]
    demo = plots.compare(rows, scenes.categories, size=2.0)
    wide = open_dataset("scenes", "val", size=(128, 192))
    sheet = plots.contact_sheet([wide[i] for i in range(12)], scenes.categories, columns=6)
    for name, fig in (("demo", demo), ("scenes", sheet)):
        files.write(NOTEBOOKS / "figures" / f"{name}.png", to_png(fig))
