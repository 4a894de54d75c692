"""Colours that everybody can tell apart, and what each of them stands for in a picture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from matplotlib.colors import to_rgb

from .fonts import drawable

Color = tuple[float, float, float]
# Searched for by computer: far apart for normal eyes and for each kind of colour blindness.
BASE = "359FD8 744C1C AA9D50 453E9D 46896F BA5E0D 9C53AA 75EBDF E7D290 AAB7FB F5969D 870F5D".split()


def query_color(q: int) -> Color:
    """The colour of query q, the same in every picture: twelve colours, then shades of these."""
    return shade(to_rgb("#" + BASE[q % len(BASE)]), q // len(BASE))


def shade(color: Color, k: int) -> Color:
    """The k-th shade of a colour, the 0-th itself; golden-ratio steps keep the first ones apart."""
    amount = (0.5 + 0.618 * k) % 1 - 0.5
    return tuple(c + abs(amount) * (float(amount > 0) - c) for c in color)


def class_styles(
    segments: Sequence[dict], categories: Sequence[dict], order: Sequence[int]
) -> list[tuple[str, Color]]:
    """The name and the colour of each segment's class.

    Args:
        segments: dicts (category_id).
        categories: COCO category dicts (id, name). Those without a "color" (RGB, 0 ... 255) have
            the colour of the query of their index. Where there are none at all, as for a model
            whose classes have no names, a category id is a class index: "class 17".
        order: a number for each segment. Of one class, the segment with the lowest has the class's
            colour, and the next ones have shades of it.

    Returns:
        (name, colour) for each segment; "sky-other-merged" is just "sky", and a name whose letters
        no font here has is "class" and the category id.

    Raises:
        ValueError: a segment of an unknown category.
    """
    if not categories:
        last = max((segment["category_id"] for segment in segments), default=-1)
        categories = [{"id": k} for k in range(last + 1)]
    index = {category["id"]: k for k, category in enumerate(categories)}
    if unknown := [s["category_id"] for s in segments if s["category_id"] not in index]:
        raise ValueError(f"category id {unknown[0]} is not among the {len(index)} categories given")
    seen = Counter()
    styles = {}
    for k in sorted(range(len(segments)), key=lambda k: order[k]):
        kind = segments[k]["category_id"]
        category = categories[index[kind]]
        name = category.get("name", f"class {kind}")
        name = re.sub("(-other)?(-merged)?(-stuff)?$", "", name)
        name = drawable(name, kind)
        color = [value / 255 for value in category.get("color", ())] or query_color(index[kind])
        styles[k] = (name, shade(color, seen[kind]))
        seen[kind] += 1
    return [styles[k] for k in range(len(segments))]
