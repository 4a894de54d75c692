"""The README's pictures, from scenes and the shipped model: python -m minim2f.book.pictures."""

from __future__ import annotations

from pathlib import Path

import minim2f
from minim2f import plots
from minim2f.data import open_dataset
from minim2f.demo import row

from .show import to_png

FIGURES = Path(minim2f.__file__).parents[1] / "notebooks" / "figures"


def main() -> None:
    """Draws notebooks/figures/demo.png and scenes.png."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    model, scenes = minim2f.load("tiny"), open_dataset("scenes", "val")
    rows = [row(model, scenes[i]) for i in (0, 2, 10)]
    demo = plots.compare(rows, scenes.categories, size=2.0)
    wide = open_dataset("scenes", "val", size=(128, 192))
    sheet = plots.contact_sheet([wide[i] for i in range(12)], scenes.categories, columns=6)
    for name, fig in (("demo", demo), ("scenes", sheet)):
        (FIGURES / f"{name}.png").write_bytes(to_png(fig))


if __name__ == "__main__":
    main()
