"""Exercises of chapter 6, queries: back in order, sine positions, cross-attention, a layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import (
    Exercise,
    ch06_wrong,
    ch06_wrong_layer,
    ch06_wrong_position,
    integer,
)
from minim2f.book.exercises.forbidden import watchful

# ---- 6.1 queries back in their old order


def unshuffle(outputs: Tensor, order: Tensor) -> Tensor:
    """Puts what shuffled queries predicted back into the old order of the queries.

    Args:
        outputs: (B, N, C) of the shuffled model.
        order: (N,), each of 0 ... N-1 once; new query n was old query order[n].

    Returns:
        (B, N, C), the outputs of old query 0, 1, 2 and so on.
    """
    return outputs[:, order.argsort()]


def _shuffled(g: torch.Generator) -> tuple[Tensor, Tensor]:
    n = integer(g, 3, 8)
    return torch.randn(integer(g, 1, 3), n, integer(g, 1, 4), generator=g), _order(g, n)


def _order(g: torch.Generator, n: int) -> Tensor:
    return torch.randperm(n, generator=g)


_CYCLE = (torch.arange(12.0).view(1, 3, 4), torch.tensor([1, 2, 0]))  # not its own way back
_SQUARE = (torch.arange(27.0).view(3, 3, 3), torch.tensor([2, 0, 1]))  # all axes have one size


# ---- 6.2 where each cell is


def my_position(channels: int, height: int, width: int) -> Tensor:
    """The sine position of every cell of a map.

    Args:
        channels: C, a multiple of 4.
        height, width: h and w of the map.

    Returns:
        (C, h, w), the row's numbers in the first half of the channels, then the column's.
    """
    n = channels // 2
    i = torch.arange(n)
    slowness = 10000 ** (2 * (i // 2) / n)
    y = (torch.arange(height) + 1) / height * 2 * torch.pi / slowness[:, None]
    x = (torch.arange(width) + 1) / width * 2 * torch.pi / slowness[:, None]
    rows = torch.where(i[:, None] % 2 == 0, y.sin(), y.cos())
    columns = torch.where(i[:, None] % 2 == 0, x.sin(), x.cos())
    rows = rows[:, :, None].expand(n, height, width)
    columns = columns[:, None].expand(n, height, width)
    return torch.cat([rows, columns])


def _map(g: torch.Generator) -> tuple[int, int, int]:
    return 4 * integer(g, 1, 6), integer(g, 1, 6), integer(g, 1, 6)


_MAP_CORNERS = [(8, 2, 3), (4, 1, 1), (16, 5, 5)]  # the first is the chapter's own example


# ---- 6.3 cross-attention


def cross_attention(
    queries: Tensor, keys: Tensor, values: Tensor, weight: Tensor, bias: Tensor, heads: int
) -> Tensor:
    """Attention of several heads, up to the output map.

    Args:
        queries: (B, N, C).
        keys, values: (B, hw, C), of the cells of a level.
        weight, bias: (3 C, C) and (3 C,), three linear maps on top of each other: first that of
            the queries, then that of the keys, then that of the values.
        heads: a divisor of C; head 0 has the first C / heads channels.

    Returns:
        (B, N, C), what the heads bring home, head 0 first.
    """
    (wq, wk, wv), (bq, bk, bv) = weight.chunk(3), bias.chunk(3)
    q = F.linear(queries, wq, bq).unflatten(2, (heads, -1))
    k = F.linear(keys, wk, bk).unflatten(2, (heads, -1))
    v = F.linear(values, wv, bv).unflatten(2, (heads, -1))
    scores = torch.einsum("bnhd,bkhd->bhnk", q, k) / q.shape[3] ** 0.5
    return torch.einsum("bhnk,bkhd->bnhd", scores.softmax(3), v).flatten(2)


def _asked(g: torch.Generator) -> tuple:
    heads, d, batch = integer(g, 1, 4), integer(g, 1, 4), integer(g, 1, 3)
    n, s, c = integer(g, 1, 5), integer(g, 1, 6), heads * d
    queries = torch.randn(batch, n, c, generator=g)
    keys, values = (torch.randn(batch, s, c, generator=g) for _ in range(2))
    weight, bias = torch.randn(3 * c, c, generator=g), torch.randn(3 * c, generator=g)
    return queries, keys, values, weight, bias, heads


def _watched(heads: int, seed: int) -> tuple:
    """Four of everything, so that no axis is told by its size; PyTorch's attention is forbidden."""
    g = torch.Generator().manual_seed(seed)
    names = "scaled_dot_product_attention multi_head_attention_forward MultiheadAttention Attention"
    tensors = [torch.randn(4, 4, 4, generator=g) for _ in range(3)]
    tensors += [torch.randn(12, 4, generator=g), torch.randn(12, generator=g)]
    return *watchful(*tensors, functions=names), heads


