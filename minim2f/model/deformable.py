"""Multi-scale deformable attention: look at a few points of each level instead of at every pixel.

Every query and head reads K points on each of L levels, bilinearly, and adds what it reads with
weights that sum to 1 (Deformable DETR, eq. 3). `attend_slow` says so as plainly as can be; its fast
twin `attend` is `minim2f.ops.deformable.read`. No compiled extension is needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops.deformable import Sizes
from ..ops.deformable import read as attend


def attend_slow(values: Tensor, sizes: Sizes, locations: Tensor, weights: Tensor) -> Tensor:
    """The sum (B, Q, M, D) by heads, levels and points, one by one; `attend` is its fast twin.

    Args:
        values: (B, S, M, D), the pixels of all levels one after the other, split into M heads.
        sizes: (h, w) of each of the L levels; S is the sum of h w.
        locations: (B, Q, M, L, K, 2), where to read, x and y in [0, 1]; outside is zero.
        weights: (B, Q, M, L, K), of the points.
    """
    batch, _, heads, depth = values.shape
    out = values.new_zeros(batch, locations.shape[1], heads, depth)
    levels = values.split([height * width for height, width in sizes], dim=1)
    for m in range(heads):
        for level, (height, width) in enumerate(sizes):
            image = levels[level][:, :, m].mT.reshape(batch, depth, height, width)
            for k in range(locations.shape[4]):
                at = 2 * locations[:, :, m, level, k] - 1  # grid_sample counts from -1 to 1
                read = F.grid_sample(image, at[:, :, None], align_corners=False)[..., 0].mT
                out[:, :, m] += weights[:, :, m, level, k, None] * read
    return out


class DeformableAttention(nn.Module):
    """Deformable attention of M heads, each with K points on each of L levels."""

    def __init__(
        self, channels: int, num_heads: int = 8, num_levels: int = 3, num_points: int = 4
    ) -> None:
        super().__init__()
        self.shape = (num_heads, num_levels, num_points)
        self.offsets = nn.Linear(channels, math.prod(self.shape) * 2)
        self.weights = nn.Linear(channels, math.prod(self.shape))
        self.values = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        for linear in (self.values, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        for parameter in (self.offsets.weight, self.weights.weight, self.weights.bias):
            nn.init.zeros_(parameter)  # uniform weights, and offsets that no query changes yet
        angle = torch.arange(num_heads) * (2 * math.pi / num_heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)  # onto the square around 0
        start = direction[:, None, None] * torch.arange(1, num_points + 1)[:, None]
        with torch.no_grad():  # head m looks its own way, 1 ... K pixels far
            self.offsets.bias.copy_(start.expand(*self.shape, 2).flatten())

    def forward(self, query: Tensor, reference: Tensor, memory: Tensor, sizes: Sizes) -> Tensor:
        """Queries (B, Q, C) with positions read around their reference points (Q, 2), x and y in
        [0, 1], from memory (B, S, C), all levels of `sizes` one after the other, no positions.
        """
        heads, levels, points = self.shape
        values = self.values(memory).unflatten(-1, (heads, -1))
        # the same numbers over long dimensions: many steps along a short one are slow
        logits = self.weights(query).unflatten(-1, (heads, levels * points))
        weights = logits.permute(3, 0, 1, 2).contiguous().softmax(0).permute(1, 2, 3, 0)
        size = torch.tensor(sizes, device=query.device).flip(1)  # offsets are pixels of their level
        size = size[:, None].expand(heads, levels, points, 2).flatten()
        offsets = (self.offsets(query) / size).unflatten(-1, (heads, levels, points, 2))
        locations = reference[:, None, None, None] + offsets
        weights = weights.unflatten(-1, (levels, points))
        return self.output(attend(values, sizes, locations, weights).flatten(2))
