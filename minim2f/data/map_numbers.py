"""The class of each pixel of a label map, from whatever PNG has its number without a loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .images import read_png
from .map_options import MapOptions

VOID = 255  # the number of a pixel that nobody labelled
KINDS = (
    "8-bit grey",
    "4-bit grey",
    "2-bit grey",
    "1-bit grey",
    "16-bit grey",
    "8-bit grey with alpha",
    "8-bit palette",
    "4-bit palette",
    "2-bit palette",
    "1-bit palette",
    "8-bit RGB",
    "8-bit RGB with alpha",
)
HINT = "a label map is 8-bit grey, or a palette PNG: 0, 1, ... are classes and 255 is void"
CHANNELS = {1: 1, 2: 1, 3: 3, 4: 3}  # how many hold the number; the others are alpha


def read_classes(path: Path, options: MapOptions) -> np.ndarray:
    """The class of each pixel, (H, W) uint8, and 255 where it is void.

    Three equal channels, opaque alpha and 16 bits are read, as long as numbers are 0 ... 255.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no PNG of numbers.
    """
    numbers = _one_channel(read_png(path, KINDS, HINT), path)
    ignored = numbers == options.ignore
    if options.binary:
        return np.where(ignored, VOID, numbers != 0).astype(np.uint8)
    if numbers.max() > VOID:
        raise ValueError(
            f"{path} is 16-bit grey, with numbers up to {numbers.max()}; {HINT}; write the "
            "classes as 0, 1, ... without gaps, and void as 255"
        )
    numbers = numbers.astype(np.uint8)
    void = ignored | (numbers == VOID)
    if options.zero_is_void:
        void |= numbers == 0
        numbers = numbers - 1
    return np.where(void, np.uint8(VOID), numbers)


def _one_channel(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Of several channels the one that all are equal to, (H, W)."""
    if pixels.ndim == 2:
        return pixels
    many = CHANNELS[pixels.shape[2]]
    if (pixels[..., many:] != 255).any():
        raise ValueError(f"{path} has transparent pixels; {HINT}; save it without alpha")
    if (pixels[..., :many] != pixels[..., :1]).any():
        raise ValueError(
            f"{path} holds colours, 8-bit RGB, where a number is expected; {HINT}; write "
            "the number of the class instead of its colour, in one channel"
        )
    return pixels[..., 0]
