"""Names in any script: drawn with a font that has their letters, or replaced by a number."""

from __future__ import annotations

from functools import cache

from matplotlib import font_manager

# matplotlib's own, then fonts with many letters that systems bring along or people install.
WANTED = (
    *("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC"),
    *("Noto Sans JP", "Noto Sans KR", "Source Han Sans SC", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Hebrew"),
)


@cache
def families() -> list[str]:
    """The fonts of `WANTED` that this machine has; a letter comes from the first that has it."""
    here = set(font_manager.fontManager.get_font_names())
    return [name for name in WANTED if name in here]


def can_draw(text: str) -> bool:
    """Whether some font of this machine has every letter."""
    return all(ord(letter) in _letters() for letter in text if not letter.isspace())


def drawable(name: str, number: int) -> str:
    """The name of a class, or "class 3" if no font here has its letters.

    Args:
        name: in any script.
        number: that the class is known by elsewhere, such as its category id.
    """
    return name if can_draw(name) else f"class {number}"


@cache
def _letters() -> frozenset[int]:
    found: set[int] = set()
    for family in families():
        found |= font_manager.get_font(font_manager.findfont(family)).get_charmap().keys()
    return frozenset(found)
