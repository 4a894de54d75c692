"""res2 ... res5 to P5, P4, P3 for the queries to look at, and F_pixel to draw masks with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops.strips import Strips
from ..shapes import check, scoped
from .deformable import DeformableAttention, Sizes
from .position import pixel_centres, sine_position

kaiming = partial(nn.init.kaiming_uniform_, a=1)


def _conv(inputs: int, outputs: int, kernel: int, start: Callable) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    start(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


class ConvNorm(nn.Sequential):
    """Convolution without bias, group norm with 32 groups, and ReLU if asked for."""

    def __init__(self, inputs: int, outputs: int, kernel: int, relu: bool) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        kaiming(conv.weight)
        super().__init__(
            conv, nn.GroupNorm(32, outputs), nn.ReLU(inplace=True) if relu else nn.Identity()
        )


class FPN(nn.Module):
    """A feature pyramid: coarse maps are enlarged and added to finer ones, level by level.

    This is MaskFormer's pixel decoder (paper Table 4e, first row; official `BasePixelDecoder`).
    `inputs` are the channels of res2 ... res5, `channels` is C, that of all outputs.
    """

    def __init__(self, inputs: list[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleDict()
        self.output = nn.ModuleDict()
        for name, width in zip(("res2", "res3", "res4"), inputs):
            self.lateral[name] = ConvNorm(width, channels, 1, relu=False)
            self.output[name] = ConvNorm(channels, channels, 3, relu=True)
        self.output["res5"] = ConvNorm(inputs[3], channels, 3, relu=True)  # nothing is coarser
        self.mask_features = _conv(channels, channels, 3, kaiming)

    @scoped
    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Returns F_pixel (B, C, H/4, W/4) and [P5, P4, P3], (B, C) at 1/32, 1/16 and 1/8."""
        x = self.output["res5"](features["res5"])
        pyramid = [check("P5", x, "B C H/32 W/32")]
        for level, stride in ((4, 16), (3, 8), (2, 4)):
            lateral = self.lateral[f"res{level}"](features[f"res{level}"])
            x = lateral + F.interpolate(x, lateral.shape[-2:], mode="nearest")
            x = self.output[f"res{level}"](x)
            pyramid.append(check(f"P{level}", x, f"B C H/{stride} W/{stride}"))
        return check("F_pixel", self.mask_features(x), "B C H/4 W/4"), pyramid[:3]


class EncoderLayer(nn.Module):
    """Deformable attention and feed-forward; each added to the pixels and normalised."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(channels)
        self.attention_norm, self.ffn_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        wide, narrow = nn.Linear(channels, 1024), nn.Linear(1024, channels)
        self.ffn = Strips(wide, nn.ReLU(inplace=True), narrow)
        for linear in (wide, narrow):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, sizes: Sizes, layer: int
    ) -> Tensor:
        """(B, S, C) -> (B, S, C); positions enter as queries only, never as values."""
        x = self.attention_norm(x + self.attention(x + position, reference, x, sizes, layer))
        return check(f"encoded_{layer}", self.ffn_norm(x + self.ffn(x)), "B S C")


class DeformablePixelDecoder(nn.Module):
    """Six rounds of deformable attention over three levels, and one step of a pyramid (paper 3.2).

    This is the published models' pixel decoder (official `MSDeformAttnPixelDecoder`).
    `inputs` are the channels of res2 ... res5, `channels` is C, that of all outputs.
    """

    def __init__(self, inputs: list[int], channels: int) -> None:
        super().__init__()
        self.project = nn.ModuleDict()
        for name, width in (("res5", inputs[3]), ("res4", inputs[2]), ("res3", inputs[1])):
            conv = _conv(width, channels, 1, nn.init.xavier_uniform_)
            self.project[name] = nn.Sequential(conv, nn.GroupNorm(32, channels))
        self.level_embed = nn.Parameter(torch.randn(3, channels))
        self.layers = nn.ModuleList(EncoderLayer(channels) for _ in range(6))
        self.lateral = ConvNorm(inputs[0], channels, 1, relu=False)
        self.output = ConvNorm(channels, channels, 3, relu=True)
        self.mask_features = _conv(channels, channels, 1, kaiming)

    @scoped
    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Returns F_pixel (B, C, H/4, W/4) and [P5, P4, P3], (B, C) at 1/32, 1/16 and 1/8."""
        maps = [project(features[name]) for name, project in self.project.items()]
        sizes = [tuple(m.shape[-2:]) for m in maps]
        x = check("pixels", torch.cat([m.flatten(2).mT for m in maps], dim=1), "B S C")
        positions = [sine_position(m).flatten(2).mT + e for m, e in zip(maps, self.level_embed)]
        position = check("positions", torch.cat(positions, dim=1), "1 S C")
        reference = torch.cat([pixel_centres(height, width, x) for height, width in sizes])
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, position, reference, sizes, number)
        pyramid = []
        levels = x.split([height * width for height, width in sizes], dim=1)
        for name, scale, level, size in zip(("P5", "P4", "P3"), (32, 16, 8), levels, sizes):
            level = level.unflatten(1, size).permute(0, 3, 1, 2)
            pyramid.append(check(name, level, f"B C H/{scale} W/{scale}"))
        fine = self.lateral(features["res2"])
        fine += F.interpolate(pyramid[-1], fine.shape[-2:], mode="bilinear")
        fine = self.output(fine)  # under the same name, so that the map before it is forgotten
        return check("F_pixel", self.mask_features(fine), "B C H/4 W/4"), pyramid
