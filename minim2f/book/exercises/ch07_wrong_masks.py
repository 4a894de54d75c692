"""What usually goes wrong in 7.2 and 7.3, the masks: each mistake as code, with its hint."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Wrong


def _rescued(allowed: Tensor) -> Tensor:
    return allowed | ~allowed.any(-1, keepdim=True)


# ---- 7.2 the mask of the next layer


def _small(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0].flatten(1)


def _half_on_logits(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) >= 0.5)


def _no_rescue(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _small(mask_logits, size) >= 0


def _rescue_all(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    allowed = _small(mask_logits, size) >= 0
    return allowed | ~allowed.any(-1).all()


def _strictly(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) > 0)


def _rescue_before_flattening(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size).unflatten(1, size) >= 0).flatten(1)


def _threshold_first(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small((mask_logits >= 0).float(), size) >= 0.5)


def _sigmoid_first(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits.sigmoid(), size) >= 0.5)


def _nearest(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(F.interpolate(mask_logits[None], size=size)[0].flatten(1) >= 0)


def _area(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(F.interpolate(mask_logits[None], size=size, mode="area")[0].flatten(1) >= 0)


def _aligned(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    options = dict(size=size, mode="bilinear", align_corners=True)
    return _rescued(F.interpolate(mask_logits[None], **options)[0].flatten(1) >= 0)


def _antialiased(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    options = dict(size=size, mode="bilinear", align_corners=False, antialias=True)
    return _rescued(F.interpolate(mask_logits[None], **options)[0].flatten(1) >= 0)


def _bicubic(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(F.interpolate(mask_logits[None], size=size, mode="bicubic")[0].flatten(1) >= 0)


def _columns_first(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size).unflatten(1, size).mT.flatten(1) >= 0)


def _three_axes(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(mask_logits, size=size, mode="bilinear", align_corners=False)


def _width_first(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, (size[1], size[0])) >= 0)


def _not_in_rows(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) >= 0).unflatten(1, size)


def _blocked(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return ~_rescued(_small(mask_logits, size) >= 0)


def _outside(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) < 0)


NEXT_MASK = [
    Wrong(_half_on_logits, "these are logits: which logit has the probability 0.5?"),
    Wrong(_no_rescue, "some masks are empty at this size: what may their queries see?"),
    Wrong(_rescue_all, "one empty mask opens all others: judge each query by itself"),
    Wrong(_strictly, "a probability of exactly 0.5 counts as inside"),
    Wrong(_rescue_before_flattening, "you rescue single lines of a mask, not whole masks"),
    Wrong(_threshold_first, "a threshold is not linear: what should come before it?"),
    Wrong(_sigmoid_first, "a sigmoid is not linear: what should come before it?"),
    Wrong(_nearest, "your resize reads one corner of a cell: which mode reads its middle?"),
    Wrong(_area, "you average all of a cell: bilinear reads the four around its centre"),
    Wrong(_aligned, "aligned corners shift what a cell reads: which option says so?"),
    Wrong(_antialiased, "antialias averages over all of a cell: leave it off, as slow_mask does"),
    Wrong(_bicubic, "bicubic reads sixteen pixels: bilinear reads the four around a centre"),
    Wrong(_columns_first, "you read the cells column by column: row by row is wanted"),
    Wrong(_three_axes, "interpolate takes the first two axes for pictures and channels"),
    Wrong(_width_first, "height comes before width in a size"),
    Wrong(_not_in_rows, "all cells of a query stand in one row: flatten the last two axes"),
    Wrong(_blocked, "True means that a query may look; yours is the other way round"),
    Wrong(_outside, "on which side of the threshold is the inside of a mask?"),
]


# ---- 7.3 the same mask for nn.MultiheadAttention


def _not_turned(allowed: Tensor, heads: int) -> Tensor:
    return allowed.repeat_interleave(heads, dim=0)


def _heads_outside(allowed: Tensor, heads: int) -> Tensor:
    return ~allowed.repeat(heads, 1, 1)


def _heads_outside_not_turned(allowed: Tensor, heads: int) -> Tensor:
    return allowed.repeat(heads, 1, 1)


def _rescued_too(allowed: Tensor, heads: int) -> Tensor:
    return ~_rescued(allowed).repeat_interleave(heads, dim=0)


def _not_copied(allowed: Tensor, heads: int) -> Tensor:
    return ~allowed


def _four_axes(allowed: Tensor, heads: int) -> Tensor:
    return ~allowed[:, None].expand(-1, heads, -1, -1)


def _added(allowed: Tensor, heads: int) -> Tensor:
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)
    return mask.repeat_interleave(heads, dim=0)


def _zeros_and_ones(allowed: Tensor, heads: int) -> Tensor:
    return (~allowed).repeat_interleave(heads, dim=0).float()


FOR_PYTORCH = [
    Wrong(_added, "PyTorch would add these 0 and -inf correctly; here, return bools"),
    Wrong(
        _zeros_and_ones, "PyTorch adds floats to the scores, so a 1 blocks nothing: return bools"
    ),
    Wrong(_not_turned, "what does True mean to nn.MultiheadAttention?"),
    Wrong(_heads_outside, "picture 1 got masks of picture 0: in which order do rows go?"),
    Wrong(
        _heads_outside_not_turned,
        "what does True mean there, and in which order do the rows go?",
    ),
    Wrong(_rescued_too, "hand each mask over as it is, also an empty one"),
    Wrong(_not_copied, "each head wants a copy of its own along the first axis"),
    Wrong(_four_axes, "three axes are wanted: pictures and heads share the first one"),
]
