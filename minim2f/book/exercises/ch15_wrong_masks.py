"""What usually goes wrong in exercise 15.4, EoMT's mask, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong


def _joint(
    mask_logits, size, mode="bilinear", inside=lambda x: x > 0, transposed=False, first=True
):
    options = {"align_corners": False} if mode == "bilinear" else {}
    small = inside(F.interpolate(mask_logits, size, mode=mode, **options).flatten(2))
    batch, n, s = small.shape
    allowed = torch.ones(batch, n + s, n + s, dtype=torch.bool)
    if not first:
        allowed[:, s:, :s] = small
    elif transposed:
        allowed[:, n:, :n] = small.transpose(1, 2)
    else:
        allowed[:, :n, n:] = small
    return allowed


def _patches_apart(mask_logits, size):
    allowed = _joint(mask_logits, size)
    n = mask_logits.shape[1]
    allowed[:, n:, :n] = False
    return allowed


def _queries_apart(mask_logits, size):
    allowed = _joint(mask_logits, size)
    n = mask_logits.shape[1]
    allowed[:, :n, :n] = torch.eye(n, dtype=torch.bool)
    return allowed


def _both_ways(mask_logits, size):
    return _joint(mask_logits, size) & _joint(mask_logits, size, transposed=True)


def _rescued(mask_logits, size):
    n = mask_logits.shape[1]
    allowed = _joint(mask_logits, size)
    inside = allowed[:, :n, n:].clone()
    allowed[:, :n, n:] = inside | ~inside.any(-1, keepdim=True)
    return allowed


def _only_queries(mask_logits, size):
    return _joint(mask_logits, size)[:, : mask_logits.shape[1]]


def _corners_aligned(mask_logits, size):
    small = F.interpolate(mask_logits, size, mode="bilinear", align_corners=True)
    return _joint(small, size)


MASKS = [
    Wrong(
        lambda x, size: _joint(x, size, inside=lambda x: x >= 0),
        "positive: a logit of exactly 0 is not inside",
    ),
    Wrong(
        lambda x, size: _joint(x, size, inside=lambda x: x > 0.5),
        "these are logits: a probability of one half is a logit of 0",
    ),
    Wrong(
        lambda x, size: _joint(x, size, inside=lambda x: x <= 0),
        "inverted: True is where a token may look",
    ),
    Wrong(
        lambda x, size: _joint(x, size, transposed=True),
        "rows are those that look: here the patches are kept from looking at queries",
    ),
    Wrong(_both_ways, "patches see everything: only the rows of queries are masked"),
    Wrong(_patches_apart, "patches see everything, queries too"),
    Wrong(_queries_apart, "a query sees all queries, not only itself"),
    Wrong(_rescued, "no rescue is needed: a query without a patch still sees the queries"),
    Wrong(_only_queries, "the patches look as well: N+S rows are wanted"),
    Wrong(
        lambda x, size: _joint(x, size, first=False),
        "the queries come first, then the patches",
    ),
    Wrong(lambda x, size: _joint(x, size, "nearest"), "resize the masks bilinearly, not nearest"),
    Wrong(lambda x, size: _joint(x, size, "area"), "resize the masks bilinearly, not by area"),
    Wrong(_corners_aligned, "masks are resized with align_corners=False everywhere in this model"),
    Wrong(
        lambda x, size: _joint(x, size).float(),
        "True and False are wanted, not numbers: a float mask would be added to the scores",
    ),
    Wrong(
        lambda x, size: _joint(x.sigmoid(), size),
        "a sigmoid is always positive: so every patch is allowed",
    ),
]
