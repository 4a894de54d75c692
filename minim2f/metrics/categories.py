"""The categories that a metric knows, and what all metrics ask of them."""

from __future__ import annotations


def category_index(categories: list[dict]) -> dict[int, int]:
    """{category id: position in the list}.

    Raises:
        ValueError: there are no categories, or two share an id.
    """
    index = {category["id"]: k for k, category in enumerate(categories)}
    if not categories or len(index) < len(categories):
        raise ValueError(f"needs one or more categories with ids of their own, got {categories}")
    return index


def check_known(segments: list[dict], index: dict[int, int], whose: str) -> None:
    """Refuses segments of a category that is not in `index`.

    Raises:
        ValueError: names the unknown ids; `whose` says whose segments they are.
    """
    if unknown := sorted({segment["category_id"] for segment in segments} - set(index)):
        raise ValueError(
            f"{whose} segments have category ids {unknown}, unknown to the {len(index)} categories "
            "of this metric; a category id is COCO's id (with gaps), not a class index"
        )


def check_same(mine: dict[int, int], theirs: dict[int, int]) -> None:
    """Refuses to merge metrics with different categories.

    Raises:
        ValueError: `mine` and `theirs` differ.
    """
    if mine != theirs:
        raise ValueError("metrics can be merged only if both have the same categories in one order")
