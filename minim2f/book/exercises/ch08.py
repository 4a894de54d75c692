"""Exercises of chapter 8: masks as products, heads from weights, filters, the first good mask."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, ch08_wrong, ch08_wrong_masks, integer
from minim2f.book.exercises.forbidden import watchful

# ---- 8.1 all masks of a batch as one product


def my_mask_logits(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    """The mask logits of every query at every pixel.

    Args:
        embeddings: E', (B, N, C).
        pixel_features: F_pixel, (B, C, h, w).

    Returns:
        (B, N, h, w).
    """
    flat = embeddings @ pixel_features.flatten(2)
    return flat.unflatten(2, pixel_features.shape[2:])


def _embeddings_and_features(g: torch.Generator) -> tuple[Tensor, Tensor]:
    b, n, c = (integer(g, 1, 4) for _ in range(3))
    h, w = integer(g, 1, 5), integer(g, 1, 5)
    return torch.randn(b, n, c, generator=g), torch.randn(b, c, h, w, generator=g)


def _without_loops() -> tuple[Tensor, ...]:
    seeded = torch.Generator().manual_seed(8)
    embeddings = torch.randn(2, 3, 4, generator=seeded)
    pixel_features = torch.randn(2, 4, 2, 5, generator=seeded)
    return watchful(embeddings, pixel_features, functions="slow_masks fast_masks", loops=False)


# ---- 8.2 the heads of one layer, from their weights


def my_heads(
    X: Tensor,
    norm: tuple[Tensor, Tensor],
    class_head: tuple[Tensor, Tensor],
    mask_head: list[tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """What norm and heads make of the queries after one layer.

    Args:
        X: the queries, (N, C).
        norm: scale and shift of the layer norm, (C,) each; its eps is 1e-5.
        class_head: weight (K+1, C) and bias (K+1,).
        mask_head: weight (C, C) and bias (C,) of each of its three layers.

    Returns:
        Class logits (N, K+1) and mask embeddings (N, C).
    """
    scale, shift = norm
    centred = X - X.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    z = centred / (variance + 1e-5).sqrt() * scale + shift
    weight, bias = class_head
    class_logits = z @ weight.T + bias
    first, second, third = mask_head
    z = (z @ first[0].T + first[1]).relu()
    z = (z @ second[0].T + second[1]).relu()
    return class_logits, z @ third[0].T + third[1]


def _weights(g: torch.Generator, wide: int, narrow: int) -> tuple[Tensor, Tensor]:
    weight = torch.randn(wide, narrow, generator=g) / narrow**0.5
    return weight, torch.randn(wide, generator=g)


def _queries_and_heads(g: torch.Generator) -> tuple:
    n, c, k = integer(g, 1, 4), integer(g, 3, 6), integer(g, 1, 4)
    x = 2 * torch.randn(n, c, generator=g) + torch.randn(n, 1, generator=g)
    norm = torch.rand(c, generator=g) + 0.5, torch.randn(c, generator=g)
    return x, norm, _weights(g, k + 1, c), [_weights(g, c, c) for _ in range(3)]


def _nearly_even() -> tuple:
    """Queries whose numbers hardly differ, so that eps counts; the second one's do not at all."""
    x, norm, *heads = _queries_and_heads(torch.Generator().manual_seed(3))
    return torch.stack([1 + 0.003 * x[0], torch.ones_like(x[0])]), norm, *heads


# ---- 8.3 which channels make a mask


