"""res2 ... res5 to P5, P4, P3 for the queries to look at, and F_pixel to draw masks with."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..shapes import check, scoped

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class ConvNorm(nn.Sequential):
    """Convolution without bias, group norm with 32 groups, and ReLU if asked for."""

    def __init__(self, inputs: int, outputs: int, kernel: int, relu: bool) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        nn.init.kaiming_uniform_(conv.weight, a=1)
        super().__init__(conv, nn.GroupNorm(32, outputs), nn.ReLU() if relu else nn.Identity())


class FPN(nn.Module):
    """A feature pyramid: coarse maps are enlarged and added to finer ones, level by level.

    This is MaskFormer's pixel decoder (paper Table 4e, first row; official `BasePixelDecoder`).

    Args:
        inputs: channels of res2, res3, res4, res5.
        channels: C, the channels of all outputs.
    """

    def __init__(self, inputs: list[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleDict()
        self.output = nn.ModuleDict()
        for name, width in zip(STRIDES, inputs):
            top = name == "res5"  # nothing coarser to add to: its 3x3 reads the backbone itself
            if not top:
                self.lateral[name] = ConvNorm(width, channels, 1, relu=False)
            self.output[name] = ConvNorm(width if top else channels, channels, 3, relu=True)
        self.mask_features = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_uniform_(self.mask_features.weight, a=1)
        nn.init.zeros_(self.mask_features.bias)

    @scoped
    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Returns F_pixel (B, C, H/4, W/4) and [P5, P4, P3], (B, C) at 1/32, 1/16 and 1/8."""
        x = self.output["res5"](features["res5"])
        pyramid = [check("P5", x, "B C H/32 W/32")]
        for level in (4, 3, 2):
            lateral = self.lateral[f"res{level}"](features[f"res{level}"])
            x = lateral + F.interpolate(x, size=lateral.shape[-2:], mode="nearest")
            x = self.output[f"res{level}"](x)
            if level > 2:
                stride = STRIDES[f"res{level}"]
                pyramid.append(check(f"P{level}", x, f"B C H/{stride} W/{stride}"))
        return check("F_pixel", self.mask_features(x), "B C H/4 W/4"), pyramid
