"""Image to res2 ... res5: torchvision's Swin blocks, with a norm of its own for each output."""

from __future__ import annotations

from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import SwinTransformer
from torchvision.models.swin_transformer import ShiftedWindowAttention, SwinTransformerBlock

from ..ops.attention import attention
from ..ops.strips import Strips
from ..shapes import check, scoped
from .backbone import imagenet_weights

# width of res2, blocks in each stage, heads in each stage, window
SIZES = {
    "swin_t": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
    "swin_s": (96, (2, 2, 18, 2), (3, 6, 12, 24), 7),
    "swin_b": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12),
    "swin_l": (192, (2, 2, 18, 2), (6, 12, 24, 48), 12),
}


class WindowAttention(ShiftedWindowAttention):
    """torchvision's, but shifted even where a map is no larger than a window, as official code."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        height, width = x.shape[1:3]
        window, shift = self.window_size[0], self.shift_size[0]
        rows, columns = (height + window - 1) // window, (width + window - 1) // window
        x = F.pad(x, (0, 0, 0, columns * window - width, 0, rows * window - height))
        x = x.roll((-shift, -shift), (1, 2))
        x = x.unflatten(2, (columns, window)).unflatten(1, (rows, window)).transpose(2, 3)
        x = x.flatten(3, 4).flatten(1, 2)
        check("windows", x, f"B windows {window**2} c", windows=rows * columns, c=x.shape[-1])
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).transpose(2, 4).unbind(3)
        bias = self.get_relative_position_bias().to(x.dtype)  # (1, heads, window^2, window^2)
        if shift:
            bias = bias + self._seams(rows, columns, x)[:, None]
        x = attention(q, k, v, bias)
        x = self.proj(x.transpose(2, 3).flatten(3))
        x = x.unflatten(2, (window, window)).unflatten(1, (rows, columns)).transpose(2, 3)
        x = x.flatten(3, 4).flatten(1, 2).roll((shift, shift), (1, 2))
        return x[:, :height, :width]

    def _seams(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """(windows, window^2, window^2): -100 between pixels that only the roll made neighbours."""
        window, shift = self.window_size[0], self.shift_size[0]

        def part(count: int) -> Tensor:
            """Which part of the last window a row is in; 0 in all other windows."""
            at = torch.arange(count * window, device=like.device) - (count - 1) * window
            return (at >= 0).long() + (at >= window - shift).long()

        region = part(rows)[:, None] * 3 + part(columns)
        region = region.unflatten(1, (columns, window)).unflatten(0, (rows, window))
        region = region.transpose(1, 2).flatten(2).flatten(0, 1)
        return (region[:, :, None] != region[:, None]).to(like.dtype) * -100.0


class Swin(nn.Module):
    """A Swin transformer that returns the maps of its four stages.

    Args:
        name: "swin_t", "swin_s", "swin_b" or "swin_l".
        drop_path: probability of skipping a block in training, growing linearly with depth.
        weights: "imagenet" (Swin-T and S only) or None, see `imagenet_weights`.
    """

    def __init__(self, name: str, drop_path: float = 0.3, weights: str | None = None) -> None:
        super().__init__()
        if name not in SIZES:
            raise ValueError(f"no backbone is called {name!r}; there are {', '.join(SIZES)}")
        width, depths, heads, window = SIZES[name]
        block = partial(SwinTransformerBlock, attn_layer=WindowAttention)
        net = SwinTransformer(
            [4, 4], width, depths, heads, [window] * 2, stochastic_depth_prob=drop_path, block=block
        )
        if state := imagenet_weights(name, weights):
            net.load_state_dict(state)
        self.channels = [width * 2**i for i in range(4)]
        self.patches, *stages = net.features
        self.stages, self.merges = nn.ModuleList(stages[0::2]), nn.ModuleList(stages[1::2])
        for block in chain(*self.stages):
            block.mlp = Strips(*block.mlp)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)

    @scoped
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> res2 (B, C2, H/4, W/4), res3 (1/8), res4 (1/16), res5 (1/32)."""
        x = self.patches(images)  # (B, H/4, W/4, C2), channels last throughout
        features = {}
        for i, (stage, norm) in enumerate(zip(self.stages, self.norms)):
            x = stage(x if i == 0 else self.merges[i - 1](x))
            symbols = f"B C{i + 2} H/{4 << i} W/{4 << i}"
            features[f"res{i + 2}"] = check(f"res{i + 2}", norm(x).permute(0, 3, 1, 2), symbols)
        return features