def keep_channels(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    """The logit map of one query, made from the k channels alone that contribute most.

    A channel's contribution to a pixel is the product of its two numbers; over the picture, the
    mean of the absolute values counts.

    Args:
        embedding: E' of one query, (C,).
        pixel_features: F_pixel of one picture, (C, h, w).
        k: 1 to C.

    Returns:
        (h, w).
    """
    parts = embedding[:, None, None] * pixel_features
    strength = parts.abs().mean((1, 2))
    return parts[strength.topk(k).indices].sum(0)


def _filter_and_features(g: torch.Generator) -> tuple[Tensor, Tensor, int]:
    c, h, w = integer(g, 2, 8), integer(g, 2, 5), integer(g, 2, 5)
    sizes = torch.rand(c, 1, 1, generator=g) + 0.2
    pixel_features = sizes * (torch.randn(c, h, w, generator=g) + torch.randn(c, 1, 1, generator=g))
    return torch.randn(c, generator=g), pixel_features, integer(g, 1, c)


# ---- 8.4 after which layer a mask is good


def first_good(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    """The number of the first prediction whose mask is good enough.

    Args:
        mask_logits: (3L+1, G, h, w), of the queries that answer for the segments, from prediction
            0 on; a pixel is inside where the logit is positive.
        masks: (G, h, w) bool, the segments, none of them empty.
        threshold: an IoU of at least so much is good.

    Returns:
        (G,) int64, 0 to 3L; 3L+1 for a segment that no prediction gets right.
    """
    inside = mask_logits > 0
    overlap = (inside & masks).sum((2, 3))
    union = (inside | masks).sum((2, 3))
    good = overlap / union >= threshold
    return (good.cumsum(0) == 0).sum(0)


def _predictions_and_truth(g: torch.Generator) -> tuple[Tensor, Tensor, float]:
    layers, segments = integer(g, 2, 5), integer(g, 1, 5)
    h, w = integer(g, 2, 5), integer(g, 2, 5)
    masks = torch.rand(segments, h, w, generator=g) < 0.5
    masks[:, 0, 0] = True
    towards = torch.arange(layers)[:, None, None, None] * torch.where(masks, 0.6, -0.6)
    noise = torch.randn(layers, segments, h, w, generator=g)
    return towards + noise, masks, 0.4 + 0.4 * torch.rand((), generator=g).item()


# Three segments on a row of four pixels, three predictions. The first has IoUs of 1/2, 0 and 1:
# good at once at 0.5, then lost. The second has 0, 1/4 and 0: never good at 0.5. The third has 1, 0
# and 1 if a logit of 0 is outside. Small logits tell where the line is drawn.
_EDGE = torch.tensor(
    [
        [[[0.1, 0.0, -1, -1]], [[-1, -1, 0.4, -1]], [[0.2, 0.0, 0.0, -1]]],
        [[[-1, -1, 0.1, 0.1]], [[0.3, 0.3, 0.3, -0.1]], [[-1, -1, -1, -1]]],
        [[[0.1, 0.1, -0.2, -1]], [[-1, -1, 0.0, -1]], [[0.3, -1, -1, -1]]],
    ]
)
_EDGE_MASKS = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 1]], [[1, 0, 0, 0]]]).bool()

# Five predictions of three segments on a row of two pixels: the first is good only in the last
# prediction, number 4, the second in none, the third from the beginning.
_LATE = torch.full((5, 3, 1, 2), -1.0)
_LATE[4, 0] = 1.0
_LATE[:, 2] = 1.0
_LATE_MASKS = torch.ones(3, 1, 2).bool()


EXERCISES = [
    Exercise(
        "8.1",
        my_mask_logits,
        _embeddings_and_features,
        wrong=ch08_wrong.MASK_LOGITS,
        corners=[_without_loops()],
    ),
    Exercise(
        "8.2",
        my_heads,
        _queries_and_heads,
        wrong=ch08_wrong.HEADS,
        corners=[_nearly_even()],
    ),
    Exercise("8.3", keep_channels, _filter_and_features, wrong=ch08_wrong_masks.KEEP_CHANNELS),
    Exercise(
        "8.4",
        first_good,
        _predictions_and_truth,
        wrong=ch08_wrong_masks.FIRST_GOOD,
        corners=[
            (_EDGE, _EDGE_MASKS, 0.5),
            (_EDGE, _EDGE_MASKS, 0.25),
            (_LATE, _LATE_MASKS, 0.75),
        ],
    ),
]
