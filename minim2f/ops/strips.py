"""Wide layers a strip at a time: their activations stay in the cache and are never all there."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Calls a function now, and again when the gradient comes back: only its inputs are kept.
again = partial(checkpoint, use_reentrant=False)

NUMBERS = 2**20  # of the widest activation of a strip: 4 MB in float32


class Strips(nn.Sequential):
    """Layers that treat each row by itself, applied to some rows at a time.

    A feed-forward network first makes its rows four times as wide. Written down for a whole
    picture, that is more than all else in its layer: memory that the processor has to fetch, and
    that training keeps. A strip stays near the processor, and training makes it anew when the
    gradient comes back, for one more product. The slow twin is `nn.Sequential` itself; it runs on
    a GPU, where strips would be slower. The first layer is an `nn.Linear`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C), or as wide as the last layer makes it."""
        if x.device.type != "cpu":
            return super().forward(x)
        strips = x.flatten(0, -2).split(NUMBERS // self[0].out_features)
        run = super().forward
        return torch.cat([again(run, strip) for strip in strips]).unflatten(0, x.shape[:-1])
