"""Mask logits at a picture's size, a strip of rows at a time, so that they are never all there.

A hundred masks of a picture of 12 megapixels are 4.8 GB of logits, and whoever reads them makes
copies. All that is read of a pixel, its class, its segment, whether it is inside, depends on that
pixel's logits alone: a strip of rows is enlarged, read and forgotten. To read the instances of a
picture of 1.6 megapixels (100 queries, 133 classes) takes 0.25 GB so, and took 3.6 GB.

Bilinear resizing is linear, and treats rows and columns one after the other. A row of the result is
a weighted sum of a few rows of the model's small masks; the weights of all rows are what becomes of
an identity matrix when it is resized in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from . import in_reference

NUMBERS = 2**22  # of a strip, all queries together: 16 MB in float32


class Enlarged:
    """What N mask logits are at a picture's size: (N, H, W), held as the model made them.

    Args:
        logits: (N, h, w), a quarter of the padded input in height and width.
        padded: height and width of the padded input, to which the masks are enlarged first.
        inner: height and width of the picture in it; right of it and below is padding.
        size: height and width of the picture as it was given.

    Attributes:
        shape: N, H and W.
    """

    def __init__(
        self,
        logits: Tensor,
        padded: tuple[int, int],
        inner: tuple[int, int],
        size: tuple[int, int],
    ) -> None:
        self._logits, self._padded, self._inner = logits, padded, inner
        self.shape = torch.Size((len(logits), *size))
        self.device = logits.device

    def strips(self, queries: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
        """The rows of the picture, from top to bottom; the slow way gives all of them at once.

        Args:
            queries: (M,) which masks are wanted; None takes all.

        Yields:
            Which rows these are, and their logits (M, rows, W).
        """
        logits = self._logits if queries is None else self._logits[queries]
        height, width = self.shape[1:]
        if in_reference():
            yield slice(0, height), self._slow(logits)
            return
        identity = torch.eye(logits.shape[1], dtype=logits.dtype)[None]
        weights = _resize(identity, self._padded[0], self._inner[0], height)[0].T  # (H, h)
        step = rows_of_a_strip(self.shape)
        for first in range(0, height, step):
            strip = weights[first : first + step]
            used = strip.any(0).nonzero()
            near = slice(int(used[0]), int(used[-1]) + 1)
            rows = strip[:, near].to(logits.device) @ logits[:, near]
            rows = _resize(rows, self._padded[1], self._inner[1], width)
            yield slice(first, first + rows.shape[1]), rows

    def _slow(self, logits: Tensor) -> Tensor:
        height, width = self._inner
        for size in (self._padded, self.shape[1:]):
            logits = F.interpolate(logits[None], size=tuple(size), mode="bilinear")[0]
            logits = logits[:, :height, :width] if size == self._padded else logits
        return logits

    def whole(self) -> Tensor:
        """(N, H, W), all strips together."""
        return torch.cat([rows for _, rows in self.strips()], dim=1)


def _resize(lines: Tensor, padded: int, inner: int, size: int) -> Tensor:
    """(N, lines, n) to (N, lines, size): enlarged to the padding's end, cut, and resized again."""
    lines = F.interpolate(lines, size=padded, mode="linear")[..., :inner]
    return lines if inner == size else F.interpolate(lines, size=size, mode="linear")


def rows_of_a_strip(shape: torch.Size) -> int:
    """How many rows of (N, H, W) a strip holds."""
    return max(1, NUMBERS // (shape[0] * shape[2]))


def strips(
    masks: Tensor | Enlarged, queries: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Strips of rows as `Enlarged.strips` gives them, also of logits (N, H, W) that are there."""
    if isinstance(masks, Enlarged):
        yield from masks.strips(queries)
        return
    step = rows_of_a_strip(masks.shape)
    for first in range(0, masks.shape[1], step):
        rows = masks[:, first : first + step]
        yield slice(first, first + rows.shape[1]), rows if queries is None else rows[queries]
