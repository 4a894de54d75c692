"""Where a pixel is: its centre, and its position written as sines and cosines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..shapes import check


def sine_position(features: Tensor) -> Tensor:
    """The fixed sine embedding of a feature map's positions (DETR; used at every attention).

    Rows y = 1 ... h and columns x = 1 ... w are scaled to (0, 2 pi], divided by n = C/2 frequencies
    10000^(2 floor(j/2) / n), and written as sin (even j) and cos (odd j): y in the first half of
    the channels, x in the second.

    Args:
        features: (B, C, h, w); only its shape, device and dtype matter.

    Returns:
        (1, C, h, w), in the dtype of `features` (half precision is computed in float32).
    """
    channels, height, width = features.shape[1:]
    n = channels // 2
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32

    j = torch.arange(n, dtype=dtype, device=features.device)
    frequency = 10000 ** (2 * torch.div(j, 2, rounding_mode="floor") / n)

    def waves(size: int) -> Tensor:
        """Positions 1 ... size -> (n, size), sines and cosines interleaved."""
        steps = torch.arange(1, size + 1, dtype=dtype, device=features.device)
        angle = steps / (size + 1e-6) * 2 * math.pi / frequency[:, None]
        return torch.stack([angle[0::2].sin(), angle[1::2].cos()], dim=1).flatten(0, 1)

    rows = waves(height)[:, :, None].expand(n, height, width)
    columns = waves(width)[:, None, :].expand(n, height, width)
    position = torch.cat([rows, columns])[None].to(features.dtype)
    return check("position", position, "1 C h w", C=channels, h=height, w=width)


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """The centres of a map's pixels, row by row; where deformable attention starts from.

    Args:
        height, width: of the map.
        like: its dtype and device are those of the result.

    Returns:
        (height * width, 2), x and y in (0, 1); (0, 0) is the outer corner of the first pixel.
    """
    y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
    x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
