"""The three codes of an instance's mask: checked before pycocotools decodes them, and decoded.

pycocotools trusts its input, so a broken code could crash Python or give pixels by chance. It is
imported only where it is used: nobody needs it who reads no instance data.
"""

from __future__ import annotations

import numpy as np

from .coco_fields import NUMBER, WHOLE


def refusal(segmentation: list | dict, size: tuple[int | None, int | None]) -> str | None:
    """Why a code cannot be decoded, or not safely.

    Args:
        segmentation: what the annotation has: a list of polygons, or RLE.
        size: (height, width) of the picture, as far as it is known.

    Returns:
        The reason, for a message; None if nothing is wrong.
    """
    if isinstance(segmentation, list):
        return _polygon_refusal(segmentation, size)
    stated, counts = segmentation.get("size"), segmentation.get("counts")
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(WHOLE.fits(run) and run >= 0 for run in runs):
        return "its RLE needs 'counts', text of COCO's compression or a list of run lengths"
    if not (isinstance(stated, list) and len(stated) == 2 and all(map(WHOLE.fits, stated))):
        return "its RLE needs 'size', [height, width]"
    if None not in size and tuple(stated) != size:
        return f"its RLE is of size {stated} [height, width], the image {list(size)}"
    if sum(runs) != stated[0] * stated[1]:
        return f"its RLE has {sum(runs)} pixels, its size {stated} needs {stated[0] * stated[1]}"
    return None


def _polygon_refusal(polygons: list, size: tuple[int | None, int | None]) -> str | None:
    if not polygons:
        return "its segmentation is empty; give it a polygon, or remove it"
    for polygon in polygons:
        if not (isinstance(polygon, list) and all(map(NUMBER.fits, polygon))):
            return "a polygon is a flat list of numbers, [x1, y1, x2, y2, ...]"
        if len(polygon) < 6 or len(polygon) % 2:
            return f"a polygon of {len(polygon) / 2:g} points; it needs 3 or more, [x1, y1, ...]"
        if None not in size and np.abs(polygon).max() > 2 * max(size):
            far = max(polygon, key=abs)
            return f"a polygon has the coordinate {far:g}, far outside the picture {list(size)}"
    return None


def _decompress(text: str) -> list[int] | None:
    """The runs of compressed RLE, or None if it is broken.

    `rleFrString` of COCO's maskApi.c: five bits a character, the sixth says that more follow, and
    from the fourth run on the difference to the last but one is written. It trusts its input, and
    so does the decoder, which leaves what too few runs do not reach as it was in memory.
    """
    runs, value, bits = [], 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 30:
            return None
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            negative = bool(code & 16)
            value -= negative << bits
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return runs if bits == 0 else None


def compress(segmentation: list | dict, height: int, width: int) -> dict:
    """Any of the three codes as compressed RLE, {"size": [height, width], "counts": text}."""
    from pycocotools import mask as rle

    code = segmentation
    if isinstance(code, list):
        code = rle.merge(rle.frPyObjects(code, height, width))
    elif isinstance(code["counts"], list):
        code = rle.frPyObjects(code, height, width)
    counts = code["counts"]
    return code | {"counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def measure(code: dict) -> dict:
    """The "area" and "bbox" of compressed RLE, as COCO measures them."""
    from pycocotools import mask as rle

    return {"area": int(rle.area(code)), "bbox": rle.toBbox(code).tolist()}


def decode(code: dict) -> np.ndarray:
    """The pixels of compressed RLE, (H, W) bool."""
    from pycocotools import mask as rle

    return rle.decode(code).astype(bool)