# ---- 6.4 a layer that normalises first


def pre_norm_layer(
    x: Tensor,
    e: Tensor,
    memory: Tensor,
    position: Tensor,
    look: Callable,
    talk: Callable,
    ffn: Callable,
    norms: list[Callable],
) -> Tensor:
    """A decoder layer that normalises what goes into a step, not what comes out of it.

    Args:
        x, e: (B, N, C), contents and positions of the queries.
        memory: (B, hw, C), the cells of a level.
        position: (1, hw, C), their positions.
        look, talk: cross- and self-attention, functions of (queries, keys, values).
        ffn: the feed-forward network, a function of the contents.
        norms: three functions of contents: for looking, for talking, for the feed-forward network.

    Returns:
        (B, N, C), the contents after the layer.
    """
    look_norm, talk_norm, ffn_norm = norms
    z = look_norm(x)
    x = x + look(z + e, memory + position, memory)
    z = talk_norm(x)
    x = x + talk(z + e, z + e, z)
    return x + ffn(ffn_norm(x))


def _mix(g: torch.Generator, channels: int) -> Callable:
    """One head of attention with three random maps."""
    maps = torch.randn(3, channels, channels, generator=g) / channels**0.5

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        q, k, v = (x @ m for x, m in zip((queries, keys, values), maps))
        return (q @ k.transpose(1, 2)).softmax(2) @ v

    return attend


def _step(g: torch.Generator, channels: int, act: Callable) -> Callable:
    weight, bias = torch.randn(channels, channels, generator=g), torch.randn(channels, generator=g)
    return lambda x: act(x @ weight + bias)


def _norm(g: torch.Generator, channels: int) -> Callable:
    weight, bias = torch.randn(channels, generator=g), torch.randn(channels, generator=g)
    return lambda x: F.layer_norm(x, (channels,), weight, bias)


def _layer(g: torch.Generator) -> tuple:
    batch, n, s, c = integer(g, 1, 2), integer(g, 2, 4), integer(g, 2, 5), integer(g, 3, 6)
    x, e = (torch.randn(batch, n, c, generator=g) for _ in range(2))
    memory, position = (torch.randn(b, s, c, generator=g) for b in (batch, 1))
    functions = _mix(g, c), _mix(g, c), _step(g, c, torch.tanh)
    return x, e, memory, position, *functions, [_norm(g, c) for _ in range(3)]


EXERCISES = [
    Exercise("6.1", unshuffle, _shuffled, ch06_wrong.UNSHUFFLE, [_CYCLE, _SQUARE]),
    Exercise("6.2", my_position, _map, ch06_wrong_position.POSITION, _MAP_CORNERS),
    Exercise("6.3", cross_attention, _asked, ch06_wrong.CROSS, [_watched(2, 0), _watched(4, 1)]),
    Exercise("6.4", pre_norm_layer, _layer, ch06_wrong_layer.LAYER),
]
