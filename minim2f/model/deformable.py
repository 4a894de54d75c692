"""Multi-scale deformable attention: look at a few points of each level instead of at every pixel.

Every query and head reads some points on each level, bilinearly, and adds what it reads with
weights that sum to 1 (Deformable DETR, eq. 3). `minim2f.ops.deformable.attend_slow` says so as
plainly as can be, and `attend` does it fast; no compiled extension is needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..ops.deformable import Sizes, as_fractions, attend, softmax_of_few
from ..shapes import check


class DeformableAttention(nn.Module):
    """Deformable attention; each head has its own points on each level."""

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
        with torch.no_grad():  # each head looks its own way, 1, 2, ... pixels far
            self.offsets.bias.copy_(start.expand(*self.shape, 2).flatten())

    def forward(
        self, query: Tensor, reference: Tensor, memory: Tensor, sizes: Sizes, layer: int = 1
    ) -> Tensor:
        """Reads from memory around a point for each query.

        Args:
            query: (B, Q, C), with positions.
            reference: (Q, 2), the points, x and y in [0, 1].
            memory: (B, S, C), the pixels of all levels one after the other, without positions.
            sizes: (h, w) of each level; S is the sum of h w.
            layer: the number under which offsets, weights and locations are recorded.

        Returns:
            (B, Q, C).
        """
        heads, levels, points = self.shape
        values = self.values(memory).unflatten(-1, (heads, -1))
        offsets = self.offsets(query).unflatten(-1, (heads, levels, points, 2))
        check(f"offsets_{layer}", offsets, f"B Q {heads} {levels} {points} 2", Q=reference.shape[0])
        locations = reference[:, None, None, None] + as_fractions(offsets, sizes)
        check(f"locations_{layer}", locations, f"B Q {heads} {levels} {points} 2")
        weights = softmax_of_few(self.weights(query).unflatten(-1, (heads, levels * points)))
        weights = weights.unflatten(-1, (levels, points))
        check(f"weights_{layer}", weights, f"B Q {heads} {levels} {points}")
        return self.output(attend(values, sizes, locations, weights).flatten(2))
