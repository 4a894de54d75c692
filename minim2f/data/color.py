"""Other colours for the same picture: SSD's colour jitter, as the semantic data sets use it."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import adjust_hue


def jitter(image: Tensor, generator: torch.Generator) -> Tensor:
    """Changes brightness, contrast, saturation and hue, each with probability 1/2.

    Contrast comes before saturation and hue or after them, with equal probability. The formulas
    are those of SSD (arXiv 1512.02325) and of detectron2's ColorAugSSDTransform. torchvision's
    functions of the same names compute other things: its brightness multiplies where SSD adds, its
    contrast and saturation blend with grey where SSD scales. Its hue is the same.

    Args:
        image: (3, H, W) uint8, RGB.
        generator: for all random numbers, on the CPU.

    Returns:
        (3, H, W) uint8; the input is not changed.
    """
    if _coin(generator):
        steps = [_brightness, _contrast, _saturation, _hue]
    else:
        steps = [_brightness, _saturation, _hue, _contrast]
    colors = image / 255
    for step in steps:
        if _coin(generator):
            colors = step(colors, generator).clamp(0, 1)
    return (colors * 255).round().to(torch.uint8)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _coin(generator: torch.Generator) -> bool:
    """True with probability 1/2."""
    return _uniform(0, 1, generator) < 0.5


def _brightness(image: Tensor, generator: torch.Generator) -> Tensor:
    return image + _uniform(-32, 32, generator) / 255


def _contrast(image: Tensor, generator: torch.Generator) -> Tensor:
    return image * _uniform(0.5, 1.5, generator)


def _saturation(image: Tensor, generator: torch.Generator) -> Tensor:
    """Multiplies HSV's S by 0.5 ... 1.5, up to 1 at most; H and V stay."""
    value = image.amax(0)
    spread = value - image.amin(0)  # S = spread / value
    largest_factor = value / spread.clamp(min=1e-6)  # it makes S 1
    factor = largest_factor.clamp(max=_uniform(0.5, 1.5, generator))
    return value - (value - image) * factor


def _hue(image: Tensor, generator: torch.Generator) -> Tensor:
    """Turns HSV's H by up to 18 of OpenCV's 180 steps, 36 degrees, either way."""
    return adjust_hue(image, _uniform(-0.1, 0.1, generator))
